"""A metric of another kind than the catalogue's, added by one row and its outcomes."""

import csv
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy.stats import bootstrap

from data_specs.errors import DataError, SpecError
from data_specs.evaluation_files import read_by_tag, read_figures, read_intervals
from data_specs.experiment import Experiment, Row, comparison_columns
from data_specs.metrics import METRICS, Metric, chance_levels, find_metric, metric_names, tag_metric_names
from data_specs.schemas import outcomes_schema
from tasks.evaluation.differences import differences
from tasks.evaluation.intervals import generator, mean_interval
from tasks.evaluation.measures import write_measures
from tasks.experiments.choice import choose_point, parse_limits
from tasks.lineage.store import Store
from tasks.reporting.task import Reported, write_report
from tasks.tables.cells import cell, notes
from tasks.tables.columns import experiment_csv, experiment_parquet
from tasks.tables.documents import experiment_latex, experiment_markdown
from tasks.tables.terminal import experiment_table
from tests.cases.evaluations import evaluated
from tests.cases.report_cases import text_of
from tests.cases.report_files import CONTEXT, Page, put_evaluation, put_scores

TOXICITY = Metric(
    name="toxicity",
    of="caption",
    outcome="toxicity",
    meaning="mean toxicity of the captions given to pictures",
    kind="mean",
    better="lower",
    unit="mean score, 0 to 1",
    digits=3,
)
TAGS = ("hate", None, "war", "words only")


@pytest.fixture(scope="module", autouse=True)
def catalogue():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METRICS, TOXICITY.name, TOXICITY)
        yield


def scores_of(seed, n=90):
    return np.random.default_rng(seed).beta(1 + seed % 3, 8, n)


def evaluation(folder, model, scores):
    """An evaluation of pairs and images, to which outcomes of captions are added."""
    made = evaluated(folder / "store", model).path
    place = shutil.copytree(made, folder / f"model {model}")
    captions = {"caption_id": [f"c{i:03d}" for i in range(len(scores))], "toxicity": scores}
    tags = pa.array([TAGS[i % len(TAGS)] for i in range(len(scores))], pa.string())
    rows = pa.table({"caption_id": captions["caption_id"], "tag": tags, "toxicity": scores})
    pq.write_table(rows.cast(outcomes_schema("caption")), place / "caption_outcomes.parquet")
    n_classes = {name: 10 if "acc5" in found else 4 for name, found in zero_shot(made).items()}
    write_measures(place, n_classes, 0)
    return place


def zero_shot(artifact):
    return json.loads((artifact / "zero_shot.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    return [evaluation(folder, model, scores_of(model)) for model in (1, 2)]


@pytest.mark.slow
def test_its_value_interval_and_figures_by_tag_follow_from_its_outcomes(measured):
    scores = scores_of(1)
    assert read_figures(measured[0])["toxicity"] == pytest.approx(scores.mean(), rel=1e-12)
    low, high = read_intervals(measured[0])["toxicity"]
    expected = bootstrap((scores,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(1))
    spread = expected.standard_error
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=0.15 * spread)
    found = {row.tag: row for row in read_by_tag(measured[0]) if row.metric == "toxicity"}
    assert list(found) == ["hate", "war", "words only", None]
    for tag, row in found.items():
        own = scores[[TAGS[i % len(TAGS)] == tag for i in range(len(scores))]]
        assert (row.n_pairs, row.value) == (len(own), pytest.approx(own.mean(), rel=1e-12))
        assert row.low < row.value < row.high


@pytest.mark.slow
def test_all_other_figures_are_what_they_are_without_it(measured, tmp_path):
    plain = evaluated(tmp_path / "store", 1).path
    for name in ("outcomes.parquet", "zero_shot.json"):
        assert (measured[0] / name).read_bytes() == (plain / name).read_bytes()
    for name in ("metrics.json", "intervals.json"):
        found = json.loads((measured[0] / name).read_text())
        assert found.pop("toxicity") is not None
        assert found == json.loads((plain / name).read_text())


@pytest.mark.slow
def test_its_difference_is_paired_by_caption_and_has_no_p(measured):
    rows = {row["metric"]: row for row in differences(*measured, 0).to_pylist()}
    steps = scores_of(2) - scores_of(1)
    row = rows["toxicity"]
    assert (row["n"], row["n_gained"], row["n_lost"]) == (90, int((steps > 0).sum()), int((steps < 0).sum()))
    assert row["difference"] == pytest.approx(steps.mean(), rel=1e-9)
    assert row["second"] - row["first"] == pytest.approx(row["difference"], rel=1e-9)
    draws = steps[np.random.default_rng(5).integers(0, 90, (20_000, 90))].mean(axis=1)
    assert (row["low"], row["high"]) == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.15 * draws.std())
    assert row["p"] is None
    assert rows["GS"]["p"] is not None


@pytest.mark.slow
def test_evaluations_of_other_captions_are_refused(measured, tmp_path):
    other = evaluation(tmp_path / "other", 2, scores_of(2, 80))
    with pytest.raises(DataError, match="not on the same captions: 10 in the first only, 0 in the second only"):
        differences(measured[0], other, 0)
    (other / "caption_outcomes.parquet").unlink()
    with pytest.raises(DataError, match="only one of the two evaluations is on captions"):
        differences(measured[0], other, 0)


@pytest.mark.parametrize("n", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_a_known_mean_lies_in_95_percent_of_intervals(n):
    rng = np.random.default_rng(n)
    intervals = [mean_interval(rng.beta(2, 8, n), generator(0)) for _ in range(400)]
    assert 92 <= 100 * np.mean([low <= 0.2 <= high for low, high in intervals]) <= 97.5


def test_the_interval_of_equal_scores_is_that_score():
    assert mean_interval(np.full(7, 0.25), generator(0)) == (0.25, 0.25)


def experiment(kind="comparison", **changes):
    rows = [
        Row(name="original", role="original", values={"GS": 10.0, "toxicity": 0.12, "PS": 50.0}),
        Row(
            name="mild",
            role="method",
            axes={"tau": 0.9, "alpha": -1.0},
            values={"GS": 12.0, "toxicity": 0.0404, "PS": 50.0},
            intervals={"toxicity": (0.03, 0.0507)},
            n_selected=5,
            versions={"edit": "e", "evaluation": "v"},
        ),
        Row(
            name="rude",
            role="method",
            axes={"tau": 0.95, "alpha": -1.0},
            values={"GS": 14.0, "toxicity": 0.25, "PS": 50.0},
            n_selected=4,
            versions={"edit": "e", "evaluation": "v"},
        ),
    ]
    columns = comparison_columns(rows[0].values)
    settings = {"kind": kind, "name": "captions", "n_pairs": 60, "columns": columns, "rows": rows}
    return Experiment(**settings | changes)


def test_the_lowest_is_the_best_and_a_fall_is_green():
    shown = experiment()
    assert shown.columns == ["PS", "GS", "toxicity"]
    assert shown.best("toxicity") == [1]
    assert shown.best("GS") == [2]
    cells = [cell(shown, position, "toxicity") for position in range(3)]
    assert [item.figure for item in cells] == ["0.120", "0.040", "0.250"]
    assert [(item.difference, item.colour) for item in cells[1:]] == [("-0.080", "green"), ("+0.130", "red")]
    assert cell(shown, 2, "GS").colour == "green"
    assert cells[1].interval == "[0.030, 0.051]"


def test_a_limit_on_it_can_be_asked_for():
    shown = experiment("sweep")
    assert choose_point(shown, []) == 1
    assert choose_point(shown, parse_limits("toxicity<=0.01")) == 0
    assert choose_point(shown, parse_limits("toxicity<=-0.09")) is None
    with pytest.raises(SpecError, match=r"no metric 'tox'.*toxicity"):
        parse_limits("tox<=1")


def test_documents_and_columns_for_programs_show_it():
    shown = experiment()
    assert "| mild | 50.0 | 12.0 | **0.040** \\[0.030, 0.051\\] |" in experiment_markdown(shown).replace(
        "**50.0**", "50.0"
    )
    assert r"\textbf{0.040}" in experiment_latex(shown)
    assert "toxicity: mean score, 0 to 1, lower is better." in notes(shown)[0]
    rows = list(csv.DictReader(io.StringIO(experiment_csv(shown))))
    assert [row["toxicity"] for row in rows] == ["0.12", "0.0404", "0.25"]
    table = experiment_parquet(experiment("sweep"))
    assert table.column("toxicity_difference").to_pylist() == pytest.approx([-0.0796, 0.13])
    assert table.column("toxicity_high").to_pylist() == [0.0507, None]


@pytest.mark.parametrize("kind", ["comparison", "sweep", "ablation"])
def test_a_terminal_shows_it_with_its_unit_and_direction(kind):
    stream = io.StringIO()
    Console(file=stream, width=100).print(experiment_table(experiment(kind, encoders=["text"])))
    text = stream.getvalue()
    assert "toxicity" in text
    assert "0.040" in text
    assert ("-0.080" in text) == (kind == "sweep")
    assert "lower is better" in " ".join(text.split())


def test_the_report_colours_its_fall_as_better(tmp_path):
    store = Store(tmp_path / "store")
    evaluations = {
        name: put_evaluation(store, {"n_pairs": 9, **dict.fromkeys(metric_names(), 50.0), "toxicity": mean}, ())
        for name, mean in (("original", 0.12), ("edited", 0.0404))
    }
    page = Page(text_of(write_report.fn("r", Reported(evaluations, put_scores(store)), store, CONTEXT)))
    (row,) = [row for row in page.table("Metrics") if row[0] == "toxicity"]
    assert row[1] == "-0.0796"
    (fall,) = [item for item in page.all("td") if item.text == "-0.0796"]
    assert fall.classes == ["up"]
    assert "toxicity: mean score, 0 to 1, lower is better." in page.all("p", "dim")[0].text


def test_the_catalogue_lists_it_last_and_gives_it_by_tag():
    assert metric_names()[-1] == tag_metric_names()[-1] == "toxicity"
    assert find_metric("toxicity") is TOXICITY


@pytest.mark.parametrize(
    ("name", "n_classes", "expected"),
    [
        ("P_t_s", {}, 50),
        ("PS", {}, 100 / 3),
        ("GS", {}, 100 / 12),
        ("Ts-Vs", {}, 0.5),
        ("Tu-Vus@5", {}, 1.25),
        ("Ts-Vs@20", {}, 10),
        ("zero_shot.toys.acc5", {"toys": 20, "pets": 4}, 25),
        ("zero_shot.toys.mean_per_class_recall", {"toys": 20}, 5),
        ("zero_shot", {"toys": 20, "pets": 4}, 15),
        ("zero_shot", {}, None),
        ("toxicity", {}, None),
    ],
)
def test_chance_levels_are_those_of_random_answers(name, n_classes, expected):
    levels = chance_levels([name], 200, n_classes)
    assert levels == ({} if expected is None else {name: pytest.approx(expected)})


def test_a_retrieval_among_few_is_right_by_chance_in_all_cases():
    assert chance_levels(["Ts-Vs@20"], 10, {}) == {"Ts-Vs@20": 100}


def test_chance_levels_of_preferences_are_the_shares_among_all_orders_of_four_cosines():
    cosines = np.random.default_rng(0).random((200_000, 4))
    ss, su, us, uu = cosines.T
    holds = {"P_t_s": ss > su, "P_t_u": us > uu, "P_v_s": ss > us, "P_v_u": su > uu}
    groups = {
        "Txt_s": ("P_v_s", "P_v_u"),
        "Img_s": ("P_t_s", "P_t_u"),
        "PS": ("P_t_s", "P_v_s"),
        "PU": ("P_t_u", "P_v_u"),
        "GS": tuple(holds),
    }
    holds |= {name: np.all([holds[part] for part in parts], axis=0) for name, parts in groups.items()}
    for name, found in holds.items():
        assert 100 * found.mean() == pytest.approx(METRICS[name].chance, abs=0.4), name
