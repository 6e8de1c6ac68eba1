"""SQL over a store: it sees all manifests, runs and tags as tables, and nothing else."""

from collections import Counter

import pytest

from data_specs.errors import SpecError
from tasks.lineage.store import Store
from tasks.lineage.tags import remove_tag, set_tag
from tasks.tracing.tables import TABLES, answer
from tests.cases.large_store import LargeStore, manifests


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    filled = LargeStore(tmp_path_factory.mktemp("tables") / "store")
    filled.shards = filled.shards[:3]
    filled.fill(60)
    return filled.root


def rows(root, sql):
    return [tuple(row.values()) for row in answer(root, sql).to_pylist()]


def test_what_the_manifests_hold_can_be_counted_and_joined(root):
    told = [*manifests(root)]
    kinds = Counter(item["recipe"]["kind"] for item in told)
    assert dict(rows(root, "SELECT kind, count(*) FROM artifacts GROUP BY 1")) == kinds
    (bytes_,) = rows(root, "select sum(size_bytes)::BIGINT from FILES")
    assert bytes_ == (sum(file["size_bytes"] for item in told for file in item["files"]),)
    shard = told[0]["sources"][0]["sha256"]
    made = "SELECT DISTINCT kind FROM inputs JOIN artifacts USING (kind, version) WHERE sha256 = '{}' ORDER BY 1"
    assert rows(root, made.format(shard)) == [
        (kind,) for kind in sorted(kinds) if kind.startswith(("activations", "embeddings"))
    ]
    assert rows(root, "SELECT DISTINCT module FROM modules ORDER BY 1 LIMIT 1") == [("tasks.stage.module_0",)]
    assert rows(root, "SELECT DISTINCT installed FROM libraries WHERE library = 'torch'") == [("1.0",)]
    assert rows(root, "SELECT count(DISTINCT location) FROM sources WHERE what = 'shard'") == [(3,)]


def test_settings_of_artifacts_and_of_runs_and_figures_can_be_asked_for(root):
    found = rows(root, "SELECT name, value, number FROM settings WHERE run IS NOT NULL AND number > 0.9 ORDER BY 3")
    assert found[0] == ("text.tau", "0.9001", 0.9001)
    of_artifacts = rows(root, "SELECT DISTINCT kind FROM settings WHERE name = 'text.tau' AND version IS NOT NULL")
    assert of_artifacts == [("edit",)]
    asked = (
        "SELECT r.name, f.value, a.kind FROM runs r JOIN figures f ON f.run = r.id JOIN run_artifacts u ON u.run = r.id"
        " JOIN artifacts a USING (version) WHERE u.role = 'edit' AND f.metric = 'GS' ORDER BY 1"
    )
    assert rows(root, asked)[:1] == [("run-0000", 90.0, "edit")]


def test_tags_are_those_of_now_and_their_history_is_all(root):
    store = Store(root)
    edit, model = (next(ref for ref in store.refs() if ref.kind == kind) for kind in ("edit", "model"))
    set_tag(store, "prod", edit, "x")
    set_tag(store, "old", edit, "x")
    set_tag(store, "prod", model, "y")
    remove_tag(store, "old")
    assert rows(root, "SELECT tag, kind, version FROM tags") == [("prod", "model", model.version)]
    assert rows(root, "SELECT tag, kind FROM tag_history") == [
        ("prod", "edit"), ("old", "edit"), ("prod", "model"), ("old", None)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_json('{file}')",
        "SELECT * FROM parquet_scan('{file}')",
        "SELECT * FROM glob('{file}*')",
        "SELECT * FROM sniff_csv('{file}')",
        "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''{file}'')'))",
        "SELECT * FROM enable_profiling(save_location = '{file}')",
        "SELECT * FROM index",
        "COPY artifacts TO '{file}'",
        "ATTACH '{file}.db' AS x",
        "EXPORT DATABASE '{file}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "PRAGMA enable_external_access = true",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM artifacts",
        "DROP VIEW artifacts",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY artifacts TO '{file}'",
        "",
        "-- nothing",
        "SELEC 1",
        "SELECT * FROM nowhere",
    ],
)
def test_nothing_else_is_read_or_changed(root, tmp_path, sql):
    file = tmp_path / "secret.csv"
    file.write_text("password\nhunter2\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SpecError, match="cannot answer: ") as refused:
        answer(root, sql.format(file=file))
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert file.read_text() == "password\nhunter2\n"


@pytest.mark.slow
def test_the_tables_can_be_asked_for(root):
    assert {name for (name,) in rows(root, "SHOW TABLES")} == {*TABLES}
    columns = rows(root, "SELECT column_name FROM information_schema.columns WHERE table_name = 'files'")
    assert columns == [("kind",), ("version",), ("path",), ("sha256",), ("size_bytes",)]
    for name in TABLES:
        answer(root, f"SELECT * FROM {name}")


def test_a_store_without_anything_has_empty_tables(tmp_path):
    for name in TABLES:
        assert answer(tmp_path / "nowhere", f"SELECT * FROM {name}").num_rows == 0
