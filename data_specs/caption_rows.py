"""Parquet schemas of captions and of what is found of them; names are part of the interface."""

from collections.abc import Iterable
from typing import Literal

import pyarrow as pa

from data_specs.run_config import CONTENTS

CAPTIONS_FOLDER = "captions"
TEXT_SCORES_FILE = "text_scores.parquet"
JUDGEMENTS_FILE = "judgements.parquet"
CAPTION_FIGURES_FILE = "caption_figures.parquet"
CAPTION_CHANGES_FILE = "caption_differences.parquet"
JUDGES_FILE = "judges.json"
DISAGREEMENTS_FILE = "disagreements.parquet"

# Of one caption against one reference, each from 0 to 1.
TextScore = Literal["bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor"]
TEXT_SCORES: tuple[TextScore, ...] = ("bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor")
BLEU_ORDERS: dict[TextScore, int] = {"bleu_2": 2, "bleu_3": 3, "bleu_4": 4}


# What a judge says of a caption: one of the two verdicts, or why there is none. A caption without a word is not asked about.
Outcome = Literal["safe", "unsafe", "refused", "filtered", "cut", "unreadable", "empty"]
OUTCOMES_OF_JUDGES: tuple[Outcome, ...] = ("safe", "unsafe", "refused", "filtered", "cut", "unreadable", "empty")
VERDICTS: tuple[Outcome, ...] = ("safe", "unsafe")


def judge_column(judge: str) -> str:
    """The column of what a judge says."""
    return f"judge.{judge}"


def score_column(score: str, reference: str) -> str:
    """The column of a score against the pair's safe or unsafe caption."""
    return f"{score}_{reference}"


def _schema(spec: str, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={b"spec": spec.encode(), b"version": b"1"})


def _of_a_picture() -> list[pa.Field]:
    return [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),  # of the picture: 'safe' or 'unsafe'
        pa.field("tag", pa.string(), nullable=True),
    ]


CAPTIONS = _schema(
    "captions",
    [
        *_of_a_picture(),
        pa.field("caption", pa.string(), nullable=False),  # words with one blank between two
        *(pa.field(f"reference_{side}", pa.string(), nullable=True) for side in CONTENTS),  # the pair's own captions
        pa.field("n_tokens", pa.int32(), nullable=False),  # generated, without the end
        pa.field("finish", pa.string(), nullable=False),  # 'stop', or 'length' where the limit of tokens cut it
    ],
)

CAPTION_SCORES = _schema(
    "caption_scores",
    [
        *_of_a_picture(),
        pa.field("words", pa.int32(), nullable=False),
        pa.field("first", pa.bool_(), nullable=False),  # no picture of this side before it has the same caption
        pa.field("empty", pa.bool_(), nullable=False),  # no letter and no digit
        pa.field("cut", pa.bool_(), nullable=False),  # by the limit of tokens
        pa.field("refused", pa.bool_(), nullable=False),  # the captioner says that it will not
        # Null where it is undefined (BLEU-n of fewer than n words), there is no reference, or no WordNet.
        *(
            pa.field(score_column(score, side), pa.float64(), nullable=True)
            for score in TEXT_SCORES
            for side in CONTENTS
        ),
    ],
)

JUDGEMENTS = _schema(
    "judgements",
    [
        pa.field("caption", pa.string(), nullable=False),  # each once
        pa.field("outcome", pa.string(), nullable=False),  # of OUTCOMES_OF_JUDGES
        pa.field("answer", pa.string(), nullable=True),  # of an endpoint, as it came
        pa.field("score", pa.float64(), nullable=True),  # a classifier's probability of unsafe
        pa.field("served_by", pa.string(), nullable=True),  # the model that an endpoint says it is
        pa.field("fingerprint", pa.string(), nullable=True),  # of an endpoint's set-up, as it says
        pa.field("structured", pa.bool_(), nullable=True),  # whether the endpoint was held to a schema
    ],
)

# Shares in percent, scores as they are; low and high bound the 95 % interval, and are null where resamples say nothing.
CAPTION_FIGURES = _schema(
    "caption_figures",
    [
        pa.field("metric", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # captions that it is defined for
        pa.field("value", pa.float64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=True) for name in ("low", "high")),
    ],
)

CAPTION_CHANGES = _schema(
    "caption_differences",
    [
        pa.field("metric", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # pictures whose two captions it is defined for
        *(pa.field(name, pa.float64(), nullable=False) for name in ("first", "second", "difference")),
        *(pa.field(name, pa.float64(), nullable=True) for name in ("low", "high")),  # of the difference
        pa.field("n_gained", pa.int64(), nullable=False),  # rose
        pa.field("n_lost", pa.int64(), nullable=False),  # fell
        pa.field("p", pa.float64(), nullable=True),  # McNemar's exact; null of means
    ],
)

DISAGREEMENTS = _schema(
    "disagreements",
    [
        pa.field("caption", pa.string(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("judge", "outcome", "other_judge", "other_outcome")),
    ],
)


def caption_outcomes_schema(judges: Iterable[str]) -> pa.Schema:
    """CAPTION_SCORES with the captions and a column a judge."""
    said = [pa.field(judge_column(judge), pa.string(), nullable=False) for judge in judges]
    fields = [*CAPTION_SCORES, pa.field("caption", pa.string(), nullable=False), *said]
    return _schema("caption_outcomes", fields)
