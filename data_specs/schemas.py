"""Parquet schemas. Names are part of the interface; a change of meaning raises the version."""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import cast

import pyarrow as pa

from data_specs.metrics import FLIPPING, Of, metrics_of
from data_specs.run_config import Encoder

PAIR_ID_DIGEST_CHARS = 16


def pair_id(shard_sha256: str, key: str) -> str:
    """A sample's identity: its key and its shard's digest, never its place or path."""
    return f"{shard_sha256[:PAIR_ID_DIGEST_CHARS]}/{key}"


# The folders of what is kept by layer, as data bases read them.
LAYER_FOLDERS = "encoder=*/layer=*"


def layer_folder(encoder: Encoder, layer: str) -> str:
    """The folder of one layer."""
    return f"encoder={encoder}/layer={layer}"


def layer_of(folder: PurePath) -> tuple[Encoder, str]:
    """The encoder and the layer that a folder is of."""
    return cast(Encoder, folder.parent.name.removeprefix("encoder=")), folder.name.removeprefix("layer=")


def _vector(name: str, width: int) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("element", pa.float32(), nullable=False), width), nullable=False)


def _schema(spec: str, fields: Iterable[pa.Field]) -> pa.Schema:
    return pa.schema(list(fields), metadata={b"spec": spec.encode(), b"version": b"1"})


def activation_stats_schema(width: int) -> pa.Schema:
    """Statistics of one layer's input, a row a sample and side; `width` is the layer's input size."""
    return _schema(
        "activation_stats",
        [
            pa.field("pair_id", pa.string(), nullable=False),
            pa.field("content", pa.string(), nullable=False),  # 'safe' or 'unsafe'
            pa.field("tag", pa.string(), nullable=True),
            pa.field("n_tokens", pa.int32(), nullable=False),  # valid tokens
            _vector("norm", width),  # [in], L2 over valid tokens, activation units
            _vector("std", width),  # [in], over valid tokens, ddof = 1, activation units
        ],
    )


def sums_schema(width: int, types: Mapping[str, pa.DataType]) -> pa.Schema:
    """Sums of one layer over samples, a row an output and a column a sum; `types` are their floats'."""
    sums = [
        pa.field(name, pa.list_(pa.field("element", kind, nullable=False), width), nullable=False)
        for name, kind in types.items()
    ]
    return _schema("sums", [pa.field("output", pa.int32(), nullable=False), *sums])


def tag_sums_schema(width: int, names: Iterable[str]) -> pa.Schema:
    """Sums of one layer over the samples of each tag, a row a tag and output and a column a sum; `names` are the sums'.

    A sum that a tag has no sample for is null. The metadata `float32` of a file lists tag and name of sums that are float32.
    """
    wide = pa.list_(pa.field("element", pa.float64(), nullable=False), width)
    return _schema(
        "tag_sums",
        [
            pa.field("tag", pa.string(), nullable=True),  # null: samples without one
            pa.field("output", pa.int32(), nullable=False),
            *(pa.field(name, wide, nullable=True) for name in names),
        ],
    )


def channels_schema(width: int) -> pa.Schema:
    """How one layer's statistics are spread over samples, a row a side and tag; `width` is the layer's input size."""
    wide = pa.list_(pa.field("element", pa.float64(), nullable=False), width)
    return _schema(
        "channels",
        [
            pa.field("content", pa.string(), nullable=False),
            pa.field("tag", pa.string(), nullable=True),  # null: samples without one
            pa.field("n", pa.int64(), nullable=False),  # samples
            # [in], activation units and their squares; variances over samples, ddof = 0.
            *(
                pa.field(f"{of}_{what}", wide, nullable=False)
                for of in ("norm", "std")
                for what in ("mean", "variance")
            ),
        ],
    )


def scores_schema(width: int) -> pa.Schema:
    """Scores of one layer, a row an output; `width` is the layer's input size."""
    return _schema("scores", [pa.field("output", pa.int32(), nullable=False), _vector("score", width)])


def slopes_schema(width: int) -> pa.Schema:
    """Slopes dL / dW of one layer, a row an output; `width` is the layer's input size."""
    return _schema("slopes", [pa.field("output", pa.int32(), nullable=False), _vector("slope", width)])


def embeddings_schema(width: int) -> pa.Schema:
    """Unit-norm embeddings, a row a sample and side; `width` is the embedding size."""
    return _schema(
        "embeddings",
        [
            pa.field("pair_id", pa.string(), nullable=False),
            pa.field("content", pa.string(), nullable=False),
            pa.field("tag", pa.string(), nullable=True),
            _vector("embedding", width),
        ],
    )


LAYER_SUMMARY = _schema(
    "layer_summary",
    [
        pa.field("encoder", pa.string(), nullable=False),
        pa.field("layer", pa.string(), nullable=False),
        pa.field("n_pairs", pa.int64(), nullable=False),  # of the smaller side where unpaired
        pa.field("n_weights", pa.int64(), nullable=False),
        pa.field("sum", pa.float64(), nullable=False),
        pa.field("mean", pa.float64(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in ("min", "p25", "p50", "p75", "p99", "max")),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("tau", pa.float64(), nullable=False),
        pa.field("threshold", pa.float32(), nullable=True),  # smallest selected score; null where none is
        pa.field("n_selected", pa.int64(), nullable=False),
        pa.field("selected_share", pa.float64(), nullable=False),  # 0 to 1, of the layer's weights
    ],
)

SIMILARITIES = _schema(
    "similarities",
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("tag", pa.string(), nullable=True),
        # Cosines; the first letter is the text's side, the second the image's.
        *(pa.field(name, pa.float32(), nullable=False) for name in ("ss", "su", "us", "uu")),
    ],
)


def outcomes_schema(what: Of) -> pa.Schema:
    """What became of each pair or caption, a column an outcome that metrics of it follow from.

    A share's is true or false, such as whether safe is preferred, or a rank: how many candidates come
    before the right answer. A mean's is a score.
    """
    rows = {row.outcome: row for row in metrics_of(what)}
    shares = {name: row for name, row in rows.items() if row.kind == "share"}
    return _schema(
        "outcomes" if what == "pair" else f"{what}_outcomes",
        [
            pa.field(f"{what}_id", pa.string(), nullable=False),
            pa.field("tag", pa.string(), nullable=True),
            *(pa.field(name, pa.bool_(), nullable=False) for name, row in shares.items() if row.below is None),
            *(pa.field(name, pa.int32(), nullable=False) for name, row in shares.items() if row.below is not None),
            *(pa.field(name, pa.float64(), nullable=False) for name, row in rows.items() if row.kind == "mean"),
        ],
    )


OUTCOMES = outcomes_schema("pair")

ZERO_SHOT_OUTCOMES = _schema(
    "zero_shot_outcomes",
    [
        pa.field("data_set", pa.string(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),  # class number
        pa.field("rank", pa.int32(), nullable=False),  # how many classes come before the right one
    ],
)

# Shares in percent; low and high bound the 95 % interval.
BY_TAG = _schema(
    "by_tag",
    [
        pa.field("tag", pa.string(), nullable=True),  # null: pairs without one
        pa.field("n_pairs", pa.int64(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("value", "low", "high")),
    ],
)

DIFFERENCES = _schema(
    "differences",
    [
        pa.field("metric", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # pairs, or images of all data sets that the figure is of
        *(pa.field(name, pa.float64(), nullable=False) for name in ("first", "second")),  # percent
        # Points, second less first; low and high bound the 95 % interval of the difference.
        *(pa.field(name, pa.float64(), nullable=False) for name in ("difference", "low", "high")),
        pa.field("n_gained", pa.int64(), nullable=False),  # right in the second only
        pa.field("n_lost", pa.int64(), nullable=False),  # right in the first only
        pa.field("p", pa.float64(), nullable=True),  # McNemar's exact; null where the figure is a mean of shares
    ],
)

# The cosines of SIMILARITIES before and after.
_COSINES = ("ss", "su", "us", "uu")

# A row a pair of which any answer changed between two models. A pair's margins are the four differences of cosines that
# SafeGround's preferences look at, above 0 where safe is preferred: ss - su, us - uu, ss - us and su - uu.
FLIPS = _schema(
    "flips",
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("tag", pa.string(), nullable=True),
        pa.field("certainty", pa.float64(), nullable=False),  # smallest absolute margin of the first model
        pa.field("third", pa.int8(), nullable=False),  # of all pairs by certainty: 1 least sure, 3 surest
        *(
            pa.field(f"{model}_{name}", pa.float32(), nullable=False)
            for model in ("first", "second")
            for name in _COSINES
        ),
        # 1: right in the second model only; -1: right in the first only; 0: the same in both. Retrievals at 1.
        *(pa.field(name, pa.int8(), nullable=False) for name in FLIPPING),
    ],
)


def _changes_schema(spec: str, part: Iterable[pa.Field]) -> pa.Schema:
    return _schema(
        spec,
        [
            *part,
            pa.field("n_pairs", pa.int64(), nullable=False),
            pa.field("metric", pa.string(), nullable=False),
            # Percent, and points for the difference, second less first; each with its 95 % interval.
            *(
                pa.field(f"{of}{bound}", pa.float64(), nullable=False)
                for of in ("first", "second", "difference")
                for bound in ("", "_low", "_high")
            ),
            pa.field("n_gained", pa.int64(), nullable=False),
            pa.field("n_lost", pa.int64(), nullable=False),
            pa.field("p", pa.float64(), nullable=False),  # McNemar's exact
        ],
    )


CHANGES_BY_TAG = _changes_schema("changes_by_tag", [pa.field("tag", pa.string(), nullable=True)])
CHANGES_BY_CERTAINTY = _changes_schema(
    "changes_by_certainty",
    [
        pa.field("third", pa.int8(), nullable=False),
        # Smallest absolute margins of the first model, cosine units.
        *(pa.field(name, pa.float64(), nullable=False) for name in ("least", "most")),
    ],
)

# How a margin is spread, a row a bin; 0 is an edge between two bins.
MARGINS = _schema(
    "margins",
    [
        pa.field("preference", pa.string(), nullable=False),  # whose margin it is
        pa.field("model", pa.string(), nullable=False),  # first or second
        *(pa.field(name, pa.float64(), nullable=False) for name in ("low", "high")),  # of the bin, cosine units
        pa.field("n", pa.int64(), nullable=False),
    ],
)
