"""Which of the shards that there are calibrate, which measure, and what that asks of the settings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from data_specs.errors import DataError
from data_specs.run_config import Content
from tasks.settings_draft.found_sets import FEWEST_SHARDS, FoundSet, FoundShard

_FOR_EVALUATION = re.compile(
    r"(?:^|[^a-z])(?:test|eval|evaluation|val|valid|validation|dev|held.?out)(?:[^a-z]|$)", re.I
)
_SIDES: dict[Content, re.Pattern[str]] = {
    "unsafe": re.compile(r"(?:^|[^a-z])(?:unsafe|nsfw|harmful)(?:[^a-z]|$)", re.I),
    "safe": re.compile(r"(?:^|[^a-z])(?:safe|sfw|harmless)(?:[^a-z]|$)", re.I),
}


@dataclass(frozen=True)
class Division:
    """Shards by the setting that names them, and what each edited encoder must say, with the reason for it."""

    calibration: dict[str, list[FoundShard]]
    evaluation: list[FoundShard]
    encoder: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def to_measure_on(sets: Sequence[FoundSet]) -> list[FoundSet]:
    """The sets that are called as those for evaluation are, such as `test`; all where none is."""
    return [found for found in sets if _FOR_EVALUATION.search(found.name)] or [*sets]


def divided(sets: Sequence[FoundSet]) -> Division:
    """Unpaired sets, and pairs of unsafe members alone, calibrate; of pairs see `split_sets`.

    Raises:
        DataError: nothing is left to measure on, a side cannot be told, or kinds of calibration sets do not go together.
    """
    pairs = [found for found in sets if found.kind == "pairs"]
    others = [found for found in sets if found.kind != "pairs"]
    if not others:
        calibration, evaluation = split_sets(pairs)
        return Division({"shards": calibration}, evaluation)
    named = [found for found in pairs if _FOR_EVALUATION.search(found.name)] or pairs
    if not named:
        raise DataError(
            f"set {others[0].name} can only calibrate, and there are no pairs to measure on; give shards with all four members,"
            " KEY.safe.jpg, KEY.unsafe.jpg, KEY.safe.txt and KEY.unsafe.txt, too"
        )
    left = [*others, *(found for found in pairs if found not in named)]
    if len({found.kind for found in left}) > 1:
        told = " and ".join(sorted({f"{found.name} ({found.kind})" for found in left}))
        raise DataError(f"sets {told} cannot calibrate together; name one kind of them")
    evaluation = [shard for found in named for shard in found.shards]
    if left[0].kind == "unsafe members":
        shards = [shard for found in left for shard in found.shards]
        return Division({"shards": shards}, evaluation, {"scorer": "unsafe_only"}, "there are no safe samples")
    return _unpaired(left, evaluation)


def _unpaired(sets: Sequence[FoundSet], evaluation: list[FoundShard]) -> Division:
    sides: dict[str, list[FoundShard]] = {}
    for found in sets:
        side = next((side for side, name in _SIDES.items() if name.search(found.name)), None)
        if side is None:
            raise DataError(
                f"shard {found.shards[0].location} holds samples that are no pairs, and its name does not say whether they are"
                " safe or unsafe; call it such as safe-000000.tar or unsafe-000000.tar"
            )
        sides.setdefault(side, []).extend(found.shards)
    if "unsafe" not in sides:
        raise DataError(f"set {sets[0].name} is safe, and there are no unsafe samples to calibrate on; name them, too")
    if "safe" not in sides:
        return Division(sides, evaluation, {"scorer": "unsafe_only"}, "there are no safe samples")
    ordered = {side: sides[side] for side in ("safe", "unsafe")}
    return Division(ordered, evaluation, {"aggregation": "ratio_of_means"}, "safe and unsafe samples are no pairs")


def split_sets(sets: Sequence[FoundSet]) -> tuple[list[FoundShard], list[FoundShard]]:
    """Shards of pairs for calibration and for evaluation, never the same: by the names of sets, else every fifth for evaluation.

    Raises:
        DataError: there is one shard only.
    """
    named = [found for found in sets if _FOR_EVALUATION.search(found.name)]
    others = [found for found in sets if found not in named]
    if named and others:
        return [shard for found in others for shard in found.shards], [
            shard for found in named for shard in found.shards
        ]
    shards = [shard for found in sets for shard in found.shards]
    if len(shards) < 2:
        raise DataError(
            f"shard {shards[0].location} is the only one, and what a model was edited on must not measure it; give a second"
            " one, or pack again with a smaller --max-count"
        )
    # Spread over all, because tables are often sorted.
    evaluation = shards[FEWEST_SHARDS - 1 :: FEWEST_SHARDS] or shards[-1:]
    return [shard for shard in shards if shard not in evaluation], evaluation
