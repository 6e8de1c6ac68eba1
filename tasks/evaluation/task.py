"""Class embeddings, evaluations and differences between them as artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import JsonValue

from data_specs.choosing import EVERYTHING, Counted, Span
from data_specs.evaluation_files import (
    CHANGES_BY_CERTAINTY_FILE,
    CHANGES_BY_TAG_FILE,
    DIFFERENCES_FILE,
    FLIPS_FILE,
    MARGINS_FILE,
    OUTCOMES_FILE,
    SIMILARITIES_FILE,
    ZERO_SHOT_OUTCOMES_FILE,
)
from data_specs.manifest import ArtifactRef, Inputs, Recipe
from data_specs.run_config import ENCODERS, Encoder, RunConfig
from tasks.embeddings.pairs import EmbeddedPairs, read_pairs
from tasks.encoders.architecture import build_model
from tasks.encoders.forward import forward_precision
from tasks.encoders.loading import LoadedModel
from tasks.evaluation.differences import differences
from tasks.evaluation.flips import changes_by_certainty, changes_by_tag, flipped, margins, pair_changes
from tasks.evaluation.intervals import LEVEL, N_RESAMPLES
from tasks.evaluation.measures import write_measures
from tasks.evaluation.outcomes import labelled_outcomes, pair_outcomes
from tasks.evaluation.retrieval import retrieval_ranks
from tasks.evaluation.similarities import similarities
from tasks.evaluation.zero_shot import (
    DataSet,
    class_embeddings,
    classification_ranks,
    read_labelled,
)
from tasks.extraction.columns import vector_column, vectors
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task

CLASSES_FILE = "classes.parquet"


@dataclass(frozen=True)
class LabelledSet:
    """A zero-shot data set with both encoders' embeddings of it."""

    data_set: DataSet
    images: ArtifactRef
    classes: ArtifactRef


@task(name="embed-classes", task_run_name="embed-classes-{data_set.name}")
def embed_classes(data_set: DataSet, loaded: LoadedModel, config: RunConfig, store: Store, context: RunContext) -> Made:
    """Embed a zero-shot data set's class prompts; returns the `class_embeddings` artifact."""
    recipe = Recipe(
        kind="class_embeddings",
        settings={
            **loaded.architecture.of("text"),
            "class_names": list(data_set.class_names),
            "templates": list(data_set.templates),
            "precision": config.precision,
        },
        inputs={"encoder": loaded.encoder_digest("text")},
        **coded(embed_classes, build_model),
    )

    def write(build: Build) -> None:
        device = torch.device(context.device)
        with forward_precision(config.precision, device):
            classes = class_embeddings(loaded.model.to(device), loaded.tokenizer, data_set, device)
        table = pa.table({"class_name": list(data_set.class_names), "embedding": vector_column(classes)})
        pq.write_table(table, build.folder / CLASSES_FILE)

    return store.materialise(recipe, write, context)


@task(name="evaluate-model")
def evaluate_model(
    model: ArtifactRef | str,
    embeddings: Mapping[Encoder, ArtifactRef],
    zero_shot: Sequence[LabelledSet],
    store: Store,
    context: RunContext,
    *,
    seed: int,
    counted: Counted = EVERYTHING,
) -> Made:
    """SafeGround, retrieval and zero-shot accuracy from embeddings; returns the `evaluation` artifact.

    `model` is the edited model's artifact or the original's digest: embeddings know only their
    encoder's weights, and the record must lead from the numbers to the edit and its data.
    `seed` is of the intervals' resamples. Pairs that are not `counted` are no candidates of retrieval either.

    Raises:
        DataError: no pair, or no image of a zero-shot data set, is counted.
    """
    inputs: Inputs = {"model": model}
    inputs |= {f"embeddings.{name}": embeddings[name] for name in ENCODERS}
    for item in zero_shot:
        inputs[f"zero_shot.{item.data_set.name}.images"] = item.images
        inputs[f"zero_shot.{item.data_set.name}.classes"] = item.classes
    recipe = Recipe(
        kind="evaluation",
        settings={
            "zero_shot": [item.data_set.name for item in zero_shot],
            **_bootstrap(seed),
            **_counted_settings(counted),
        },
        inputs=inputs,
        **coded(evaluate_model),
    )

    def write(build: Build) -> None:
        pairs = read_pairs(store.path(embeddings["text"]), store.path(embeddings["vision"]), counted.pairs)
        _write_pair_outcomes(pairs, build.folder, torch.device(context.device))
        _write_labelled_outcomes(zero_shot, counted.images, build.folder, store)
        write_measures(build.folder, {item.data_set.name: len(item.data_set.class_names) for item in zero_shot}, seed)

    with stage("evaluation", None, "pairs"):
        return store.materialise(recipe, write, context)


@task(name="compare-evaluations")
def compare_evaluations(first: ArtifactRef, second: ArtifactRef, seed: int, store: Store, context: RunContext) -> Made:
    """Every figure's difference between two models on the same pairs; returns the `differences` artifact."""
    recipe = Recipe(
        kind="differences",
        settings=_bootstrap(seed),
        inputs={"first": first, "second": second},
        **coded(compare_evaluations),
    )

    def write(build: Build) -> None:
        found = differences(store.path(first), store.path(second), seed)
        pq.write_table(found, build.folder / DIFFERENCES_FILE)

    return store.materialise(recipe, write, context)


@task(name="find-flips")
def find_flips(first: ArtifactRef, second: ArtifactRef, seed: int, store: Store, context: RunContext) -> Made:
    """What changed pair by pair between two models on the same pairs; returns the `flips` artifact."""
    recipe = Recipe(
        kind="flips",
        settings=_bootstrap(seed),
        inputs={"first": first, "second": second},
        **coded(find_flips),
    )

    def write(build: Build) -> None:
        changes = pair_changes(store.path(first), store.path(second))
        found = flipped(changes)
        pq.write_table(found, build.folder / FLIPS_FILE)
        pq.write_table(changes_by_tag(changes, seed), build.folder / CHANGES_BY_TAG_FILE)
        pq.write_table(changes_by_certainty(changes, seed), build.folder / CHANGES_BY_CERTAINTY_FILE)
        pq.write_table(margins(changes), build.folder / MARGINS_FILE)
        build.counts["pairs"] = {"measured": changes.num_rows, "flipped": found.num_rows}

    with stage("flips", None, "pairs"):
        return store.materialise(recipe, write, context)


def _bootstrap(seed: int) -> dict[str, JsonValue]:
    return {"seed": seed, "n_resamples": N_RESAMPLES, "level": LEVEL}


def _counted_settings(counted: Counted) -> dict[str, JsonValue]:
    # What counts all was made before a part could be counted.
    return {} if counted == EVERYTHING else {"counted": counted.model_dump(mode="json")}


def _write_pair_outcomes(pairs: EmbeddedPairs, folder: Path, device: torch.device) -> None:
    similar = folder / SIMILARITIES_FILE
    pq.write_table(similarities(pairs), similar)
    pq.write_table(pair_outcomes(similar, retrieval_ranks(pairs, device)), folder / OUTCOMES_FILE)


def _write_labelled_outcomes(zero_shot: Sequence[LabelledSet], counted: Span, folder: Path, store: Store) -> None:
    tables = []
    for item in zero_shot:
        name, n_classes = item.data_set.name, len(item.data_set.class_names)
        sample_ids, images, labels = read_labelled(store.path(item.images), n_classes, name, counted)
        classes = pq.read_table(store.path(item.classes) / CLASSES_FILE).column("embedding")
        ranks = classification_ranks(images, labels, vectors(classes, "embedding"))
        tables.append(labelled_outcomes(name, sample_ids, labels, ranks))
    if tables:
        pq.write_table(pa.concat_tables(tables), folder / ZERO_SHOT_OUTCOMES_FILE)
