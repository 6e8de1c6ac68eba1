"""A run with other tags than the last one: only scores and what follows from them are made, of the sums that are there."""

from pathlib import Path

import pytest
import yaml

from data_specs.config_file import load_config
from flows.calibrate import calibrate
from flows.plan import plan_of
from flows.scores import scores_of
from tasks.extraction import windows
from tasks.extraction.shard_pass import ShardPass
from tasks.selection.scores_table import layer_files, read_layer
from tests.cases.small_run import change_run, kinds, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    # Of both widths, 32 and 128: else all pairs of so small a run were one product, of which rows are kept.
    monkeypatch.setattr(windows, "_WINDOW_BYTES", 4 * 8 * 32)


def tagged(base, name, tags, **vision):
    shards = yaml.safe_load(base.read_text(encoding="utf-8"))["calibration"]["shards"]
    both = {encoder: {"tau": 0.9, **vision} for encoder in ("text", "vision")}
    return load_config(change_run(base, name, calibration={"shards": shards, "tags": tags}, **both))


def scores(result):
    place = Path(result.artifacts["scores"].path)
    return {layer: read_layer(path, "score") for layer, (_, path) in layer_files(place).items()}


def test_other_tags_are_scored_without_a_picture_or_a_text(tmp_path, monkeypatch):
    base, store = write_run(tmp_path, calibration=15, test=2, per_shard=5), str(tmp_path / "store")
    by_tag = {"statistics": "folded", "sums_by_tag": True}
    first = calibrate.fn(tagged(base, "even", ["even"], **by_tag), store, "cpu", 0)
    made = kinds(tmp_path / "store")
    expected = {
        tag: scores(calibrate.fn(tagged(base, tag, [tag]), str(tmp_path / "rows"), "cpu", 0)) for tag in ("even", "odd")
    }

    def refused(*_):
        raise AssertionError("a shard is read")

    monkeypatch.setattr(ShardPass, "run_shard", refused)
    found = {"even": scores(first)}
    for name, tags in (("odd", ["odd"]), ("both", ["odd", "even"]), ("all", None)):
        config = tagged(base, name, tags, **by_tag)
        plan = plan_of([config], store, "cpu", lambda sessions: [scores_of(session) for session in sessions])
        assert (plan.totals["images"], plan.totals["texts"]) == (0, 0)
        run = calibrate.fn(config, store, "cpu", 0)
        assert (run.computed, run.reused) == (3, 2)
        assert {role: run.artifacts[role] for role in ("activations.text", "activations.vision")} == {
            role: first.artifacts[role] for role in ("activations.text", "activations.vision")
        }
        found[name] = scores(run)
    new = kinds(tmp_path / "store") - made
    assert new == {"layer_scores.text": 3, "layer_scores.vision": 3, "scores": 3}
    for tag, values in expected.items():
        assert values.keys() == found[tag].keys()
        assert all((found[tag][layer] == values[layer]).all() for layer in values)
    # All pairs have one of the two tags, which are added in one order.
    assert all((found["both"][layer] == found["all"][layer]).all() for layer in found["all"])
