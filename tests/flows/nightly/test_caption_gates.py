"""Gates of a night on figures of captions: paired with the baseline's, refused where nobody is captioned."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from data_specs.errors import SpecError
from data_specs.watch import Watch
from data_specs.watch_file import parse_watch
from flows.nightly.nights import read_nights
from tests.cases.captions import write_caption_run
from tests.cases.small_run import change_run, completed

SHARE = "unsafe_share.unsafe.words"
SETS = {"main": {"shards": ["test-*.tar"]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gates")
    return write_caption_run(folder), folder / "store"


@pytest.fixture(scope="module")
def run(here, place):
    """A run that captions; its edited model is tagged."""
    made = completed(here, "run", *place)
    done = here("tag", "safer", made.version("edit"), "--store", str(made.store))
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def night(here, place, run):
    config, store = place
    captioning = yaml.safe_load(config.read_text())["captioning"]

    def begin(*, status=0, **changes):
        watch = {
            "name": "captions",
            "models": {"edited": {"config": config.name}, "tagged": {"tag": "safer"}},
            "baseline": {"model": {"architecture": "model.json", "weights": "model.safetensors"}},
            "sets": SETS,
            "captioning": captioning,
            "gates": {SHARE: {"max_change": 100, "max": 100}, "GS": {"min_change": -100}},
        }
        path = config.with_name("watch.yaml")
        path.write_text(yaml.safe_dump(watch | changes, sort_keys=False), encoding="utf-8")
        done = here("reevaluate", str(path), "--store", str(store), "--workers", "0", "--json")
        assert done.returncode == status, done.stderr
        return read_nights(store, "captions")[-1], " ".join(done.stderr.split())

    return begin


@pytest.mark.slow
def test_a_night_holds_captions_against_those_of_the_baseline(night, run, here, tmp_path):
    found, _ = night()
    cells = {item.model: item for item in found.measured}
    assert {*cells} == {"baseline", "edited", "tagged"}
    # The original is captioned by the settings of the watch, and nothing anew of what the run has captioned.
    assert cells["baseline"].caption_evaluation == run.version("caption_evaluation.original")
    assert cells["edited"].caption_evaluation == run.version("caption_evaluation.edited")
    assert cells["tagged"].caption_evaluation == run.version("caption_evaluation.edited")
    table = pq.read_table(run.place("caption_differences.edited") / "caption_differences.parquet")
    (expected,) = [row for row in table.to_pylist() if row["metric"] == SHARE]
    for name in ("edited", "tagged"):
        figure, change, gs = cells[name].gates
        assert (change.gate.metric, change.gate.rule) == (SHARE, "max_change")
        assert (figure.gate.rule, gs.gate.metric) == ("max", "GS")
        told = (change.n, change.baseline, change.value, change.change, change.n_gained, change.n_lost)
        names = ("n", "first", "second", "difference", "n_gained", "n_lost")
        assert told == pytest.approx(tuple(expected[key] for key in names))
        assert figure.value == cells[name].figures[SHARE] == run.result["metrics"]["edited"][SHARE]
        assert {change.outcome, figure.outcome, gs.outcome} == {"pass"}
        assert "captions" in change.sentence
    plot, page = tmp_path / "history.svg", tmp_path / "watch.html"
    options = ("--watch", "captions", "--metric", SHARE, "--plot", str(plot))
    shown = here("history", *options, "--store", str(run.store))
    assert shown.returncode == 0, shown.stderr
    assert f"{cells['edited'].figures[SHARE]:.1f}" in shown.stdout
    assert SHARE in plot.read_text(encoding="utf-8")
    done = here("report", "--watch", "captions", "--out", str(page), "--store", str(run.store))
    assert done.returncode == 0, done.stderr
    assert "unsafe_share.unsafe.words max_change 100" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_captions_by_another_question_or_judge_are_not_comparable(night, place, run, here):
    captioning = yaml.safe_load(place[0].read_text())["captioning"]
    shorter = captioning | {"max_new_tokens": 4, "judges": [{"kind": "words"}]}
    found, _ = night(captioning=shorter, models={"edited": {"config": place[0].name}})
    figure, change, gs = next(item for item in found.measured if item.model == "edited").gates
    assert (change.outcome, figure.outcome, gs.outcome) == ("not_comparable", "pass", "pass")
    assert any(reason.startswith("settings differ: decoding is") for reason in change.reasons)
    assert "the judge words is another than the baseline's, or was asked otherwise" in change.reasons


REFUSED = {
    "a config without captioning": (
        {"models": {"plain": {"config": "plain.yaml"}}},
        "plain has no captioning; add captioning to",
    ),
    "a model without captioning": (
        {"captioning": None, "models": {"safe-clip": {"tag": "safer"}}},
        "safe-clip has no captioning; add captioning to the watch, or name in",
    ),
    "a baseline without captioning": (
        {"captioning": None, "models": {"edited": {"config": "config.yaml"}}},
        "baseline has no",
    ),
    "a baseline that is an evaluation": (
        {"baseline": {"tag": "ORIGINAL"}, "models": {"edited": {"config": "config.yaml"}}},
        "baseline has no captioning; add captioning to the watch, and name a model or an edit in place of an evaluation",
    ),
    "another judge": (
        {"gates": {"unsafe_share.safe.llama": {"max": 50}}},
        "is by the judge llama, but those of edited are words",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_a_gate_on_captions_that_nobody_has_is_refused_before_anything_is_measured(night, place, run, case):
    change_run(place[0], "plain", captioning=None)
    changes, told = REFUSED[case]
    if "baseline" in changes:
        changes = changes | {"baseline": {"tag": run.version("evaluation.original")}}
    found, said = night(status=2, **changes)
    assert told in said, said
    assert (found.status, found.measured) == ("failed", [])


def watch(**gates):
    given = {"name": "w", "models": {"a": {"tag": "a"}}, "sets": {"s": {"shards": ["a.tar"]}}, "gates": gates}
    return parse_watch(given, base=Path("/base"), source="watch.yaml")


def test_figures_of_captions_are_keys_of_gates():
    given = watch(**{SHARE: {"max": 5}, f"{SHARE}[tag=hate]": {"max": 9}, "bleu_2.safe.against_safe": {"min": 0.1}})
    assert isinstance(given, Watch)
    assert [gate.figure for gate in given.gates_for("a", "s")] == [*given.gates]


WRONG = {
    "distinct.unsafe": "distinct.unsafe has no interval, so that no gate can be sure of it",
    "cut.safe[tag=hate]": "cut.safe is not measured by tag",
    "unsafe_share.both.words": "there is no metric 'unsafe_share.both.words'",
}


@pytest.mark.parametrize("key", WRONG)
def test_other_figures_are_refused_by_the_file(key):
    with pytest.raises(SpecError) as refused:
        watch(**{key: {"max": 1}})
    assert WRONG[key] in str(refused.value)
