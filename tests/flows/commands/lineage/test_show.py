"""`uwm lineage show` in its forms, and where something behind an artifact is gone."""

import json
import shutil

import pytest

from tests.cases.command_line import called
from tests.cases.large_store import LargeStore


@pytest.mark.slow
def test_a_name_an_id_a_version_and_a_tag_are_shown(tmp_path):
    large = LargeStore(tmp_path / "store")
    large.shards = large.shards[:2]
    made = large.run("small", {"batch_size": 32}, 0.9)
    place = ("--store", str(large.root))
    shown = called("lineage", "show", "small", *place)
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].startswith(f"made: model {made['model'].version[:16]} 2026-")
    assert "/data/000001.tar (part " in shown.stdout
    assert "text.tau = 0.9" in called("lineage", "show", "small:edit", "--settings", *place).stdout
    record = next((large.root / ".runs").iterdir())
    assert called("lineage", "show", record.stem, *place).stdout.startswith("run: small ")
    assert called("lineage", "show", made["edit"].version[:9], "--mermaid", *place).stdout.startswith("flowchart LR\n")
    told = json.loads(called("lineage", "show", "small", "--json", *place).stdout)
    assert told["root"] == made["model"].version
    both = called("lineage", "show", "small", "--json", "--mermaid", *place)
    assert (both.returncode, "two forms of one answer" in both.stderr) == (2, True)
    shutil.rmtree(large.root / "scores")
    broken = called("lineage", "show", "small", *place)
    assert (broken.returncode, "BROKEN: " in broken.stdout) == (4, True)
    assert broken.stderr.startswith("error: 1 artifacts are missing or broken, the first: scores")
