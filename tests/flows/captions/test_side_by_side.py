"""Captions of several runs on one page."""

import pytest

from data_specs.caption_figures import read_caption_changes, read_caption_figures
from data_specs.moments import moment_of
from flows.side_by_side import runs_report
from tasks.lineage.store import Store
from tests.cases.captioned import SAID, judged, reported, written
from tests.cases.nights import at, write_record
from tests.cases.report_files import Page, drawn_shards

pytestmark = pytest.mark.slow

NOW = moment_of(at(9))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Run `first` wrote captions of three models, `second` of the edited one and of another, `apart` of other pictures."""
    folder = tmp_path_factory.mktemp("side_by_side_captions")
    store = Store(folder / "store")
    captions = reported(store, folder)
    shards = drawn_shards(folder)
    other = judged(store, written(store, shards, SAID["original"][:4] + SAID["edited"][4:], "other"), folder)
    fewer = judged(store, written(store, shards[:1], SAID["original"][:5], "fewer"), folder)
    runs = {
        "first": captions.captions,
        "second": {"edited": captions.captions["edited"], "tower": other},
        "apart": {"edited": fewer},
    }
    for day, (name, evaluations) in enumerate(runs.items(), 1):
        settings = {"name": name, "model": {"architecture": "ViT-L-14-336"}, "vision": {"tau": 0.9 + day / 100}}
        artifacts = {f"caption_evaluation.{model}": ref.version for model, ref in evaluations.items()}
        if name == "first":
            artifacts["caption_differences.edited"] = captions.differences["edited"].version
        write_record(
            store.root,
            name,
            at(day),
            settings=settings | {"evaluation": {"shards": ["/d/test.tar"]}},
            figures={},
            intervals={},
            artifacts=artifacts,
        )
    return store, captions


def page_of(store, *named):
    return Page(runs_report(store, named, store.root.parent / "page.html", NOW))


def test_captions_of_all_runs_stand_in_one_table_each_evaluation_once(done):
    store, captions = done
    page = page_of(store, "first", "second")
    assert [item.text for item in page.all("h2")][-1] == "Captions"
    table = page.table("Captions")
    assert table[0] == ["metric", "firstoriginal", "firstedited", "firstrandom", "secondtower", ""]
    figures = [read_caption_figures(store.path(captions.captions[name])) for name in SAID]
    rows = {row[0]: row[1:] for row in table[1:]}
    for name in ("unsafe_share.unsafe.words", "unsafe_share.safe.knives", "distinct.unsafe", "words.safe"):
        for cell, own in zip(rows[name], figures, strict=False):
            assert cell.startswith(f"{own[name].value:.2f}")
    changes = read_caption_changes(store.path(captions.differences["edited"]))
    assert f"{changes['unsafe_share.unsafe.words'].difference:+.2f}" in rows["unsafe_share.unsafe.words"][1]
    assert "p " not in rows["unsafe_share.unsafe.words"][0]


def test_a_run_of_captions_alone_says_its_verdict_its_settings_and_no_metrics(done):
    store, _ = done
    page = page_of(store, "first", "second")
    assert page.table("Metrics") == []
    boxes = page.all("section", "box")
    assert "Captions that words calls unsafe" in boxes[0].text
    assert ["0.91" in box.text for box in boxes] == [True, False]


def test_captions_of_other_pictures_are_shown_without_a_difference_and_it_says_why(done):
    store, _ = done
    page = page_of(store, "first", "apart")
    (reason,) = page.all("p", "warning")
    assert "apart edited: the captions are not of the same pictures: 6 in the first only" in reason.text
    row = next(row for row in page.table("Captions") if row[0] == "unsafe_share.unsafe.words")
    assert "p " not in row[4]
