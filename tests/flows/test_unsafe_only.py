"""The scorer unsafe_only needs no safe samples."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from data_specs.run_config import ENCODERS
from tests.cases.shard_files import write_tar
from tests.cases.small_run import Here, change_run, completed, damage, write_run


def scores(folder: Path, encoder: str = "text") -> dict[str, np.ndarray]:
    files = sorted((folder / f"encoder={encoder}").rglob("scores.parquet"))
    return {path.parent.name: np.stack(pq.read_table(path).column("score").to_numpy()) for path in files}


def test_a_run_on_unsafe_captions_alone_scores_as_one_on_pairs(tmp_path: Path, here: Here) -> None:
    paired = write_run(tmp_path, calibration=6, test=4, text={"scorer": "unsafe_only"}, vision=None)
    rows = map(json.loads, (tmp_path / "calibration.jsonl").read_text(encoding="utf-8").splitlines())
    members = [(f"{row['key']}.txt", row["unsafe_text"].encode()) for row in rows]
    write_tar(tmp_path / "unsafe.tar", members)
    alone = change_run(paired, "alone", calibration={"unsafe": ["unsafe.tar"]})
    made = [scores(completed(here, "run", config, tmp_path / "store").place("scores")) for config in (paired, alone)]
    assert made[0].keys() == made[1].keys() != set()
    for layer, expected in made[0].items():
        np.testing.assert_allclose(made[1][layer], expected, rtol=1e-5)


def test_paired_shards_of_unsafe_members_alone_are_enough_for_it_and_for_no_other_scorer(
    tmp_path: Path, here: Here
) -> None:
    chosen = {"text": {"scorer": "unsafe_only"}, "vision": {"scorer": "unsafe_only"}}
    paired = write_run(tmp_path, calibration=6, test=4, **chosen)
    (shard,) = tmp_path.glob("calibration-*.tar")
    with tarfile.open(shard) as tar:
        members = {name: None for name in tar.getnames() if ".safe." in name}
    shutil.copy(shard, tmp_path / "unsafe.tar")
    damage(tmp_path / "unsafe.tar", members)
    told = here("shards", "check", str(tmp_path / "unsafe.tar"), "--workers", "0")
    assert (told.returncode, "6 pairs, 0 bad; unsafe side alone, text and vision" in told.stdout) == (0, True)
    alone = change_run(paired, "alone", calibration={"shards": ["unsafe.tar"]})
    first, second = (completed(here, "run", config, tmp_path / "store") for config in (paired, alone))
    for encoder in ENCODERS:
        expected, found = (scores(item.place("scores"), encoder) for item in (first, second))
        assert expected.keys() == found.keys() != set()
        for layer in expected:
            np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-5)
    assert second.result["metrics"] == first.result["metrics"]
    assert here("plan", str(alone), "--store", str(tmp_path / "store")).returncode == 0
    for changes in ("text.scorer=uwm", "methods={other: {text: {scorer: difference}}}"):
        command = "compare" if changes.startswith("methods") else "run"
        refused = here(command, str(alone), "--store", str(tmp_path / "store"), "--workers", "0", "--set", changes)
        assert refused.returncode == 3, refused.stderr
        assert "missing member" in refused.stderr
