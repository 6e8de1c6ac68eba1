"""Evaluation: model -> embeddings -> SafeGround, retrieval, zero-shot."""

from pathlib import Path

from prefect import flow

from data_specs.manifest import ArtifactRef
from data_specs.run_config import ENCODERS, Encoder, RunConfig
from data_specs.run_result import RunResult
from flows.session import Session, open_session
from tasks.embeddings.task import embed_shards
from tasks.encoders.loading import LoadedModel
from tasks.evaluation.task import LabelledSet, embed_classes, evaluate_model, read_metrics
from tasks.evaluation.zero_shot import DataSet, open_data_set
from tasks.shards.inspection import Shard
from tasks.shards.plan import plan_reading


@flow(name="evaluate")
def evaluate(
    config: RunConfig,
    store: str = "store",
    device: str = "auto",
    workers: int | None = None,
    model: ArtifactRef | None = None,
    name: str | None = None,
) -> RunResult:
    """Measure the original model or an edited one.

    Args:
        config: the run's settings.
        store: folder of the artifact store.
        device: auto, cpu, cuda or cuda:N.
        workers: processes that decode samples.
        model: a `model` artifact; None measures the original model.
        name: under which the metrics appear; None for `original` or `edited`.

    Returns:
        Artifact `evaluation.NAME` and metrics `NAME`.
    """
    name = name or ("original" if model is None else "edited")
    with open_session(config, store, device, workers) as session:
        # Everything that the evaluation needs is checked before the first forward pass.
        data_sets = [open_data_set(item.name, Path(item.path), item.split) for item in config.evaluation.zero_shot]
        shards = session.shards(config.evaluation.shards)
        image_sets = [session.shards(data_set.shards, "safe") for data_set in data_sets]
        loaded = session.original() if model is None else session.edited(model)
        with session.timed(f"embeddings.{name}"):
            embeddings = _embed_pairs(session, shards, loaded, name)
            labelled = [
                _embed_labelled(session, data_set, images, loaded, name)
                for data_set, images in zip(data_sets, image_sets, strict=True)
            ]
        with session.timed(f"evaluation.{name}"):
            measured = model or session.original().digest
            made = evaluate_model(measured, embeddings, labelled, session.store, session.context)
            session.keep(f"evaluation.{name}", made)
            session.metrics[name] = read_metrics(made.path)
        return session.result()


def _embed_pairs(session: Session, shards: list[Shard], loaded: LoadedModel, name: str) -> dict[Encoder, ArtifactRef]:
    embeddings: dict[Encoder, ArtifactRef] = {}
    for encoder in ENCODERS:
        label = f"embeddings.{encoder}.{name}"
        plans = plan_reading(shards, encoder, session.config.evaluation.limit)
        made = embed_shards(encoder, plans, loaded, session.config, session.store, session.context, label=label)
        embeddings[encoder] = session.keep(label, made)
    return embeddings


def _embed_labelled(
    session: Session, data_set: DataSet, images: list[Shard], loaded: LoadedModel, name: str
) -> LabelledSet:
    label = f"zero_shot.{data_set.name}.{name}"
    plans = plan_reading(images, "vision", None)
    made = embed_shards("vision", plans, loaded, session.config, session.store, session.context, label=label)
    classes = embed_classes(data_set, loaded, session.config, session.store, session.context)
    return LabelledSet(data_set, session.keep(label, made), session.keep(f"{label}.classes", classes))
