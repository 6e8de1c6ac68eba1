"""How norm and std are spread over samples, by channel, side and tag."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.schemas import channels_schema
from tasks.extraction.columns import vectors

_OF = ("norm", "std")
_GROUPS_AT_ONCE = 64  # of which each costs a number a row
_Group = tuple[str, str | None]  # side and tag


@dataclass
class Spread:
    """Samples so far, their mean and the sum of their squared deviations from it, each [2, in] float64: norm and std."""

    n: int
    mean: Tensor
    squares: Tensor

    def join(self, later: "Spread") -> None:
        """Take in other samples.

        Source: Chan, Golub and LeVeque 1979, updating formulae for sample variances.
        """
        n = self.n + later.n
        apart = later.mean - self.mean
        self.squares += later.squares + apart.square() * (self.n * later.n / n)
        self.mean += apart * (later.n / n)
        self.n = n


class Moments:
    """Means and variances of one layer's statistics over the samples of each side and tag."""

    def __init__(self, width: int) -> None:
        """Begin with no sample of a layer of `width` channels."""
        self._width = width
        self._groups: dict[_Group, Spread] = {}

    @classmethod
    def of_rows(cls, rows: pa.Table) -> Self:
        """Those of rows of statistics."""
        found = cls(rows.schema.field("norm").type.list_size)
        groups, of_rows = _groups(rows)
        values, own = [vectors(rows.column(name), name) for name in _OF], torch.from_numpy(of_rows)
        for first in range(0, len(groups), _GROUPS_AT_ONCE):
            some = groups[first : first + _GROUPS_AT_ONCE]
            members = (own == torch.arange(first, first + len(some))[:, None]).float()
            means, squares = zip(*(_moments(each, members) for each in values), strict=True)
            for row, group in enumerate(some):
                mean, deviations = (torch.stack([of[row] for of in both]) for both in (means, squares))
                found._groups[group] = Spread(int(members[row].sum()), mean, deviations)
        return found

    @classmethod
    def of_table(cls, table: pa.Table) -> Self:
        """Those that `table` wrote."""
        found = cls(table.schema.field("norm_mean").type.list_size)
        columns = {name: _matrix(table, name) for name in table.column_names if name.startswith(_OF)}
        groups = zip(*(table.column(name).to_pylist() for name in ("content", "tag", "n")), strict=True)
        for place, (content, tag, n) in enumerate(groups):
            mean, variance = (torch.stack([columns[f"{of}_{what}"][place] for of in _OF]) for what in _WHAT)
            found._groups[content, tag] = Spread(n, mean, variance * n)
        return found

    def join(self, later: "Moments") -> None:
        """Take in other samples of the same layer, which are not to be used again."""
        for group, spread in later._groups.items():
            if group in self._groups:
                self._groups[group].join(spread)
            else:
                self._groups[group] = spread

    def table(self) -> pa.Table:
        """A row a side and tag, in the order of their names."""
        ordered = sorted(self._groups.items(), key=lambda item: (item[0][0], item[0][1] is not None, item[0][1] or ""))
        schema = channels_schema(self._width)
        columns: list[pa.Array] = [
            pa.array([group[0] for group, _ in ordered], pa.string()),
            pa.array([group[1] for group, _ in ordered], pa.string()),
            pa.array([spread.n for _, spread in ordered], pa.int64()),
        ]
        for place in range(len(_OF)):
            for values in ([one.mean for _, one in ordered], [one.squares / one.n for _, one in ordered]):
                flat = np.concatenate([each[place].numpy() for each in values]) if values else np.empty(0)
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), self._width))
        columns = [column.cast(kind) for column, kind in zip(columns, schema.types, strict=True)]
        return pa.Table.from_arrays(columns, schema=schema)


_WHAT = ("mean", "variance")


def _groups(rows: pa.Table) -> tuple[list[_Group], np.ndarray]:
    """The groups that rows are of, and which of them each row is of."""
    content, tag = (
        rows.column(name).combine_chunks().dictionary_encode(null_encoding="encode") for name in ("content", "tag")
    )
    n_tags = max(1, len(tag.dictionary))
    codes, of_rows = np.unique(content.indices.to_numpy() * n_tags + tag.indices.to_numpy(), return_inverse=True)
    sides, tags = content.dictionary.to_pylist(), tag.dictionary.to_pylist()
    return [(sides[code // n_tags], tags[code % n_tags]) for code in codes], of_rows


def _moments(values: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared deviations over the rows of each group, from deviations in float32.

    As products, which take no copy of a group's rows. Rows of no group count nowhere.

    Args:
        values: [rows, in] float32, finite.
        members: [groups, rows] float32, 1 where a row is of a group and 0 else; none is empty.

    Returns:
        [groups, in] float64 each, with about six digits of a variance.
    """
    n = members.sum(dim=1, keepdim=True)
    rough = members @ values / n
    apart = torch.addmm(values, members.T, rough, alpha=-1)
    means = rough.double() + (members @ apart).double() / n.double()
    return means, (members @ apart.square_()).double()


def _matrix(table: pa.Table, name: str) -> Tensor:
    values: np.ndarray = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(values.copy()).view(table.num_rows, -1)
