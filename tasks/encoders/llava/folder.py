"""A LLaVA's checkpoint as it lies in a folder: what its settings say, and where the tensors of its tower are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.llava_families import LLAVA_FAMILIES, OWN_TOWER, LlavaFamily, llava_family, writes_text
from data_specs.run_config import HUB
from data_specs.wording import shown
from tasks.encoders.checkpoint import SAFETENSORS
from tasks.encoders.hub import download_files
from tasks.encoders.llava.names import block_of, in_tower
from tasks.encoders.llava.stored_tensors import StoredTensor, stored_tensors
from tasks.encoders.model_json import CONFIG, read_json
from tasks.encoders.transformers_format import INDEX, WEIGHTS

_TOWERS = ("clip_vision_model", "siglip_vision_model")
# Everything of a repository but weights in other formats, and other people's code.
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md", "LICENSE*", "USE_POLICY*"]


@dataclass(frozen=True)
class LlavaFolder:
    """A checkpoint, of which nothing but headers has been read.

    `weight_files` are all that its index names, `tower` holds the tower's tensors by their name within it, and of its
    `n_blocks` blocks the language model sees what the first `n_seen` give.
    """

    folder: Path
    config: Mapping[str, Any]
    family: LlavaFamily
    weight_files: tuple[str, ...]
    tower: Mapping[str, StoredTensor]
    n_blocks: int
    n_seen: int


def is_llava(folder: Path) -> bool:
    """Whether a folder holds a model that writes text, so that it is read here or not at all.

    Raises:
        SpecError: its `config.json` cannot be read.
    """
    return (folder / CONFIG).is_file() and writes_text(read_json(folder / CONFIG, "MODEL"))


def locate_llava(given: str, setting: str) -> Path:
    """The folder of a checkpoint, downloaded where it lies on the hub.

    Args:
        given: a folder, or `hf-hub:ORG/NAME`.
        setting: that names it; for errors.

    Raises:
        SpecError: there is none, or it has no `config.json`.
    """
    folder = Path(given)
    if given.startswith(HUB):
        # What it is comes first: the weights of another model would be many gigabytes for nothing.
        folder = download_files(given, [CONFIG], setting)
        if (folder / CONFIG).is_file():
            _family(read_json(folder / CONFIG, setting), given, setting)
            folder = download_files(given, _FILES, setting)
    if not (folder / CONFIG).is_file():
        raise SpecError(
            f"{setting} {given} holds no {CONFIG} of a LLaVA; give a folder in transformers' format, or its name as"
            f" {HUB}ORG/NAME"
        )
    return folder


def open_llava(folder: Path, setting: str) -> LlavaFolder:
    """Look at a checkpoint: settings, index and headers.

    Args:
        folder: with `config.json` and safetensors files.
        setting: that names it; for errors.

    Returns:
        Where everything is.

    Raises:
        SpecError: it is another kind of model, incomplete, or has no tower that could be edited.
    """
    config = read_json(folder / CONFIG, setting)
    family = _family(config, str(folder), setting)
    _require_known_tower(config, folder, setting)
    places = _weight_map(folder, setting)
    names = tuple(sorted(set(places.values())))
    found = {name: stored_tensors(folder / name, setting) for name in names}
    tower = _tower(found, places, f"{setting} {folder}", config)
    n_blocks = 1 + max(block for inner in tower if (block := block_of(inner)) is not None)
    return LlavaFolder(folder, config, family, names, tower, n_blocks, _n_seen(config, family, n_blocks, folder))


def _family(config: Mapping[str, Any], source: str, setting: str) -> LlavaFamily:
    family = llava_family(config)
    if family is None:
        raise SpecError(
            f"{setting} {source}: its config.json is of model_type {shown(config.get('model_type'))}, expected"
            f" {', '.join(item.model_type for item in LLAVA_FAMILIES)}, or LLaVA's own format"
        )
    return family


def _require_known_tower(config: Mapping[str, Any], folder: Path, setting: str) -> None:
    told = config.get("vision_config")
    kind = told.get("model_type", _TOWERS[0]) if isinstance(told, Mapping) else _TOWERS[0]
    if kind not in _TOWERS:
        raise SpecError(
            f"{setting} {folder}: its vision tower is a {shown(kind)}, expected {' or '.join(_TOWERS)}; other towers"
            " are not edited"
        )


def _weight_map(folder: Path, setting: str) -> dict[str, str]:
    """The file of each tensor; as in transformers, one file of all weights goes before an index."""
    if (folder / WEIGHTS).is_file():
        return dict.fromkeys(stored_tensors(folder / WEIGHTS, setting), WEIGHTS)
    if not (folder / INDEX).is_file():
        others = sorted(path.name for ending in ("bin", "pth", "pt") for path in folder.glob(f"*.{ending}"))
        found = f"; {', '.join(others[:3])} is not read, save it as safetensors" if others else ""
        raise SpecError(f"{setting} {folder} holds neither {WEIGHTS} nor {INDEX}{found}")
    places = read_json(folder / INDEX, setting).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise SpecError(f"{setting}: {folder / INDEX} names no weights; download it again")
    # An index comes with the checkpoint: it may name files beside it, not elsewhere.
    strange = [name for name in places.values() if not str(name).endswith(SAFETENSORS) or Path(str(name)).name != name]
    if strange:
        raise SpecError(f"{setting}: {folder / INDEX} must name safetensors files beside it, got {shown(strange[0])}")
    return places


def _tower(
    found: Mapping[str, Mapping[str, StoredTensor]], places: Mapping[str, str], source: str, config: Mapping[str, Any]
) -> dict[str, StoredTensor]:
    tower: dict[str, StoredTensor] = {}
    for name, file in places.items():
        if name not in found[file]:
            raise SpecError(f"{source}: {file} lacks {shown(name)}, which {INDEX} promises; download it again")
        inner = in_tower(name)
        if inner in tower:
            raise SpecError(f"{source} holds the tower's {shown(inner)} under two names, {shown(name)} is one of them")
        if inner is not None:
            tower[inner] = found[file][name]
    if not any(block_of(inner) is not None for inner in tower):
        raise SpecError(f"{source} {_without_tower(config)}")
    return tower


def _without_tower(config: Mapping[str, Any]) -> str:
    if OWN_TOWER in config:
        return (
            f"keeps its vision tower outside ({OWN_TOWER}: {shown(config[OWN_TOWER])}): edit that CLIP and name its folder"
            f" as {OWN_TOWER}, or take the checkpoint in transformers' format, such as {HUB}llava-hf/llava-1.5-7b-hf"
        )
    return "has no tensor vision_tower.* of a CLIP's blocks; take a checkpoint that holds its vision tower"


def _n_seen(config: Mapping[str, Any], family: LlavaFamily, n_blocks: int, folder: Path) -> int:
    """How many blocks run into the language model, by the latest hidden state that it reads."""
    chosen = next((config[name] for name in family.feature_settings if config.get(name) is not None), None)
    layers = list(family.feature_default) if chosen is None else chosen if isinstance(chosen, list) else [chosen]
    states = [
        layer + (n_blocks + 1 if layer < 0 else 0)
        for layer in layers
        if isinstance(layer, int) and not isinstance(layer, bool)
    ]
    if len(states) < max(len(layers), 1) or not all(0 <= state <= n_blocks for state in states):
        raise SpecError(
            f"{folder}: {family.feature_settings[0]} is {shown(chosen)}, but its tower has {n_blocks} blocks; expected"
            f" numbers from {-n_blocks - 1} to {n_blocks}"
        )
    return max(states)
