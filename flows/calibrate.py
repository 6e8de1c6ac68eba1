"""Calibration: shards -> activation statistics -> scores."""

from data_specs.fields import Workers
from data_specs.placement import Device
from data_specs.run_result import RunResult
from data_specs.store_place import StoreLocation
from flows.decorator import flow
from flows.parameters import Config
from flows.remotes.sharing import carry_out
from flows.scores import scores_of
from flows.session import open_session


@flow(name="calibrate", run_name="{config.name}: calibrate")
def calibrate(
    config: Config, store: StoreLocation = "store", device: Device = "auto", workers: Workers = None
) -> RunResult:
    """Score every weight of the target layers on the calibration set.

    Args:
        config: the run's settings, or the path of their file.
        store: folder of the artifact store; or a mapping `{folder, remote}`, see docs/remote.md.
        device: auto, cpu, cuda, `cuda:0,cuda:1`, all or cpu:N; or a mapping `{devices, runner, address}`.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `activations.ENCODER`, `layer_scores.ENCODER` and `scores`.
    """
    with open_session(config, store, device, workers) as session:
        carry_out([session], lambda: scores_of(session))
        return session.result()
