"""An index of a store's manifests, kept beside them and brought up to date at each question.

It answers where to look. Nothing is verified by it: that is done from the manifests themselves.
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_specs.errors import ArtifactError
from data_specs.manifest import KIND_PATTERN, VERSION_PATTERN, ArtifactRef
from tasks.extraction.table_reader import open_rows
from tasks.lineage.contents import MANIFEST, PRUNED, read_manifest, require_own
from tasks.tracing.rows import Rows

_FOLDER, _FILE = ".index", "manifests.parquet"

_KIND, _VERSION = re.compile(KIND_PATTERN), re.compile(VERSION_PATTERN)
# By these a manifest that was written anew is told from the one that was read: nobody but the kernel sets the second.
_STAMP = {name: pa.int64() for name in ("modified", "changed", "length", "inode")} | {"is_pruned": pa.bool_()}
_INT64 = (1 << 63) - 1
_COPY = "a copy"

_Key = tuple[str, str]  # kind and version
_Stamp = tuple[int | bool, ...]


class Index:
    """Every manifest of a store as it stood when it was asked for, a row each; for the columns see `tasks.tracing.rows`."""

    def __init__(self, rows: pa.Table | pq.ParquetFile) -> None:
        """All rows, or the file that holds them."""
        self._rows = rows

    def table(self, *columns: str) -> pa.Table:
        """Kind, version, problem and some more columns; without copies that lie under another kind's name."""
        wanted = [*dict.fromkeys(("kind", "version", "problem", *columns))]
        found = self._rows.select(wanted) if isinstance(self._rows, pa.Table) else self._rows.read(wanted)
        return found.filter(pc.fill_null(pc.not_equal(found.column("problem"), _COPY), True))


def open_index(root: Path) -> Index:
    """The index of the store at `root`: manifests that are new are read, those that are gone forgotten.

    Where the store may not be written, all manifests are read at each call.

    Raises:
        ArtifactError: the store's folder cannot be read.
    """
    stamps = dict(_stamped(root))
    file = _open(root / _FOLDER / _FILE)
    known = _known(file)
    kept = [stamps.get(key) == stamp for key, stamp in known]
    same = {key for (key, _), keep in zip(known, kept, strict=True) if keep}
    if file is not None and all(kept) and len(same) == len(stamps):
        return Index(file)
    rows = _read(root, {key: stamp for key, stamp in stamps.items() if key not in same})
    if file is not None and same:
        rows = pa.concat_tables([file.read().filter(pa.array(kept)), rows])
    _write(rows, root / _FOLDER)
    return Index(rows)


def _stamped(root: Path) -> Iterator[tuple[_Key, _Stamp]]:
    try:
        kinds = [entry for entry in os.scandir(root) if _KIND.fullmatch(entry.name) and entry.is_dir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArtifactError(f"cannot read the store {root}: {error.strerror or error}") from error
    for kind in kinds:
        with suppress(PermissionError):
            for folder in os.scandir(kind.path):
                if _VERSION.fullmatch(folder.name):
                    yield (kind.name, folder.name), _stamp(folder.path)


def _stamp(folder: str) -> _Stamp:
    pruned = os.path.lexists(os.path.join(folder, PRUNED))  # noqa: PTH118  (many thousand times)
    try:
        found = os.lstat(os.path.join(folder, MANIFEST))  # noqa: PTH118
    except OSError:
        return 0, 0, 0, 0, pruned
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino & _INT64, pruned


def _open(path: Path) -> pq.ParquetFile | None:
    """None where there is none that can be read, or one of other columns."""
    with suppress(OSError, pa.ArrowException):
        file = open_rows(path)
        if file.schema_arrow.equals(_with_stamps(Rows().table(), []).schema):
            return file
    return None


def _known(file: pq.ParquetFile | None) -> list[tuple[_Key, _Stamp]]:
    if file is None:
        return []
    found = file.read(["kind", "version", *_STAMP])
    columns = [found.column(name).to_pylist() for name in ("kind", "version", *_STAMP)]
    return [((row[0], row[1]), row[2:]) for row in zip(*columns, strict=True)]


def _read(root: Path, stamps: dict[_Key, _Stamp]) -> pa.Table:
    rows = Rows()
    for (kind, version), stamp in stamps.items():
        folder, ref = root / kind / version, ArtifactRef(kind=kind, version=version)
        problem, content = None, b""
        try:
            manifest = read_manifest(folder, ref)
            content = (folder / MANIFEST).read_bytes()
            if manifest.recipe.kind != kind and manifest.version == version:
                problem = _COPY
            else:
                require_own(manifest, ref)
        except (ArtifactError, OSError) as error:
            problem = str(error)
        rows.add(ref, content, problem=problem, pruned=bool(stamp[-1]))
    return _with_stamps(rows.table(), stamps.values())


def _with_stamps(rows: pa.Table, stamps: Iterable[_Stamp]) -> pa.Table:
    columns = [*zip(*stamps, strict=True)] or [()] * len(_STAMP)
    for (name, kind), values in zip(_STAMP.items(), columns, strict=True):
        rows = rows.append_column(name, pa.array(values, kind))
    return rows


def _write(rows: pa.Table, folder: Path) -> None:
    """Put the index down, whole or not at all; a store that may not be written gets none."""
    draft = folder / f"{_FILE}.{secrets.token_hex(4)}"
    with suppress(OSError, pa.ArrowException):
        if not folder.parent.is_dir():
            return
        folder.mkdir(exist_ok=True)
        try:
            pq.write_table(rows, draft, compression="zstd")
            draft.replace(folder / _FILE)
        finally:
            draft.unlink(missing_ok=True)
