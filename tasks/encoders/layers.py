"""Which linear layers are scored and edited."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn

from data_specs.errors import SpecError
from data_specs.families import ALIASES, TOWERS, LayerAlias, encoder_of
from data_specs.run_config import Encoder

_SHOWN = 3


def target_layers(model: nn.Module, encoder: Encoder, layers: str) -> dict[str, nn.Linear]:
    """The linear layers of one encoder that an alias or a glob names, in the model's order.

    Args:
        model: an open_clip model.
        encoder: which tower.
        layers: `attention_output`, `mlp_output`, or a glob over dotted module names.

    Returns:
        Layers by dotted name; never empty. An alias gives one layer for every block of the tower.

    Raises:
        SpecError: a glob matches nothing, or an alias is asked of a tower of no known family.
    """
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and encoder_of(name) == encoder
    }
    for alias in ALIASES:
        if layers == alias:
            return _layers_of_family(model, encoder, alias, linear)
    found = {name: layer for name, layer in linear.items() if fnmatchcase(name, layers)}
    if not found:
        raise SpecError(
            f"{encoder}.layers {layers!r} matches no linear layer of the {encoder} encoder; it has {len(linear)},"
            f" such as {_some(linear)}; use attention_output, mlp_output or a glob"
        )
    return found


def _layers_of_family(
    model: nn.Module, encoder: Encoder, alias: LayerAlias, linear: Mapping[str, nn.Linear]
) -> dict[str, nn.Linear]:
    towers = [tower for tower in TOWERS if tower.encoder == encoder]
    for tower in towers:
        names = [tower.layer(name, alias) for name, _ in model.named_modules() if tower.is_block(name)]
        # A tower of which only some blocks look familiar is another architecture.
        if names and linear.keys() >= set(names):
            return {name: linear[name] for name in names}
    known = "; ".join(f"{tower.family}: {tower.layer(tower.blocks + '.N', alias)}" for tower in towers)
    raise SpecError(
        f"{encoder}.layers {alias!r}: the {encoder} encoder is {_tower_class(model, encoder)}, which is of no known"
        f" family; it has {len(linear)} linear layers, such as {_some(linear)}; known are {known}; name its layers by a"
        ' glob, such as "*.mlp.fc2"'
    )


def _some(linear: Mapping[str, nn.Linear]) -> str:
    return ", ".join(list(linear)[:_SHOWN]) or "none"


def _tower_class(model: nn.Module, encoder: Encoder) -> str:
    outer = getattr(model, "visual" if encoder == "vision" else "text", model)
    inner = getattr(outer, "trunk" if encoder == "vision" else "transformer", None)
    name = type(outer).__name__
    return f"{name} around {type(inner).__name__}" if isinstance(inner, nn.Module) else name
