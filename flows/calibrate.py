"""Calibration: shards -> activation statistics -> scores."""

from prefect import flow

from data_specs.manifest import ArtifactRef
from data_specs.run_config import Encoder, Rule, RunConfig
from data_specs.run_result import RunResult
from flows.session import Session, open_session
from tasks.activations.task import extract_activations
from tasks.scoring.task import score_layers, summarise_scores
from tasks.shards.plan import plan_reading


@flow(name="calibrate")
def calibrate(config: RunConfig, store: str = "store", device: str = "auto", workers: int | None = None) -> RunResult:
    """Score every weight of the target layers on the calibration set.

    Args:
        config: the run's settings.
        store: folder of the artifact store.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode samples; None for one a core, at most 4.

    Returns:
        Artifacts `activations.ENCODER`, `layer_scores.ENCODER` and `scores`.
    """
    with open_session(config, store, device, workers) as session:
        scores_of(session)
        return session.result()


def scores_of(session: Session) -> ArtifactRef:
    """The `scores` artifact of a run, with all that it is made of."""
    config = session.config
    loaded = session.original()
    shards = session.calibration_shards()
    layer_scores: dict[Encoder, ArtifactRef] = {}
    asked: dict[Encoder, list[tuple[Rule, float]]] = {}
    # Settings that match no layer are refused before anything is computed.
    for name in config.edited:
        if (chosen := config.encoder(name)) is not None:
            loaded.target_weights(name, chosen.layers)
    for name in config.edited:
        chosen = config.encoder(name)
        if chosen is None:
            continue
        with session.timed(f"activations.{name}"):
            plans = plan_reading(shards, name, config.calibration.limit)
            made = extract_activations(name, chosen.layers, plans, loaded, config, session.store, session.context)
            activations = session.keep(f"activations.{name}", made)
        with session.timed("scores"):
            made = score_layers(
                name, chosen, config.calibration.tags, activations, loaded, session.store, session.context
            )
            layer_scores[name] = session.keep(f"layer_scores.{name}", made)
        asked[name] = [(chosen.rule, chosen.tau)]
    with session.timed("scores"):
        return session.keep("scores", summarise_scores(layer_scores, asked, session.store, session.context))
