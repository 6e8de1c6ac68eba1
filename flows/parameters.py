"""What flows take: settings as a mapping, or the path of the file that holds them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from data_specs.config_file import load_config
from data_specs.run_config import RunConfig


class OrFile:
    """Makes a flow take the path of a file in place of what it holds, when it is called and by its schema."""

    def __init__(self, read: Callable[[Any], Any], name: str) -> None:
        """`read` gives what a path stands for, and anything else as it is; `name` is what the file is called."""
        self._read, self._name = read, name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        path = {"type": "string", "minLength": 1, "description": f"path of a {self._name}, as the worker sees it"}
        return {"anyOf": [handler(schema), path]}


def _read(given: Any) -> Any:
    return load_config(Path(given)) if isinstance(given, str | Path) else given


Config = Annotated[RunConfig, OrFile(_read, "CONFIG.yaml")]
