"""Every scorer by name."""

from typing import TypeVar

from data_specs.errors import SpecError
from data_specs.run_config import ScorerName
from tasks.scoring.scorer import ActivationScorer, GradientScorer, Scorer, WeightScorer
from tasks.scoring.scorers.difference import DIFFERENCE
from tasks.scoring.scorers.gradient_safe_clip import GRADIENT_SAFE_CLIP
from tasks.scoring.scorers.gradient_unsafe import GRADIENT_UNSAFE
from tasks.scoring.scorers.magnitude import MAGNITUDE
from tasks.scoring.scorers.random import RANDOM
from tasks.scoring.scorers.unsafe_only import UNSAFE_ONLY
from tasks.scoring.scorers.uwm import UWM

SCORERS: dict[ScorerName, Scorer] = {
    "uwm": UWM,
    "unsafe_only": UNSAFE_ONLY,
    "difference": DIFFERENCE,
    "gradient_unsafe": GRADIENT_UNSAFE,
    "gradient_safe_clip": GRADIENT_SAFE_CLIP,
    "magnitude": MAGNITUDE,
    "random": RANDOM,
}

# Left out of what a scorer's artifacts depend on, so that another scorer leaves their versions as they are.
REGISTRY = __name__
AnyScorer = TypeVar("AnyScorer", ActivationScorer, GradientScorer, WeightScorer)


def find_scorer(name: ScorerName, kind: type[AnyScorer]) -> AnyScorer:
    """The scorer of a name.

    Raises:
        SpecError: it is of another kind.
    """
    scorer = SCORERS[name]
    if not isinstance(scorer, kind):
        raise SpecError(f"scorer {name} is a {type(scorer).__name__}, expected a {kind.__name__}")
    return scorer


def source_of(scorer: Scorer) -> str:
    """The module that a scorer is defined in."""
    match scorer:
        case ActivationScorer(start=function) | GradientScorer(loss=function) | WeightScorer(scores=function):
            return function.__module__
