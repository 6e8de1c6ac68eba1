"""Rules that the source itself keeps, by parsing every file."""

import ast
import sys
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

from tests.cases.places import ROOT

SHARED_STAGES = ("lineage", "encoders", "shards", "workers", "extraction", "embeddings", "selection", "tables")
LAYERS = ("data_specs", "tasks", "flows")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 8


def sources(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path):
    return path.relative_to(ROOT).as_posix()


PRODUCT = sources(*LAYERS)
TREES = {relative(path): ast.parse(path.read_bytes()) for path in PRODUCT}


def imports(tree):
    """Dotted names that a file imports, wherever in it; `from a import b` gives `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(tree):
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def top_names(tree):
    """Public names of functions, classes and constants that a module defines, each once."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def stage_files():
    return [(name, tree) for name, tree in TREES.items() if name.startswith("tasks/") and name.count("/") > 1]


def stage_of(dotted):
    parts = dotted.split(".")
    return parts[1] if parts[0] == "tasks" and len(parts) > 1 else None


def test_the_source_is_where_these_rules_look():
    assert {name.split("/")[0] for name in TREES} == set(LAYERS)
    assert len(TREES) > 50


def test_imports_go_from_flows_to_tasks_to_data_specs():
    wrong = []
    for name, tree in TREES.items():
        above = LAYERS[LAYERS.index(name.split("/")[0]) + 1 :]
        wrong += [(name, dotted) for dotted in imports(tree) if dotted.split(".")[0] in (*above, "tests")]
    assert wrong == []


def test_a_stage_imports_shared_stages_and_itself_only():
    wrong = []
    for name, tree in stage_files():
        known = {name.split("/")[1], *SHARED_STAGES}
        wrong += [(name, dotted) for dotted in imports(tree) if stage_of(dotted) and stage_of(dotted) not in known]
    assert wrong == []


def test_stages_do_not_import_each_other_in_a_circle():
    imported = defaultdict(set)
    for name, tree in stage_files():
        own = name.split("/")[1]
        imported[own] |= {stage for dotted in imports(tree) if (stage := stage_of(dotted))} - {own}
    done = set()
    while ready := {stage for stage, needed in imported.items() if stage not in done and needed <= done}:
        done |= ready
    assert set(imported) - done == set()
    assert imported["lineage"] == set()


def test_prefect_is_worn_by_flows_and_by_the_one_decorator_of_tasks():
    worn = {name for name, tree in TREES.items() if any(dotted.split(".")[0] == "prefect" for dotted in imports(tree))}
    assert {name for name in worn if not name.startswith("flows/")} == {"tasks/lineage/task.py"}
    assert "flows/decorator.py" in worn


def test_no_import_is_hidden_from_the_digest_of_the_source():
    # code_of follows absolute import statements of modules; what it cannot see could change unnoticed.
    for name, tree in TREES.items():
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], name
        assert "import_module" not in ast.unparse(tree), name
        if name.startswith(("tasks/", "data_specs/")) and name.endswith("__init__.py"):
            assert all(isinstance(node, ast.Expr) for node in tree.body), f"{name} holds more than its docstring"


def test_files_and_functions_are_short():
    long = []
    for path in [*PRODUCT, *sources("tests")]:
        text = path.read_text(encoding="utf-8")
        if (n_lines := len(text.splitlines())) >= MAX_FILE_LINES:
            long.append((relative(path), n_lines))
        for function in functions(ast.parse(text)):
            if (n_lines := function.end_lineno - function.lineno + 1) >= MAX_FUNCTION_LINES:
                long.append((relative(path), function.name, n_lines))
    assert long == []


def test_functions_take_few_parameters():
    many = set()
    for name, tree in TREES.items():
        for function in functions(tree):
            given = function.args
            named = [item.arg for item in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            if len([item for item in named if item not in ("self", "cls")]) > MAX_PARAMETERS:
                many.add((name, function.name))
    assert many == set()


def test_a_public_name_is_defined_once():
    # A command is called as the flow that it starts.
    places = defaultdict(list)
    for name, tree in TREES.items():
        if not name.startswith("flows/commands/"):
            for defined in top_names(tree):
                places[defined].append(name)
    assert {defined: names for defined, names in places.items() if len(names) > 1} == {}
    assert {"Recipe", "KINDS", "read_pairs"} <= places.keys()


def test_no_print_and_no_assert_in_the_product():
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            is_print = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if is_print or isinstance(node, ast.Assert):
                found.append((name, node.lineno))
    assert found == []


def test_sql_reads_rows_and_never_a_path():
    # DuckDB takes [, ? and * of a path for a pattern; one module gives it rows, and a connection that opens no file.
    of_paths = ("read_parquet", "parquet_scan", "read_json", "read_csv", "read_text", "read_blob", "attach ", "copy (")
    for name, tree in TREES.items():
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [word for word in of_paths for text in texts if word in text.lower()], name
        assert "duckdb" not in set(imports(tree)) or name == "tasks/extraction/table_reader.py", name
    assert ast.unparse(TREES["tasks/extraction/table_reader.py"]).count("duckdb.connect(config={") == 1


def test_every_module_says_in_one_line_what_it_is():
    first = {name: (ast.get_docstring(tree) or "").splitlines()[:1] for name, tree in TREES.items()}
    assert [name for name, line in first.items() if not line or not line[0].endswith((".", ":"))] == []


def test_tests_lie_in_folders_named_like_what_they_test():
    packages = {Path(name).parent for name in TREES} - {Path("tasks")}  # a test of several stages lies in tests/
    tests = [path.relative_to(ROOT / "tests") for path in sources("tests") if path.name.startswith("test_")]
    assert [path.as_posix() for path in tests if path.parent not in {*packages, Path()}] == []
    stages = {name.split("/")[1] for name, _ in stage_files()}
    assert stages == {path.parts[1] for path in tests if path.parts[0] == "tasks"}


def test_no_module_imports_a_module_of_tests_and_what_they_share_is_in_one_place():
    shared = ("tests/cases/", "tests/benchmarks/")
    for path in sources("tests"):
        name, imported = relative(path), imports(ast.parse(path.read_bytes()))
        assert not [dotted for dotted in imported if ".test_" in dotted], name
        is_test = path.name.startswith("test_") or path.name in ("__init__.py", "conftest.py")
        assert is_test or name.startswith(shared), f"{name}: what tests share lies in tests/cases/"
        assert not (path.name.startswith("test_") and name.startswith(shared)), name


def test_tests_read_nothing_outside_the_repository():
    words = ("/work/" + "shared", "../" + "shared")
    for path in sources("tests"):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], relative(path)


def test_data_of_the_tests_is_small():
    sizes = {path: path.stat().st_size for path in Path(ROOT / "tests/data").rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 10_000_000


def test_no_module_of_a_flow_is_called_like_a_library():
    # Prefect puts the folder of a deployment's entrypoint before all others that Python looks into.
    libraries = {*packages_distributions(), *sys.stdlib_module_names}
    shipped = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    folders = {(ROOT / each["entrypoint"].partition(":")[0]).parent for each in shipped}
    assert ROOT / "flows" / "nightly" in folders
    assert {path.stem for folder in folders for path in folder.iterdir()} & libraries == set()
