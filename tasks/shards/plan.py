"""Which samples of which shards are read for one encoder, decided before anything is decoded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from data_specs.errors import DataError
from data_specs.run_config import Encoder
from data_specs.samples import CLASS_SUFFIX, TAG_SUFFIX, BadReason, member_names, needed_contents
from data_specs.wording import shown
from tasks.shards.inspection import IndexedSample, Shard


@dataclass(frozen=True)
class BadSample:
    """A sample that is skipped."""

    key: str
    reason: BadReason
    detail: str = ""


@dataclass(frozen=True)
class ShardPlan:
    """The samples to read from one shard, in tar order, and those refused for their place in the tar."""

    shard: Shard
    keys: tuple[str, ...]
    bad: tuple[BadSample, ...]


def plan_reading(
    shards: Sequence[Shard], encoder: Encoder, limit: int | None, *, needs: Sequence[str] = ()
) -> list[ShardPlan]:
    """Choose the first `limit` usable samples in shard order; unpaired sets have a limit for each side.

    Args:
        shards: checked shards.
        encoder: whose inputs are needed.
        limit: samples at most, or None for all.
        needs: endings that a sample must hold beside its input, such as `cls`.

    Returns:
        A plan for each shard that is needed.
    """
    left: dict[Any, float] = {}
    plans = []
    for shard in shards:
        room = left.setdefault(shard.content, float("inf") if limit is None else limit)
        keys: list[str] = []
        bad: list[BadSample] = []
        for sample in shard.samples:
            if len(keys) >= room:
                break
            fault = _fault(sample, shard, encoder, needs)
            if fault is None:
                keys.append(sample.key)
            else:
                bad.append(fault)
        left[shard.content] = room - len(keys)
        if keys or bad:
            plans.append(ShardPlan(shard, tuple(keys), tuple(bad)))
    return plans


def _fault(sample: IndexedSample, shard: Shard, encoder: Encoder, needs: Sequence[str]) -> BadSample | None:
    if sample.fault is not None:
        return BadSample(sample.key, sample.fault)
    wanted = [member_names(encoder, content, paired=shard.paired) for content in needed_contents(shard.content)]
    unusable = {member.ending: BadSample(sample.key, member.reason, member.detail) for member in sample.unusable}
    for name in (*chain(*wanted), TAG_SUFFIX, CLASS_SUFFIX):
        # A reader would read it, whatever else the sample holds; over a link it passes.
        if name in unusable and unusable[name].reason != "missing member":
            return unusable[name]
    for names in [*wanted, *([name] for name in needs)]:
        if not set(names) & set(sample.members):
            links = (unusable[name] for name in names if name in unusable)
            return next(links, BadSample(sample.key, "missing member", f"no {' or '.join(names)}"))
    return None


@dataclass
class Tally:
    """Samples read and skipped so far; refuses once more are bad than is allowed."""

    n_planned: int
    max_bad_fraction: float
    n_used: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)

    def add(self, n_used: int, location: str, bad: Sequence[BadSample]) -> None:
        """Count samples of one shard.

        Raises:
            DataError: the share of bad samples among all planned ones is above the limit.
        """
        self.n_used += n_used
        self.skipped.extend(
            {"shard": location, "key": item.key, "reason": item.reason, "detail": item.detail} for item in bad
        )
        # Divided, not multiplied: 0.29 * 100 is below 29, and the share that was asked for would be refused.
        if self.skipped and len(self.skipped) / max(self.n_planned, 1) > self.max_bad_fraction:
            first = self.skipped[0]
            raise DataError(
                f"{len(self.skipped)} of {self.n_planned} samples are bad ({self.reasons()}), more than max_bad_fraction"
                f" {self.max_bad_fraction:g}; first: {shown(first['key'])} in {first['shard']}: {first['reason']}"
                f"{' (' + first['detail'] + ')' if first['detail'] else ''}; see `uwm shards check`"
            )

    def reasons(self) -> str:
        """Reasons with their counts, most frequent first."""
        return ", ".join(f"{reason} {n}" for reason, n in self.by_reason().items())

    def by_reason(self) -> dict[str, int]:
        """How many samples were skipped for each reason, most frequent first."""
        return dict(Counter(item["reason"] for item in self.skipped).most_common())

    def counts(self) -> dict[str, Any]:
        """What the manifest records."""
        return {
            "samples_planned": self.n_planned,
            "samples_used": self.n_used,
            "samples_skipped": self.by_reason(),
            "skipped": self.skipped,
        }


def planned_samples(plans: Sequence[ShardPlan]) -> int:
    """Samples that a plan looks at, good and bad."""
    return sum(len(plan.keys) + len(plan.bad) for plan in plans)
