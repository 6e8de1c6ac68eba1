"""Evaluations of random embeddings and of given outcomes, made by the pipeline's own code."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import normalize

from data_specs.evaluation_files import (
    METRICS_FILE,
    OUTCOMES_FILE,
    SIMILARITIES_FILE,
    ZERO_SHOT_OUTCOMES_FILE,
    write_json,
)
from data_specs.manifest import ArtifactRef
from data_specs.metrics import GROUPS, PREFERENCES, RETRIEVALS, accuracies_of, accuracy_name, metrics_of
from data_specs.schemas import OUTCOMES, embeddings_schema
from tasks.embeddings.observer import FOLDER
from tasks.evaluation.counts import figures
from tasks.evaluation.outcomes import labelled_outcomes, pair_outcomes
from tasks.evaluation.retrieval import retrieval_ranks
from tasks.evaluation.similarities import similarities
from tasks.evaluation.task import CLASSES_FILE, LabelledSet, evaluate_model
from tasks.evaluation.zero_shot import DataSet
from tasks.extraction.columns import vector_column
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.statistics import write_statistics

WIDTH = 8
TAGS = ("hate", None, "war", "")
# Images and classes of each zero-shot data set.
DATA_SETS = {"toys": (40, 3), "birds.v2": (30, 7)}
_LAST = 1_000_000  # a rank that is in no recall


def evaluated(root, model, *, ids=range(60), data_sets=DATA_SETS, seed=0):
    """The evaluation of a model whose embeddings are random; another `model` gives others of the same pairs."""
    store, generator = Store(root), torch.Generator().manual_seed(model)
    shared = torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(99))[list(ids)]
    embeddings = {
        encoder: _embeddings(store, f"{encoder}", ids, shared, generator, version=model * 1000 + len(ids))
        for encoder in ("text", "vision")
    }
    labelled = [_labelled(store, name, *size, generator, model) for name, size in data_sets.items()]
    return evaluate_model.fn("a" * 64, embeddings, labelled, store, RunContext(), seed=seed)


def outcomes_given(folder, outcomes, *, ids, tags=None):
    """Outcomes of pairs and their figures, as an evaluation holds them; of those that are not given no pair is right.

    Args:
        folder: to be made.
        outcomes: whether each pair counts, by metric; a retrieval's is whether the right one is first.
        ids: of the pairs.
        tags: of the pairs; None for none.
    """
    folder.mkdir(parents=True)
    n = len(ids)
    columns = {"pair_id": [f"digest/{i}" for i in ids], "tag": tags or [None] * n}
    rights = {field.name: np.asarray(outcomes.get(field.name, np.zeros(n)), bool) for field in list(OUTCOMES)[2:]}
    for name, right in rights.items():
        columns[name] = right if pa.types.is_boolean(OUTCOMES.field(name).type) else np.where(right, 0, _LAST)
    pq.write_table(pa.table(columns).cast(OUTCOMES), folder / OUTCOMES_FILE)
    figures_of_pairs = {row.name: 100 * float(rights[row.outcome].mean()) for row in metrics_of("pair")}
    write_json(folder / METRICS_FILE, figures_of_pairs)
    return folder


def pair_figures(similar, ranks):
    """Every figure of pairs by name, from their similarities and the ranks of each retrieval."""
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(similar, Path(folder) / SIMILARITIES_FILE)
        outcomes = pair_outcomes(Path(folder) / SIMILARITIES_FILE, ranks)
        pq.write_table(outcomes, Path(folder) / OUTCOMES_FILE)
        return {figure.metric: figure.value for figure in figures(Path(folder), {})}


def safeground(similar):
    """Preferences and groups from similarities."""
    found = pair_figures(similar, dict.fromkeys(RETRIEVALS, torch.zeros(similar.num_rows, dtype=torch.int64)))
    return {name: found[name] for name in (*PREFERENCES, *GROUPS)}


def retrieval(pairs):
    """Every recall from embeddings."""
    found = pair_figures(similarities(pairs), retrieval_ranks(pairs, torch.device("cpu")))
    return {name: value for name, value in found.items() if name.partition("@")[0] in RETRIEVALS}


def accuracies(ranks, labels, n_classes):
    """Every accuracy of one data set from the ranks of its images' classes."""
    asked = {"set": accuracies_of(n_classes)}
    with tempfile.TemporaryDirectory() as folder:
        rows = labelled_outcomes("set", [str(i) for i in range(len(labels))], labels, ranks)
        pq.write_table(rows, Path(folder) / ZERO_SHOT_OUTCOMES_FILE)
        found = {figure.metric: figure.value for figure in figures(Path(folder), asked)}
    return {name: found[accuracy_name("set", name)] for name in asked["set"]}


def _ref(kind, number):
    return ArtifactRef(kind=kind, version=f"{number:064x}")


def _embeddings(store, encoder, ids, shared, generator, *, version):
    ref = _ref(f"embeddings.{encoder}", version)
    values = normalize(shared[:, None] + torch.randn(len(shared), 2, WIDTH, generator=generator), dim=2)
    pair_ids = [f"digest/{i}" for i in ids for _ in range(2)]
    tags = [TAGS[i % len(TAGS)] for i in ids for _ in range(2)]
    _write(store.path(ref), pair_ids, ["safe", "unsafe"] * len(shared), tags, values.reshape(-1, WIDTH))
    return ref


def _labelled(store, name, n_images, n_classes, generator, model):
    classes = normalize(torch.randn(n_classes, WIDTH, generator=generator), dim=1)
    # Class numbers of uneven frequency.
    labels = [min(i % n_classes, i % 5) for i in range(n_images)]
    images = normalize(classes[labels] + 0.7 * torch.randn(n_images, WIDTH, generator=generator), dim=1)
    number = model * 1000 + n_images
    made = _ref("embeddings.vision", number), _ref("class_embeddings", number)
    ids = [f"{name}/{i}" for i in range(n_images)]
    _write(store.path(made[0]), ids, ["safe"] * n_images, [str(label) for label in labels], images)
    store.path(made[1]).mkdir(parents=True, exist_ok=True)
    class_names = [f"class {i}" for i in range(n_classes)]
    table = pa.table({"class_name": class_names, "embedding": vector_column(classes)})
    pq.write_table(table, store.path(made[1]) / CLASSES_FILE)
    return LabelledSet(DataSet(name, tuple(class_names), ("{c}",), ()), *made)


def _write(folder: Path, ids, contents, tags, values):
    columns = [pa.array(ids), pa.array(contents), pa.array(tags, pa.string()), vector_column(values)]
    rows = pa.RecordBatch.from_arrays(columns, schema=embeddings_schema(WIDTH))
    write_statistics(folder / FOLDER / "000000.parquet", [rows])
