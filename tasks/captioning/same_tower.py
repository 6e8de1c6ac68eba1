"""Whether a captioner sees through the very vision encoder that is edited, from its files alone."""

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from data_specs.captioning import CaptioningConfig
from data_specs.errors import SpecError
from data_specs.wording import shown
from tasks.captioning.captioner import captioner_folder, held_as, read_tower_settings
from tasks.encoders.llava.folder import LlavaFolder, open_llava
from tasks.encoders.llava.names import as_in_tower, block_of, is_used, layer_in_tower
from tasks.encoders.loading import LoadedModel
from tasks.encoders.unstated import foreign_tower

_SETTING = "captioning.model"


def require_same_activation(config: CaptioningConfig, loaded: LoadedModel) -> None:
    """Refuse a captioner whose tower computes with another activation than a model does: no tensor tells them apart.

    Raises:
        SpecError: one has GELU, the other quick GELU.
    """
    model_cfg = loaded.architecture.model_cfg
    if foreign_tower(model_cfg) is not None:  # has an activation of its own
        return
    theirs, ours = (
        read_tower_settings(config).get("hidden_act"),
        "quick_gelu" if model_cfg.get("quick_gelu") else "gelu",
    )
    if theirs != ours:
        raise SpecError(
            f"{_SETTING} {config.model}: its vision tower has hidden_act {shown(theirs)}, but model, which is edited, has {shown(ours)};"
            " set model.quick_gelu to what both were trained with, or give a LLaVA that was built around that model"
        )


def require_tower(config: CaptioningConfig, state: Mapping[str, Tensor], layers: Collection[str]) -> None:
    """Refuse a captioner whose tower is not a model's vision encoder, before hours of captioning; no model is loaded.

    Weights that an edit may change must be the model's bit for bit, as the captioner will have them in memory; what else
    captions depend on, such as norms, may be rounded as the checkpoint is.

    Args:
        config: of the captioner.
        state: of the model, under open_clip's names.
        layers: whose weights an edit may change.

    Raises:
        SpecError: the tower has other tensors or values, or the captioner's precision rounds them.
    """
    llava = open_llava(captioner_folder(config), _SETTING)
    ours = as_in_tower(state)
    edited = {inner for inner in map(layer_in_tower, layers) if inner is not None}
    for inner in sorted(edited.union(_seen([*ours, *llava.tower], llava))):
        _require_same(config, inner, ours.get(inner), llava, exact=inner in edited)


def _seen(names: Collection[str], llava: LlavaFolder) -> Iterator[str]:
    """The tensors of a tower that captions depend on."""
    return (inner for inner in names if is_used(inner) and (block_of(inner) or 0) < llava.n_seen)


def _require_same(
    config: CaptioningConfig, inner: str, ours: Tensor | None, llava: LlavaFolder, *, exact: bool
) -> None:
    stored, held_in = llava.tower.get(inner), held_as(config)
    if stored is None or ours is None or stored.shape != tuple(ours.shape):
        sizes = ["none" if tensor is None else str([*tensor.shape]) for tensor in (stored, ours)]
        raise SpecError(_of_another(config, f"{shown(inner)} is {sizes[0]} there, {sizes[1]} in the model"))
    theirs = stored.read()
    held = theirs.to(held_in).float()
    expected = ours.detach().cpu().float() if exact else ours.detach().cpu().to(theirs.dtype).to(held_in).float()
    different = int((held != expected).sum())  # NaN differs from all
    if not different:
        return
    if bool((theirs.float() == ours.detach().cpu().float()).all()):
        raise SpecError(
            f"captioning.precision {config.precision} rounds {shown(inner)} of the tower, so that the edit does not fit it; set"
            " captioning.precision: fp32"
        )
    raise SpecError(_of_another(config, f"{different} of {held.numel()} values of {shown(inner)} differ"))


def _of_another(config: CaptioningConfig, how: str) -> str:
    return (
        f"{_SETTING} {config.model}: its vision tower is not the vision encoder of model, which is edited: {how}; give a LLaVA"
        " that was built around that model, name its CLIP as model, or set captioning.tower: model, which puts model in"
    )
