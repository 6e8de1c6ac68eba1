"""Recall by counting better candidates tile by tile; no n x n matrix, no sort."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_specs.errors import DataError
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.encoders.forward import forward_precision
from tasks.extraction.host_copy import on_host

_TILE = 1024
_TILE_STEP = 64
_ALIGNMENT = 64  # bytes, of torch's own memory


class _Side:
    """Embeddings cut into tiles of one size, the last of which is filled up with zeros.

    Every product of two tiles has one shape then. In another shape, as at an edge, another
    kernel may round differently, and candidates of equal similarity would no longer be equal:
    an encoder that answers the same to everything could look perfect.
    """

    def __init__(self, embeddings: Tensor, tile: int) -> None:
        # The last tile is new memory, which is aligned; so are the others then, and one kernel takes all.
        aligned = embeddings.is_contiguous() and embeddings.data_ptr() % _ALIGNMENT == 0
        self._rows = embeddings if aligned else embeddings.clone(memory_format=torch.contiguous_format)
        self._tile = tile
        for _, _, rows in self.tiles():
            if not bool(torch.isfinite(rows).all()):
                raise DataError("an embedding is NaN or infinite; its similarities cannot be ranked")

    def tiles(self) -> Iterator[tuple[int, int, Tensor]]:
        """First row, how many rows count, and the tile."""
        for start in range(0, len(self._rows), self._tile):
            rows = self._rows[start : start + self._tile]
            missing = self._tile - len(rows)
            yield start, len(rows), torch.nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows


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
        self.better[queries] += row_counts(tile > own)
        if not self.right or first_candidate >= first_query + tile.shape[0]:
            return
        equal = tile == own
        # Most tiles hold no equal one; asking a GPU would make it wait.
        if not tile.is_cuda and not np.any(equal.numpy()):
            return
        candidates = torch.arange(first_candidate, first_candidate + tile.shape[1], device=tile.device)
        earlier = candidates < torch.arange(queries.start, queries.stop, device=tile.device)[:, None]
        self.better[queries] += row_counts(equal & earlier)


def row_counts(mask: Tensor) -> Tensor:
    """How many entries of each row are true, [rows] int64, from [rows, columns] bool; at most 65,535 columns."""
    if mask.is_cuda:
        return mask.sum(dim=1)
    # numpy adds bytes with vector instructions, torch's reductions of bool do not.
    values = mask.numpy().view(np.uint8)
    return torch.from_numpy(np.add.reduce(values, axis=1, dtype=np.uint16).astype(np.int64))


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
        device: where similarities are computed, in full float32.

    Returns:
        [pairs] int64 by retrieval, 0 is first.
    """
    with forward_precision("fp32", device):
        rankings = _retrieval_rankings(pairs, device)
    ranks = on_host([ranking.better for ranking in rankings.values()])
    return dict(zip(rankings, ranks, strict=True))


def _retrieval_rankings(pairs: EmbeddedPairs, device: torch.device) -> dict[str, _Ranking]:
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
    return {"Ts-Vs": text, "Vs-Ts": image, "Tu-Vus": unsafe_text, "Vu-Tus": unsafe_image}


def _ranking(own: Tensor, *, right: bool) -> _Ranking:
    return _Ranking(own, torch.zeros(len(own), dtype=torch.int64, device=own.device), right)


def _own(left: _Side, right: _Side) -> Tensor:
    # From the tiles that are counted in, not row by row: that would round differently, too.
    both = zip(left.tiles(), right.tiles(), strict=False)
    # Copied, as a diagonal would hold its whole tile.
    own = [(queries @ candidates.T).diagonal()[:n].clone() for (_, n, queries), (_, _, candidates) in both]
    return torch.cat(own)


def _count(left: _Side, right: _Side, *, rows: _Ranking | None = None, columns: _Ranking | None = None) -> None:
    for i, n, queries in left.tiles():
        for j, m, candidates in right.tiles():
            tile = (queries @ candidates.T)[:n, :m]
            if rows is not None:
                rows.count(tile, i, j)
            if columns is not None:
                columns.count(tile.T, j, i)
