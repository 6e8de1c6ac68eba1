"""A figure with what it is made of: its value, how sure that is, and how it changes between two models."""

from dataclasses import dataclass

import torch

from tasks.evaluation.intervals import (
    Counts,
    Groups,
    Interval,
    Scores,
    difference_interval,
    generator,
    mcnemar_p,
    mean_difference_interval,
    mean_interval,
    share_interval,
)


@dataclass(frozen=True)
class Share:
    """A share of pairs or images in percent, or a mean of several shares; `right` [groups] count."""

    metric: str
    groups: Groups
    right: Counts

    @property
    def n(self) -> int:
        """Pairs or images."""
        return int(self.groups.sizes.sum())

    @property
    def value(self) -> float:
        """Percent."""
        if self.groups.one_sample:
            return 100 * torch.from_numpy(self.right / self.groups.sizes).mean().item()
        shares: list[float] = (100 * self.right / self.groups.sizes).tolist()
        return sum(shares) / len(shares)

    def interval(self, seed: int) -> Interval:
        """95 %, in percent."""
        return share_interval(self.groups, self.right, generator(seed))


@dataclass(frozen=True)
class Mean:
    """The mean of a score [n] in the score's own unit."""

    metric: str
    scores: Scores

    @property
    def n(self) -> int:
        """Captions or pairs."""
        return len(self.scores)

    @property
    def value(self) -> float:
        """In the unit of the scores."""
        return float(self.scores.mean())

    def interval(self, seed: int) -> Interval:
        """95 %, in the unit of the scores."""
        return mean_interval(self.scores, generator(seed))


@dataclass(frozen=True)
class ShareChange:
    """Pairs or images that are right in the second model only and in the first only, each [groups]."""

    metric: str
    groups: Groups
    gained: Counts
    lost: Counts

    @property
    def n(self) -> int:
        """Pairs or images."""
        return int(self.groups.sizes.sum())

    @property
    def n_moved(self) -> tuple[int, int]:
        """Gained and lost."""
        return int(self.gained.sum()), int(self.lost.sum())

    @property
    def difference(self) -> float:
        """Points, second less first."""
        return 100 * float(((self.gained - self.lost) / self.groups.sizes).mean())

    def interval(self, seed: int) -> Interval:
        """95 % of the difference, in points."""
        return difference_interval(self.groups, self.gained, self.lost, generator(seed))

    @property
    def p(self) -> float | None:
        """McNemar's exact p of a share of one set of pairs or images; None of a mean of several."""
        if len(self.groups.sizes) > 1 or self.groups.one_sample:
            return None
        return mcnemar_p(*self.n_moved)


@dataclass(frozen=True)
class MeanChange:
    """How each score [n] changes, second less first."""

    metric: str
    steps: Scores
    p: None = None

    @property
    def n(self) -> int:
        """Captions or pairs."""
        return len(self.steps)

    @property
    def n_moved(self) -> tuple[int, int]:
        """Risen and fallen."""
        return int((self.steps > 0).sum()), int((self.steps < 0).sum())

    @property
    def difference(self) -> float:
        """In the unit of the scores."""
        return float(self.steps.mean())

    def interval(self, seed: int) -> Interval:
        """95 % of the difference, in the unit of the scores."""
        return mean_difference_interval(self.steps, generator(seed))


Figure = Share | Mean
Change = ShareChange | MeanChange
