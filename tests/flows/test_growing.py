"""A set that has more shards than last time computes only those, wherever it is read."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_specs.config_file import load_config
from flows.calibrate import calibrate
from flows.evaluate import evaluate
from tests.cases.shard_files import image_bytes, write_tar
from tests.cases.small_run import change_run, kinds, write_run, write_shards

pytestmark = pytest.mark.slow

PER_SHARD = 2


def write_toys(folder: Path, n_shards: int) -> None:
    (folder / "test").mkdir(parents=True, exist_ok=True)
    for number in range(n_shards):
        members = [
            (f"{number}{i}.{end}", data)
            for i in range(3)
            for end, data in (("png", image_bytes(10 * number + i)), ("cls", b"1"))
        ]
        write_tar(folder / "test" / f"{number}.tar", members)
    (folder / "test" / "nshards.txt").write_text(f"{n_shards}\n", encoding="utf-8")
    (folder / "classnames.txt").write_text("cat\ndog\n", encoding="utf-8")
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\n", encoding="utf-8")


@pytest.mark.parametrize(
    "shards", ["glob", *(pytest.param(way, marks=pytest.mark.slow) for way in ("folder", "braces"))]
)
def test_only_new_shards_are_computed(tmp_path: Path, shards: str) -> None:
    base = write_run(tmp_path, calibration=2, test=2, per_shard=PER_SHARD)
    parts: list[dict[str, int]] = []
    for name in ("calibration", "test"):
        (tmp_path / name).mkdir()
        write_shards(tmp_path, f"more-{name}", 4 * PER_SHARD, PER_SHARD)
    for n_shards in (3, 4):
        for name in ("calibration", "test"):
            for shard in sorted(tmp_path.glob(f"more-{name}-*.tar"))[: n_shards - len(kept_in(tmp_path / name))]:
                shard.rename(tmp_path / name / shard.name)
        write_toys(tmp_path / "toys", n_shards)
        config = load_config(change_run(base, "grown", **settings(shards, n_shards)))
        for flow in (calibrate, evaluate):
            assert flow.fn(config, str(tmp_path / "store"), "cpu", 0).computed > 0
        parts.append({kind: n for kind, n in kinds(tmp_path / "store").items() if kind.endswith((".part", ".joined"))})
    before, after = parts
    # Of text statistics as rows, of both encoders' test pairs, and of the images of the toys.
    assert {kind: after.get(kind, 0) - n for kind, n in before.items() if kind.endswith(".part")} == {
        "activations.text.part": 1,
        "activations.vision.part": -1,
        "embeddings.text.part": 1,
        "embeddings.vision.part": 2,
    }
    # Folded, three shards leave two joined ones and one, four leave what all have come to.
    assert (before["activations.vision.part"], before["activations.vision.joined"]) == (1, 1)
    assert (after.get("activations.vision.part", 0), after["activations.vision.joined"]) == (0, 1)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "store/.runs").glob("*.json")]
    expanded = [len(names) for record in records for names in record.get("expanded", {}).values()]
    # Calibration and evaluation of either size; braces say themselves what they stand for.
    assert sorted(expanded) == ([] if shards == "braces" else [3, 3, 4, 4])


def kept_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.tar"))


def settings(shards: str, n_shards: int) -> dict[str, Any]:
    def named(name: str) -> list[str]:
        last = f"{n_shards - 1:06d}"
        return [
            {"folder": name, "glob": f"{name}/*.tar", "braces": f"{name}/more-{name}-{{000000..{last}}}.tar"}[shards]
        ]

    return {
        "calibration": {"shards": named("calibration")},
        "evaluation": {"shards": named("test"), "zero_shot": [{"name": "toys", "path": "toys"}]},
        "vision": {"tau": 0.9, "statistics": "folded"},
    }
