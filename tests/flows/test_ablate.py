"""`uwm ablate` from outside: every point once, the shared work once, and each point as a run of its own."""

import csv
import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from data_specs.config_file import load_config
from data_specs.errors import SpecError
from tasks.experiments.ablation_points import ablation_points
from tests.cases.small_run import Finished, Here, change_run, completed, damage, kinds, write_run

AXES = {
    "scorer": "uwm,random,difference,gradient_unsafe",
    "rule": "score_mass,top_share",
    "limit": "8,16",
    "seed": "0,1",
}
ENCODERS = ("text", "vision")


def options(axes: dict[str, str]) -> list[str]:
    return [word for axis, values in axes.items() for word in (f"--{axis}", values)]


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    folder = tmp_path_factory.mktemp("ablate")
    return completed(here, "ablate", write_run(folder, test=6), folder / "store", *options(AXES))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    """One of the first 8 images cannot be decoded, one is missing, and a caption is empty."""
    folder = tmp_path_factory.mktemp("damaged")
    # The limit cuts the first shard; a batch holds one pair, so that no forward pass depends on the limit.
    config = write_run(folder, test=6, per_shard=12, max_bad_fraction=0.5, batch_size=2)
    members = {"0002.unsafe.png": b"no picture", "0005.safe.png": None, "0006.safe.txt": b" "}
    damage(folder / "calibration-000000.tar", {f"calibration{name}": data for name, data in members.items()})
    axes = {"scorer": "uwm,gradient_unsafe", "limit": "8,16"}
    return completed(here, "ablate", config, folder / "store", *options(axes))


def content(done: Finished) -> dict:
    return json.loads((done.place("ablation") / "ablation.json").read_text())


def test_every_point_is_measured_once_or_left_out_with_its_reason(ablated: Finished) -> None:
    ablation = content(ablated)
    labels = [
        f"{scorer}, {rule}, {limit} samples"
        for scorer in ("uwm", "difference", "gradient_unsafe")
        for rule in ("score_mass", "top_share")
        for limit in (8, 16)
    ]
    labels += [f"random, {rule}, seed {seed}" for rule in ("score_mass", "top_share") for seed in (0, 1)]
    measured = [row["point"]["label"] for row in ablation["rows"]]
    left_out = {item["label"]: item["reason"] for item in ablation["left_out"]}
    assert sorted([*measured, *left_out]) == sorted(labels)
    # Scores of random weights are not higher for unsafe content: their differences sum to less than zero.
    assert left_out
    assert {label.rpartition(",")[0] for label in left_out} == {"difference, score_mass"}
    assert all(re.match(r"layer \S+: score_mass needs a positive sum", reason) for reason in left_out.values())

    rows = list(csv.DictReader((ablated.place("ablation") / "ablation.csv").read_text().splitlines()))
    assert len(rows) >= len(measured)
    assert len({row["versions"]["edit"] for row in ablation["rows"]}) == len(measured)
    for row in ablation["rows"]:
        metrics = dict(ablated.result["metrics"][row["point"]["label"]])
        metrics.pop("n_pairs")
        assert row["values"] == metrics
    assert ablated.result["metrics"]["original"]["n_pairs"] == 6


def test_calibration_data_are_read_once_for_the_largest_point(ablated: Finished) -> None:
    made = kinds(ablated.store)
    for encoder in ENCODERS:
        assert made[f"activations.{encoder}"] == 1
        # uwm, difference and gradient_unsafe of two limits, random of two seeds.
        assert made[f"layer_scores.{encoder}"] == 3 * 2 + 2
        manifest = json.loads(
            (ablated.place(f"activations.{encoder}.uwm, score_mass, 8 samples") / "manifest.json").read_text()
        )
        assert manifest["counts"]["samples_used"] == 16
    manifest = json.loads((ablated.place("embeddings.text.calibration") / "manifest.json").read_text())
    assert manifest["counts"]["samples_used"] == 16


def assert_point_is_the_run(done: Finished, label: str, run: Finished) -> None:
    """Score files byte for byte, the edit, and all figures."""
    pattern = "encoder=*/layer=*/scores.parquet"
    own, other = done.place(f"scores.{label}"), run.place("scores")
    files = sorted(path.relative_to(own) for path in own.glob(pattern))
    assert files == sorted(path.relative_to(other) for path in other.glob(pattern))
    assert len(files) == 4
    for file in files:
        assert (own / file).read_bytes() == (other / file).read_bytes(), file
    first, second = (load_file(item / "edit.safetensors") for item in (done.place(f"edit.{label}"), run.place("edit")))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)
    assert done.result["metrics"][label] == run.result["metrics"]["edited"]


def run_of(here: Here, done: Finished, store: Path, limit: int, **own: object) -> Finished:
    shards = [path.name for path in sorted(done.config.parent.glob("calibration-*.tar"))]
    ways = {encoder: {"tau": 0.9, **own} for encoder in ENCODERS}
    config = change_run(done.config, "alone", calibration={"shards": shards, "limit": limit}, **ways)
    return completed(here, "run", config, store)


def test_point_with_a_smaller_limit_equals_a_run_with_that_limit(ablated: Finished, here: Here, tmp_path: Path) -> None:
    run = run_of(here, ablated, tmp_path / "store", 8, rule="top_share")
    counts = json.loads((run.place("activations.text") / "manifest.json").read_text())["counts"]
    assert counts["samples_used"] == 8
    assert_point_is_the_run(ablated, "uwm, top_share, 8 samples", run)
    larger = ablated.place("layer_scores.text.uwm, top_share, 16 samples")
    assert (
        json.loads((larger / "manifest.json").read_text())["files"]
        != json.loads((run.place("layer_scores.text") / "manifest.json").read_text())["files"]
    )


@pytest.mark.parametrize(("scorer", "n_pairs"), [("uwm", 7), ("gradient_unsafe", 5)])
def test_point_with_a_smaller_limit_equals_its_run_also_where_samples_are_bad(
    damaged: Finished, here: Here, tmp_path: Path, scorer: str, n_pairs: int
) -> None:
    run = run_of(here, damaged, tmp_path / "store", 8, scorer=scorer)
    for encoder in ENCODERS:
        layers = json.loads((run.place(f"layer_scores.{encoder}") / "manifest.json").read_text())["counts"]["layers"]
        assert {layer["n_pairs"] for layer in layers.values()} == {n_pairs}
    assert_point_is_the_run(damaged, f"{scorer}, 8 samples", run)


def test_second_ablation_computes_nothing_and_is_shown_to_a_person(ablated: Finished, here: Here) -> None:
    again = here("ablate", str(ablated.config), "--store", str(ablated.store), *options(AXES))
    assert again.returncode == 0, again.stderr
    assert "0 artifacts computed" in again.stdout
    assert "small: ablation, 6 pairs, percent" in again.stdout
    assert all(scorer in again.stdout for scorer in AXES["scorer"].split(","))
    assert "left out: difference, score_mass, 8 samples: layer" in again.stdout
    assert "left out: difference, score_mass, 8 samples: layer" in again.stderr
    assert "Traceback" not in again.stderr


def test_without_options_scorers_aggregations_rules_and_weighting_are_crossed(
    ablated: Finished, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.ablate

    planned: list = []

    def plan_only(config, axes, *_):
        planned.extend(ablation_points(config, axes).points)
        raise SpecError("planned")

    monkeypatch.setattr(flows.ablate, "ablate", plan_only)
    done = here("ablate", str(ablated.config), "--store", str(ablated.store))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "error: planned")
    config = load_config(ablated.config)
    scorers = [point.method.text.scorer for point in planned]
    # uwm comes with two aggregations; each with two rules, weighted by |W| and not.
    assert {scorer: scorers.count(scorer) for scorer in scorers} == {
        "uwm": 8, "unsafe_only": 4, "difference": 4, "gradient_unsafe": 4, "gradient_safe_clip": 4, "magnitude": 4, "random": 4,
    }  # fmt: skip
    assert {(point.limit, point.seed) for point in planned} == {(config.calibration.limit, config.seed)}
