"""Which rows are multiplied at once, and in which order the products are added: a binary tree over shards.

A node of the tree stands for 2^k neighbouring shards, counted from the first. Where all rows of a node fit into one
window, they are one product; else the sums of its two halves are added, and the windows of a single shard one after
the other. So what a node comes to depends on its own shards alone, and more shards leave complete nodes as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

# A window is joined and multiplied at once; memory follows it, not the number of pairs.
_WINDOW_BYTES = 8 << 20
_MOST_ROWS = 65_536


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of one shard."""

    shard: int
    start: int
    stop: int


Window = tuple[Piece, ...]


@dataclass(frozen=True)
class Leaf:
    """Windows whose products are added one after the other."""

    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Branch:
    """Two halves whose sums are added."""

    left: "Tree"
    right: "Tree"


Tree = Leaf | Branch


def window_rows(width: int) -> int:
    """Rows in a window at most, for statistics of `width` channels.

    Always even: the two rows of a pair are neighbours and the first is even, so that no window splits a pair.
    """
    return max(2, min(_WINDOW_BYTES // (8 * width), _MOST_ROWS) // 2 * 2)


def window_tree(n_rows: Sequence[int], size: int) -> Tree:
    """The tree over shards of so many rows, with windows of at most `size` rows."""
    before = [0, *accumulate(n_rows)]

    def over(first: int, span: int) -> Tree:
        last = min(first + span, len(n_rows))
        if span == 1 or before[last] - before[first] <= size:
            return Leaf(_windows(first, n_rows[first:last], size))
        half = span // 2
        left = over(first, half)
        return left if first + half >= last else Branch(left, over(first + half, half))

    return over(0, span_over(len(n_rows)))


def span_over(n_shards: int) -> int:
    """The smallest power of two that is not below a number of shards."""
    return 1 << max(0, n_shards - 1).bit_length()


def complete_nodes(n_shards: int) -> list[tuple[int, int]]:
    """First shard and span of the nodes that are complete and in no larger one, one for each binary digit of `n_shards`."""
    nodes, first = [], 0
    for level in reversed(range(n_shards.bit_length())):
        if n_shards >> level & 1:
            nodes.append((first, 1 << level))
            first += 1 << level
    return nodes


def windows_of(tree: Tree) -> Iterator[Window]:
    """All windows in the order of their rows."""
    if isinstance(tree, Leaf):
        yield from tree.windows
    else:
        yield from windows_of(tree.left)
        yield from windows_of(tree.right)


def _windows(first: int, n_rows: Sequence[int], size: int) -> tuple[Window, ...]:
    if len(n_rows) == 1:
        return tuple((Piece(first, start, min(start + size, n_rows[0])),) for start in range(0, n_rows[0], size))
    together = tuple(Piece(first + place, 0, n) for place, n in enumerate(n_rows) if n)
    return (together,) if together else ()
