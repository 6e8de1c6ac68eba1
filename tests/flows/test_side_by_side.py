"""Several runs on one page."""

import re

import pytest

from data_specs.errors import ArtifactError
from data_specs.evaluation_files import read_figures, read_intervals
from data_specs.moments import moment_of
from flows.side_by_side import runs_report
from tasks.lineage.store import Store
from tests.cases.evaluations import evaluated
from tests.cases.nights import at, record_id, write_record
from tests.cases.report_files import HOSTILE, Page

pytestmark = pytest.mark.slow

NOW = moment_of(at(9))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Runs `first` and `second` share an original on the same pairs; `apart` was measured on others."""
    root = tmp_path_factory.mktemp("runs")
    made = {
        "original": evaluated(root, 1, data_sets={}),
        "first": evaluated(root, 2, data_sets={}),
        "second": evaluated(root, 3, data_sets={}),
        "apart": evaluated(root, 4, ids=range(50), data_sets={}),
    }
    figures = {name: {**read_figures(item.path), "n_pairs": 60} for name, item in made.items()}
    intervals = {name: read_intervals(item.path) for name, item in made.items()}
    report = root / "report" / ("9" * 64)
    report.mkdir(parents=True)
    (report / "report.html").write_text("")
    (report / "manifest.json").write_text("{}")
    for day, name in enumerate(("first", "second", "apart"), 1):
        parts = {"edited": name} if name == "apart" else {"original": "original", "edited": name}
        settings = {"name": name, "model": {"architecture": "ViT-B-32"}, "text": {"tau": 0.9 + day / 100}}
        write_record(
            root,
            name,
            at(day),
            settings=settings | {"evaluation": {"shards": ["/d/test.tar"]}},
            figures={what: figures[own] for what, own in parts.items()},
            intervals={what: intervals[own] for what, own in parts.items()},
            artifacts={f"evaluation.{what}": made[own].ref.version for what, own in parts.items()}
            | ({"report": "9" * 64} if name == "first" else {}),
        )
    return Store(root)


def page_of(store, *named):
    return Page(runs_report(store, named, store.root.parent / "page.html", NOW))


def numbers(cell):
    return [float(found) for found in re.findall(r"[-+]?\d+\.\d+", cell)]


@pytest.mark.slow
def test_figures_of_all_runs_stand_in_one_table_and_a_shared_original_once(store):
    table = page_of(store, "first", "second").table("Metrics")
    assert table[0] == ["metric", "firstoriginal", "firstedited", "secondedited", ""]
    rows = {row[0]: row[1:4] for row in table[1:]}
    records = {record: read_figures(store.root / "evaluation" / record) for record in versions(store)}
    for metric, cells in rows.items():
        shown = [numbers(cell)[0] for cell in cells]
        held = [round(figures[metric], 2) for figures in records.values()]
        assert shown == pytest.approx(held[:3], abs=0.006), metric


def versions(store):
    """Of the evaluations in the order in which they were made."""
    folders = (store.root / "evaluation").iterdir()
    return [folder.name for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime_ns)]


def test_differences_are_from_the_first_column_on_the_same_pairs(store):
    rows = {row[0]: row[1:4] for row in page_of(store, "first", "second").table("Metrics")[1:]}
    for metric, (first, *others) in rows.items():
        assert "p " not in first
        for cell in others:
            value, _, _, difference, low, high, *_ = numbers(cell)
            assert difference == pytest.approx(value - numbers(first)[0], abs=0.011), metric
            assert low <= difference <= high


def test_runs_on_other_pairs_are_shown_without_a_difference_and_it_says_why(store):
    shown = page_of(store, "first", "apart")
    (reason,) = shown.all("p", "warning")
    assert "apart edited: the two evaluations are not on the same pairs: 10 in the first only" in reason.text
    assert "p " not in next(row for row in shown.table("Metrics") if row[0] == "GS")[3]


@pytest.mark.slow
def test_each_run_says_its_settings_that_differ_and_leads_to_its_own_report(store):
    boxes = page_of(store, "first", "second").all("section", "box")
    assert ["0.91" in box.text for box in boxes] == [True, False]
    assert "text.tau" in boxes[0].text
    (link,) = page_of(store, "first", "second").all("a")
    assert link.attributes["href"] == f"{store.root.name}/report/{'9' * 64}/report.html"
    assert "none in the store" in boxes[1].text


def test_a_run_is_named_by_its_name_its_id_or_what_it_made_and_is_shown_once(store):
    shown = page_of(store, "second", record_id("second", at(2)), versions(store)[2])
    assert len(shown.all("section", "box")) == 1
    with pytest.raises(ArtifactError, match="names neither an artifact nor a run"):
        page_of(store, "third")


def test_hostile_names_are_escaped(tmp_path):
    ref = evaluated(tmp_path, 1, data_sets={}).ref
    name = "".join(HOSTILE).replace("/", "").replace(":", "")
    settings = {"name": name, "model": {"architecture": HOSTILE[0]}, "evaluation": {"shards": [HOSTILE[1]]}}
    write_record(tmp_path, "x", at(1), settings=settings, evaluation=ref.version)
    shown = Page(runs_report(Store(tmp_path), [ref.version], tmp_path / "page.html", NOW))
    assert {element.tag for element in shown.elements} & {"script", "img", "iframe"} == set()
