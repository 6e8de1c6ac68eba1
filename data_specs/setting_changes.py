"""Settings that are changed for one run: SETTING=VALUE on the command line, as if the file said so."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from data_specs.errors import SpecError
from data_specs.run_config import ENCODERS, RunConfig
from data_specs.suggestions import setting_meant, settings_at
from data_specs.wording import shown
from data_specs.yaml_file import parse_yaml

_EXAMPLE = "text.tau=0.95"


def with_changes(data: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Settings as a file gives them, some of them replaced or added.

    Args:
        data: what the file holds; it stays as it is.
        changes: such as `text.tau=0.95`: a dotted path, lists by number, and a value as YAML.

    Raises:
        SpecError: a change has another form, or its path leads through a value that holds no settings.
    """
    changed = deepcopy(dict(data))
    for change in changes:
        path, sign, value = change.partition("=")
        if not sign or not path.strip():
            raise SpecError(f"--set {shown(change)} makes no sense; write SETTING=VALUE, such as {_EXAMPLE}")
        _put(changed, path.strip(), value, f"--set {path.strip()}")
    return changed


def _put(settings: dict[str, Any], path: str, value: str, where: str) -> None:
    place: Any = settings
    before: list[str | int] = []
    left = path
    while True:
        key, left = _first_key(place, left)
        if isinstance(place, list):
            key = _index(place, key, where)
        before.append(key)
        if not left:
            break
        place = _step_into(place, key, before, where)
    place[key] = _value(value, before, where)


def _first_key(place: Any, path: str) -> tuple[Any, str]:
    # The name of a method or data set may hold dots.
    known = [key for key in place if path == key or path.startswith(f"{key}.")] if isinstance(place, dict) else []
    key = max(known, key=len) if known else path.partition(".")[0]
    return key, path[len(key) + 1 :]


def _index(place: list[Any], key: str, where: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise SpecError(f"{where}: {shown(key)} is no number of this list, expected 0 to {len(place) - 1}")
    return int(key)


def _step_into(place: Any, key: str | int, path: list[str | int], where: str) -> Any:
    if isinstance(place, dict) and key not in place:
        if not settings_at(RunConfig, path):
            named = ".".join(map(str, path))
            raise SpecError(f"{where}: {named} is not a known setting{setting_meant(RunConfig, path)}")
        place[key] = {}
    inner = place[key]
    if not isinstance(inner, dict | list):
        name = ".".join(map(str, path))
        hint = f"; give --set {name}={{}} first" if inner is None and name in ENCODERS else ""
        raise SpecError(f"{where}: {name} is {shown(inner)}, which holds no settings{hint}")
    return inner


def _value(text: str, path: Sequence[str | int], where: str) -> Any:
    value = parse_yaml(text, where)
    kinds = settings_at(RunConfig, path)
    # A name such as 007 or 12 needs no quotes here, which a shell would take away.
    if isinstance(value, bool | int | float) and str in kinds and not {bool, int, float} & {*kinds}:
        return text.strip()
    return value
