"""Statistics as they are kept: a row a sample, or folded into sums while the shard is read."""

from typing import Literal

Statistics = Literal["rows", "folded"]
SAMPLE_PAIRS = 256
SAMPLES_READ = "samples_read"  # of a folded set's record: images or texts that went through the model for it

STATISTICS_FIELD = (
    "what activation scorers keep of each shard: rows (norm and std of every sample) or folded (the scorer's own sums, for sets"
    " that are too large for rows); scores are equal to the last bit"
)
BY_TAG_FIELD = (
    "keep folded sums of each tag, so that other calibration.tags need no other pass; of several tags together, scores then"
    " differ from those of rows in their last digits"
)
SAMPLE_FIELD = "pairs of a folded set whose rows are kept to look at, drawn by the hash of their ids"


def require_folded(statistics: Statistics, sums_by_tag: bool) -> None:
    """Refuse sums by tag where there are no sums.

    Raises:
        ValueError: statistics are rows.
    """
    if sums_by_tag and statistics != "folded":
        raise ValueError(
            f"sums_by_tag is true, which divides folded sums, but statistics is {statistics}; set statistics: folded, or leave"
            " sums_by_tag out: rows serve all tags"
        )


def sum_names(scorer: str, aggregation: str | None) -> tuple[str, ...]:
    """The sums [out, in] of a layer that an activation scorer needs."""
    if scorer == "unsafe_only":
        return ("unsafe",)
    return ("pairs",) if scorer == "uwm" and aggregation == "mean_of_ratios" else ("safe", "unsafe")
