"""What each query retrieves with each model, and which queries are shown."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.gallery import Gallery, GalleryAnswer, GalleryKind, GalleryMember, GalleryQuery, Picked
from data_specs.run_config import CONTENTS, ENCODERS, Content, Encoder
from data_specs.wording import shown
from tasks.embeddings.pairs import EmbeddedPairs

N_ANSWERS = 5
# Queries of a kind whose first answers are compared: enough to find some that changed, in seconds.
N_EXAMINED = 512
QUERY_KINDS: tuple[tuple[Encoder, Content], ...] = tuple(
    (encoder, content) for encoder in ENCODERS for content in CONTENTS
)
_TILE = 4096
# Far below what float32 embeddings can tell apart, far above what float64 kernels differ in.
_DECIMALS = 12


@dataclass(frozen=True)
class PairMember:
    """One member of one pair, by its place in the pairs' order."""

    pair: int
    encoder: Encoder
    content: Content


@dataclass(frozen=True)
class Query:
    """A query that is shown, why, and its answers by model, best first, each with its similarity."""

    member: PairMember
    picked: Picked
    answers: dict[str, list[tuple[PairMember, float]]]


@dataclass(frozen=True)
class QueryKind:
    """Shown queries of one encoder and side, and how many first answers changed among those examined."""

    encoder: Encoder
    content: Content
    n_examined: int
    n_changed: int
    queries: list[Query]


@dataclass(frozen=True)
class Retrieval:
    """Who answers which gallery query; pictures and captions come later."""

    pair_ids: list[str]
    tags: list[str | None]
    models: list[str]
    kinds: list[QueryKind]

    def members(self) -> set[PairMember]:
        """All that is shown."""
        queries = [query for kind in self.kinds for query in kind.queries]
        answers = {member for query in queries for found in query.answers.values() for member, _ in found}
        return answers | {query.member for query in queries}


def best_candidates(queries: Tensor, candidates: Sequence[Tensor], k: int) -> tuple[Tensor, Tensor]:
    """The k most similar candidates of each query, as a stable sort by falling similarity would give them.

    Args:
        queries: [n, embedding] of unit norm.
        candidates: blocks [m, embedding] of unit norm; positions run through all blocks.
        k: how many; fewer where there are fewer candidates.

    Returns:
        Similarities [n, k] float64 and positions [n, k] int64. Of equal similarities, the earlier
        position comes first.

    Raises:
        DataError: an embedding is NaN or infinite.
    """
    left = queries.to(torch.float64)
    values = torch.empty(len(queries), 0, dtype=torch.float64)
    positions = torch.empty(len(queries), 0, dtype=torch.int64)
    start = 0
    for block in candidates:
        for tile in (block[row : row + _TILE] for row in range(0, len(block), _TILE)):
            # Rounded, so that equal candidates tie whatever kernel computes an edge of the product.
            similarity = (left @ tile.to(torch.float64).T).round(decimals=_DECIMALS)
            if not bool(torch.isfinite(similarity).all()):
                raise DataError("an embedding is NaN or infinite; its similarities cannot be ranked")
            best, columns = _first_maxima(similarity, k)
            # Earlier tiles stand first, and the sort is stable.
            values, order = torch.cat([values, best], dim=1).sort(dim=1, descending=True, stable=True)
            positions = torch.cat([positions, columns + start], dim=1).gather(1, order)
            values, positions = values[:, :k], positions[:, :k]
            start += len(tile)
    return values, positions


def _first_maxima(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # torch.topk leaves open which of equal values it takes; max takes the first.
    values, columns = [], []
    for _ in range(min(k, similarity.shape[1])):
        value, column = similarity.max(dim=1)
        similarity.scatter_(1, column[:, None], -torch.inf)
        values.append(value)
        columns.append(column)
    return torch.stack(values, dim=1), torch.stack(columns, dim=1)


def retrieve(models: Iterable[tuple[str, EmbeddedPairs]], seed: int, n_queries: int) -> Retrieval:
    """Answer gallery queries with each model, and pick those to show.

    Of each kind, queries are taken in a seeded random order, and the first are shown as they come.
    Half of the unsafe ones, rounded up, are instead the next in this order whose first answer changes.

    Args:
        models: name and embeddings, the original first; read one after the other.
        seed: of the order.
        n_queries: shown of each kind, fewer where there are fewer pairs.

    Returns:
        Queries with their answers among safe and unsafe members of the other encoder.

    Raises:
        DataError: the models were measured on different pairs, or an embedding is not finite.
    """
    names: list[str] = []
    ids: list[str] = []
    tags: list[str | None] = []
    found: dict[tuple[Encoder, Content], list[tuple[Tensor, Tensor]]] = {kind: [] for kind in QUERY_KINDS}
    for name, pairs in models:
        if not names:
            ids, tags = pairs.pair_ids, pairs.tags
        elif pairs.pair_ids != ids:
            raise DataError(
                f"models {shown(names[0])} and {shown(name)} were measured on different pairs ({len(ids)} and"
                f" {len(pairs.pair_ids)}, or in another order); evaluate both on the same shards"
            )
        names.append(name)
        for encoder, content in QUERY_KINDS:
            queries = _embeddings(pairs, encoder, content)[_order(encoder, content, len(ids), seed)]
            candidates = [_embeddings(pairs, _other(encoder), side) for side in CONTENTS]
            found[encoder, content].append(best_candidates(queries, candidates, N_ANSWERS))
    if not names:
        raise DataError("a gallery needs the embeddings of at least one model, got none")
    kinds = []
    for (encoder, content), answers in found.items():
        order = _order(encoder, content, len(ids), seed)
        kinds.append(_kind(encoder, content, order, dict(zip(names, answers, strict=True)), len(ids), n_queries))
    return Retrieval(ids, tags, names, kinds)


def pick(changed: Sequence[bool], n: int, *, prefer_changed: bool) -> list[tuple[int, Picked]]:
    """Which of the examined queries, in random order, are shown, and why.

    The random ones come first, so that they stand for all queries, changed or not.
    """
    n_shown = min(n, len(changed))
    n_random = n_shown // 2 if prefer_changed else n_shown
    later = [row for row in range(n_random, len(changed)) if changed[row]][: n_shown - n_random]
    rest = [row for row in range(n_random, len(changed)) if row not in later][: n_shown - n_random - len(later)]
    random_ones: list[tuple[int, Picked]] = [(row, "random") for row in [*range(n_random), *rest]]
    return random_ones + [(row, "changed") for row in later]


def compose(retrieval: Retrieval, shown: Mapping[PairMember, GalleryMember], seed: int) -> Gallery:
    """The gallery's record, from the answers and what is shown of each member."""

    def answers(found: list[tuple[PairMember, float]]) -> list[GalleryAnswer]:
        return [GalleryAnswer(member=shown[member], similarity=round(value, 6)) for member, value in found]

    kinds = [
        GalleryKind(
            encoder=kind.encoder,
            content=kind.content,
            n_examined=kind.n_examined,
            n_changed=kind.n_changed,
            queries=[
                GalleryQuery(
                    member=shown[query.member],
                    picked=query.picked,
                    answers={model: answers(found) for model, found in query.answers.items()},
                )
                for query in kind.queries
            ],
        )
        for kind in retrieval.kinds
    ]
    return Gallery(models=retrieval.models, seed=seed, n_pairs=len(retrieval.pair_ids), kinds=kinds)


def _order(encoder: Encoder, content: Content, n: int, seed: int) -> list[int]:
    return random.Random(f"{encoder}/{content}/{seed}").sample(range(n), min(n, N_EXAMINED))


def _kind(
    encoder: Encoder,
    content: Content,
    order: Sequence[int],
    found: Mapping[str, tuple[Tensor, Tensor]],
    n_pairs: int,
    n_queries: int,
) -> QueryKind:
    firsts = torch.stack([positions[:, 0] for _, positions in found.values()])
    changed = (firsts != firsts[0]).any(dim=0).tolist()
    queries = [
        Query(
            PairMember(order[row], encoder, content),
            why,
            {model: list(_answers(*tables, row, _other(encoder), n_pairs)) for model, tables in found.items()},
        )
        for row, why in pick(changed, n_queries, prefer_changed=content == "unsafe")
    ]
    return QueryKind(encoder, content, len(order), sum(changed), queries)


def _answers(
    values: Tensor, positions: Tensor, row: int, encoder: Encoder, n_pairs: int
) -> Iterator[tuple[PairMember, float]]:
    for value, position in zip(values[row].tolist(), positions[row].tolist(), strict=True):
        yield PairMember(position % n_pairs, encoder, CONTENTS[position // n_pairs]), value


def _other(encoder: Encoder) -> Encoder:
    return "vision" if encoder == "text" else "text"


def _embeddings(pairs: EmbeddedPairs, encoder: Encoder, content: Content) -> Tensor:
    embeddings: Tensor = getattr(pairs, f"{encoder}_{content}")
    return embeddings
