"""Parquet files written by background threads while the next batch is computed."""

from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from tasks.lineage.cores import available_cores

_ROW_GROUP_BYTES = 8 << 20
_QUEUED_BATCHES = 2
_DISK = LocalFileSystem()


def row_group_rows(schema: pa.Schema) -> int:
    """Rows of about 8 MiB: groups of this size read several times faster than large ones.

    Always even, so that the two sides of a pair, written one after the other, share a group.
    """
    widths = [field.type.list_size for field in schema if pa.types.is_fixed_size_list(field.type)]
    rows: int = _ROW_GROUP_BYTES // (4 * max(1, sum(widths)))
    return max(2, min(rows, 65_536) // 2 * 2)


def open_parquet(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer for vectors of floats: byte-stream-split and light zstd, bytes equal for equal rows."""
    vectors = [field.name for field in schema if pa.types.is_fixed_size_list(field.type)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return pq.ParquetWriter(
        path,
        schema,
        filesystem=_DISK,  # else it is looked for at each path
        compression="zstd",
        compression_level=1,
        use_dictionary=[field.name for field in schema if field.name not in vectors],
        write_statistics=False,
        use_byte_stream_split=[f"{name}.list.element" for name in vectors],
    )


class TableWriter:
    """Several Parquet files that grow batch by batch.

    Rows are gathered into row groups of a fixed size, so the bytes do not depend on how the
    rows were batched, nor on how many threads write, each some of the files. A few batches wait for
    `close`, whichever thread that is called in, and never see one. An error in a thread is raised
    again at the next `write` or by `close`.
    """

    def __init__(self, files: Mapping[Path, pa.Schema], *, threads: int | None = None) -> None:
        """Write to `files`, each with its schema; `threads` None means one for every two cores."""
        # Compressing takes a core for 0.2 GB/s, and a GPU gives more than that.
        wanted = max(1, available_cores() // 2) if threads is None else threads
        paths = list(files)
        shares = [paths[start::wanted] for start in range(min(wanted, max(1, len(paths))))]
        self._lanes = [_Lane({path: files[path] for path in share}) for share in shares]

    def write(self, rows: Mapping[Path, pa.RecordBatch]) -> None:
        """Append rows to some of the files; waits while two batches are still to be written."""
        for lane in self._lanes:
            own = {path: batch for path, batch in rows.items() if path in lane.schemas}
            if own:
                lane.write(own)

    def close(self) -> None:
        """Write what is left; the files are complete then."""
        self.abandon()
        for lane in self._lanes:
            lane.raise_error()

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """End without a word of errors, whatever the files hold."""
        for lane in self._lanes:
            lane.end()
        for lane in self._lanes:
            lane.join()


class _Lane:
    """The files of one thread."""

    def __init__(self, schemas: Mapping[Path, pa.Schema]) -> None:
        self.schemas = dict(schemas)
        self._queue: Queue[dict[Path, pa.RecordBatch] | None] = Queue(maxsize=_QUEUED_BATCHES + 1)
        self._error: BaseException | None = None
        self._thread: Thread | None = None

    def write(self, rows: dict[Path, pa.RecordBatch]) -> None:
        self.raise_error()
        if self._thread is None and self._queue.qsize() == _QUEUED_BATCHES:
            self._thread = Thread(target=self._run, name="parquet-writer", daemon=True)
            self._thread.start()
        self._queue.put(rows)

    def end(self) -> None:
        self._queue.put(None)

    def join(self) -> None:
        if self._thread is None:
            self._run()
        else:
            self._thread.join()

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._write_all()
        except BaseException as error:
            self._error = error
            while self._queue.get() is not None:
                continue

    def _write_all(self) -> None:
        writers = {path: open_parquet(path, schema) for path, schema in self.schemas.items()}
        waiting: dict[Path, list[pa.RecordBatch]] = {path: [] for path in writers}
        try:
            while (rows := self._queue.get()) is not None:
                for path, batch in rows.items():
                    waiting[path].append(batch)
                    waiting[path] = self._write_full_groups(writers[path], waiting[path])
            for path, batches in waiting.items():
                if batches:
                    writers[path].write_table(pa.Table.from_batches(batches).combine_chunks())
        finally:
            for writer in writers.values():
                writer.close()

    @staticmethod
    def _write_full_groups(writer: pq.ParquetWriter, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        size = row_group_rows(writer.schema)
        if sum(batch.num_rows for batch in batches) < size:
            return batches
        table = pa.Table.from_batches(batches).combine_chunks()
        full = table.num_rows // size * size
        writer.write_table(table.slice(0, full), row_group_size=size)
        rest: list[pa.RecordBatch] = table.slice(full).to_batches()
        return rest
