"""The mean score of each side's samples: a sample's score is an outer product, a batch's sum one matrix product."""

from torch import Tensor

from data_specs.errors import DataError
from data_specs.run_config import CONTENTS, Content
from tasks.scoring.saliency import ChannelStats, require_shape
from tasks.scoring.total import Sums


class MeanSaliency:
    """Mean over samples of score_ij = saliency_ij / (std_j + eps), for each side.

    Source: UWM paper, Eq. 8 and 9.
    """

    def __init__(self, weight: Tensor, contents: tuple[Content, ...] = CONTENTS) -> None:
        """Score `weight` [out, in] on its device; sums are float64. Samples of other sides are passed over."""
        self._magnitude = weight.float().abs()
        self._over_outputs = self._magnitude.mean(dim=0)
        self._contents = contents
        self.sums = Sums(contents)

    @property
    def n_samples(self) -> dict[Content, int]:
        """How many samples of each side were added."""
        return {side: self.sums.counts[side] for side in self._contents}

    def add(self, side: Content, stats: ChannelStats) -> None:
        """Add samples of one side, each statistic [samples, in].

        Raises:
            DataError: a statistic is not [samples, in].
        """
        if side not in self._contents:
            return
        stats = stats.to(self._magnitude.device)
        n_samples, width = stats.norm.shape[0], self._magnitude.shape[1]
        require_shape(stats, n_samples, width)
        # In float64: a difference of the two sides' means would else keep few of its digits.
        over_inputs = (stats.norm @ self._magnitude.T).double() / width
        self.sums.add(side, over_inputs.T @ (stats.activity() * self._over_outputs).double(), n_samples)

    def mean(self, side: Content) -> Tensor:
        """[out, in] float64, activation units.

        Raises:
            DataError: the side has no samples.
        """
        if self.n_samples[side] == 0:
            raise DataError(f"no {side} sample is left to score; look at the tags and at the shards")
        return self.sums.mean(side)
