"""What a change of the source renews: the stage whose computation it changes, and nothing else."""

import json
import shutil
import subprocess
import sys

import pytest

from tasks.lineage.code import code_of
from tests.cases.places import ROOT

# The kinds of artifacts, and the makers that their recipes name.
SCRIPT = """
import json, sys
from pathlib import Path
from tasks.lineage import code
from tasks.activations.capture import StatisticsObserver
from tasks.embeddings.observer import embedding_observer
from tasks.encoders.architecture import build_model
from tasks.evaluation.task import evaluate_model
from tasks.extraction.parts import RowPartMaker
from tasks.manipulation.task import edit_model, select_weights
from tasks.reporting.task import write_report
from tasks.scoring.scorers.registry import REGISTRY
from tasks.scoring.task import score_by_activations

MAKERS = {
    "activations": ((RowPartMaker, StatisticsObserver, build_model), ()),
    "embeddings": ((RowPartMaker, embedding_observer, build_model), ()),
    "scores.uwm": ((score_by_activations, "tasks.scoring.scorers.uwm"), (REGISTRY,)),
    "scores.difference": ((score_by_activations, "tasks.scoring.scorers.difference"), (REGISTRY,)),
    "edit": ((select_weights,), ()),
    "model": ((edit_model,), ()),
    "evaluation": ((evaluate_model,), ()),
    "report": ((write_report,), ()),
}

parse, parsed = code._parsed.__wrapped__, {}
code._parsed = lambda module: parsed[module] if module in parsed else parsed.setdefault(module, parse(module))

def digests(changed=None):
    parsed.pop(changed, None)
    code._code_of.cache_clear()
    return {kind: code.code_of(*roots, without=without) for kind, (roots, without) in MAKERS.items()}

before = digests()
found = {}
for name, file, old, new in json.loads(sys.stdin.read()):
    path = Path(file)
    source = path.read_text(encoding="utf-8")
    assert old in source, (name, file, old)
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    module = file.removesuffix(".py").replace("/", ".")
    after = digests(module)
    found[name] = {
        kind: sorted({*before[kind].items()} ^ {*after[kind].items()}) for kind in MAKERS if before[kind] != after[kind]
    }
    path.write_text(source, encoding="utf-8")
    parsed.pop(module, None)
print(json.dumps(found))
"""
# name: (file, what is replaced, by what), the kinds that it renews.
CHANGES = {
    "a comment": ("tasks/extraction/rows.py", "class RowFold:", "# A word.\nclass RowFold:", set()),
    "a docstring": ("data_specs/metrics.py", '"""', '"""Another word. ', set()),
    "a docstring of what computes": (
        "tasks/activations/statistics.py",
        '"""L2 norm',
        '"""The L2 norm',
        set(),
    ),
    "an error's text": (
        "tasks/shards/inspection.py",
        "expected a readable tar file",
        "expected a tar file that can be read",
        set(),
    ),
    "an error class": ("data_specs/errors.py", "exit_code = 3", "exit_code = 33", set()),
    "a setting": (
        "data_specs/run_config.py",
        "    layers: str = Field(",
        "    more: int = 0\n    layers: str = Field(",
        set(),
    ),
    "a helper beside": ("tasks/encoders/forward.py", "\n_AUTOCAST", "\nMORE = 1\n_AUTOCAST", set()),
    "a scorer": (
        "tasks/scoring/scorers/registry.py",
        '    "uwm": UWM,',
        '    "uwm": UWM,\n    "another": UWM,',
        set(),
    ),
    "how a scorer scores": (
        "tasks/scoring/scorers/difference.py",
        "self.mean(",
        "2 * self.mean(",
        {"scores.difference"},
    ),
    "a line of the statistics": (
        "tasks/activations/statistics.py",
        "squares / (n - 1)",
        "squares / n",
        {"activations"},
    ),
    "a line of the ratio": ("tasks/scoring/scorers/uwm.py", "(unsafe.norm @", "(2 * unsafe.norm @", {"scores.uwm"}),
    "a line of decoding": (
        "tasks/shards/images.py",
        'convert("RGB")',
        'convert("RGBA").convert("RGB")',
        {"activations", "embeddings"},
    ),
    "how a model is built": (
        "tasks/encoders/architecture.py",
        '["block_type"] = "custom"',
        '["block_type"] = "default"',
        {"activations", "embeddings"},
    ),
    "how the forward pass ends": (
        "tasks/encoders/forward.py",
        "normalize(features.float(), dim=-1)",
        "normalize(features.double(), dim=-1).float()",
        {"activations", "embeddings"},
    ),
    "what an edit writes": (
        "tasks/manipulation/edit.py",
        "values = alpha * wide",
        "values = alpha * wide + 0.0",
        {"model"},
    ),
    "the store": ("tasks/lineage/leases.py", '_LOCKS = ".locks"', '_LOCKS = ".lock"', set()),
    "how shards are fetched": ("tasks/shards/location.py", ".part", ".partial", set()),
    "the export": ("tasks/exporting/folder.py", 'CARD = "README.md"', 'CARD = "CARD.md"', set()),
    "what a sign filter leaves": ("tasks/selection/sign.py", "direction > 0 if", "direction >= 0 if", set()),
    "the loss of a sign filter": ("tasks/scoring/slopes/margins.py", "TEMPERATURE = 0.05", "TEMPERATURE = 0.1", set()),
    "retries of a task": ("tasks/extraction/task.py", "tried_again=True", "tried_again=False", set()),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for package in ("data_specs", "tasks"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    changes = json.dumps([[name, *change[:3]] for name, change in CHANGES.items()])
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=folder, input=changes, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_renews_what_it_can_change_and_nothing_else(found, name):
    assert found[name].keys() == CHANGES[name][3]


@pytest.mark.slow
def test_a_change_is_told_by_its_file(found):
    (before, after) = found["a line of the statistics"]["activations"]
    assert before[0] == after[0] == "tasks.activations.statistics"
    assert before[1] != after[1]


@pytest.mark.slow
def test_the_same_source_has_the_same_digests_wherever_it_lies(tmp_path):
    from tasks.activations.capture import StatisticsObserver

    here = code_of(StatisticsObserver)
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data_specs", tmp_path / "data_specs", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import json; from tasks.lineage.code import code_of; from tasks.activations.capture import StatisticsObserver;"
        " print(json.dumps(code_of(StatisticsObserver)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == here
    assert "tasks.activations.statistics" in here
    assert "data_specs.run_config" not in here


def test_what_is_not_defined_at_the_top_of_a_module_is_no_root():
    def inner():
        return None

    inner.__module__ = "tasks.activations.statistics"
    with pytest.raises(KeyError, match=r"tasks\.activations\.statistics:test_what"):
        code_of(inner)


@pytest.mark.slow
def test_every_recipe_names_its_maker():
    import ast

    recipes = [
        node
        for path in (ROOT / "tasks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Recipe"
    ]
    assert len(recipes) > 10
    # `**coded(...)`, or `**code` that the caller made with it.
    assert all(any(keyword.arg is None for keyword in recipe.keywords) for recipe in recipes)
