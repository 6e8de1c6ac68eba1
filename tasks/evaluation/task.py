"""Class embeddings and evaluations as artifacts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from data_specs.manifest import ArtifactRef, Recipe
from data_specs.metrics import ZERO_SHOT, metric_names
from data_specs.run_config import ENCODERS, Encoder, RunConfig
from tasks.embeddings.pairs import read_pairs
from tasks.encoders.forward import forward_precision
from tasks.encoders.loading import LoadedModel
from tasks.evaluation.retrieval import retrieval_metrics
from tasks.evaluation.safeground import safeground
from tasks.evaluation.similarities import similarities
from tasks.evaluation.zero_shot import DataSet, class_embeddings, classification_metrics, read_labelled
from tasks.extraction.columns import vector_column, vectors
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import source_digest
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store

METRICS_FILE = "metrics.json"
SIMILARITIES_FILE = "similarities.parquet"
CLASSES_FILE = "classes.parquet"
ZERO_SHOT_FILE = "zero_shot.json"


@dataclass(frozen=True)
class LabelledSet:
    """A zero-shot data set with both encoders' embeddings of it."""

    data_set: DataSet
    images: ArtifactRef
    classes: ArtifactRef


@task(name="embed-classes", task_run_name="embed-classes-{data_set.name}", cache_policy=NO_CACHE)
def embed_classes(data_set: DataSet, loaded: LoadedModel, config: RunConfig, store: Store, context: RunContext) -> Made:
    """Embed a zero-shot data set's class prompts; returns the `class_embeddings` artifact."""
    recipe = Recipe(
        kind="class_embeddings",
        settings={
            "model_cfg": loaded.architecture.model_cfg,
            "tokenizer": loaded.architecture.tokenizer_name,
            "class_names": list(data_set.class_names),
            "templates": list(data_set.templates),
            "precision": config.precision,
        },
        inputs={"encoder": loaded.encoder_digest("text")},
        code=source_digest(__package__ or ""),
    )

    def write(build: Build) -> None:
        device = torch.device(context.device)
        with forward_precision(config.precision, device):
            classes = class_embeddings(loaded.model.to(device), loaded.tokenizer, data_set, device)
        table = pa.table({"class_name": list(data_set.class_names), "embedding": vector_column(classes)})
        pq.write_table(table, build.folder / CLASSES_FILE)

    return store.materialise(recipe, write, context)


@task(name="evaluate-model", cache_policy=NO_CACHE)
def evaluate_model(
    model: ArtifactRef | str,
    embeddings: Mapping[Encoder, ArtifactRef],
    zero_shot: Sequence[LabelledSet],
    store: Store,
    context: RunContext,
) -> Made:
    """SafeGround, retrieval and zero-shot accuracy from embeddings; returns the `evaluation` artifact.

    `model` is the edited model's artifact or the original's digest: embeddings know only their
    encoder's weights, and the record must lead from the numbers to the edit and its data.
    """
    inputs: dict[str, ArtifactRef | str | list[str]] = {"model": model}
    inputs |= {f"embeddings.{name}": embeddings[name] for name in ENCODERS}
    for item in zero_shot:
        inputs[f"zero_shot.{item.data_set.name}.images"] = item.images
        inputs[f"zero_shot.{item.data_set.name}.classes"] = item.classes
    recipe = Recipe(
        kind="evaluation",
        settings={"zero_shot": [item.data_set.name for item in zero_shot]},
        inputs=inputs,
        code=source_digest(__package__ or ""),
    )

    def write(build: Build) -> None:
        pairs = read_pairs(store.path(embeddings["text"]), store.path(embeddings["vision"]))
        path = build.folder / SIMILARITIES_FILE
        pq.write_table(similarities(pairs), path)
        found = safeground(path) | retrieval_metrics(pairs, torch.device(context.device))
        metrics: dict[str, Any] = {"n_pairs": found["n_pairs"]} | {name: found[name] for name in metric_names()}
        if zero_shot:
            accuracies = {item.data_set.name: _accuracy(item, store) for item in zero_shot}
            metrics[ZERO_SHOT] = sum(each["acc1"] for each in accuracies.values()) / len(accuracies)
            _write_json(build.folder / ZERO_SHOT_FILE, accuracies)
        _write_json(build.folder / METRICS_FILE, metrics)

    with stage("evaluation", None, "pairs"):
        return store.materialise(recipe, write, context)


def read_metrics(artifact: Path) -> dict[str, float]:
    """The metrics of an evaluation artifact."""
    metrics: dict[str, float] = json.loads((artifact / METRICS_FILE).read_text(encoding="utf-8"))
    return metrics


def _accuracy(item: LabelledSet, store: Store) -> dict[str, float]:
    n_classes = len(item.data_set.class_names)
    images, labels = read_labelled(store.path(item.images), n_classes, item.data_set.name)
    table = pq.read_table(store.path(item.classes) / CLASSES_FILE)
    return classification_metrics(images, labels, vectors(table.column("embedding"), "embedding"))


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
