"""`uwm lineage diff` between runs by their names, and between an artifact and itself."""

import json

import pytest

from tests.cases.command_line import called
from tests.cases.large_store import LargeStore


@pytest.mark.slow
def test_runs_are_compared_by_what_they_measured_and_nothing_is_said_where_nothing_differs(tmp_path):
    large = LargeStore(tmp_path / "store")
    large.shards = large.shards[:2]
    first, second = large.run("a-run", {"batch_size": 32}, 0.9), large.run("b-run", {"batch_size": 64}, 0.9)
    place = ("--store", str(large.root))
    shown = called("lineage", "diff", "a-run", "b-run", *place)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == "setting batch_size: 32 -> 64"
    assert lines[1].startswith("  first in 2 activations.text.part, 2 activations.vision.part")
    edits = f"edit {first['edit'].version[:12]} -> {second['edit'].version[:12]}"
    assert lines[2].startswith("  followed by ")
    assert edits in lines[2]
    told = json.loads(called("lineage", "diff", "a-run", "b-run", "--json", *place).stdout)
    assert (told[0]["what"], told[0]["name"], told[0]["first"], told[0]["second"]) == (
        "setting",
        "batch_size",
        "32",
        "64",
    )
    assert {pair["kind"] for pair in told[0]["followed"]} >= {"edit", "evaluation"}
    for arguments in (("a-run", "a-run"), (first["edit"].version, "a-run:edit")):
        same = called("lineage", "diff", *arguments, *place)
        assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    assert called("lineage", "diff", "a-run", "a-run", "--json", *place).stdout == "[]\n"
    two = called("lineage", "diff", "a-run:edit", "b-run:model", *place)
    assert (two.returncode, "are of two kinds" in two.stderr) == (2, True)
