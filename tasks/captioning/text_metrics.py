"""Captions against references, as the paper's code defines the scores, and what can be said of captions alone.

BLEU-n is sacrebleu's without tokenizer and smoothing (torcheval's `bleu_score` gives the same), ROUGE-L is rouge_score's F
measure of stemmed words, METEOR nltk's.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import pyarrow as pa

from data_specs.caption_rows import BLEU_ORDERS, CAPTION_SCORES, score_column
from data_specs.run_config import CONTENTS
from tasks.captioning.meteor import Meteor
from tasks.captioning.refusals import is_refusal


def bleu(caption: str, reference: str, order: int) -> float | None:
    """BLEU of one caption, without smoothing: geometric mean of n-gram precisions times the brevity penalty.

    Source: Papineni et al. 2002; words are what blanks divide, with case and punctuation.

    Args:
        caption: what is scored.
        reference: one text.
        order: of the longest n-gram, 1 or more.

    Returns:
        0 to 1; None where the caption has fewer words than `order`, for which it is undefined.
    """
    if len(caption.split()) < order:
        return None
    # Of a corpus of one: `sentence_score` is the same, and warns at each call.
    score = float(_bleu(order).corpus_score([caption], [[reference]]).score) / 100
    return min(score, 1.0)  # its logarithms leave 4e-16 above


def rouge_l(caption: str, reference: str) -> float:
    """F measure of the longest common subsequence of stemmed words.

    Source: Lin 2004; words are runs of a to z and digits, so that other scripts have none.

    Returns:
        0 to 1; 0 where one of the texts has no word.
    """
    return float(_rouge().score(reference, caption)["rougeL"].fmeasure)


def one_blank(text: str) -> str:
    """A caption with one blank between two words and none around."""
    return " ".join(text.split())


def caption_scores(captions: pa.Table, meteor: Meteor | None) -> pa.Table:
    """Every score of every caption.

    Args:
        captions: rows of CAPTIONS.
        meteor: None leaves its columns empty.

    Returns:
        Rows of CAPTION_SCORES, in the same order.
    """
    seen: set[tuple[str, str]] = set()
    rows = [{**_alone(row, seen), **dict(_against(row, meteor))} for row in captions.to_pylist()]
    return pa.Table.from_pylist(rows, schema=CAPTION_SCORES)


def undefined_counts(scores: pa.Table, columns: Iterable[str]) -> dict[str, int]:
    """How many captions lack a score, by column, where any does."""
    return {name: n for name in columns if (n := scores.column(name).null_count)}


def _alone(row: Mapping[str, Any], seen: set[tuple[str, str]]) -> dict[str, Any]:
    text = row["caption"]
    same = (row["content"], text)
    first = same not in seen
    seen.add(same)
    return {
        **{name: row[name] for name in ("pair_id", "content", "tag")},
        "words": len(text.split()),
        "first": first,
        "empty": is_empty(text),
        "cut": row["finish"] == "length",
        "refused": is_refusal(text),
    }


def is_empty(text: str) -> bool:
    """Whether a caption has neither letter nor digit, of any script."""
    return not any(character.isalnum() for character in text)


def _against(row: Mapping[str, Any], meteor: Meteor | None) -> Iterator[tuple[str, float | None]]:
    for side in CONTENTS:
        reference = row[f"reference_{side}"]
        if reference is None:
            continue
        for name, order in BLEU_ORDERS.items():
            yield score_column(name, side), bleu(row["caption"], reference, order)
        yield score_column("rouge_l", side), rouge_l(row["caption"], reference)
        if meteor is not None:
            yield score_column("meteor", side), meteor.score(row["caption"], reference)


@cache
def _bleu(order: int) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(max_ngram_order=order, tokenize="none", smooth_method="none")


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)
