"""What code an artifact depends on: the definitions that its maker can reach, without what they say about themselves."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tasks.lineage.digest import canonical_json, digest_of, text_sha256

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("data_specs", "tasks")
# What these decide either never reaches a file, or stands in every recipe as a value.
_WITHOUT_EFFECT = (
    "tasks.lineage",  # where bytes lie, and progress
    "tasks.shards.location",  # how a shard's bytes get here; their digest is in the recipe
    "tasks.encoders.hub",  # how a model's files get here; tensors and configs are in the recipe
    "data_specs.errors",
    "data_specs.spec",
    "data_specs.manifest",
    "data_specs.run_config",  # settings: those that act are in the recipe
    "data_specs.data_sets",
    "data_specs.fields",
    "data_specs.config_file",
    "data_specs.suggestions",  # words of errors
)
# Decorators of the orchestration: names, retries and caching of a task change no byte.
_ORCHESTRATION = frozenset({"task", "flow"})
# Calls whose arguments are words for people.
_WORDS_FOR_PEOPLE = frozenset({"notice", "stage", "advance"})

_Place = tuple[str, str | None]  # module and name in it; None for the whole module


def code_of(*roots: object, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Digests of all project code that some functions and classes can reach, by module.

    From each root the names that it uses are followed, through imports, however deep. Comments,
    docstrings, texts of errors and notices, and the place of a line do not count, nor does a
    definition that is not reached: another scorer, metric or command leaves a digest as it is.

    Args:
        roots: functions and classes, Prefect tasks too; a module's dotted name stands for all of it.
        without: modules that are not followed, since the recipe says by value what they decide.

    Returns:
        A digest by dotted module name; equal on all versions of Python.

    Raises:
        KeyError: a root is not defined at the top of its module.
    """
    return dict(_code_of(tuple(_place(root) for root in roots), without))


def coded(*roots: object, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a recipe that say which code makes it; see `code_of`."""
    modules = code_of(*roots, without=without)
    return {"code": digest_of(modules), "modules": modules}


def _place(root: object) -> "_Place":
    if isinstance(root, str):
        return root, None
    function: Any = getattr(root, "fn", root)
    return function.__module__, function.__qualname__.split(".")[0]


@cache
def _code_of(roots: tuple[_Place, ...], without: tuple[str, ...]) -> dict[str, str]:
    for module, name in roots:
        if name is not None and name not in _parsed(module).definitions:
            raise KeyError(f"{module}:{name}")
    pending = list(roots)
    seen: set[_Place] = set()
    reached: dict[str, dict[str, str]] = {}
    while pending:
        place = pending.pop()
        if place in seen or place[0].startswith((*_WITHOUT_EFFECT, *without)):
            continue
        seen.add(place)
        module, name = place
        source = _parsed(module)
        if name is None:
            pending.extend((module, each) for each in source.definitions)
        elif name in source.definitions:
            digest, used = source.reached_by(name)
            reached.setdefault(module, {})[name] = digest
            pending.extend(used)
            pending.append((module, _ALWAYS))
        elif name in source.imports:
            pending.append(source.imports[name])
    return {module: digest_of(names) for module, names in sorted(reached.items())}


_ALWAYS = ""  # stands for statements that bind no name


@dataclass
class _Module:
    """A module's definitions by name, and where its imported names come from."""

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, _Place] = field(default_factory=dict)
    _known: dict[str, tuple[str, list[_Place]]] = field(default_factory=dict)

    def reached_by(self, name: str) -> tuple[str, list[_Place]]:
        """The digest of a definition, and what it names."""
        if name not in self._known:
            statements = self.definitions[name]
            digest = text_sha256(canonical_json([_plain(node) for node in statements]))
            self._known[name] = digest, list(_references(statements, self))
        return self._known[name]


@cache
def _parsed(module: str) -> _Module:
    parsed = _Module(module)
    for node in ast.parse(_file(module).read_bytes()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            parsed.imports |= dict(_imported(node))
        elif not _is_type_checking(node) and not _is_docstring(node):
            for name in _bound(node) or [_ALWAYS]:
                parsed.definitions.setdefault(name, []).append(node)
    return parsed


def _file(module: str) -> Path:
    base = _PROJECT_ROOT / module.replace(".", "/")
    return base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"


def _exists(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in _PACKAGES and _file(module).is_file()


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, _Place]]:
    """Local names that an import of project code binds, and what they stand for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if _exists(alias.name):
                yield alias.asname or alias.name, (alias.name, None)
    elif node.module and node.level == 0 and node.module.split(".")[0] in _PACKAGES:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield alias.asname or alias.name, (inner, None) if _exists(inner) else (node.module, alias.name)


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _references(statements: Iterable[ast.stmt], source: _Module) -> Iterator[_Place]:
    """What definitions name: of their own module, and of others by its imports or by their own."""
    own: dict[str, _Place] = dict(source.imports)
    nodes = [node for statement in statements for node in ast.walk(statement)]
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            own |= dict(_imported(node))
    through_module = set()
    for node in nodes:
        # `module.name` reaches that name alone.
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, name = own.get(node.value.id, ("", ""))
            if name is None:
                through_module.add(id(node.value))
                yield module, node.attr
    for node in nodes:
        # A forward reference is a string.
        used = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
        if isinstance(used, str) and id(node) not in through_module:
            if used in source.definitions and used != _ALWAYS:
                yield source.name, used
            elif used in own:
                yield own[used]


def _plain(node: object) -> object:
    """A syntax tree as JSON, without positions, docstrings, words for people and orchestration."""
    if isinstance(node, ast.Call) and _is_for_people(node.func):
        return ["Call", _plain(node.func)]
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return ["Raise", _plain(node.exc.func), [_plain(each) for each in node.exc.args if not _is_text(each)]]
    if isinstance(node, ast.AST):
        return [type(node).__name__, {name: _plain(value) for name, value in _fields(node)}]
    if isinstance(node, list):
        return [_plain(each) for each in node if not _is_docstring(each)]
    return node if node is None or isinstance(node, str | bool | int) else repr(node)


def _fields(node: ast.AST) -> Iterator[tuple[str, object]]:
    for name, value in ast.iter_fields(node):
        # Empty fields differ between versions of Python.
        if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
            continue
        if name == "decorator_list":
            kept = [each for each in value if _called(each) not in _ORCHESTRATION]
            if kept:
                yield name, kept
        else:
            yield name, value


def _called(node: ast.expr) -> str:
    function = node.func if isinstance(node, ast.Call) else node
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _is_for_people(function: ast.expr) -> bool:
    name = _called(function)
    return name.endswith("Error") or name in _WORDS_FOR_PEOPLE


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
