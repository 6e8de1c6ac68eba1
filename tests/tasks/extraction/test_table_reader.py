"""Files that are looked at for their ends first, and read later."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.extraction import table_reader
from tasks.extraction.table_reader import ReadLater


@pytest.fixture
def files(tmp_path):
    made = []
    for index in range(3):
        made.append(tmp_path / f"{index} [a].parquet")
        pq.write_table(pa.table({"norm": [float(index), 2.0 * index]}), made[-1])
    return made


@pytest.fixture
def n_opened(monkeypatch):
    opened = []
    plain = table_reader.open_rows
    monkeypatch.setattr(table_reader, "open_rows", lambda path, *rest: opened.append(path) or plain(path, *rest))
    return lambda: len(opened)


def norms_of(later, index):
    with later.opened(index) as file:
        return file.read().column("norm").to_pylist()


def test_small_files_are_opened_once(files, n_opened):
    later = ReadLater(files)
    assert [footer.num_rows for footer in later.footers] == [2, 2, 2]
    assert [norms_of(later, index) for index in (2, 0, 1)] == [[2.0, 4.0], [0.0, 0.0], [1.0, 2.0]]
    assert n_opened() == 3
    assert norms_of(later, 2) == [2.0, 4.0]  # as often as it is asked for
    assert n_opened() == 4


@pytest.mark.parametrize("bound", ["_KEPT_BYTES", "_SMALL_BYTES"])
def test_what_is_large_or_too_much_is_opened_again(monkeypatch, files, n_opened, bound):
    monkeypatch.setattr(table_reader, bound, files[0].stat().st_size * (1 if bound == "_KEPT_BYTES" else 0))
    later = ReadLater(files)
    assert [norms_of(later, index) for index in range(3)] == [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]
    assert n_opened() == (5 if bound == "_KEPT_BYTES" else 6)
