"""The paper's tables, and which of its rows a measured model may be set beside."""

from collections.abc import Collection, Sequence
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

import yaml
from pydantic import Field

from data_specs.data_sets import ZeroShotConfig
from data_specs.experiment import ORIGINAL, zero_shot_column
from data_specs.metrics import ZERO_SHOT
from data_specs.run_config import (
    GRADIENT_SCORERS,
    HUB,
    EncoderConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
)
from data_specs.spec import Spec
from data_specs.zero_shot_presets import find_preset


class PaperModel(Spec):
    """One model of the paper and the names that open it."""

    name: str
    architectures: list[str]
    weights: list[str]
    own_weights: list[str] = Field(description="architectures that name their weights themselves")


class PaperZeroShot(Spec):
    """The table of single zero-shot data sets."""

    rows: list[tuple[str, str]] = Field(description="model and method of each figure")
    data_sets: dict[str, list[float]] = Field(description="name in the paper's table -> top-1 accuracy, percent")


class PaperResults(Spec):
    """Everything of the paper that a measurement can be compared with, in percent."""

    n_test_pairs: int
    n_calibration_pairs: int
    seed: int
    tags: frozenset[str]
    models: list[PaperModel]
    methods: dict[str, MethodConfig]
    columns: list[str]
    rows: dict[str, dict[str, list[float | None]]] = Field(description="model -> method -> a figure a column")
    zero_shot: PaperZeroShot


@cache
def paper_results() -> PaperResults:
    """The figures as printed."""
    text = (files("data_specs") / "paper_results.yaml").read_text(encoding="utf-8")
    return PaperResults.model_validate(yaml.safe_load(text))


def paper_row(
    config: RunConfig, method: MethodConfig | None, *, n_test_pairs: int, tags: Collection[str]
) -> tuple[str, dict[str, float]] | None:
    """The paper's own row for a measurement, where model, data set and settings are the paper's.

    Args:
        config: the run's settings; what weights were scored on does not matter for the unedited model, nor does `seed`.
        method: how the model was edited; None for the unedited one.
        n_test_pairs: pairs that were evaluated.
        tags: those of the evaluated pairs.

    Returns:
        The row's name and its figures in percent by column, or None where the paper has no such row: on zero-shot
        data sets those of its sets that were given its template, and its mean where these are all of its sets and
        no others.
    """
    paper, zero_shot = paper_results(), config.evaluation.zero_shot
    model = _model(paper, config.model)
    if model is None or n_test_pairs != paper.n_test_pairs or frozenset(tags) != paper.tags:
        return None
    name = ORIGINAL if method is None else _method_name(paper, method, config)
    figures = paper.rows[model].get(name) if name is not None else None
    if name is None or figures is None:
        return None
    values = {column: figure for column, figure in zip(paper.columns, figures, strict=True) if figure is not None}
    single = _single_data_sets(paper, (model, name), zero_shot)
    columns = {_paper_column(data_set) for data_set in zero_shot}
    if len(zero_shot) != len(columns) or columns != set(paper.zero_shot.data_sets):
        values.pop(ZERO_SHOT, None)
    return f"{model}, {name} (paper)", values | single


def _model(paper: PaperResults, config: ModelConfig) -> str | None:
    architecture, weights = config.architecture, config.weights
    for model in paper.models:
        if weights is None and architecture in model.own_weights:
            return model.name
        if weights is not None and architecture in model.architectures and _same_weights(weights, model.weights):
            return model.name
    return None


def _same_weights(weights: str, known: Sequence[str]) -> bool:
    # A clone or download of a hub repository is a folder of the repository's name.
    folders = [name.rsplit("/", 1)[1] for name in known if name.startswith(HUB)]
    return weights in known or (not weights.startswith(HUB) and PurePath(weights).name in folders)


def _method_name(paper: PaperResults, method: MethodConfig, config: RunConfig) -> str | None:
    calibration = config.calibration
    of_paper = calibration.paired and calibration.tags is None and calibration.limit == paper.n_calibration_pairs
    if not of_paper or config.seed != paper.seed:
        return None
    own = _decisive_settings(method)
    return next((name for name, other in paper.methods.items() if _decisive_settings(other) == own), None)


def _decisive_settings(method: MethodConfig) -> dict[str, dict[str, Any]]:
    return {encoder: _decisive(config) for encoder, config in method.edited.items()}


def _decisive(config: EncoderConfig) -> dict[str, Any]:
    unused = {"statistics", "sums_by_tag", "sample_pairs"} | ({"aggregation"} if config.scorer != "uwm" else set())
    if config.scorer not in GRADIENT_SCORERS:
        unused.add("batch_pairs")
    return config.model_dump(exclude=unused)


def _single_data_sets(
    paper: PaperResults, row: tuple[str, str], zero_shot: Sequence[ZeroShotConfig]
) -> dict[str, float]:
    if row not in paper.zero_shot.rows:
        return {}
    place = paper.zero_shot.rows.index(row)
    columns = {data_set.name: _paper_column(data_set) for data_set in zero_shot}
    return {
        zero_shot_column(name): paper.zero_shot.data_sets[column][place]
        for name, column in columns.items()
        if column is not None
    }


def _paper_column(data_set: ZeroShotConfig) -> str | None:
    preset = find_preset(data_set.name) if data_set.templates == "paper" else None
    return None if preset is None else preset.column
