"""Measuring models: embeddings, evaluation, and the difference from the original."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from data_specs.choosing import ALL, EVERYTHING, Counted
from data_specs.data_sets import EvaluationConfig, SelectionConfig
from data_specs.errors import ArtifactError, SpecError
from data_specs.llava_setting import require_evaluable
from data_specs.manifest import ArtifactRef
from data_specs.run_config import (
    ACTIVATION_SCORERS,
    ENCODERS,
    GRADIENT_SCORERS,
    Encoder,
    MethodConfig,
    RunConfig,
)
from data_specs.samples import CLASS_SUFFIX
from data_specs.shard_patterns import literal_pattern
from data_specs.wording import shown
from flows.scores import labelled
from flows.session import Session
from tasks.embeddings.task import embed_in_turn, embed_shards
from tasks.encoders.loading import LoadedModel
from tasks.evaluation.task import LabelledSet, compare_evaluations, embed_classes, evaluate_model
from tasks.evaluation.zero_shot import open_data_set
from tasks.extraction.in_turn import ModelInTurn
from tasks.manipulation.task import draw_control, draw_sign_control, select_signed_weights, select_weights
from tasks.overlap.task import find_overlap
from tasks.shards.plan import ShardPlan, plan_reading


class EvaluationSets:
    """What all models of a run are measured on: pairs, and labelled images."""

    def __init__(
        self,
        session: Session,
        counted: Counted = EVERYTHING,
        pairs: EvaluationConfig | SelectionConfig | None = None,
    ) -> None:
        """Open and check all of it.

        Args:
            session: the run.
            counted: which pairs and images are counted.
            pairs: the settings of the pairs; None for those of the evaluation.

        Raises:
            SpecError: the model is a LLaVA's tower, which nothing measures without a text encoder.
            DataError: something is missing or damaged; it is named.
        """
        require_evaluable(session.config.model.llava)
        pairs = pairs or session.config.evaluation
        data_sets = [open_data_set(item) for item in session.config.evaluation.zero_shot]
        self.counted, self.limit = counted, pairs.limit
        self.pairs = session.shards(pairs.shards)
        self.labelled = [
            (data_set, session.shards([literal_pattern(path) for path in data_set.shards], "safe"))
            for data_set in data_sets
        ]

    def plans(self, encoder: Encoder) -> dict[str, list[ShardPlan]]:
        """What an encoder reads: `embeddings.ENCODER` of the pairs, and `zero_shot.NAME` of each data set."""
        read = {f"embeddings.{encoder}": plan_reading(self.pairs, encoder, self.limit)}
        if encoder == "vision":
            for data_set, images in self.labelled:
                read[f"zero_shot.{data_set.name}"] = plan_reading(images, encoder, None, needs=(CLASS_SUFFIX,))
        return read


def measure(
    session: Session, sets: EvaluationSets, loaded: LoadedModel, measured: ArtifactRef | str, name: str
) -> ArtifactRef:
    """Embed with a model and evaluate it, kept as `evaluation.NAME`; its metrics are the session's `NAME`.

    `measured` is what the record leads back to: a `model` or `edit` artifact, or the original's digest.
    """
    with session.timed(f"embeddings.{name}"):
        embeddings, images = _embed(session, sets, loaded, name)
        labelled_sets = []
        for data_set, _ in sets.labelled:
            label = f"zero_shot.{data_set.name}"
            made = embed_classes(data_set, loaded, session.config, session.store, session.context)
            classes = session.keep(f"{label}.{name}.classes", made)
            labelled_sets.append(LabelledSet(data_set, images[label], classes))
    with session.timed(f"evaluation.{name}"):
        made = evaluate_model(
            measured,
            embeddings,
            labelled_sets,
            session.store,
            session.context,
            seed=session.config.seed,
            counted=_told_apart(sets),
        )
        return session.keep_measured(name, made)


def embed_together(session: Session, sets: EvaluationSets, edits: Sequence[ArtifactRef]) -> None:
    """Make all embeddings that the original and edited models lack, decoding each sample once for all of them.

    A plan makes nothing.
    """
    if not session.store.makes:
        return
    original = session.original()
    models = [ModelInTurn(original, lambda: nullcontext(original))]
    for edit in dict.fromkeys(edits):
        with session.edited_in_place(edit) as loaded:
            models.append(ModelInTurn(loaded, partial(session.edited_in_place, edit)))
    for encoder in ENCODERS:
        own: dict[str, ModelInTurn] = {}
        for model in models:  # an edit of the other encoder alone is the original here
            own.setdefault(model.loaded.encoder_digest(encoder), model)
        if len(own) < 2:
            continue
        with session.timed(f"embeddings.{encoder}"):
            for what, plans in sets.plans(encoder).items():
                label = f"{what} of {len(own)} models"
                embed_in_turn(
                    encoder, plans, [*own.values()], session.config, session.store, session.context, label=label
                )


def overlap_of(session: Session, methods: Sequence[MethodConfig]) -> ArtifactRef | None:
    """What calibration and evaluation pairs share, kept as `overlap`; None where no method reads calibration data."""
    scorers = {chosen.scorer for method in methods for chosen in method.edited.values()}
    if not scorers & {*ACTIVATION_SCORERS, *GRADIENT_SCORERS}:
        return None
    calibration, evaluation = session.calibration_shards(), session.shards(session.config.evaluation.shards)
    with session.timed("overlap"):
        return session.keep("overlap", find_overlap(calibration, evaluation, session.store, session.context))


def measure_original(session: Session, sets: EvaluationSets, name: str = "original") -> ArtifactRef:
    """The evaluation of the unedited model."""
    loaded = session.original()
    return measure(session, sets, loaded, loaded.digest, name)


def measure_edit(session: Session, sets: EvaluationSets, edit: ArtifactRef, name: str) -> ArtifactRef:
    """The evaluation of the model with an edit, without a second model in memory or on disk."""
    with session.edited_in_place(edit) as loaded:
        return measure(session, sets, loaded, edit, name)


def edit_of(session: Session, model: ArtifactRef) -> ArtifactRef:
    """The edit that made a `model` artifact: an edited model has one name, whoever measures it.

    Raises:
        ArtifactError: the artifact is no model, or changed, or of another base model.
    """
    if model.kind != "model":
        raise ArtifactError(f"expected a model artifact, got {model.kind} {model.version[:12]}")
    edit = session.store.ensure(model).recipe.inputs["edit"]
    if not isinstance(edit, ArtifactRef):
        raise ArtifactError(f"model {model.version[:12]} names no edit that it was made by")
    return edit


def difference_of(session: Session, original: ArtifactRef, edited: ArtifactRef, name: str) -> ArtifactRef:
    """How an evaluation differs from the original's on the same pairs, kept as `differences.NAME`."""
    with session.timed("differences"):
        made = compare_evaluations(original, edited, session.config.seed, session.store, session.context)
        return session.keep(f"differences.{name}", made)


def selected_edit(
    session: Session, scores: ArtifactRef, config: RunConfig | None = None, name: str | None = None
) -> ArtifactRef:
    """The edit that scores and settings lead to, kept as `edit` or `edit.NAME`.

    Raises:
        SpecError: the scores were brought together for other sign filters.
    """
    config = config or session.config
    _require_signs(session, scores, config)
    with session.timed("edit"):
        select = select_signed_weights if config.signs else select_weights
        made = select(scores, session.original(), config, session.store, session.context)
        return session.keep(labelled("edit", name), made)


def _require_signs(session: Session, scores: ArtifactRef, config: RunConfig) -> None:
    if not session.store.holds(scores):  # a plan
        return
    found = session.store.manifest(scores).recipe.settings.get("sign", {})
    if found != config.signs:
        raise SpecError(
            f"scores {scores.version[:12]} are for sign filters {shown(found)}, the settings have {shown(config.signs)};"
            " leave scores out, or give those of these settings"
        )


def sign_control_edit(session: Session, edit: ArtifactRef, scores: ArtifactRef, seed: int, name: str) -> ArtifactRef:
    """An edit of as many weights of the same layers, drawn from those that the sign filter leaves, kept as `edit.NAME`."""
    with session.timed("edit"):
        made = draw_sign_control(edit, scores, seed, session.original(), session.store, session.context)
        return session.keep(f"edit.{name}", made)


def control_edit(session: Session, edit: ArtifactRef, seed: int, name: str) -> ArtifactRef:
    """An edit of as many weights of the same layers, drawn at random, kept as `edit.NAME`."""
    with session.timed("edit"):
        return session.keep(
            f"edit.{name}", draw_control(edit, seed, session.original(), session.store, session.context)
        )


def _told_apart(sets: EvaluationSets) -> Counted:
    # Where there are no images, which of them count makes no other evaluation.
    return sets.counted if sets.labelled else sets.counted.model_copy(update={"images": ALL})


def _embed(
    session: Session, sets: EvaluationSets, loaded: LoadedModel, name: str
) -> tuple[dict[Encoder, ArtifactRef], dict[str, ArtifactRef]]:
    """Of pairs by encoder, and of labelled images."""
    pairs: dict[Encoder, ArtifactRef] = {}
    images: dict[str, ArtifactRef] = {}
    for encoder in ENCODERS:
        for what, plans in sets.plans(encoder).items():
            label = f"{what}.{name}"
            made = embed_shards(encoder, plans, loaded, session.config, session.store, session.context, label=label)
            images[what] = session.keep(label, made)
        pairs[encoder] = images.pop(f"embeddings.{encoder}")
    return pairs, images
