"""What flows take: settings as a mapping, or the path of the file that holds them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from data_specs.config_file import load_config
from data_specs.run_config import RunConfig


class _OrFile:
    """Makes a flow take the path of a CONFIG.yaml in place of the settings, when it is called and by its schema."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_read, handler(source))

    @staticmethod
    def __get_pydantic_json_schema__(schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        path = {"type": "string", "minLength": 1, "description": "path of a CONFIG.yaml, as the worker sees it"}
        return {"anyOf": [handler(schema), path]}


def _read(given: Any) -> Any:
    return load_config(Path(given)) if isinstance(given, str | Path) else given


Config = Annotated[RunConfig, _OrFile]
