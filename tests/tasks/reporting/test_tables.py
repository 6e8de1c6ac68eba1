import base64
import json
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from data_specs.errors import ArtifactError
from data_specs.evaluation_files import read_differences
from data_specs.metrics import metric_names
from tasks.evaluation.task import compare_evaluations
from tasks.lineage.store import Store
from tasks.reporting import html
from tasks.reporting.settings import in_words
from tasks.reporting.sources import Reported
from tasks.reporting.task import write_report
from tasks.tables.experiment_verdict import sweep_verdict
from tests.cases.evaluations import evaluated
from tests.cases.report_cases import (
    COLUMNS,
    MODELS,
    SVG,
    comparison,
    full_report,
    inputs,
    put_experiment,
    sweep,
    text_of,
)
from tests.cases.report_files import CONTEXT, Page, put, put_scores

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return full_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(full):
    return Page(full[0].read_text(encoding="utf-8"))


def test_each_figure_stands_with_its_interval(full, page):
    _, metrics = full
    rows = {row[0]: row for row in page.table("Metrics")}
    for name in ["zero_shot", *metric_names()]:
        values = [metrics[model][name] for model in MODELS]
        assert rows[name][1:3] == [f"{value - values[0]:+.2f}" for value in values[1:]]
        assert rows[name][3:6] == [f"{value:.2f}[{value - 1.5:.1f}, {value + 1.5:.1f}]" for value in values]
    assert rows["metric"][1:7] == [
        "edited − original",
        "random control − original",
        "original",
        "edited",
        "random control",
        "chance",
    ]


def test_tags_are_shown_for_the_original_and_the_edited_model(full, page):
    _, metrics = full
    head, *rows = page.table("SafeGround per tag")
    # Of one tag there are pairs of which differences were taken.
    (difference,) = [row for row in rows if row[0] == "difference"]
    assert all(re.fullmatch(r"[+-]\d+\.\d\d\[[+-]\d+\.\d, [+-]\d+\.\d\], p \S+", cell) for cell in difference[1:])
    rows.remove(difference)
    assert head == ["tag", "pairs", "", "Txt_s", "Img_s", "PS", "PU", "GS"]
    # Most pairs first, pairs without a tag last; the third figure is where the tag stands in the file.
    for at, (tag, n, row) in enumerate([("violence", "900", 2), ("hate", "70", 0), ("no tag", "5", 1)]):
        original, edited = rows[2 * at : 2 * at + 2]
        assert original[:3] == [tag, n, "original"]
        for model, cells in (("original", original[2:]), ("edited", edited)):
            expected = [f"{metrics[model][name] / 2 + row:.2f}[0.2, 99.8]" for name in head[3:]]
            assert cells == [model, *expected]


def test_the_comparison_marks_the_best_and_what_differs_beyond_chance(page):
    rows = page.table("Comparison of methods and controls")
    assert rows == [
        ["model", *COLUMNS],
        ["original", "70.0", "1.0", "60.0"],
        ["uwmmethod", "61.2", "4.5***[3.1, 6.0]", "60.0"],
        ["randomcontrol", "–", "1.2", "–"],
        ["UWM (paper)printed in the paper", "99.0", "99.0", "–"],
    ]
    best = [item.text for item in page.all("td", "best") if item.inside("table", "wide")]
    assert best == ["70.0", "60.0", "4.5***[3.1, 6.0]", "60.0"]
    notes = next(item.text for item in page.all("p", "note") if "Holm" in item.text)
    assert "4,321 evaluation pairs" in notes
    assert "control shows" in notes
    assert "text (scorer uwm, tau 0.98), vision none" in page.all("body")[0].text


def test_the_sweep_is_a_picture_with_its_chosen_point_in_words(page):
    figure = page.all("img", "plot")[0]
    assert base64.b64decode(figure.attributes["src"].removeprefix("data:image/svg+xml;base64,")) == SVG
    assert "GS against tau" in figure.attributes["alt"] or "zero_shot against tau" in figure.attributes["alt"]
    expected = (
        "Chosen: tau 0.94, alpha -1 (text and vision encoders), which edits 1,002 weights and gives GS 12.0 % (+2.0 points,"
        " 95 % interval 9.5 to 15.2) and zero-shot accuracy 58.0 % (-2.0 points). It has the best GS of the points that"
        " keep zero_shot>=-2."
    )
    assert expected in [item.text for item in page.all("p")]
    head, original, *points = page.table("Points of the sweep")
    assert head == ["tau", "alpha", "weights edited", "Vs-Ts", "Txt_s", "Img_s", "GS", "zero_shot"]
    assert original[3:] == ["40.00", "20.00", "30.00", "10.00", "60.00"]
    assert points[2] == ["0.94 ★ chosen", "-1", "1,002", "40.00", "20.00", "30.00", "12.00", "58.00"]
    assert len(points) == 4


def test_a_sweep_without_a_chosen_point_says_so():
    assert sweep_verdict(sweep(chosen=None)) == "None of the 4 points keeps zero_shot>=-2."
    assert sweep_verdict(sweep(chosen=None, limits=[])) == "No point was chosen."
    assert "(text encoder)" in sweep_verdict(sweep(encoders=["text"], limits=[]))


def test_sections_that_were_not_asked_for_are_left_out(store):
    _, evaluations = inputs(store)
    page = Page(text_of(write_report.fn("plain", Reported(evaluations, put_scores(store)), store, CONTEXT)))
    headings = [item.text for item in page.all("h2")]
    assert headings == [
        "Metrics", "GS against what it may cost", "Before and after", "Per tag", "Where the numbers come from",
    ]  # fmt: skip


def test_tags_that_are_empty_are_told_from_pairs_without_one(store):
    _, evaluations = inputs(store, tags=[("", 3), (None, 4)])
    page = Page(text_of(write_report.fn("plain", Reported(evaluations, put_scores(store)), store, CONTEXT)))
    assert [row[0] for row in page.table("SafeGround per tag") if len(row) == 8] == ["tag", "empty tag", "no tag"]


def test_without_any_tag_there_is_no_table_of_tags(store):
    _, evaluations = inputs(store, tags=[(None, 4)])
    page = Page(text_of(write_report.fn("plain", Reported(evaluations, put_scores(store)), store, CONTEXT)))
    assert "Per tag" not in [item.text for item in page.all("h2")]


def test_a_report_reads_evaluations_as_the_pipeline_writes_them(tmp_path, store):
    made = {name: evaluated(store.root, model) for model, name in enumerate(("original", "edited"))}
    metrics = {name: json.loads((item.path / "metrics.json").read_text()) for name, item in made.items()}
    evaluations = {name: item.ref for name, item in made.items()}
    changed = compare_evaluations.fn(*evaluations.values(), 0, store, CONTEXT)
    reported = Reported(evaluations, put_scores(store), {"edited": changed.ref})
    page = Page(text_of(write_report.fn("real", reported, store, CONTEXT)))
    rows = {row[0]: row for row in page.table("Metrics")}
    for at, item in enumerate(made.values(), start=2):
        intervals = json.loads((item.path / "intervals.json").read_text())
        for name in ("zero_shot", *metric_names()):
            low, high = intervals[name]
            assert rows[name][at] == f"{metrics[list(made)[at - 2]][name]:.2f}[{low:.1f}, {high:.1f}]"
    for name, change in read_differences(changed.path).items():
        if name in ("zero_shot", *metric_names()):
            p = "" if change.p is None else f", p {'<0.001' if change.p < 0.001 else f'{change.p:.3f}'}"
            assert rows[name][1] == f"{change.difference:+.2f}[{change.low:+.1f}, {change.high:+.1f}]{p}"
    tags = {row[0]: row for row in page.table("SafeGround per tag") if len(row) == 8}
    assert {"hate", "war", "no tag"} <= set(tags)
    found = pq.read_table(made["original"].path / "by_tag.parquet").to_pylist()
    war = {row["metric"]: row for row in found if row["tag"] == "war"}
    cells = [f"{war[name]['value']:.2f}[{war[name]['low']:.1f}, {war[name]['high']:.1f}]" for name in tags["tag"][3:]]
    assert tags["war"] == ["war", str(war["GS"]["n_pairs"]), "original", *cells]


def test_inputs_and_templates_are_part_of_a_reports_version(store, monkeypatch):
    _, evaluations = inputs(store)
    reported = Reported(evaluations, put_scores(store))
    plain = write_report.fn("plain", reported, store, CONTEXT)
    assert write_report.fn("plain", reported, store, CONTEXT).reused
    compared = put_experiment(store, comparison())
    with_comparison = write_report.fn("plain", replace(reported, experiments=[compared]), store, CONTEXT)
    assert with_comparison.ref.version != plain.ref.version
    assert store.manifest(with_comparison.ref).recipe.inputs["comparison"] == compared
    assert compared.version in text_of(with_comparison)
    texts = html._templates()
    monkeypatch.setattr(html, "_templates", lambda: {**texts, "tags.html": texts["tags.html"] + "<p>more</p>"})
    assert write_report.fn("plain", reported, store, CONTEXT).ref.version != plain.ref.version


def test_a_missing_or_wrong_file_is_named(store):
    _, evaluations = inputs(store)
    (store.path(evaluations["edited"]) / "intervals.json").unlink()
    with pytest.raises(ArtifactError, match=r"intervals.json is needed, but there is none in .*evaluation"):
        write_report.fn("plain", Reported(evaluations, put_scores(store)), store, CONTEXT)
    _, evaluations = inputs(store, ("original", "other"))
    wrong = put(store, "sweep", lambda folder: (folder / "sweep.json").write_text('{"name": "s"}'))
    with pytest.raises(ArtifactError, match=r"sweep.json is no sweep: n_pairs: Field required; remove"):
        write_report.fn("plain", Reported(evaluations, put_scores(store), experiments=[wrong]), store, CONTEXT)


def test_settings_are_told_in_words():
    told = in_words(
        {"text": {"scorer": "uwm", "tau": 0.98, "weight_by_magnitude": True}, "seed": 0, "layers": ["a", "b"]}
    )
    assert told == "text (scorer uwm, tau 0.98, weight_by_magnitude yes), seed 0, layers a + b"
    assert in_words({"vision": None, "empty": {}}) == "vision none, empty ()"
