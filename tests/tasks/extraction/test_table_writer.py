import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.errors import DataError
from data_specs.schemas import activation_stats_schema, embeddings_schema
from tasks.extraction.columns import interleave, vector_column, vectors
from tasks.extraction.table_writer import TableWriter, row_group_rows
from tests.cases.statistics import random_statistics, statistics_rows, write_statistics

WIDTH = 2048


@pytest.fixture(scope="module")
def rows():
    """A thousand rows: a row group of 512 and a part of one."""
    norm, std = random_statistics(1000, WIDTH, 0)
    contents = ["safe", "unsafe"] * 500
    tags = [("hate", None, "it's")[row // 2 % 3] for row in range(1000)]
    return statistics_rows([f"a/{row // 2}" for row in range(1000)], contents, tags, norm, std)


@pytest.mark.slow
@pytest.mark.parametrize("batches", [[1000], [8] * 125, [700, 300], [511, 2, 487]])
def test_the_bytes_do_not_depend_on_how_rows_were_batched(tmp_path, rows, batches):
    starts = [sum(batches[:i]) for i in range(len(batches))]
    parts = [rows.slice(start, n) for start, n in zip(starts, batches, strict=True)]
    whole = write_statistics(tmp_path / "whole.parquet", [rows])
    split = write_statistics(tmp_path / "split.parquet", parts)
    assert split.read_bytes() == whole.read_bytes()
    assert pq.read_metadata(split).num_row_groups == 2
    found = pq.read_table(split)
    assert found.equals(pa.Table.from_batches([rows]))
    assert found.schema.equals(activation_stats_schema(WIDTH), check_metadata=True)


def test_row_groups_are_even_so_that_no_pair_is_split():
    for width in (1, 3, 48, 768, 3072, 1 << 22):
        n = row_group_rows(activation_stats_schema(width))
        assert n % 2 == 0
        assert 2 <= n <= 65_536
        assert n == 2 or n * width * 2 * 4 <= 8 << 20


def test_several_files_grow_side_by_side(tmp_path, rows):
    first, second = tmp_path / "layer=a/0.parquet", tmp_path / "layer=b/0.parquet"
    with TableWriter({first: rows.schema, second: rows.schema}) as writer:
        writer.write({first: rows.slice(0, 10), second: rows.slice(10, 4)})
        writer.write({first: rows.slice(20, 2)})
    assert pq.read_table(first).column("pair_id").to_pylist() == [f"a/{row // 2}" for row in [*range(10), 20, 21]]
    assert pq.read_table(second).num_rows == 4


@pytest.mark.slow
@pytest.mark.parametrize("n_batches", [1, 20])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_bytes_do_not_depend_on_how_many_threads_write(tmp_path, rows, n_batches, threads):
    found = {}
    for n in (1, threads):
        files = [tmp_path / str(n) / f"{i}.parquet" for i in range(5)]
        with TableWriter(dict.fromkeys(files, rows.schema), threads=n) as writer:
            for start in range(n_batches):
                writer.write({path: rows.slice(50 * start, 40 + i) for i, path in enumerate(files)})
        found[n] = [path.read_bytes() for path in files]
        assert [pq.read_table(path).num_rows for path in files] == [n_batches * (40 + i) for i in range(5)]
    assert found[1] == found[threads]


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_of_a_writing_thread_reaches_the_caller(tmp_path, rows, threads):
    wrong = rows.schema.remove(0)
    path = tmp_path / "a.parquet"
    right = [tmp_path / f"{i}.parquet" for i in range(3)]

    def write_many():
        with TableWriter({**dict.fromkeys(right, rows.schema), path: wrong}, threads=threads) as writer:
            for _ in range(200):
                writer.write({path: rows, **dict.fromkeys(right, rows.slice(0, 2))})

    with pytest.raises(ValueError, match="Table schema does not match schema used to create file"):
        write_many()


def test_an_error_of_the_caller_is_not_hidden_by_the_writer(tmp_path, rows):
    path = tmp_path / "a.parquet"

    def fail_between():
        with TableWriter({path: rows.schema}) as writer:
            writer.write({path: rows})
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail_between()
    assert pq.read_table(path).num_rows == 1000


def test_vectors_pass_through_arrow_unchanged():
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    column = pa.chunked_array([vector_column(values[:2]), vector_column(values[2:])])
    assert torch.equal(vectors(column, "norm"), values)


def test_other_columns_than_float32_vectors_are_refused_by_name():
    with pytest.raises(DataError, match=r"column norm is list<.*> with 0 nulls, expected float32 vectors"):
        vectors(pa.chunked_array([[[1.0, 2.0]]]), "norm")
    column = pa.chunked_array([pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))])
    with pytest.raises(DataError, match=r"column std is .* with 1 nulls"):
        vectors(column, "std")
    column = pa.chunked_array([pa.array([[1.0, 2.0], [None, 3.0]], pa.list_(pa.float32(), 2))])
    with pytest.raises(DataError, match=r"column std has vectors that hold 1 nulls"):
        vectors(column, "std")


def test_no_rows_give_vectors_of_their_width():
    assert vectors(pa.chunked_array([], pa.list_(pa.float32(), 3)), "norm").shape == (0, 3)


def test_interleaving_puts_the_sides_of_a_sample_next_to_each_other():
    safe, unsafe = torch.tensor([[1, 1], [3, 3]]), torch.tensor([[2, 2], [4, 4]])
    assert interleave([safe, unsafe]).tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert interleave([safe]).tolist() == [[1, 1], [3, 3]]


def test_schemas_carry_their_name_and_version():
    for schema, name in ((activation_stats_schema(3), b"activation_stats"), (embeddings_schema(3), b"embeddings")):
        assert schema.metadata == {b"spec": name, b"version": b"1"}
