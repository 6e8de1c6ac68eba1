"""No code of a model's own: what a model config may name, and libraries kept from asking or running."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from data_specs.errors import SpecError
from data_specs.run_config import HUB
from tasks.encoders.hub import download_files
from tasks.encoders.model_json import CONFIG, read_json, refuse_code

_SETTING = "model.architecture"
# All that open_clip's two tokenizers take, but for paths; the rest would go to transformers' `from_pretrained`.
_TOKENIZER_OPTIONS = frozenset({"clean", "strip_sep_token", "language", "additional_special_tokens", "reduction_mask"})
_HUB_NAME = re.compile(r"(?!.*\.\.)[\w-][\w.-]*(?:/[\w-][\w.-]*)?\Z")
_TIMM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_SHOWN = 60


def require_data_only(model_cfg: Mapping[str, Any]) -> None:
    """Refuse a model config that names code, or anything but the libraries' own parts.

    Raises:
        SpecError: a part is no mapping, an option could load code, or a name is a path or an address.
    """
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(model_cfg.get(part), Mapping):
            raise SpecError(f"{_SETTING}: {part} is {type(model_cfg.get(part)).__name__}, expected a JSON object")
    text, vision = model_cfg["text_cfg"], model_cfg["vision_cfg"]
    options = text.get("tokenizer_kwargs") or {}
    if not isinstance(options, Mapping) or set(options) - _TOKENIZER_OPTIONS:
        found = ", ".join(str(name)[:_SHOWN] for name in list(options)[:3])
        raise SpecError(
            f"{_SETTING}: text_cfg.tokenizer_kwargs has {found}; known are {', '.join(sorted(_TOKENIZER_OPTIONS))},"
            " because others can run code that the model brings"
        )
    refuse_code(model_cfg, _SETTING)
    _require_name(vision.get("timm_model_name"), _TIMM_NAME, "vision_cfg.timm_model_name", "the name of a timm model")
    hub = "the name of a hub repository"
    tower = text.get("hf_model_name")
    if not (isinstance(tower, str) and Path(tower).is_absolute() and Path(tower).is_dir()):
        _require_name(tower, _HUB_NAME, "text_cfg.hf_model_name", f"{hub} or an absolute path of a folder")
    _require_name(
        text.get("hf_tokenizer_name"),
        _HUB_NAME,
        "text_cfg.hf_tokenizer_name",
        f"{hub}; for a local tokenizer set model.tokenizer",
    )


def _require_name(name: Any, pattern: re.Pattern[str], field: str, expected: str) -> None:
    if name and not (isinstance(name, str) and pattern.match(name)):
        raise SpecError(f"{_SETTING}: {field} is {str(name)[:_SHOWN]!r}, expected {expected}")


def write_text_tower(name: str, folder: Path) -> str:
    """Write the config of a transformers text tower into a folder that holds nothing else of it.

    Args:
        name: of a hub repository, or an absolute path.
        folder: gets a folder of its own for the config.

    Returns:
        The path that `hf_model_name` takes in place of the name.

    Raises:
        SpecError: it cannot be had, asks for code of its own, or is no tower that open_clip builds.
    """
    from open_clip.hf_configs import arch_dict

    field = f"{_SETTING}: text_cfg.hf_model_name"
    place = Path(name) if Path(name).is_absolute() else download_files(HUB + name, [CONFIG], field)
    content = read_json(place / CONFIG, field)
    if content.get("model_type") not in arch_dict:
        kinds = ", ".join(arch_dict)
        raise SpecError(f"{field} {name} is of model_type {content.get('model_type')!r}, expected one of {kinds}")
    (folder / "tower").mkdir()
    (folder / "tower" / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "tower")


@contextmanager
def nothing_runs_or_asks() -> Iterator[None]:
    """Keep transformers from loading Python of a model's, and every library from reading standard input."""
    from transformers import dynamic_module_utils as dynamic

    before = dynamic.TIME_OUT_REMOTE_CODE, dynamic.get_class_in_module, sys.stdin
    dynamic.TIME_OUT_REMOTE_CODE, dynamic.get_class_in_module = 0, _refuse
    with Path(os.devnull).open(encoding="utf-8") as nothing, _descriptor_from(nothing.fileno()):
        sys.stdin = nothing
        try:
            yield
        finally:
            dynamic.TIME_OUT_REMOTE_CODE, dynamic.get_class_in_module, sys.stdin = before


@contextmanager
def _descriptor_from(other: int) -> Iterator[None]:
    try:
        kept = os.dup(0)
    except OSError:  # a daemon may have closed it
        yield
        return
    try:
        os.dup2(other, 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def _refuse(*_arguments: Any, **_options: Any) -> NoReturn:
    raise SpecError("the model brings Python code of its own, which is never run; use a model without it")
