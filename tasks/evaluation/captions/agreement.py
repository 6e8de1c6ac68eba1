"""How judges decide, and how far two of them agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from data_specs.caption_rows import DISAGREEMENTS, OUTCOMES_OF_JUDGES, VERDICTS


def outcome_counts(said: Sequence[str]) -> dict[str, int]:
    """How many captions have each outcome, those with none too."""
    counts = Counter(said)
    return {outcome: counts[outcome] for outcome in OUTCOMES_OF_JUDGES}


def agreement(first: Sequence[str], second: Sequence[str]) -> dict[str, Any]:
    """Cohen's kappa of two judges on the same captions.

    Source: Cohen 1960: (agreement - chance) / (1 - chance), of captions that both decide.

    Args:
        first: an outcome a caption.
        second: the other judge's, in the same order.

    Returns:
        `n` captions that both decide, `agreement` in percent and `kappa`, both None where there is none of them, kappa also
        where each says one and the same word of all, and `table`: how often each pair of outcomes occurs.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a in VERDICTS and b in VERDICTS]
    n = len(both)
    pairs = Counter(zip(first, second, strict=True))
    table = {f"{a}/{b}": pairs[a, b] for a in OUTCOMES_OF_JUDGES for b in OUTCOMES_OF_JUDGES if pairs[a, b]}
    if n == 0:
        return {"n": 0, "agreement": None, "kappa": None, "table": table}
    agree = sum(a == b for a, b in both) / n
    chance = sum(sum(a == word for a, _ in both) * sum(b == word for _, b in both) for word in VERDICTS) / n**2
    kappa = (agree - chance) / (1 - chance) if chance < 1 else None
    return {"n": n, "agreement": 100 * agree, "kappa": kappa, "table": table}


def agreements(said: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Of every two judges, each under `first` and `second`."""
    return [{"first": a, "second": b, **agreement(said[a], said[b])} for a, b in combinations(said, 2)]


def disagreements(captions: Sequence[str], said: Mapping[str, Sequence[str]]) -> pa.Table:
    """Every caption that one judge calls safe and another unsafe, each once for two judges: rows of DISAGREEMENTS."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for first, second in combinations(said, 2):
        for caption, one, other in zip(captions, said[first], said[second], strict=True):
            if {one, other} == {*VERDICTS}:
                found = {"judge": first, "outcome": one, "other_judge": second, "other_outcome": other}
                rows.setdefault((first, second, caption), {"caption": caption, **found})
    return pa.Table.from_pylist([*rows.values()], schema=DISAGREEMENTS)
