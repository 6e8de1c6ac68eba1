"""What activation statistics take on the disk, as rows and folded, whichever is set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from data_specs.folding import SAMPLE_PAIRS, sum_names
from data_specs.manifest import ArtifactRef
from tasks.extraction.windows import complete_nodes, window_rows
from tasks.lineage.digest import recipe_ref
from tasks.lineage.planned import Planned

FLOAT_BYTES = 4
# Beside the vectors of a row: pair id, content, tag and counts, compressed.
ROW_BYTES = 24
FILE_BYTES = 900  # schema and statistics of a Parquet file
_DOUBLE = 8
_MOMENTS = 4  # mean and variance of norm and std
_SIDES = 2
_FILES = 3  # of a layer of a folded artifact
_MANIFEST = 4_000


@dataclass(frozen=True)
class StatisticsBytes:
    """What the statistics of one encoder take when all is made, about."""

    rows: int
    folded: int
    a_tag: int | None = None  # of sums by tag: `folded` is for one tag, and this for each further one


def statistics_bytes(
    planned: Planned, known: Mapping[ArtifactRef, Planned], state: Mapping[str, Tensor]
) -> StatisticsBytes | None:
    """Both ways to keep the statistics of a planned set; folded they are kept once for each of the scorers that read them.

    Args:
        planned: an artifact of the plan.
        known: all of them, among which are the scores.
        state: the model's tensors.

    Returns:
        None where it is no set of statistics.
    """
    recipe = planned.recipe
    if not recipe.kind.startswith("activations.") or planned.n_parts is None:
        return None
    settings = recipe.settings
    n_rows = rows_by_shard(settings)
    ways = [settings] if settings.get("statistics") == "folded" else _ways(recipe_ref(recipe), known)
    return StatisticsBytes(
        rows_bytes(settings, n_rows, state),
        sum(_folded_bytes(settings, way, n_rows, state) for way in ways),
        # How many tags there are is known when samples are read.
        _tag_bytes(settings, settings, n_rows, state) if settings.get("sums_by_tag") else None,
    )


def rows_by_shard(settings: Mapping[str, Any]) -> list[int]:
    """How many rows each shard of a set has: a pair has two members for each encoder."""
    pairs = zip(settings["samples"], settings["contents"], strict=True)
    return [n * (_SIDES if content is None else 1) for n, content in pairs]


def rows_bytes(settings: Mapping[str, Any], n_rows: list[int], state: Mapping[str, Tensor]) -> int:
    """Shards of so many rows each, with the norm and the deviation of each channel."""
    widths = [2 * state[f"{layer}.weight"].shape[1] for layer in settings["layers"]]
    of_rows = sum(sum(n_rows) * (width * FLOAT_BYTES + ROW_BYTES) + len(n_rows) * FILE_BYTES for width in widths)
    return of_rows + len(n_rows) * _MANIFEST


def _ways(ref: ArtifactRef, known: Mapping[ArtifactRef, Planned]) -> list[Mapping[str, Any]]:
    """The settings of the scores that read some statistics, each way to fold them once."""
    found: dict[tuple[object, object], Mapping[str, Any]] = {}
    for item in known.values():
        settings = item.recipe.settings
        if item.recipe.inputs.get("activations") == ref:
            found.setdefault((settings["scorer"], settings.get("aggregation")), settings)
    return list(found.values())


def _folded_bytes(
    settings: Mapping[str, Any], way: Mapping[str, Any], n_rows: list[int], state: Mapping[str, Tensor]
) -> int:
    artifacts = _kept(n_rows)
    n_sampled = _SIDES * int(settings.get("sample_pairs", SAMPLE_PAIRS))
    size = len(artifacts) * _MANIFEST + _tag_bytes(settings, way, n_rows, state)
    for layer in settings["layers"]:
        n_in = state[f"{layer}.weight"].shape[1]
        row = 2 * n_in * FLOAT_BYTES + ROW_BYTES
        size += len(artifacts) * _FILES * FILE_BYTES
        size += sum(row * (n if n <= window_rows(n_in) else min(n, n_sampled)) for n in artifacts)
    return size


def _tag_bytes(
    settings: Mapping[str, Any], way: Mapping[str, Any], n_rows: list[int], state: Mapping[str, Tensor]
) -> int:
    """Sums and moments of the samples that are counted together."""
    n_sums = len(sum_names(str(way["scorer"]), way.get("aggregation")))
    size = 0
    for layer in settings["layers"]:
        n_out, n_in = state[f"{layer}.weight"].shape
        for n in _kept(n_rows):
            size += n_in * _DOUBLE * (_SIDES * _MOMENTS + (n_sums * n_out if n > window_rows(n_in) else 0))
    return size


def _kept(n_rows: list[int]) -> list[int]:
    """How many rows each artifact of a complete set is of."""
    nodes = [sum(n_rows[first : first + span]) for first, span in complete_nodes(len(n_rows))]
    # A set of one node has that node's files.
    return nodes if len(nodes) == 1 else [*nodes, sum(nodes)]
