"""What somebody who mistyped a name may have meant."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

# Of a name that stands in another section more must agree.
_ALIKE, _ALIKE_ELSEWHERE = 0.6, 0.75
_MOST = 3
_LONGEST = 200
_DEEPEST = 3


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause to end an error with, such as `; did you mean tau`; nothing where no known name is alike."""
    return _clause(_alike(name, known, _ALIKE))


def setting_meant(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """The same for a setting that is not known: names of its own section, else of any."""
    *section, name = path
    own = _alike(str(name), _names(settings_at(model, section)), _ALIKE)
    if own:
        return _clause(own)
    places: dict[str, list[str]] = {}
    for place in _places([model]):
        places.setdefault(place.rpartition(".")[2], []).append(place)
    return _clause(place for found in _alike(str(name), places, _ALIKE_ELSEWHERE)[:1] for place in places[found])


def settings_at(model: type[BaseModel], path: Sequence[str | int]) -> list[Any]:
    """The types that a setting may have, nothing for a path that no setting has."""
    found = list(_alternatives(model))
    for key in path:
        found = [kind for around in found for kind in _inside(around, key)]
    return found


def _alike(name: str, known: Iterable[str], cutoff: float) -> list[str]:
    by_lower: dict[str, str] = {}
    for each in known:
        by_lower.setdefault(each.lower(), each)
    matches = get_close_matches(name[:_LONGEST].lower(), list(by_lower), n=1, cutoff=cutoff)
    return [by_lower[match] for match in matches]


def _clause(names: Iterable[str]) -> str:
    told = list(names)[:_MOST]
    return f"; did you mean {' or '.join(told)}" if told else ""


def _names(kinds: Iterable[Any]) -> list[str]:
    return [name for kind in kinds if _is_model(kind) for name in kind.model_fields]


def _places(kinds: Iterable[Any], depth: int = _DEEPEST) -> Iterator[str]:
    for kind in kinds:
        for name in _names([kind]) if depth else ():
            yield name
            yield from (f"{name}.{inner}" for inner in _places(_inside(kind, name), depth - 1))


def _inside(kind: Any, key: str | int) -> Iterator[Any]:
    if _is_model(kind):
        field = kind.model_fields.get(key)
        if field is not None:
            yield from _alternatives(field.annotation)
    elif get_origin(kind) in (list, dict):
        yield from _alternatives(get_args(kind)[-1])


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _alternatives(each)
    elif get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    else:
        yield annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
