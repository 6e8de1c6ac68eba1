"""What captions come to as artifacts: the evaluation of a model's, and how two models' differ."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.caption_files import read_captions, read_judgements, read_text_scores
from data_specs.caption_rows import (
    CAPTION_CHANGES_FILE,
    CAPTION_FIGURES_FILE,
    DISAGREEMENTS_FILE,
    JUDGES_FILE,
    caption_outcomes_schema,
    judge_column,
)
from data_specs.errors import DataError
from data_specs.evaluation_files import BY_TAG_FILE, CAPTION_OUTCOMES_FILE, INTERVALS_FILE, METRICS_FILE, write_json
from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import CONTENTS
from tasks.evaluation.captions.agreement import agreements, disagreements, outcome_counts
from tasks.evaluation.captions.figures import caption_changes, caption_figures, captions_by_tag
from tasks.evaluation.intervals import LEVEL, N_RESAMPLES
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task


@task(name="evaluate-captions")
def evaluate_captions(
    captions: ArtifactRef,
    scores: ArtifactRef,
    judgements: Mapping[str, ArtifactRef],
    seed: int,
    store: Store,
    context: RunContext,
) -> Made:
    """Every figure of a model's captions, and how far its judges agree; returns the `caption_evaluation` artifact.

    Args:
        captions: a `captions` artifact.
        scores: its `caption_scores`.
        judgements: of it, by judge.
        seed: of the intervals' resamples.
        store: takes the evaluation.
        context: how the run is carried out.

    Raises:
        DataError: there is no caption.
    """
    judged = {f"judgements.{name}": ref for name, ref in judgements.items()}
    recipe = Recipe(
        kind="caption_evaluation",
        settings={"judges": [*judgements], "seed": seed, "n_resamples": N_RESAMPLES, "level": LEVEL},
        inputs={"captions": captions, "caption_scores": scores, **judged},
        **coded(evaluate_captions),
    )

    def write(build: Build) -> None:
        found = {name: store.path(ref) for name, ref in judgements.items()}
        rows = _outcomes(store.path(captions), store.path(scores), found)
        _write_figures(build.folder, rows, [*judgements], seed)
        _write_agreement(build.folder, rows, [*judgements])

    with stage("caption evaluation", None, "captions"):
        return store.materialise(recipe, write, context)


@task(name="compare-captions")
def compare_captions(first: ArtifactRef, second: ArtifactRef, seed: int, store: Store, context: RunContext) -> Made:
    """Every figure's difference between two models' captions of the same pictures; returns `caption_differences`.

    Raises:
        DataError: they are not of the same pictures.
    """
    recipe = Recipe(
        kind="caption_differences",
        settings={"seed": seed, "n_resamples": N_RESAMPLES, "level": LEVEL},
        inputs={"first": first, "second": second},
        **coded(compare_captions),
    )

    def write(build: Build) -> None:
        before, after = (pq.read_table(store.path(ref) / CAPTION_OUTCOMES_FILE) for ref in (first, second))
        judges = [
            name.removeprefix(judge_column("")) for name in before.column_names if name.startswith(judge_column(""))
        ]
        shared = [judge for judge in judges if judge_column(judge) in after.column_names]
        pq.write_table(caption_changes(before, after, shared, seed), build.folder / CAPTION_CHANGES_FILE)

    return store.materialise(recipe, write, context)


def _outcomes(captions: Path, scores: Path, judgements: Mapping[str, Path]) -> pa.Table:
    """Rows of `caption_outcomes_schema`: what is found of each caption, and what each judge says of it."""
    texts = read_captions(captions).column("caption")
    if not len(texts):
        raise DataError("there is no caption to evaluate; caption shards that hold pictures")
    rows = read_text_scores(scores).append_column("caption", texts.combine_chunks())
    for judge, folder in judgements.items():
        table = read_judgements(folder)
        said = dict(zip(table.column("caption").to_pylist(), table.column("outcome").to_pylist(), strict=True))
        rows = rows.append_column(
            judge_column(judge), pa.array([said[text] for text in texts.to_pylist()], pa.string())
        )
    return rows.cast(caption_outcomes_schema(judgements))


def _write_figures(folder: Path, rows: pa.Table, judges: list[str], seed: int) -> None:
    pq.write_table(rows, folder / CAPTION_OUTCOMES_FILE)
    figures = caption_figures(rows, judges, seed)
    pq.write_table(figures, folder / CAPTION_FIGURES_FILE)
    pq.write_table(captions_by_tag(rows, judges, seed), folder / BY_TAG_FILE)
    found = figures.to_pylist()
    write_json(folder / METRICS_FILE, {"n_captions": rows.num_rows, **{row["metric"]: row["value"] for row in found}})
    known = {row["metric"]: (row["low"], row["high"]) for row in found if row["low"] is not None}
    write_json(folder / INTERVALS_FILE, known)


def _write_agreement(folder: Path, rows: pa.Table, judges: list[str]) -> None:
    """What judges say of each side's captions, and of all how far two of them agree."""
    sides = rows.column("content").to_pylist()
    said = {judge: rows.column(judge_column(judge)).to_pylist() for judge in judges}
    counts = {
        judge: {
            side: outcome_counts([word for word, own in zip(words, sides, strict=True) if own == side])
            for side in CONTENTS
        }
        for judge, words in said.items()
    }
    write_json(folder / JUDGES_FILE, {"outcomes": counts, "agreement": agreements(said)})
    pq.write_table(disagreements(rows.column("caption").to_pylist(), said), folder / DISAGREEMENTS_FILE)
