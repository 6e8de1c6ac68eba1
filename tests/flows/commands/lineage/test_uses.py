"""`uwm lineage uses` in its forms; an answer that is not complete ends with the data's status."""

import json

import pytest

from tests.cases.command_line import called
from tests.cases.used_store import UsedStore


def test_a_picture_a_pair_and_an_edit_are_followed_to_the_exports(tmp_path):
    used = UsedStore(tmp_path)
    picture = used.file(tmp_path, 0, "a00.unsafe.png")
    place = ("--store", str(used.store.root))
    shown = called("lineage", "uses", str(picture), *place)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == f"{picture}: a00.unsafe.png of shard {used.shards[0]}"
    assert f"  edit {used.refs['edit'].version[:16]}" in lines
    assert f"  slopes.vision {used.refs['sums'].version[:16]}, perhaps" in lines
    assert "  activations.vision.part: 1 parts" in lines
    assert any(
        line.startswith(f"  exported: model {used.refs['model'].version[:16]} to {tmp_path / 'out'}, 20")
        for line in lines
    )
    told = json.loads(called("lineage", "uses", str(picture), "--json", *place).stdout)
    assert {item["version"] for item in told["artifacts"] if item["certain"]} >= {used.refs["model"].version}
    assert [record["version"] for record in told["exports"]] == [used.refs["model"].version]
    strange = tmp_path / "strange"
    strange.write_bytes(b"x")
    nothing = called("lineage", "uses", str(strange), *place)
    assert (nothing.returncode, "nothing was made from it" in nothing.stderr) == (0, True)


@pytest.mark.slow
def test_an_answer_that_is_not_complete_says_so(tmp_path):
    used = UsedStore(tmp_path)
    picture = used.file(tmp_path, 0, "a00.unsafe.png")
    moved = used.shards[0].rename(tmp_path / "moved.tar")
    place = ("--store", str(used.store.root))
    done = called("lineage", "uses", str(picture), "--json", *place)
    assert done.returncode == 3
    assert f"not looked through: {used.shards[0]}: it is no longer there" in done.stderr
    assert "error: the answer is not complete: 1 shards could not be looked through" in done.stderr
    assert [item["location"] for item in json.loads(done.stdout)["not_looked_through"]] == [str(used.shards[0])]
    assert called("lineage", "uses", str(picture), "--shards", str(moved), *place).returncode == 0
    (used.store.path(used.refs["edit"]) / "manifest.json").write_text("{")
    broken = called("lineage", "uses", used.digests[0], *place)
    assert (broken.returncode, "1 artifacts are broken, and what they were made of" in broken.stderr) == (4, True)
