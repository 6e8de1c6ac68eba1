"""The JSON files of a model: read, and refused where they ask for code of the model's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.json_text import finite_json
from tasks.encoders.file_kind import kind_of
from tasks.encoders.hub import said_by_library

CONFIG = "config.json"
_LARGEST_BYTES = 64 << 20
# Keys by which libraries load Python from a model's folder or from the hub.
_CODE = ("auto_map", "trust_remote_code", "code_revision", "custom_pipelines", "custom_generate", "use_kernels")
# Where the value names a hub repository, its compiled code is loaded; attention by a plain name is the library's own.
_KERNELS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")


def read_json(path: Path, setting: str) -> dict[str, Any]:
    """The JSON object in a file of a model.

    Raises:
        SpecError: the file is missing, holds something else, or asks for code of its own.
    """
    if path.exists() and not path.is_file():
        raise SpecError(f"{setting}: cannot read {path}: it is no file")
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"it is larger than {_LARGEST_BYTES >> 20} MiB")
        content = finite_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{setting}: cannot read {path}: {said_by_library(error)}") from error
    except ValueError as error:
        words = kind_of(path).words
        reason = said_by_library(error) if words.startswith(("JSON", "text", "of no known kind")) else f"it is {words}"
        raise SpecError(f"{setting}: cannot read {path}: {reason}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{setting}: {path} holds {type(content).__name__}, expected a JSON object")
    refuse_code(content, f"{setting}: {path}")
    return content


def refuse_code(content: Any, where: str) -> None:
    """Refuse settings of a model, at any depth, that would have a library run code which the model brings.

    Raises:
        SpecError: there is such a setting.
    """
    left = [content]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, Mapping):
            left += part.values()
            for key, value in part.items():
                named = key in _KERNELS and isinstance(value, str) and ("/" in value or ":" in value)
                if named or (key in _CODE and value not in (None, False, {}, [])):
                    raise SpecError(
                        f"{where} has {key}, which would run code that the model brings; no model file is ever run, so"
                        " use a model that the libraries know without it"
                    )
