"""Recall by counting better candidates tile by tile; no n x n matrix, no sort."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from data_specs.errors import DataError
from tasks.embeddings.pairs import EmbeddedPairs

_TILE = 1024
_TILE_STEP = 64


class _Side:
    """Embeddings cut into tiles of one size, the last of which is filled up with zeros.

    Every product of two tiles has one shape then. In another shape, as at an edge, another
    kernel may round differently, and candidates of equal similarity would no longer be equal:
    an encoder that answers the same to everything could look perfect.
    """

    def __init__(self, embeddings: Tensor, tile: int) -> None:
        if not bool(torch.isfinite(embeddings).all()):
            raise DataError("an embedding is NaN or infinite; its similarities cannot be ranked")
        self._n, self._tile = len(embeddings), tile
        self._padded = torch.nn.functional.pad(embeddings, (0, 0, 0, -self._n % tile))

    def tiles(self) -> Iterator[tuple[int, int, Tensor]]:
        """First row, how many rows count, and the tile."""
        for start in range(0, self._n, self._tile):
            yield start, min(self._tile, self._n - start), self._padded[start : start + self._tile]


def _tile_rows(n: int) -> int:
    """Rows of a tile that cuts n rows into equal parts with little to fill up."""
    n_tiles = max(1, -(-n // _TILE))
    return -(-n // (n_tiles * _TILE_STEP)) * _TILE_STEP


@dataclass
class _Ranking:
    """Queries on one side of a product, the similarity `own` of each to its right answer, and what beats it.

    `right` says whether the right answers are among the product's candidates, query i's at
    position i; then an equal similarity at an earlier position beats it too, as in a stable sort.
    """

    own: Tensor
    better: Tensor
    right: bool

    def count(self, tile: Tensor, first_query: int, first_candidate: int) -> None:
        """Count in a tile [queries, candidates] that starts at these positions."""
        queries = slice(first_query, first_query + tile.shape[0])
        own = self.own[queries, None]
        self.better[queries] += _count_rows(tile > own) if tile.is_cuda else _count_rows_fast(tile, own)
        if not self.right or first_candidate >= first_query + tile.shape[0]:
            return
        equal = tile == own
        if not tile.is_cuda and not np.any(equal.numpy()):
            return
        candidates = torch.arange(first_candidate, first_candidate + tile.shape[1], device=tile.device)
        earlier = candidates < torch.arange(queries.start, queries.stop, device=tile.device)[:, None]
        self.better[queries] += _count_rows(equal & earlier)


def target_ranks(queries: Tensor, candidates: Tensor) -> Tensor:
    """How many candidates come before each query's own, in a stable sort by falling similarity.

    Args:
        queries: [n, embedding] of unit norm.
        candidates: [m, embedding] of unit norm, m >= n; candidate i is the right answer of query i.

    Returns:
        [n] int64, 0 where the right answer is first. Among equal similarities the candidate at
        the earlier position comes first, so a constant encoder is right only by chance.

    Raises:
        DataError: shapes do not fit, or an embedding is NaN or infinite.
    """
    n = len(queries)
    if queries.shape[1] != candidates.shape[1] or len(candidates) < n:
        raise DataError(f"queries {list(queries.shape)} and candidates {list(candidates.shape)} do not fit")
    left, right = (_Side(side, _tile_rows(n)) for side in (queries, candidates))
    ranking = _ranking(_own(left, right), right=True)
    _count(left, right, rows=ranking)
    return ranking.better.cpu()


def retrieval_ranks(pairs: EmbeddedPairs, device: torch.device) -> dict[str, Tensor]:
    """The rank of every query's right answer, from the four products of a side of texts with a side of images.

    Source: UWM paper, retrieval among safe and among all candidates; the right answer is always safe.

    Args:
        pairs: unit-norm embeddings.
        device: where similarities are computed.

    Returns:
        [pairs] int64 by retrieval, 0 is first.
    """
    members = (pairs.text_safe, pairs.text_unsafe, pairs.vision_safe, pairs.vision_unsafe)
    ts, tu, vs, vu = (_Side(member.to(device), _tile_rows(len(member))) for member in members)
    safe = _own(ts, vs)
    text, image = _ranking(safe, right=True), _ranking(safe, right=True)
    _count(ts, vs, rows=text, columns=image)
    unsafe_text, unsafe_image = _ranking(_own(tu, vs), right=True), _ranking(_own(ts, vu), right=True)
    _count(tu, vs, rows=unsafe_text)
    _count(ts, vu, columns=unsafe_image)
    # The unsafe candidates stand behind the safe ones, so equal similarities do not beat the right answer.
    unsafe_text.right = unsafe_image.right = False
    _count(tu, vu, rows=unsafe_text, columns=unsafe_image)
    rankings = {"Ts-Vs": text, "Vs-Ts": image, "Tu-Vus": unsafe_text, "Vu-Tus": unsafe_image}
    return {name: ranking.better.cpu() for name, ranking in rankings.items()}


def _ranking(own: Tensor, *, right: bool) -> _Ranking:
    return _Ranking(own, torch.zeros(len(own), dtype=torch.int64, device=own.device), right)


def _own(left: _Side, right: _Side) -> Tensor:
    # From the tiles that are counted in, not row by row: that would round differently, too.
    both = zip(left.tiles(), right.tiles(), strict=False)
    return torch.cat([(queries @ candidates.T).diagonal()[:n] for (_, n, queries), (_, _, candidates) in both])


def _count(left: _Side, right: _Side, *, rows: _Ranking | None = None, columns: _Ranking | None = None) -> None:
    for i, n, queries in left.tiles():
        for j, m, candidates in right.tiles():
            tile = (queries @ candidates.T)[:n, :m]
            if rows is not None:
                rows.count(tile, i, j)
            if columns is not None:
                columns.count(tile.T, j, i)


def _count_rows(mask: Tensor) -> Tensor:
    return mask.sum(dim=1)


def _count_rows_fast(tile: Tensor, own: Tensor) -> Tensor:
    # numpy compares and adds bytes with vector instructions, torch's reductions of bool do not.
    values, limits = tile.numpy(), own.numpy()
    axis: Literal[0, 1] = 1
    if tile.stride(0) < tile.stride(1):
        values, limits, axis = values.T, limits.T, 0
    counts = np.add.reduce((values > limits).view(np.uint8), axis=axis, dtype=np.uint16)
    return torch.from_numpy(counts.astype(np.int64))
