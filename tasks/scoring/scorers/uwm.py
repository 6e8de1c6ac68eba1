"""UWM: how much more salient a weight is for unsafe than for safe content, as matrix products."""

import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.run_config import CONTENTS, Content, EncoderConfig
from tasks.scoring.saliency import ChannelStats, NotComparable, require_comparable, require_shape
from tasks.scoring.scorer import ActivationScorer, PairScores, SideScores
from tasks.scoring.total import Sums

_PAIRS = "pairs"


class MeanOfRatios:
    """Mean over pairs of each weight's unsafe/safe saliency ratio, batch by batch.

    The mean of |W| over outputs cancels in the ratio, so a pair contributes an outer product
    and a batch one matrix product: no [pairs, out, in] tensor is made.

    Source: UWM paper, Eq. 8-10, as the authors' released code brings pairs together.
    """

    def __init__(self, weight: Tensor) -> None:
        """Score `weight` [out, in] on its device."""
        self._magnitude = weight.float().abs()
        self.sums = Sums((_PAIRS,))

    @property
    def n_pairs(self) -> int:
        """How many pairs were added."""
        return self.sums.counts[_PAIRS]

    def add(self, safe: ChannelStats, unsafe: ChannelStats) -> None:
        """Add pairs; row b of each side is the same pair.

        Args:
            safe: statistics on the pairs' safe side, each [pairs, in].
            unsafe: the same pairs in the same order, unsafe side.

        Raises:
            DataError: a statistic is not [pairs, in].
            NotComparable: a ratio is NaN or infinite, as over a channel that is zero on the safe side.
        """
        safe, unsafe = safe.to(self._magnitude.device), unsafe.to(self._magnitude.device)
        width = self._magnitude.shape[1]
        require_shape(safe, safe.norm.shape[0], width)
        require_shape(unsafe, safe.norm.shape[0], width)
        per_output = (unsafe.norm @ self._magnitude.T) / (safe.norm @ self._magnitude.T)
        per_input = unsafe.activity() / safe.activity()
        require_comparable(per_output, "output")
        require_comparable(per_input, "input")
        self.sums.add(_PAIRS, per_output.T @ per_input, safe.norm.shape[0])

    def scores(self) -> Tensor:
        """[out, in] float32, unitless; 1.0 is equally salient for safe and unsafe.

        Raises:
            DataError: there is no pair.
        """
        if self.n_pairs == 0:
            raise DataError("no pair with both sides is left to score; look at the tags and at the shards")
        return self.sums.mean(_PAIRS).float()


class RatioOfMeans:
    """Ratio of the mean unsafe to the mean safe score of each weight; sides may differ in size.

    Source: UWM paper, Eq. 8-10.
    """

    def __init__(self, weight: Tensor) -> None:
        """Score `weight` [out, in] on its device."""
        self._magnitude = weight.float().abs()
        self.sums = Sums(CONTENTS)

    @property
    def n_samples(self) -> dict[Content, int]:
        """How many samples of each side were added."""
        return {side: self.sums.counts[side] for side in CONTENTS}

    def add(self, side: Content, stats: ChannelStats) -> None:
        """Add samples of one side, each statistic [samples, in].

        Raises:
            DataError: a statistic is not [samples, in].
        """
        stats = stats.to(self._magnitude.device)
        require_shape(stats, stats.norm.shape[0], self._magnitude.shape[1])
        self.sums.add(side, (stats.norm @ self._magnitude.T).T @ stats.activity(), stats.norm.shape[0])

    def scores(self) -> Tensor:
        """[out, in] float32, unitless; 1.0 is equally salient for safe and unsafe.

        Raises:
            DataError: a side has no samples.
            NotComparable: a ratio is NaN or infinite.
        """
        for side, n in self.n_samples.items():
            if n == 0:
                raise DataError(f"no {side} sample to score")
        means = {side: self.sums.mean(side) for side in CONTENTS}
        ratio: Tensor = (means["unsafe"] / means["safe"]).float()
        if not bool(torch.isfinite(ratio).all()):
            output, channel = (int(i) for i in (~torch.isfinite(ratio)).nonzero()[0])
            raise NotComparable("input", output, channel)
        return ratio


def _scores(weight: Tensor, config: EncoderConfig) -> PairScores | SideScores:
    return MeanOfRatios(weight) if config.aggregation == "mean_of_ratios" else RatioOfMeans(weight)


UWM = ActivationScorer(_scores, settings=("aggregation",))
