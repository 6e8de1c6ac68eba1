"""`uwm lineage verify` ends with status 4 and all faults, in words and in JSON; `uwm artifacts verify` is the same."""

import json

import pytest
from typer.testing import CliRunner

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import Source
from flows.commands import artifacts
from flows.commands.lineage import group
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.store import Store
from tests.cases.manifests import to_format_1
from tests.cases.recipes import recipe_of


@pytest.fixture
def chain(tmp_path):
    """A store with scores <- edit <- model, and the shard that the scores name."""
    shard = tmp_path / "s.tar"
    shard.write_bytes(b"shard")

    def write(build):
        (build.folder / "a.txt").write_text("first")
        build.sources.append(Source(location=str(shard), sha256=file_sha256(shard), size_bytes=5))

    store = Store(tmp_path / "store")
    made = [store.materialise(recipe_of(), write, RunContext()).ref]
    for kind, role in (("edit", "scores"), ("model", "edit")):
        made.append(store.materialise(recipe_of(kind=kind, inputs={role: made[-1]}), write, RunContext()).ref)
    return store, made, shard


def call(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def verify(store, *arguments):
    return call(group.app, "verify", *arguments, "--store", store.root)


def test_a_sound_chain_is_told_artifact_by_artifact(chain):
    store, made, _ = chain
    done = verify(store, made[-1].version[:12])
    assert done.exit_code == 0
    assert done.output.splitlines() == [f"{ref.kind} {ref.version[:16]}: 1 files as recorded" for ref in made]
    assert call(artifacts.app, "verify", made[-1].version, "--store", store.root).output == done.output
    assert verify(store, "--all").output.splitlines() == sorted(
        done.output.splitlines(), key=lambda line: line[0] == "m"
    )


@pytest.mark.parametrize("app", [group.app, artifacts.app])
def test_all_faults_are_listed_and_the_first_ends_the_command(chain, app):
    store, made, _ = chain
    (store.path(made[0]) / "a.txt").write_text("other")
    (store.path(made[1]) / "b.txt").write_text("more")
    done = call(app, "verify", made[-1].version, "--store", store.root)
    assert [line.split(":")[0] for line in done.output.splitlines()] == [
        f"model {made[2].version[:16]}",
        "changed",
        "extra",
    ]
    assert isinstance(done.exception, ArtifactError)
    assert str(done.exception).startswith(f"2 faults, the first: scores {made[0].version[:12]}: file a.txt changed")


def test_json_has_each_fault_and_what_was_looked_at(chain):
    store, made, shard = chain
    (store.path(made[1]) / "a.txt").unlink()
    shard.write_bytes(b"chard")
    to_format_1(store.path(made[0]) / "manifest.json")
    done = verify(store, made[-1].version, "--inputs", "--json")
    told = json.loads(done.output)
    assert {name: told[name] for name in ("artifacts", "files", "pruned", "format_1", "outside")} == {
        "artifacts": 3,
        "files": 3,
        "pruned": [],
        "format_1": [made[0].version],
        "outside": {"files": 1, "unreachable": []},
    }
    # The edit was made of scores with another manifest.
    assert [(fault["wrong"], fault["kind"], fault["place"]) for fault in told["faults"]] == [
        ("missing", "edit", "a.txt"),
        ("changed", "scores", "manifest.json"),
        ("changed", None, str(shard)),
    ]


def test_older_and_pruned_artifacts_are_no_faults_and_said_to_be_so(chain):
    store, made, shard = chain
    prune(store, made[2], "not needed")
    shard.unlink()
    done = verify(store, made[2].version, "--inputs")
    assert done.exit_code == 0, done.output
    assert f"model {made[2].version[:16]}: files dropped, manifest as recorded" in done.output
    assert f"not on this machine, so not looked at: 1, such as {shard}" in done.output
    for ref in made:
        to_format_1(store.path(ref) / "manifest.json")
    assert "as recorded, in format 1: nothing covers its manifest" in verify(store, made[0].version).output


@pytest.mark.parametrize("arguments", [[], ["x", "--all"]])
def test_a_reference_or_all_is_asked_for(chain, arguments):
    assert isinstance(verify(chain[0], *arguments).exception, SpecError)
