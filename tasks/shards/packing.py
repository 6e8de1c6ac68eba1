"""Pairs -> tar shards: the same rows give the same bytes, and a pack that fails leaves no shard behind."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import webdataset

from data_specs.errors import DataError, SpecError
from data_specs.run_config import CONTENTS
from data_specs.samples import TAG_SUFFIX, TEXT_SUFFIX, VALID_KEY, content_prefix
from data_specs.wording import reason, shown, shown_path
from tasks.lineage.progress import advance, stage
from tasks.shards.images import BadImage, image_suffix
from tasks.shards.output import ShardNames, parse_names
from tasks.shards.tables import BadRow, PairRow, read_table

DEFAULT_MAX_COUNT = 1000
LARGEST_MAX_COUNT = 1_000_000
_STAGE = "pack"
# A member's name must stay a file name when the shard is unpacked: 255 bytes with its ending.
_KEY_BYTES = 200
_OWNER = "uwm"
_MODE = 0o644


@dataclass(frozen=True)
class Packed:
    """What was packed. `members` counts rows by column, so that an empty column is seen; `bad` rows were left out."""

    n_pairs: int
    shards: tuple[Path, ...]
    tags: dict[str, int]
    n_untagged: int
    members: dict[str, int]
    bad: tuple[BadRow, ...] = ()


class BadRowsError(DataError):
    """Rows cannot be packed; `rows` are all of them."""

    def __init__(self, rows: Sequence[BadRow], n_rows: int) -> None:
        """Tell the first of them."""
        told = rows[0].problem
        if len(rows) > 1:
            told = f"{len(rows)} of {n_rows} rows cannot be packed; mend them, or leave them out with --skip-bad; first: {told}"
        super().__init__(told)
        self.rows = tuple(rows)


def pack_table(table: Path, out: str, *, max_count: int = DEFAULT_MAX_COUNT, skip_bad: bool = False) -> Packed:
    """Pack a csv, jsonl or parquet table; see `pack_rows`."""
    tally = _Contents()
    return _pack(read_table(table, tally.bad.append), out, max_count, tally, skip_bad=skip_bad)


def pack_rows(rows: Iterable[PairRow], out: str, *, max_count: int = DEFAULT_MAX_COUNT) -> Packed:
    """Write pairs to numbered shards, in order; image files are copied as they are.

    Args:
        rows: the pairs; they are read once and only one is held at a time.
        out: pattern of the shards' paths, such as `DIR/name-%06d.tar`.
        max_count: pairs in one shard.

    Returns:
        Counts and the shards' paths.

    Raises:
        SpecError: the pattern, the count, existing shards of such names, or a folder that cannot be written.
        DataError: no rows, or rows whose key, text or image cannot be packed; row and column are named.
    """
    return _pack(rows, out, max_count, _Contents(), skip_bad=False)


def _pack(rows: Iterable[PairRow], out: str, max_count: int, tally: "_Contents", *, skip_bad: bool) -> Packed:
    names = check_output(out, max_count)
    try:
        with names.drafts() as folder, stage(_STAGE, None, "pairs"):
            drafts = list(_write_drafts(_sound(rows, tally, skip_bad=skip_bad), folder, max_count))
            if tally.bad and not (skip_bad and drafts):
                raise BadRowsError(tally.bad, tally.n_rows)
            if not drafts:
                raise DataError("there are no rows to pack; expected at least one pair")
            shards = names.publish(drafts)
    except OSError as error:
        raise SpecError(f"cannot write shards to {names.folder}: {error}; choose another --out") from error
    tags = dict(sorted(tally.tags.items()))
    return Packed(len(tally.places), shards, tags, tally.n_untagged, tally.members, tuple(tally.bad))


def check_output(out: str, max_count: int) -> ShardNames:
    """The names that shards will have; asked before any work is done.

    Raises:
        SpecError: the pattern or the count cannot be used, or shards of such names exist.
    """
    if not 1 <= max_count <= LARGEST_MAX_COUNT:
        raise SpecError(f"--max-count is {max_count}, expected 1 to {LARGEST_MAX_COUNT}")
    names = parse_names(out)
    try:
        names.refuse_existing()
    except OSError as error:
        raise SpecError(f"cannot look into {names.folder}: {error}; choose another --out") from error
    return names


@dataclass
class _Contents:
    places: dict[str, str] = field(default_factory=dict)
    tags: Counter[str] = field(default_factory=Counter)
    members: dict[str, int] = field(
        default_factory=lambda: {f"{content}_{kind}": 0 for kind in ("text", "image") for content in CONTENTS}
    )
    n_untagged: int = 0
    bad: list[BadRow] = field(default_factory=list)
    n_sound: int = 0

    @property
    def n_rows(self) -> int:
        return self.n_sound + len(self.bad)

    def add(self, row: PairRow) -> None:
        if row.key in self.places:
            raise DataError(
                f"{row.place}, column key: {shown(row.key)} is also the key of {self.places[row.key]}; expected a different key"
                " in each row"
            )
        self.places[row.key] = row.place
        if row.tag is None:
            self.n_untagged += 1
        else:
            self.tags[row.tag] += 1
        for content in CONTENTS:
            self.members[f"{content}_text"] += content in row.texts
            self.members[f"{content}_image"] += content in row.images


_Sample = dict[str, str | bytes]


def _sound(rows: Iterable[PairRow], tally: _Contents, *, skip_bad: bool) -> Iterator[_Sample]:
    """What is to be written of each row; after a bad one nothing is, but all others are looked at."""
    for row in rows:
        try:
            _check_key(row)
            sample: _Sample = {"__key__": row.key, **_members(row)}
            tally.add(row)
        except DataError as error:
            tally.bad.append(BadRow(row.place, str(error)))
            continue
        tally.n_sound += 1
        if skip_bad or not tally.bad:
            yield sample


def _write_drafts(samples: Iterator[_Sample], folder: Path, max_count: int) -> Iterator[Path]:
    for number, first in enumerate(iter(lambda: next(samples, None), None)):
        draft = folder / f"{number}.part"
        # A file object, because webdataset would take a name apart as a URL. The fixed owner, mode
        # and time make the bytes depend on the rows alone.
        with (
            draft.open("xb") as file,
            webdataset.TarWriter(file, encoder=False, user=_OWNER, group=_OWNER, mode=_MODE, mtime=0) as tar,
        ):
            for sample in chain([first], islice(samples, max_count - 1)):
                tar.write(sample)
                advance(_STAGE)
        yield draft


def _check_key(row: PairRow) -> None:
    wrong = None
    if "/" in row.key or not VALID_KEY.fullmatch(row.key):
        wrong = "holds a dot, a slash or a control character, which would split it"
    elif len(_encoded(row, "key", row.key)) > _KEY_BYTES:
        wrong = f"is longer than {_KEY_BYTES} bytes"
    if wrong:
        raise DataError(f"{row.place}, column key: {shown(row.key)} {wrong}; expected a plain name such as 000123")


def _members(row: PairRow) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for content in CONTENTS:
        prefix = content_prefix(content, paired=True)
        if content in row.texts:
            members[prefix + TEXT_SUFFIX] = _encoded(row, f"{content}_text", row.texts[content])
        if content in row.images:
            data, suffix = _image(row, f"{content}_image", row.images[content])
            members[prefix + suffix] = data
    if not members:
        raise DataError(
            f"{row.place} holds nothing: columns safe_text, unsafe_text, safe_image and unsafe_image are all empty;"
            " fill one or remove the row"
        )
    if row.tag is not None:
        members[TAG_SUFFIX] = _encoded(row, "tag", json.dumps({"tag": row.tag}, ensure_ascii=False))
    return members


def _encoded(row: PairRow, column: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{row.place}, column {column}: {shown(text)} is not valid Unicode text; mend it") from error


def _image(row: PairRow, column: str, image: Path | bytes) -> tuple[bytes, str]:
    name = f"of {len(image)} bytes" if isinstance(image, bytes) else shown_path(image)
    where = f"{row.place}, column {column}: image {name}"
    try:
        if isinstance(image, bytes):
            data = image
        elif image.is_file():
            data = image.read_bytes()
        else:
            raise DataError(f"{where} does not exist; paths start at the table's folder")
    except (OSError, ValueError) as error:
        raise DataError(f"{where} cannot be read: {reason(error)}") from error
    try:
        return data, image_suffix(data)
    except BadImage as error:
        raise DataError(f"{where} cannot be packed: {error}") from error
