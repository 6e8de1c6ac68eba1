"""`uwm lineage sql` in its three forms."""

import json

import pytest

from tests.cases.command_line import called
from tests.cases.large_store import LargeStore

QUERY = "SELECT kind, count(*) AS n, 'nan'::DOUBLE AS x, NULL AS y FROM artifacts WHERE kind = 'edit' GROUP BY 1"


@pytest.mark.slow
def test_an_answer_is_a_table_json_or_csv(tmp_path):
    LargeStore(tmp_path / "store").run("small", {}, 0.9)
    place = ("--store", str(tmp_path / "store"))
    assert json.loads(called("lineage", "sql", QUERY, "--json", *place).stdout) == [
        {"kind": "edit", "n": 1, "x": None, "y": None}
    ]
    assert called("lineage", "sql", QUERY, "--csv", *place).stdout == "kind,n,x,y\nedit,1,,\n"
    shown = called("lineage", "sql", QUERY, *place)
    assert (shown.returncode, [line.split() for line in shown.stdout.splitlines()][::2]) == (
        0,
        [["kind", "n", "x", "y"], ["edit", "1"]],
    )
    for query, option in (("DROP VIEW x", "--json"), (QUERY, "--csv")):
        done = called("lineage", "sql", query, option, "--json", *place)
        assert (done.returncode, done.stdout, done.stderr.startswith("error: ")) == (2, "", True)
    empty = called("lineage", "sql", "SELECT * FROM tags", "--json", *place)
    assert (empty.returncode, empty.stdout) == (0, "[]\n")
