"""The report of real runs: what it says that it is about, and that its figures and layers are of the edit on top."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_specs.manifest import Manifest
from tests.cases.report_files import Page
from tests.cases.small_run import Finished, Here, change_run, completed, damage, file_digests, write_run


def page_of(done: Finished) -> Page:
    return Page((done.place("report") / "report.html").read_text(encoding="utf-8"))


def box(page: Page) -> dict[str, list[str]]:
    """The lines of the box on top, by their names."""
    rows: dict[str, list[str]] = {}
    for item in page.elements:
        if item.tag == "dt":
            rows[item.text] = []
        elif item.tag == "p" and item.inside("dd"):
            rows[[*rows][-1]].append(item.text)
    return rows


def manifest(done: Finished, role: str) -> Manifest:
    return Manifest.model_validate_json((done.place(role) / "manifest.json").read_bytes())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    """A run with damaged calibration and evaluation pairs."""
    folder = tmp_path_factory.mktemp("report")
    config = write_run(folder, max_bad_fraction=0.5, text={"tau": 0.9}, vision={"tau": 0.8, "alpha": 0})
    damage(
        folder / "calibration-000000.tar",
        {"calibration0002.unsafe.png": b"no picture", "calibration0003.safe.txt": b" "},
    )
    damage(folder / "test-000000.tar", {"test0001.safe.png": None})
    return completed(here, "run", config, folder / "store")


@pytest.fixture(scope="module")
def page(finished: Finished) -> Page:
    return page_of(finished)


def test_the_verdict_comes_first_and_the_box_right_after_it(page: Page) -> None:
    names = [
        (item.tag, "".join(item.classes))
        for item in page.elements
        if item.tag in ("h2", "section") or "verdict" in item.classes
    ]
    assert names[0] == ("p", "verdict")
    assert names.index(("section", "box")) < names.index(("h2", ""))


def test_the_box_names_model_file_and_digests(finished: Finished, page: Page) -> None:
    weights = finished.config.with_name("model.safetensors")
    assert box(page)["Model"] == [
        "model.json, weights model.safetensors",
        f"SHA-256 of the weights' file {hashlib.sha256(weights.read_bytes()).hexdigest()}",
        f"SHA-256 over all tensors {manifest(finished, 'edit').recipe.inputs['model']}",
    ]


def test_the_box_counts_pairs_and_says_why_some_were_skipped(page: Page) -> None:
    rows = box(page)
    assert rows["Calibration data"] == [
        "text encoder: 23 pairs of 3 shards, 1 skipped (empty caption 1)",
        "vision encoder: 23 pairs of 3 shards, 1 skipped (undecodable image 1)",
    ]
    assert rows["Evaluation data"] == [
        "11 pairs with all four members",
        "text encoder: 12 pairs of 2 shards, none skipped",
        "vision encoder: 11 pairs of 2 shards, 1 skipped (missing member 1)",
        "tags: even 6, odd 5",
    ]


def test_the_box_names_the_settings_that_act(page: Page) -> None:
    text, vision = box(page)["Edit"]
    assert text == (
        "text encoder: scorer uwm, aggregation mean_of_ratios, weight_by_magnitude yes, rule score_mass, tau 0.9, alpha -1, sign"
        " none; 2 layers: transformer.resblocks.{0..1}.attn.out_proj"
    )
    assert vision == (
        "vision encoder: scorer uwm, aggregation mean_of_ratios, weight_by_magnitude no, rule score_mass, tau 0.8, alpha 0, sign"
        " none; 2 layers: visual.transformer.resblocks.{0..1}.mlp.c_proj"
    )


def test_the_box_tells_when_where_and_by_what_the_newest_artifact_was_made(finished: Finished, page: Page) -> None:
    rows = box(page)
    roles = (
        "evaluation.original",
        "evaluation.edited",
        "differences.edited",
        "flips.edited",
        "gallery",
        "gallery.flips",
    )
    newest = max(manifest(finished, role).circumstances.ended for role in (*roles, "edit", "scores", "overlap"))
    assert rows["Date"] == [f"{newest[:10]} {newest[11:19]} UTC"]
    assert rows["Device"] == ["cpu"]
    assert rows["Precision"] == ["fp32; seed 0"]
    assert f"python {platform.python_version()}" in rows["Libraries"][0]
    assert f"torch {version('torch')}" in rows["Libraries"][0]
    commit = manifest(finished, "report").circumstances.git_commit
    assert rows["Commit"][0].startswith(commit or "not run from a git checkout")
    assert rows["Command"][0].startswith(f"uwm run {finished.config} --store ")


def test_the_same_run_elsewhere_has_the_same_report_but_for_its_box(
    finished: Finished, tmp_path: Path, here: Here
) -> None:
    other = completed(here, "run", finished.config, tmp_path / "store")
    assert file_digests(other.store) == file_digests(finished.store)
    assert other.version("report") != finished.version("report")
    again = completed(here, "run", finished.config, finished.store)
    assert (again.result["computed"], again.version("report")) == (0, finished.version("report"))


def test_the_layers_are_those_of_the_edit_and_lie_in_order(finished: Finished, page: Page) -> None:
    head, *rows = page.table("Edited weights per layer")
    counts = manifest(finished, "edit").counts["layers"]
    assert head[:7] == ["layer", "encoder", "rule", "tau", "alpha", "selected", "share"]
    for row in rows:
        found = counts[row[0]]
        assert row[5] == f"{found['n_selected']:,} of {found['n_weights']:,}"
        assert row[1:5] == (
            ["text", "score_mass", "0.9", "-1"] if row[1] == "text" else ["vision", "score_mass", "0.8", "0"]
        )
    assert [row[0] for row in rows] == [
        *(f"transformer.resblocks.{i}.attn.out_proj" for i in (0, 1)),
        *(f"visual.transformer.resblocks.{i}.mlp.c_proj" for i in (0, 1)),
    ]
    # The scores select at these settings what was edited: nothing else is to be told.
    assert page.table("Selectable weights per layer") == []


def test_all_flipped_pairs_lie_beside_the_report_and_those_shown_are_of_them(finished: Finished, page: Page) -> None:
    table = pq.read_table(finished.place("report") / "flips.parquet")
    assert table.equals(pq.read_table(finished.place("flips.edited") / "flips.parquet"))
    head, *rows = page.table("Pairs that flipped")
    assert head == ["pair", "flipped", "smallest margin", "safe", "unsafe"]
    found = {row["pair_id"].split("/")[1]: row for row in table.to_pylist()}
    assert len(rows) == len(found) > 0
    for item in page.all("tr"):
        if "data-flips" in item.attributes:
            key = next(inner.text for inner in page.all("bdi") if item in inner.around)
            marks = {
                name: {"+": 1, "-": -1}[sign]
                for sign, name in ((m[0], m[1:]) for m in item.attributes["data-flips"].split())
            }
            assert marks == {name: found[key][name] for name in marks}
            assert all(not value for name, value in found[key].items() if name[0].isupper() and name not in marks)
            assert item.attributes["data-tag"] == f"={found[key]['tag']}"


def test_a_sweeps_report_is_about_the_chosen_edit_and_folds_the_other_taus(finished: Finished, here: Here) -> None:
    options = ("--tau", "0.8,0.85,0.95", "--encoder", "text", "--choose", "PS>=-100")
    swept = completed(here, "sweep", change_run(finished.config, "swept"), finished.store, *options)
    page = page_of(swept)
    sweep = json.loads((swept.place("sweep") / "sweep.json").read_text())
    chosen = sweep["points"][sweep["chosen"]]
    _, *rows = page.table("Edited weights per layer")
    assert {(row[1], row[3]) for row in rows} == {("text", f"{chosen['tau']:g}"), ("vision", "0.8")}
    _, *others = page.table("Selectable weights per layer")
    assert {row[3] for row in others if row[1] == "text"} == {"0.8", "0.85", "0.95"}
    folded = next(item for item in page.all("details") if "at each rule and tau" in item.text)
    assert "open" not in folded.attributes
    told = box(page)
    assert f"tau {chosen['tau']:g}, alpha -1" in told["Edit"][0]
    assert told["Experiments"] == [
        "sweep of 3 edits over tau 0.8, 0.85, 0.95; with alpha -1; text encoder; limits PS>=-100; chosen: tau"
        f" {chosen['tau']:g}, alpha -1, on {sweep['n_pairs']} pairs; figures of {sweep['choice']['n_reported']} others"
    ]
    assert told["Command"][0].startswith("uwm sweep")


def test_a_sweep_without_a_chosen_point_has_no_edit_on_top(finished: Finished, here: Here) -> None:
    options = ("--tau", "0.8,0.85", "--encoder", "text", "--choose", "PS>=100")
    swept = completed(here, "sweep", change_run(finished.config, "unchosen"), finished.store, *options)
    page = page_of(swept)
    told = box(page)
    assert "Edit" not in told
    assert told["Experiments"][0].endswith("; no point chosen")
    assert told["Calibration data"][0].startswith("text encoder: 23 pairs")
    assert page.table("Edited weights per layer") == []
    assert page.all("p", "verdict")[0].text.startswith("None of the 2 points keeps")


def test_a_comparisons_report_is_about_its_first_method_and_shows_its_control(finished: Finished, here: Here) -> None:
    methods = {
        "late": {"text": {"tau": 0.97}, "vision": None},
        "random": {"text": {"scorer": "random"}, "vision": None},
    }
    compared = completed(here, "compare", change_run(finished.config, "compared", methods=methods), finished.store)
    page = page_of(compared)
    told = box(page)
    assert told["Edit"][0].startswith("text encoder: scorer uwm,")
    assert "tau 0.97" in told["Edit"][0]
    assert len(told["Edit"]) == 1
    assert told["Experiments"] == ["comparison of 2 methods and 2 controls"]
    assert {row[3] for row in page.table("Edited weights per layer")[1:]} == {"0.97"}
    assert page.table("By how sure the original was")[0][2:4] == ["late − original", "random control − original"]


def test_an_ablations_report_says_what_was_varied(finished: Finished, here: Here) -> None:
    options = ("--rule", "score_mass,top_share")
    done = completed(here, "ablate", change_run(finished.config, "ablated"), finished.store, *options)
    page = page_of(done)
    told = box(page)
    (line,) = told["Experiments"]
    assert line.startswith("ablation of 2 edits over rule score_mass, top_share; with scorer uwm, ")
    assert line.endswith("limit 8192")
    assert told["Calibration data"][0].startswith("text encoder: 23 pairs")
    assert page.all("p", "verdict")[0].text.startswith("The best GS of 2 ways to edit")
    assert "Ablation" in [item.text for item in page.all("h2")]
