"""`uwm history`: lines with a plot, CSV and JSON."""

import csv
import json

import pytest

from data_specs.night import Schedule
from flows.nightly.nights import add_schedule
from tests.cases.command_line import called
from tests.cases.nights import at, gate_result, keep, measured, night


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("history")
    add_schedule(root, "production", Schedule(at=at(1, 0), cron="0 3 * * *"))
    add_schedule(root, "production", Schedule(at=at(6, 12), cron=None))
    more = {"shards": ["1" * 64, "2" * 64, "3" * 64], "shards_added": ["s3://drop/new-000001.tar"]}
    return keep(
        root,
        night(at(1), measured(60.0, gates=[gate_result()]), due=at(1)),
        night(at(4), measured(50.0, gates=[gate_result("fail")], **more), due=at(4)),
        night(at(5), status="interrupted", due=at(5)),
        night(at(6), measured(54.0, gates=[gate_result("not_comparable")], **more | {"code": "0" * 64}), due=at(6)),
    )


def test_lines_show_figures_intervals_gates_changes_and_nights_without_a_result(root):
    lines = called("history", "--store", str(root)).stdout.splitlines()
    assert lines == [
        "",
        "current @ visu, watch production: GS, percent",
        "begun, UTC             GS  95 %            47.0                63.0  gates",
        "2026-11-01 03:00     60.0  [57.0, 63.0]    ··············─────●────  passed",
        "2026-11-02 03:00 to 2026-11-03 03:00: 2 nights never fired: nothing began at that time; a server or `uwm serve` was down, or the schedule was paused",
        "2026-11-04 03:00     50.0  [47.0, 53.0]    ────●─────··············  failed",
        "                  1 shard added (new-000001.tar)",
        "2026-11-05 03:00  was cancelled or interrupted",
        "2026-11-06 03:00     54.0  [51.0, 57.0]    ······────●────·········  not comparable",
        "                  other code measured it",
    ]


def test_csv_has_a_row_a_time_and_every_figure(root):
    rows = list(csv.DictReader(called("history", "--store", str(root), "--csv").stdout.splitlines()))
    assert [(row["at"][8:10], row["state"], row["GS"], row["GS_low"], row["PS"]) for row in rows] == [
        ("01", "measured", "60.0", "57.0", "80.0"),
        ("02", "missed", "", "", ""),
        ("03", "missed", "", "", ""),
        ("04", "measured", "50.0", "47.0", "80.0"),
        ("05", "interrupted", "", "", ""),
        ("06", "measured", "54.0", "51.0", "80.0"),
    ]
    assert (rows[3]["shards_added"], rows[3]["outcome"], rows[3]["gates"]) == (
        "1", "failed", "GS min_change -1: fail"
    )  # fmt: skip
    assert rows[5]["changes"] == "other code measured it"


def test_json_is_one_object_with_whole_versions(root):
    found = json.loads(called("history", "current", "--store", str(root), "--json", "--since", "2026-11-04").stdout)
    assert [row["state"] for row in found["rows"]] == ["measured", "interrupted", "measured"]
    assert found["rows"][0]["shards_added"] == ["s3://drop/new-000001.tar"]
    assert found["rows"][0]["evaluation"] == "c" * 64


def test_other_metrics_are_asked_for_by_name(root):
    lines = called("history", "--store", str(root), "--metric", "PS", "--metric", "GS").stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in lines if " @ " in line] == ["PS, percent", "GS, percent"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--metric", "G"], "there is no metric 'G'"),
        (["curent"], "did you mean current"),
        (["--since", "yesterday"], "--since 'yesterday' is no date"),
        (["--watch", "staging"], "no watch with a history here is called 'staging'; there are 'production'"),
    ],
)
def test_what_is_not_there_is_refused(root, asked, told):
    ended = called("history", "--store", str(root), *asked)
    assert ended.returncode == 2
    assert told in ended.stderr


def test_an_empty_store_says_that_nothing_was_measured(tmp_path):
    ended = called("history", "--store", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "nothing was measured" in ended.stderr


def test_a_hostile_name_steers_no_terminal(tmp_path):
    part = measured(model="a\x1b[31m", error="\x1b]0;x", status="failed", figures={})
    keep(tmp_path, night(at(1), part, measured(model="a\x1b[31m"), watch="w\x1b[2J"))
    shown = called("history", "--store", str(tmp_path)).stdout
    assert "\x1b" not in shown
    assert r"a\x1b[31m @ visu" in shown


def test_a_plot_is_written_as_svg_and_as_nothing_else(root, tmp_path):
    place = tmp_path / "history.svg"
    assert called("history", "--store", str(root), "--plot", str(place)).returncode == 0
    assert place.read_text().count("<circle") >= 6
    for wrong, told in (("history.png", "ends with .svg"), ("none/history.svg", "cannot write")):
        ended = called("history", "--store", str(root), "--plot", str(tmp_path / wrong))
        assert ended.returncode == 2
        assert told in ended.stderr
