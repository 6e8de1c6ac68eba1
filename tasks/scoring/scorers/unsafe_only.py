"""Unsafe-only: how salient a weight is for unsafe content, whatever it is for safe content."""

from torch import Tensor

from data_specs.run_config import EncoderConfig
from tasks.scoring.scorer import ActivationScorer, SideScores
from tasks.scoring.scorers.mean_saliency import MeanSaliency


class UnsafeSaliency(MeanSaliency):
    """Mean score over the unsafe samples.

    Source: UWM paper, ablation of the score.
    """

    def __init__(self, weight: Tensor) -> None:
        """Score `weight` [out, in] on its device."""
        super().__init__(weight, ("unsafe",))

    def scores(self) -> Tensor:
        """[out, in] float32, activation units.

        Raises:
            DataError: there is no unsafe sample.
        """
        return self.mean("unsafe").float()


def _scores(weight: Tensor, _config: EncoderConfig) -> SideScores:
    return UnsafeSaliency(weight)


UNSAFE_ONLY = ActivationScorer(_scores)
