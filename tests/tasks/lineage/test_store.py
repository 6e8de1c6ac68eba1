import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from data_specs.errors import ArtifactError, DataError
from data_specs.manifest import ArtifactRef, Manifest, Recipe, Source
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256, recipe_version
from tasks.lineage.store import Store
from tests.cases.manifests import forge
from tests.cases.places import ROOT

CONTEXT = RunContext()


def recipe_of(kind="scores", code="c0de", settings=None, inputs=None):
    chosen = {"tau": 0.98, "layers": ["a", "b"]} if settings is None else settings
    return Recipe(kind=kind, settings=chosen, inputs=inputs or {}, code=code)


def write_two(build):
    (build.folder / "sub").mkdir(exist_ok=True)
    (build.folder / "a.txt").write_text("first")
    (build.folder / "sub" / "b.bin").write_bytes(b"\x00\x01")
    build.counts["rows"] = 2
    build.sources.append(Source(location="shard.tar", sha256="0" * 64, size_bytes=3))


def never(_build):
    raise AssertionError("made anew")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def visible(store):
    """What a user sees of a store: artifacts, not the folders whose names begin with a dot."""
    return sorted(path.name for path in store.root.glob("[!.]*/*"))


def test_an_artifact_lies_under_its_kind_and_version_and_its_manifest_says_what_it_is(store):
    made = store.materialise(recipe_of(), write_two, RunContext(device="cpu", seed=7, flow_run_id="run"))
    assert made.ref == ArtifactRef(kind="scores", version=recipe_version(recipe_of()))
    assert made.path == store.root / "scores" / made.ref.version
    assert not made.reused
    manifest = store.manifest(made.ref)
    assert manifest == Manifest.model_validate_json((made.path / "manifest.json").read_bytes())
    assert manifest.ref == made.ref
    assert manifest.recipe == recipe_of()
    assert manifest.counts == {"rows": 2}
    assert [source.location for source in manifest.sources] == ["shard.tar"]
    assert [(entry.path, entry.sha256, entry.size_bytes) for entry in manifest.files] == [
        ("a.txt", file_sha256(made.path / "a.txt"), 5),
        ("sub/b.bin", file_sha256(made.path / "sub/b.bin"), 2),
    ]
    around = manifest.circumstances
    assert (around.device, around.seed, around.flow_run_id, around.precision) == ("cpu", 7, "run", "fp32")
    assert around.libraries["python"].split(".")[0] == "3"
    assert "torch" in around.libraries
    assert around.started <= around.ended


def test_the_same_recipe_is_found_and_not_made(store):
    made = store.materialise(recipe_of(), write_two, CONTEXT)
    again = store.materialise(recipe_of(), never, RunContext(device="cuda", workers=4, seed=1))
    assert again.reused
    assert (again.ref, again.path) == (made.ref, made.path)


def test_circumstances_are_not_in_the_version_but_in_the_manifest(tmp_path):
    versions = set()
    for name, context in (("one", CONTEXT), ("two", RunContext(device="cuda", workers=4, flow_run_id="x"))):
        versions.add(Store(tmp_path / name).materialise(recipe_of(), write_two, context).ref.version)
    assert len(versions) == 1


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("changed", r"file a\.txt changed since it was made: sha256 \w{12} of 5 bytes, expected \w{12} of 5"),
        ("longer", r"file sub/b\.bin changed since it was made: .* of 3 bytes, expected \w{12} of 2"),
        ("missing", r"file a\.txt is missing from"),
        ("extra", r"file sub/c\.txt in .* is not in its manifest"),
        ("link", r"file a\.txt|file dangling in"),
        ("no manifest", r"has no readable .*manifest\.json"),
        ("broken manifest", r"manifest\.json is not a manifest"),
        ("foreign manifest", r"its manifest is of scores \w{12}, whose recipe has digest \w{12}"),
        ("forged recipe", r"whose recipe has digest \w{12}"),
    ],
)
def test_an_artifact_that_is_not_as_it_was_made_is_refused(store, damage, expected):
    made = store.materialise(recipe_of(), write_two, CONTEXT)
    manifest = made.path / "manifest.json"
    if damage == "changed":
        (made.path / "a.txt").write_text("firsT")
    elif damage == "longer":
        (made.path / "sub/b.bin").write_bytes(b"\x00\x01\x02")
    elif damage == "missing":
        (made.path / "a.txt").unlink()
    elif damage == "extra":
        (made.path / "sub/c.txt").write_text("")
    elif damage == "link":
        (made.path / "dangling").symlink_to("nowhere")
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "broken manifest":
        manifest.write_text("{}")
    elif damage == "foreign manifest":
        other = store.materialise(recipe_of(code="other"), write_two, CONTEXT)
        shutil.copyfile(other.path / "manifest.json", manifest)
    else:
        forge(manifest, lambda content: content["recipe"]["settings"].update(tau=0.5))
    for attempt in (lambda: store.check(made.ref), lambda: store.materialise(recipe_of(), never, CONTEXT)):
        with pytest.raises(ArtifactError, match=expected) as caught:
            attempt()
        assert caught.value.exit_code == 4


def test_an_artifact_that_was_removed_is_made_anew_with_the_same_version(store):
    made = store.materialise(recipe_of(), write_two, CONTEXT)
    shutil.rmtree(made.path)
    again = store.materialise(recipe_of(), write_two, CONTEXT)
    assert (again.reused, again.ref) == (False, made.ref)


def test_an_error_about_the_data_leaves_nothing_behind(store):
    def refuse(build):
        write_two(build)
        raise DataError("a bad sample")

    with pytest.raises(DataError, match="a bad sample"):
        store.materialise(recipe_of(), refuse, CONTEXT)
    assert visible(store) == []
    assert list((store.root / ".scratch").iterdir()) == []


class Parts:
    """Makes three parts and counts what it does; the breaker may stop it."""

    def __init__(self, breaker=lambda name: None):
        self.made, self.breaker = [], breaker

    def __call__(self, build):
        total = 0
        for name in ("0", "1", "2"):
            record = build.parts.record(name)
            if record is None:
                path = build.folder / f"{name}.txt"
                path.write_text("half")
                self.breaker(name)
                path.write_text(f"part {name}")
                self.made.append(name)
                record = {"rows": int(name) + 1}
                build.parts.finish(name, [path], record)
            total += record["rows"]
        build.counts["rows"] = total


def test_a_build_that_was_cut_off_goes_on_at_the_first_unfinished_part(store, tmp_path):
    def stop_at_one(name):
        if name == "1":
            raise OSError("disk gone")

    cut = Parts(stop_at_one)
    with pytest.raises(OSError, match="disk gone"):
        store.materialise(recipe_of(), cut, CONTEXT)
    assert visible(store) == []
    rest = Parts()
    made = store.materialise(recipe_of(), rest, CONTEXT)
    assert (cut.made, rest.made) == (["0"], ["1", "2"])
    whole = Store(tmp_path / "whole").materialise(recipe_of(), Parts(), CONTEXT)
    assert store.manifest(made.ref).files == Store(tmp_path / "whole").manifest(whole.ref).files
    assert store.manifest(made.ref).counts == {"rows": 6}
    assert store.check(made.ref)


def test_what_a_cut_off_part_left_is_gone_before_work_goes_on(store):
    def leave_rubbish(build):
        (build.folder / "deep").mkdir()
        (build.folder / "deep" / "rubbish.txt").write_text("x")
        (build.folder / "manifest.json").write_text("x")
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        store.materialise(recipe_of(), leave_rubbish, CONTEXT)
    made = store.materialise(recipe_of(), Parts(), CONTEXT)
    assert [entry.path for entry in store.check(made.ref).files] == ["0.txt", "1.txt", "2.txt"]


PROCESS = """
import sys, time, os, signal
from pathlib import Path
from data_specs.manifest import Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store

root, log, mode = sys.argv[1:]

def write(build):
    for name in ("0", "1"):
        if build.parts.record(name) is not None:
            continue
        with open(log, "a") as file:
            file.write(f"{name}\\n")
        path = build.folder / f"{name}.txt"
        path.write_text("half")
        if mode == "kill" and name == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "slow":
            time.sleep(0.3)
        path.write_text(name)
        build.parts.finish(name, [path], {})

made = Store(root).materialise(Recipe(kind="scores", code="x"), write, RunContext())
print(made.reused, made.ref.version)
"""


def start(store, log, mode):
    command = [sys.executable, "-c", PROCESS, str(store.root), str(log), mode]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_that_ask_for_the_same_recipe_at_once_make_it_once(store, tmp_path):
    log = tmp_path / "log"
    processes = [start(store, log, "slow") for _ in range(3)]
    answers = [process.communicate(timeout=600)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(reused for reused, _ in answers) == ["False", "True", "True"]
    assert len({version for _, version in answers}) == 1
    assert log.read_text().split() == ["0", "1"]


def test_a_process_killed_with_sigkill_leaves_nothing_visible_and_the_next_goes_on(store, tmp_path):
    log = tmp_path / "log"
    killed = start(store, log, "kill")
    killed.communicate(timeout=600)
    assert killed.returncode == -9
    assert visible(store) == []
    made = store.materialise(Recipe(kind="scores", code="x"), lambda build: finish_part(build, log), CONTEXT)
    assert log.read_text().splitlines() == ["0", "1", "went on at 1"]
    assert [(made.path / f"{name}.txt").read_text() for name in "01"] == ["0", "1"]


def finish_part(build, log):
    assert build.parts.record("0") == {}
    assert build.parts.record("1") is None
    assert sorted(path.name for path in build.folder.glob("*.txt")) == ["0.txt"]
    with log.open("a") as file:
        file.write("went on at 1\n")
    (build.folder / "1.txt").write_text("1")


def test_what_was_begun_is_there_once_it_is_ended_in_whatever_thread_and_locked_until_then(store):
    def write(build):
        write_two(build)
        build.pending.append(lambda: (build.folder / "late.txt").write_text("late"))

    begun = store.begin(recipe_of(), write, CONTEXT)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(Store(store.root).materialise, recipe_of(), never, CONTEXT)
        assert visible(store) == []
        made = pool.submit(begun).result(timeout=60)
        assert waiting.result(timeout=60).reused
    assert [entry.path for entry in made.manifest.files] == ["a.txt", "late.txt", "sub/b.bin"]
    assert store.check(made.ref) == made.manifest


def test_a_store_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write to the store .*choose another with --store"):
        Store(tmp_path / "file").materialise(recipe_of(), write_two, CONTEXT)
