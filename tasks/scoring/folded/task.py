"""Folded statistics, and scores that are made of them, as artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from data_specs.errors import DataError
from data_specs.manifest import ArtifactRef
from data_specs.run_config import Encoder, EncoderConfig, RunConfig
from data_specs.schemas import layer_folder
from tasks.encoders.loading import LoadedModel
from tasks.extraction.sets import Extraction, make_set, part_maker, part_of
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.digest import digest_of
from tasks.lineage.planned import PlannedStore
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.scoring.folded.by_tag import layer_folding
from tasks.scoring.folded.layer import Folding
from tasks.scoring.folded.parts import FoldedPartMaker
from tasks.scoring.joined.layer import SUMMED
from tasks.scoring.joined.sets import JoinedSet, Joining
from tasks.scoring.layer_scores import scores_of_sums
from tasks.scoring.scorer import ActivationScorer
from tasks.scoring.scorers.registry import REGISTRY, find_scorer, source_of
from tasks.scoring.task import layer_scores_recipe, write_scored
from tasks.shards.plan import ShardPlan


def fold_activations(
    rows: Extraction,
    chosen: EncoderConfig,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """Sums of one encoder's target layers over the calibration set, for one scorer; nothing else is kept of most samples.

    Args:
        rows: what would be taken as rows.
        chosen: how the encoder is scored.
        plans: the samples of each shard.
        loaded: the model.
        config: the run's settings.
        store: takes the parts, what they are joined to, and the set.
        context: how the run is carried out.

    Returns:
        The `activations` artifact.

    Raises:
        DataError: too many samples are bad, or a pair has no ratio.
    """
    if not plans:
        raise DataError(f"no calibration sample of the {rows.encoder} encoder is left to score; look at the shards")
    what = _folded(rows, chosen, config)
    parts = [part_of(what, plan, loaded, config) for plan in plans]
    folding = Folding(chosen, None if chosen.sums_by_tag else _tags(config))
    maker = FoldedPartMaker(**vars(part_maker(what, plans, loaded, config)), folding=folding)
    folded = JoinedSet(what.kind, maker, parts, plans, what.code)
    made = read_shards(partial(make_set, folded, loaded, store, context), what.label)
    if isinstance(store, PlannedStore):
        store.elsewhere.ask(folded.nodes())
        store.note_parts(made.ref, [] if made.reused else folded.lacking(store), len(parts))
    return made


def _tags(config: RunConfig) -> tuple[str, ...] | None:
    tags = config.calibration.tags
    return None if tags is None else tuple(sorted(tags))


def _named(tags: tuple[str, ...] | None) -> dict[str, Any]:
    return {"tags": None if tags is None else [*tags]}


def _folded(rows: Extraction, chosen: EncoderConfig, config: RunConfig) -> Extraction:
    scorer = find_scorer(chosen.scorer, ActivationScorer)
    settings = {
        **rows.settings,
        "statistics": chosen.statistics,
        "scorer": chosen.scorer,
        **{name: getattr(chosen, name) for name in scorer.settings},
        **({"sums_by_tag": True} if chosen.sums_by_tag else _named(_tags(config))),
        "sample_pairs": chosen.sample_pairs,
    }
    own = coded(FoldedPartMaker, Joining, source_of(scorer), without=(REGISTRY,))
    return replace(rows, settings=settings, code=_both(rows.code, own))


def _both(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The code of what two makers make together."""
    modules = {**first["modules"], **second["modules"]}
    for name in first["modules"].keys() & second["modules"].keys():
        modules[name] = digest_of({"first": first["modules"][name], "second": second["modules"][name]})
    return {"code": digest_of(modules), "modules": modules}


@task(name="score-by-sums", task_run_name="score-{encoder}")
def score_by_sums(
    encoder: Encoder,
    chosen: EncoderConfig,
    activations: ArtifactRef,
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """Score one encoder's target layers from folded statistics; returns the `layer_scores` artifact."""
    scorer = find_scorer(chosen.scorer, ActivationScorer)
    folding = Folding(chosen, _tags(config))
    weights = loaded.target_weights(encoder, chosen.layers)
    settings = {name: getattr(chosen, name) for name in scorer.settings} | {"statistics": chosen.statistics}
    if chosen.sums_by_tag:  # else the sums are of these tags
        settings |= _named(folding.tags)
    code = coded(score_by_sums, source_of(scorer), without=(REGISTRY,))
    recipe = layer_scores_recipe(encoder, chosen, loaded, settings, {"activations": activations}, code)

    def write(build: Build) -> None:
        counts = store.ensure(activations).counts[SUMMED]

        def score(layer: str, weight: Tensor) -> tuple[Tensor, dict[str, Any]]:
            folding_of = layer_folding(weight, folding, layer)
            state = folding_of.read_to_score(store.path(activations) / layer_folder(encoder, layer), counts)
            found, record = scores_of_sums(folding_of.scored(state))
            return found, dict(record)

        write_scored(build, encoder, chosen, weights, score, context)

    return store.materialise(recipe, write, context)
