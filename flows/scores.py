"""Scores of a method's layers: shards -> activation statistics, gradients or nothing -> scores."""

from collections.abc import Mapping, Sequence

from data_specs.manifest import ArtifactRef
from data_specs.run_config import (
    ACTIVATION_SCORERS,
    ENCODERS,
    GRADIENT_SCORERS,
    Encoder,
    EncoderConfig,
    MethodConfig,
    Rule,
    RunConfig,
)
from flows.session import Session
from tasks.activations.task import extract_activations, read_for_both, statistics_of
from tasks.embeddings.task import embed_shards
from tasks.scoring.folded.task import fold_activations, score_by_sums
from tasks.scoring.gradients.calibration import EmbeddedCalibration
from tasks.scoring.gradients.task import score_by_gradients
from tasks.scoring.slopes.task import measure_slopes, require_common_pairs, summarise_signed_scores
from tasks.scoring.task import CalibrationRows, score_by_activations, score_by_weights, summarise_scores
from tasks.shards.plan import ShardPlan, plan_reading

Asked = Mapping[Encoder, Sequence[tuple[Rule, float]]]


def scores_of(
    session: Session, config: RunConfig | None = None, *, name: str | None = None, asked: Asked | None = None
) -> ArtifactRef:
    """The `scores` artifact of one way to edit, with all that it is made of.

    Args:
        session: the run; what its own calibration limit covers is read once for all ways to edit.
        config: the run's settings, perhaps with another way to edit, seed or smaller calibration limit.
        name: of the way to edit, behind a dot in the account; None for the run's own.
        asked: rules and taus to tabulate; None for the one of `config`.

    Returns:
        Its reference.
    """
    config = config or session.config
    require_layers(session, config)
    _require_members(session, config)
    _read_for_both(session, config)
    layer_scores = {
        encoder: _layer_scores(session, config, encoder, chosen, name) for encoder, chosen in config.edited.items()
    }
    asked = asked or {encoder: [(chosen.rule, chosen.tau)] for encoder, chosen in config.edited.items()}
    slopes = {encoder: _slopes(session, config, encoder, config.edited[encoder], name) for encoder in config.signs}
    with session.timed("scores"):
        if slopes:
            made = summarise_signed_scores(
                layer_scores, slopes, config.signs, asked, session.original(), session.store, session.context
            )
        else:
            made = summarise_scores(layer_scores, asked, session.store, session.context)
        return session.keep(labelled("scores", name), made)


def require_layers(session: Session, method: MethodConfig) -> None:
    """Refuse settings that match no layer before anything is computed.

    Raises:
        SpecError: there is no such layer.
    """
    for encoder, chosen in method.edited.items():
        session.original().target_weights(encoder, chosen.layers)


def require_inputs(session: Session, method: MethodConfig) -> None:
    """Refuse layers that do not exist and calibration shards that are damaged before anything is computed.

    Raises:
        SpecError: there is no such layer.
        DataError: a shard that a scorer reads is missing, empty or cut, or no pair has the members that a sign filter needs.
    """
    require_layers(session, method)
    if any(chosen.scorer in (*ACTIVATION_SCORERS, *GRADIENT_SCORERS) for chosen in method.edited.values()):
        session.calibration_shards()
    _require_members(session, session.config.with_method(method))


def _require_members(session: Session, config: RunConfig) -> None:
    if config.signs:
        require_common_pairs(_pair_plans(session, config))


def labelled(what: str, name: str | None) -> str:
    """An artifact's name in the account: of the run itself, or of one of several ways to edit."""
    return what if name is None else f"{what}.{name}"


def _layer_scores(
    session: Session, config: RunConfig, encoder: Encoder, chosen: EncoderConfig, name: str | None
) -> ArtifactRef:
    if chosen.scorer in ACTIVATION_SCORERS and chosen.statistics == "folded":
        activations = _folded(session, config, encoder, chosen, name)
        with session.timed("scores"):
            made = score_by_sums(
                encoder, chosen, activations, session.original(), config, session.store, session.context
            )
    elif chosen.scorer in ACTIVATION_SCORERS:
        activations = _activations(session, encoder, chosen, name)
        rows = CalibrationRows(activations, config.calibration.tags, _first(session, config, encoder))
        with session.timed("scores"):
            made = score_by_activations(encoder, chosen, rows, session.original(), session.store, session.context)
    elif chosen.scorer in GRADIENT_SCORERS:
        pairs = _embedded(session, config)
        with session.timed(f"gradients.{encoder}"):
            made = score_by_gradients(
                encoder, chosen, pairs, session.original(), config, session.store, session.context
            )
    else:
        with session.timed("scores"):
            made = score_by_weights(encoder, chosen, session.original(), config.seed, session.store, session.context)
    return session.keep(labelled(f"layer_scores.{encoder}", name), made)


def _slopes(
    session: Session, config: RunConfig, encoder: Encoder, chosen: EncoderConfig, name: str | None
) -> ArtifactRef:
    pairs = _embedded(session, config)
    with session.timed(f"slopes.{encoder}"):
        made = measure_slopes(encoder, chosen, pairs, session.original(), config, session.store, session.context)
    return session.keep(labelled(f"slopes.{encoder}", name), made)


def _read_for_both(session: Session, config: RunConfig) -> None:
    """Decode calibration pictures once for statistics and embeddings, where this way to edit or another one needs both."""
    chosen, ways = config.vision, [config, session.config, *session.config.methods.values()]
    embedded = any(way.signs or {own.scorer for own in way.edited.values()} & {*GRADIENT_SCORERS} for way in ways)
    rows = chosen is not None and chosen.scorer in ACTIVATION_SCORERS and chosen.statistics == "rows"
    if chosen is None or not (rows and embedded and session.store.makes):
        return
    plans = plan_reading(session.calibration_shards(), "vision", session.config.calibration.limit)
    with session.timed("activations.vision"):
        read_for_both(
            "vision", chosen.layers, plans, session.original(), session.config, session.store, session.context
        )


def _embedded(session: Session, config: RunConfig) -> EmbeddedCalibration:
    embeddings = _calibration_embeddings(session)
    return EmbeddedCalibration(embeddings, _pair_plans(session, config), config.calibration.tags)


def _pair_plans(session: Session, config: RunConfig) -> dict[Encoder, list[ShardPlan]]:
    shards = session.calibration_shards()
    return {encoder: plan_reading(shards, encoder, config.calibration.limit) for encoder in ENCODERS}


def _first(session: Session, config: RunConfig, encoder: Encoder) -> list[ShardPlan] | None:
    limit = config.calibration.limit
    if limit == session.config.calibration.limit:
        return None
    return plan_reading(session.calibration_shards(), encoder, limit)


def _activations(session: Session, encoder: Encoder, chosen: EncoderConfig, name: str | None) -> ArtifactRef:
    config = session.config
    plans = plan_reading(session.calibration_shards(), encoder, config.calibration.limit)
    with session.timed(f"activations.{encoder}"):
        made = extract_activations(
            encoder, chosen.layers, plans, session.original(), config, session.store, session.context
        )
    return session.keep(labelled(f"activations.{encoder}", name), made)


def _folded(
    session: Session, config: RunConfig, encoder: Encoder, chosen: EncoderConfig, name: str | None
) -> ArtifactRef:
    # Of a smaller limit they are sums of their own: none can be taken out of a larger one.
    plans = plan_reading(session.calibration_shards(), encoder, config.calibration.limit)
    rows = statistics_of(encoder, chosen.layers, session.original())
    with session.timed(f"activations.{encoder}"):
        made = fold_activations(rows, chosen, plans, session.original(), config, session.store, session.context)
    return session.keep(labelled(f"activations.{encoder}", name), made)


def _calibration_embeddings(session: Session) -> dict[Encoder, ArtifactRef]:
    config = session.config
    embeddings: dict[Encoder, ArtifactRef] = {}
    for encoder in ENCODERS:
        plans = plan_reading(session.calibration_shards(), encoder, config.calibration.limit)
        label = f"embeddings.{encoder}.calibration"
        with session.timed(label):
            made = embed_shards(encoder, plans, session.original(), config, session.store, session.context, label=label)
        embeddings[encoder] = session.keep(label, made)
    return embeddings
