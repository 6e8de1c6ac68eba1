"""YAML that a person wrote: read within bounds, and without the readings of YAML 1.1 that surprise."""

import re
from pathlib import Path
from typing import Any

import yaml

from data_specs.errors import SpecError
from data_specs.wording import printable, reason, shortened, shown

# Ten thousand shards by name are 600 kB.
LARGEST_BYTES = 1 << 20
MOST_VALUES = 100_000
DEEPEST = 20

_PREFIX = "tag:yaml.org,2002:"
_TEXT, _MERGE = f"{_PREFIX}str", f"{_PREFIX}merge"
_KNOWN_TAGS = frozenset(f"{_PREFIX}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
_HALF = re.compile("[\ud800-\udfff]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_PROBLEM_LENGTH = 200


def read_yaml(path: Path) -> Any:
    """The one document of a YAML file, made of mappings with text keys, lists, texts, numbers, booleans and null.

    Dates, times such as 1:30 and numbers such as 007 are the text that was written.

    Raises:
        SpecError: the file cannot be read, is not YAML, or is larger or deeper than settings can be.
    """
    return parse_yaml(_read_text(path), str(path))


def parse_yaml(text: str, source: str) -> Any:
    """The same of a text; `source` is named in errors.

    Raises:
        SpecError: it is not YAML, or is deeper than settings can be.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _refused(source, _with_place(error)) from error
    except yaml.reader.ReaderError as error:
        wrong = f"character {error.character:#x} at position {error.position} is not allowed"
        raise _refused(source, f"{wrong}; remove it, or write it as an escape in quotes") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # What the constructors of single values raise, such as for `!!int foo`.
        raise _refused(
            source, f"a value cannot be read ({type(error).__name__}: {shortened(str(error), 80)})"
        ) from error


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SpecError(f"cannot read the settings file {path}: {reason(error)}") from error
    if len(data) > LARGEST_BYTES:
        raise SpecError(f"cannot read the settings file {path}: it is larger than {LARGEST_BYTES} bytes")
    if data.startswith(_UTF_16):
        raise SpecError(f"cannot read the settings file {path}: it is UTF-16, expected UTF-8; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"cannot read the settings file {path}: it is not UTF-8 ({error}); save it as UTF-8") from error


def _refused(source: str, problem: str) -> SpecError:
    return SpecError(f"{source} is not valid YAML: {printable(' '.join(problem.split()))}")


def _with_place(error: yaml.MarkedYAMLError) -> str:
    problem = shortened(error.problem or error.context or "no further word", _PROBLEM_LENGTH)
    mark = error.problem_mark or error.context_mark
    return problem if mark is None else f"{problem} (line {mark.line + 1}, column {mark.column + 1})"


class _Loader(yaml.SafeLoader):
    """A SafeLoader that counts what aliases would expand to before anything is made of it."""

    def __init__(self, stream: str) -> None:
        # Of every collection that is open: its anchor, its values, and how deep it is.
        self._open: list[tuple[str | None, list[int]]] = [(None, [0, 0])]
        self._anchored: dict[str, tuple[int, int]] = {}
        self._n_documents = 0
        super().__init__(stream)

    def get_event(self) -> Any:
        event = super().get_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.DocumentStartEvent):
            self._n_documents += 1
            if self._n_documents > 1:
                raise _problem("a second document begins; expected one", event)
        elif isinstance(event, yaml.NodeEvent):
            self._count(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, (n_values, depth) = self._open.pop()
            self._add(event, anchor, n_values, depth)
        return event

    def _count(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in self._open):
                raise _problem(f"*{event.anchor} stands inside of what it names", event)
            # An alias of nothing is the composer's to refuse.
            self._add(event, None, *self._anchored.get(str(event.anchor), (1, 0)))
            return
        if event.tag is not None and event.tag not in _KNOWN_TAGS:
            tag = event.tag.replace(_PREFIX, "!!")
            raise _problem(f"tag {shown(tag)} is not taken; leave it out", event)
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, [1, 1]))
            if len(self._open) > DEEPEST + 1:
                raise _problem(f"values are nested more than {DEEPEST} deep", event)
        else:
            self._add(event, event.anchor, 1, 0)

    def _add(self, event: Any, anchor: str | None, n_values: int, depth: int) -> None:
        if anchor is not None:
            self._anchored[anchor] = (n_values, depth)
        around = self._open[-1][1]
        around[0] += n_values
        around[1] = max(around[1], depth + 1)
        if sum(counts[0] for _, counts in self._open) > MOST_VALUES:
            raise _problem(f"it holds more than {MOST_VALUES} values, those that aliases repeat included", event)
        if len(self._open) + depth > DEEPEST + 1:
            raise _problem(f"values are nested more than {DEEPEST} deep by aliases", event)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here, because merging puts keys of several mappings into one node.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if key.value == "on":
                key.tag = _TEXT  # what a notification is sent on; YAML 1.1 reads it as true
            if key.tag != _TEXT:
                what = shown(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _problem(f"key {what} is not text; put it in quotes", key)
            if key.value in seen:
                raise _problem(f"key {shown(key.value)} is given twice", key)
            seen.add(key.value)
        return node

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if node.tag == f"{_PREFIX}int" and len(value) > 100:
            raise _problem(f"a whole number of {len(value)} digits is out of every bound", node)
        try:
            # JSON, which is YAML, writes some characters as two escapes.
            return value.encode("utf-16", "surrogatepass").decode("utf-16") if _HALF.search(value) else value
        except UnicodeDecodeError:
            raise _problem(f"{shown(value)} holds half a character", node) from None


def _problem(text: str, place: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, place.start_mark)


# Emptied, because a resolver of YAML 1.1 that is not replaced would stay.
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    (
        "bool",
        re.compile(r"(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
        "yYnNtTfFoO",
    ),
    ("float", _FLOAT, "-+0123456789."),
    ("int", _INTEGER, "-+0123456789"),
    ("merge", re.compile(r"<<$"), "<"),
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"{_PREFIX}{_name}", _pattern, list(_first))
