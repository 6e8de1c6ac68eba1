"""The scorer unsafe_only needs no safe samples."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.cases.shard_files import write_tar
from tests.cases.small_run import Here, change_run, completed, write_run


def scores(folder: Path) -> dict[str, np.ndarray]:
    files = sorted((folder / "encoder=text").rglob("scores.parquet"))
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
