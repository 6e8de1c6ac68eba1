"""The files of experiments as they were written before these had one row type (tests/data/README.md)."""

import pyarrow.parquet as pq
import pytest

from data_specs.experiment_files import experiment_json, read_experiment
from tasks.tables.columns import experiment_csv, experiment_parquet
from tasks.tables.documents import experiment_latex, experiment_markdown
from tasks.tables.kinds import KINDS
from tests.cases.places import ROOT

WRITERS = {"json": experiment_json, "csv": experiment_csv, "md": experiment_markdown, "tex": experiment_latex}
FILES = [(kind, suffix) for kind in KINDS for suffix in KINDS[kind].files if suffix != "svg"]


def place(kind):
    return ROOT / "tests/data/experiments" / kind


@pytest.mark.parametrize(("kind", "suffix"), [item for item in FILES if item[1] in WRITERS])
def test_texts_stay_the_same_to_the_byte(kind, suffix):
    text = WRITERS[suffix](read_experiment(place(kind), kind))
    assert text.encode() == (place(kind) / f"{kind}.{suffix}").read_bytes()


@pytest.mark.parametrize("kind", ["sweep", "ablation"])
def test_parquet_tables_keep_columns_types_order_and_metadata(kind):
    expected = pq.read_table(place(kind) / f"{kind}.parquet")
    found = experiment_parquet(read_experiment(place(kind), kind))
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert found.to_pylist() == expected.to_pylist()


def test_every_file_of_every_kind_is_compared():
    assert sorted(path.name for kind in KINDS for path in place(kind).iterdir()) == sorted(
        f"{kind}.{suffix}" for kind, suffix in FILES
    )
