"""The whole pipeline: calibrate, edit, evaluate before and after."""

from data_specs.manifest import ArtifactRef
from data_specs.run_config import Workers
from data_specs.run_result import RunResult
from flows.calibrate import calibrate
from flows.decorator import flow
from flows.edit import edit
from flows.evaluate import evaluate
from flows.measure import EvaluationSets
from flows.parameters import Config
from flows.report import report_of
from flows.session import open_session


@flow(name="make-safe")
def make_safe(config: Config, store: str = "store", device: str = "auto", workers: Workers = None) -> RunResult:
    """Edit a model with Unsafe Weights Manipulation and compare it with the original.

    Args:
        config: the run's settings, or the path of their file.
        store: folder of the artifact store.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        All artifacts, and metrics `original` and `edited`.
    """
    with open_session(config, store, device, workers) as session:
        # The evaluation set is checked before hours go into calibration.
        EvaluationSets(session)
        calibrated = calibrate(config, store, device, workers)
        edited = edit(config, store, device, workers, scores=_ref(calibrated, "scores"))
        evaluate(config, store, device, workers)
        evaluate(config, store, device, workers, model=_ref(edited, "model"))
        report_of(session, {"original": "original", "edited": "edited"})
        return session.result()


def _ref(result: RunResult, kind: str) -> ArtifactRef:
    return ArtifactRef(kind=kind, version=result.artifacts[kind].version)
