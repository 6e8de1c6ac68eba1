"""A sum a tag: scores of any tags are made of them, and no shard is read again."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.schemas import tag_sums_schema
from tasks.extraction.table_reader import open_rows
from tasks.extraction.table_writer import open_parquet, row_group_rows
from tasks.scoring.folded.layer import AnyLayerFolding, Folded, Folding, LayerFolding, LayerState, Unfolded, matrix_of
from tasks.scoring.folded.moments import Moments
from tasks.scoring.folded.sample import drawn_rows
from tasks.scoring.layer_scores import add_window
from tasks.scoring.scorer import PairScores, SideScores
from tasks.scoring.total import Sums

Tag = str | None  # None is that of samples without one
# Of the record: what the sums of each tag count. Of a file: which sums are float32, as those of a single product may be.
_BY_TAG, _FLOAT32 = "by_tag", "float32"


def layer_folding(weight: Tensor, folding: Folding, name: str) -> AnyLayerFolding[Any]:
    """How one layer is folded: into one sum, or into a sum a tag."""
    return (TagFolding if folding.chosen.sums_by_tag else LayerFolding)(weight, folding, name)


class TagSums:
    """A layer's sums by tag, each made when it is taken: of those that files hold, one tag's are in memory at a time."""

    def __init__(self, makers: Mapping[Tag, Callable[[], Sums]]) -> None:
        """Sums of some tags, by what makes them."""
        self._makers = dict(makers)
        self.counts: dict[Tag, dict[str, int]] = {}  # of those that were ever made

    @property
    def tags(self) -> list[Tag]:
        """Those that have sums: by name, and last the samples without one."""
        return in_order(self._makers)

    def put(self, tag: Tag, sums: Sums) -> None:
        """Keep the sums of a tag."""
        self._makers[tag] = lambda: sums
        self.counts[tag] = dict(sums.counts)

    def take(self, tag: Tag) -> Sums:
        """The sums of one of the tags, once."""
        sums = self._makers.pop(tag)()
        self.counts[tag] = dict(sums.counts)
        return sums

    def join(self, later: "TagSums", /) -> None:
        """Add what was added up over later samples, tag by tag when each is taken."""
        for tag, make in later._makers.items():
            own = self._makers.get(tag)
            self._makers[tag] = make if own is None else partial(_joined, own, make)
        self.counts.clear()


def in_order(tags: Iterable[Tag]) -> list[Tag]:
    """Tags as they are added up and written: by name, and None last."""
    return sorted(tags, key=lambda tag: (tag is None, tag or ""))


class TagFolding(AnyLayerFolding[TagSums]):
    """Folds rows of one layer into a sum a tag, in the windows of rows of all tags."""

    def __init__(self, weight: Tensor, folding: Folding, name: str) -> None:
        """Fold for scores of `weight` [out, in], on its device; the tags of `folding` are those that are scored."""
        super().__init__(weight, replace(folding, tags=None), name)
        self._weight, self._folding, self._names = weight, folding, tuple(self._scores.sums.counts)

    def no_sums(self) -> TagSums:
        """Those of no rows."""
        return TagSums({})

    def add_to(self, sums: TagSums, rows: pa.Table) -> None:
        """Take the rows of one window into the sums of their tags.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        for tag, some in _divided(rows).items():
            own = sums.take(tag) if tag in sums.tags else self._nothing()
            sums.put(tag, self._added(own, some))

    def folded(self, state: LayerState[TagSums]) -> Folded[TagSums]:
        """What rows come to, or have come to; those of one window are added up when the sum of their tag is taken."""
        if isinstance(state, Folded):
            return state
        rows = state.rows
        sums = {tag: partial(self._added, self._nothing(), some) for tag, some in _divided(rows).items()}
        return Folded(TagSums(sums), Moments.of_rows(rows), drawn_rows(rows, self.sample_pairs))

    def counted(self, sums: TagSums) -> dict[str, Any]:
        """Samples or pairs, by tag and sum; only of tags that have any.

        Raises:
            ValueError: some sums were not made yet, as those that files hold until they are written anew.
        """
        if not sums.counts.keys() >= {*sums.tags}:
            raise ValueError("sums by tag are counted when they are made")
        some = {tag: counts for tag, counts in sums.counts.items() if any(counts.values())}
        return {_BY_TAG: [{"tag": tag, **some[tag]} for tag in in_order(some)]}

    def scored(self, state: LayerState[TagSums]) -> PairScores | SideScores:
        """The scorer with what the wanted tags come to, which are added in their order.

        Rows that fit into one window are not divided, as by `LayerFolding`.

        Raises:
            DataError: a pair has no ratio; it is named, and the layer is not.
        """
        if isinstance(state, Unfolded):
            return LayerFolding(self._weight, self._folding, self._name).scored(state)
        wanted, total = self._folding.tags, self._nothing()
        for tag in state.sums.tags:
            if wanted is None or tag in wanted:
                total.join(state.sums.take(tag))
        self._scores.sums = total
        return self._scores

    def write_sums(self, sums: TagSums, path: Path) -> None:
        """Write a row a tag and output and a column a sum; a tag's rows are row groups of their own.

        Raises:
            DataError: a pair has no ratio; layer and pair are named.
        """
        schema = tag_sums_schema(self._width, self._names)
        single: list[tuple[Tag, str]] = []
        with open_parquet(path, schema) as writer:
            for tag in sums.tags:
                with self.naming_layer():
                    totals = sums.take(tag).totals
                made = {name: total.matrix for name, total in totals.items() if total.matrix is not None}
                single += [(tag, name) for name, matrix in made.items() if matrix.dtype == torch.float32]
                if made:
                    writer.write_table(_rows_of(tag, made, schema), row_group_size=row_group_rows(schema))
            writer.add_key_value_metadata({_FLOAT32: json.dumps(single, ensure_ascii=False)})

    def read_sums(self, path: Path, counts: Mapping[str, Any]) -> TagSums:
        """Sums that `write_sums` wrote, each of which is read when it is taken; `counts` are those of the record."""
        of_tags = counts[_BY_TAG]
        return TagSums({each["tag"]: partial(self._read, path, of_tags, place) for place, each in enumerate(of_tags)})

    def _read(self, path: Path, of_tags: Sequence[Mapping[str, Any]], place: int) -> Sums:
        sums, counts = self._nothing(), of_tags[place]
        with open_rows(path) as file:
            n_groups = file.num_row_groups // len(of_tags)
            single = json.loads(file.metadata.metadata[_FLOAT32.encode()])
            names = [name for name in self._names if counts[name]]
            groups = [*range(place * n_groups, (place + 1) * n_groups)]
            table = file.read_row_groups(groups, columns=names, use_threads=False)
        for name in names:
            matrix = matrix_of(table.column(name))
            exact = matrix.float() if [counts["tag"], name] in single else matrix
            sums.add(name, exact.to(self._device), counts[name])
        return sums

    def _nothing(self) -> Sums:
        return Sums(self._names)

    def _added(self, sums: Sums, rows: pa.Table) -> Sums:
        self._scores.sums = sums
        add_window(self._window.wanted([rows.select(self._window.columns)]), self._window, self._scores)
        return sums


def _joined(earlier: Callable[[], Sums], later: Callable[[], Sums]) -> Sums:
    sums = earlier()
    sums.join(later())
    return sums


def _divided(rows: pa.Table) -> dict[Tag, pa.Table]:
    """The rows of each tag, in their order."""
    places: dict[Tag, list[int]] = {}
    for place, tag in enumerate(rows.column("tag").to_pylist()):
        places.setdefault(tag, []).append(place)
    return {tag: rows if len(places) == 1 else rows.take(some) for tag, some in places.items()}


def _rows_of(tag: Tag, made: Mapping[str, Tensor], schema: pa.Schema) -> pa.Table:
    n_outputs = len(next(iter(made.values())))
    columns: list[pa.Array] = [pa.array([tag] * n_outputs, pa.string()), pa.array(np.arange(n_outputs, dtype=np.int32))]
    for field in schema.names[2:]:
        kind = schema.field(field).type
        if field in made:
            flat = np.ascontiguousarray(made[field].cpu().double().numpy()).reshape(-1)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size).cast(kind))
        else:
            columns.append(pa.nulls(n_outputs, kind))
    return pa.Table.from_arrays(columns, schema=schema)
