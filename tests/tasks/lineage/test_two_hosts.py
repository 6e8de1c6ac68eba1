"""Processes under other host names and process numbers, through other paths, on one store; and stores that share files."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from data_specs.errors import ArtifactError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.store import Store
from tasks.lineage.tags import current_tags, set_tag
from tasks.lineage.trust.log import Log
from tasks.lineage.trust.log_check import check_log
from tests.cases.recipes import recipe_of, write_two
from tests.cases.small_run import environment
from tests.cases.store_users import using

CONTEXT = RunContext()
# Of a container or a host of its own: another name, and process numbers that begin at 1.
OTHER_HOST = ["unshare", "--uts", "--pid", "--fork", "sh", "-c", 'hostname "$0"; exec "$@"']
_MAKES = """
import json, sys, time
from pathlib import Path
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of

store, n_made = Store(sys.argv[1]), 0
(Path(sys.argv[2]) / sys.argv[3]).touch()
while len([*Path(sys.argv[2]).iterdir()]) < 2:
    time.sleep(0.01)
for number in range(30):
    def write(build):
        (build.folder / "a.txt").write_text(str(number))
    n_made += not store.materialise(recipe_of(settings={"n": number}), write, RunContext()).reused
print(json.dumps(n_made))
"""


def can_be_another_host():
    done = subprocess.run(["unshare", "--uts", "--pid", "--fork", "true"], capture_output=True, check=False)
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None or not can_be_another_host(), reason="no namespaces for this user"
)


def content(root):
    names = [path for path in root.glob("[!.]*/*/*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in names}


@pytest.mark.slow
@needs_namespaces
def test_two_hosts_that_come_to_one_store_by_two_paths_make_each_artifact_once(tmp_path):
    root, met = tmp_path / "store", tmp_path / "met"
    root.mkdir()
    met.mkdir()
    (tmp_path / "mounted").symlink_to(root)
    hosts = {"one": root, "two": tmp_path / "mounted"}
    processes = [
        subprocess.Popen(
            [*OTHER_HOST, name, sys.executable, "-c", _MAKES, str(path), str(met), name],
            env=environment(),
            stdout=subprocess.PIPE,
        )
        for name, path in hosts.items()
    ]
    n_made = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(n_made) == 30
    store = Store(root)
    assert len(store.refs()) == 30
    assert {store.check(ref).circumstances.host for ref in store.refs()} <= {"one", "two"}
    assert check_log(root).faults == []


@needs_namespaces
def test_what_another_host_uses_is_not_dropped_here(tmp_path):
    store = Store(tmp_path / "store")
    made = store.materialise(recipe_of(kind="model"), write_two, CONTEXT)
    store.uses.close()
    (tmp_path / "mounted").symlink_to(store.root)
    with using(tmp_path / "mounted", made.ref, before=(*OTHER_HOST, "other")):
        assert prune(Store(store.root), made.ref, "test") is None
    assert prune(Store(store.root), made.ref, "test") is not None


@pytest.fixture
def twin(tmp_path):
    """Two stores of the same files, by hard links, hidden ones too."""
    store = Store(tmp_path / "store")
    for kind in ("edit", "model"):
        store.materialise(recipe_of(kind=kind), write_two, CONTEXT)
    set_tag(store, "prod", store.refs()[0], "edit")
    store.uses.close()
    shutil.copytree(store.root, tmp_path / "twin", copy_function=os.link)
    return store, Store(tmp_path / "twin")


def test_what_is_dropped_discarded_or_made_in_one_store_leaves_its_hard_linked_twin_as_it_is(twin):
    one, two = twin
    edit, model = two.refs()
    before = content(two.root)
    prune(one, model, "test")
    discard(one, edit)
    assert content(two.root) == before
    one.materialise(recipe_of(kind="model"), write_two, CONTEXT)
    one.materialise(recipe_of(kind="scores"), write_two, CONTEXT)
    assert content(two.root) == before
    assert [two.check(ref).version for ref in two.refs()] == [edit.version, model.version]


def test_logs_and_tags_of_hard_linked_twins_part_with_the_first_line_that_either_writes(twin):
    one, two = twin
    head, tags = Log(two.root).head(), current_tags(two.root)
    one.materialise(recipe_of(kind="scores"), write_two, CONTEXT)
    set_tag(one, "prod", one.refs()[-1], "scores")
    assert (Log(two.root).head(), current_tags(two.root)) == (head, tags)
    two.materialise(recipe_of(kind="evaluation"), write_two, CONTEXT)
    for store in twin:
        assert check_log(store.root).faults == []
        assert head in {json.loads(line)["hash"] for line in Log(store.root).path.read_text().splitlines()}


def test_a_link_in_place_of_an_artifacts_folder_is_refused(twin):
    one, two = twin
    (ref, _) = one.refs()
    shutil.rmtree(one.path(ref))
    one.path(ref).symlink_to(two.path(ref))
    with pytest.raises(ArtifactError, match="is a link, and what it leads to can change unseen"):
        Store(one.root).check(ref)
