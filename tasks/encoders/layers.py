"""Which linear layers are scored and edited."""

from fnmatch import fnmatchcase

from torch import nn

from data_specs.errors import SpecError
from data_specs.families import TOWERS, encoder_of
from data_specs.run_config import Encoder


def target_layers(model: nn.Module, encoder: Encoder, layers: str) -> dict[str, nn.Linear]:
    """The linear layers of one encoder that an alias or a glob names, in the model's order.

    Args:
        model: an open_clip model.
        encoder: which tower.
        layers: `attention_output`, `mlp_output`, or a glob over dotted module names.

    Returns:
        Layers by dotted name; never empty.

    Raises:
        SpecError: nothing matches.
    """
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and encoder_of(name) == encoder
    }
    patterns = [tower.pattern(layers) for tower in TOWERS if tower.encoder == encoder]
    aliases = [pattern for pattern in patterns if pattern is not None]
    if aliases:
        found = {name: layer for name, layer in linear.items() if any(alias.match(name) for alias in aliases)}
    else:
        found = {name: layer for name, layer in linear.items() if fnmatchcase(name, layers)}
    if not found:
        raise SpecError(
            f"{encoder}.layers {layers!r} matches no linear layer of the {encoder} encoder; it has {len(linear)},"
            f" such as {', '.join(list(linear)[:3]) or 'none'}; use attention_output, mlp_output or a glob"
        )
    return found
