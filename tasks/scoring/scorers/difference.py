"""Difference: by how much a weight is more salient for unsafe than for safe content."""

from torch import Tensor

from data_specs.run_config import EncoderConfig
from tasks.scoring.scorer import ActivationScorer, SideScores
from tasks.scoring.scorers.mean_saliency import MeanSaliency


class SaliencyDifference(MeanSaliency):
    """Mean unsafe minus mean safe score; over pairs, that is the mean of the pairs' differences.

    Source: UWM paper, ablation of the score.
    """

    def scores(self) -> Tensor:
        """[out, in] float32, activation units; negative where a weight is more salient for safe content.

        Raises:
            DataError: a side has no samples.
        """
        return (self.mean("unsafe") - self.mean("safe")).float()


def _scores(weight: Tensor, _config: EncoderConfig) -> SideScores:
    return SaliencyDifference(weight)


DIFFERENCE = ActivationScorer(_scores)
