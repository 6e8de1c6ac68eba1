"""Signed slopes of one encoder's layers as an artifact, and scores that are brought together with them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.run_config import Encoder, EncoderConfig, Rule, RunConfig
from data_specs.schemas import pair_id, slopes_schema
from data_specs.sign_filter import Sign
from tasks.embeddings.pairs import pairs_by_shard
from tasks.encoders.architecture import build_model
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.columns import vector_column
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.extraction.table_writer import open_parquet, row_group_rows
from tasks.extraction.task import read_shards
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.scoring.gradients.embedding_gradients import PairGradient
from tasks.scoring.gradients.gradient_pass import sum_gradients, sums_file
from tasks.scoring.slopes.margins import TEMPERATURE, pair_slopes
from tasks.scoring.slopes.slope_pass import SlopeFold
from tasks.scoring.slopes.summary import write_signed_summary
from tasks.scoring.task import SUMMARY
from tasks.selection.sign import SLOPES_FILE
from tasks.shards.plan import ShardPlan


def measure_slopes(
    encoder: Encoder,
    chosen: EncoderConfig,
    embeddings: Mapping[Encoder, ArtifactRef],
    plans: Mapping[Encoder, Sequence[ShardPlan]],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """dL / dW of one encoder's target layers over its calibration pairs; returns the `slopes` artifact.

    It depends on no scorer, rule or tau: made once, it serves all of them. `embeddings` are both encoders' of the
    same calibration set, or of a larger one that begins with it.
    """
    own, label = plans[encoder], f"slopes.{encoder}"
    layers = target_layers(loaded.model, encoder, chosen.layers)
    recipe = _recipe(encoder, [*layers], embeddings, plans, loaded, config)

    def write(build: Build) -> None:
        gradients = _gradients(encoder, embeddings, plans, config, store, context)
        if next(gradients(), None) is None:
            raise DataError(
                f"{encoder}.sign: no calibration pair with all four members is left to take slopes over; look at the tags"
                " and at the shards"
            )
        device = torch.device(context.device)
        fold = SlopeFold(loaded, encoder, layers, gradients, precision=config.precision, device=device)
        stream = input_stream(loaded, encoder, own, batch_size=config.batch_size, context=context)
        # Bad samples were counted when the same shards were embedded.
        shard_pass = ShardPass(stream, own, fold, stage=label, max_bad_fraction=1.0)
        with stage(label, sum(len(plan.keys) for plan in own), "samples"):
            sum_gradients(build, fold, shard_pass, own, label)
        _write_layers(build, fold, encoder, [*layers], own)
        build.sources.extend(
            Source(location=plan.shard.location, sha256=plan.shard.sha256, size_bytes=plan.shard.size_bytes)
            for plan in own
        )

    return read_shards(partial(store.materialise, recipe, write, context), label)


def _recipe(
    encoder: Encoder,
    layers: list[str],
    embeddings: Mapping[Encoder, ArtifactRef],
    plans: Mapping[Encoder, Sequence[ShardPlan]],
    loaded: LoadedModel,
    config: RunConfig,
) -> Recipe:
    tags = config.calibration.tags
    return Recipe(
        kind=f"slopes.{encoder}",
        settings={
            "layers": [*layers],
            "temperature": TEMPERATURE,
            "tags": None if tags is None else [*sorted(tags)],
            "precision": config.precision,
            "batch_size": config.batch_size,
            # An encoder's plan may hold samples that the other cannot read, in place of which it takes later ones.
            "samples": {name: {plan.shard.sha256: len(plan.keys) for plan in plans[name]} for name in plans},
        },
        inputs={
            **{f"embeddings.{name}": ref for name, ref in embeddings.items()},
            "encoder": loaded.encoder_digest(encoder),
            "shards": [plan.shard.sha256 for plan in plans[encoder]],
        },
        **coded(measure_slopes, build_model),
    )


def _gradients(
    encoder: Encoder,
    embeddings: Mapping[Encoder, ArtifactRef],
    plans: Mapping[Encoder, Sequence[ShardPlan]],
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Callable[[], Iterator[PairGradient]]:
    planned, tags = _common_pairs(plans), config.calibration.tags

    def start() -> Iterator[PairGradient]:
        return pair_slopes(
            pairs_by_shard(store.path(embeddings["text"]), store.path(embeddings["vision"])),
            encoder,
            wanted=lambda name, tag: name in planned and (tags is None or tag in tags),
            device=torch.device(context.device),
        )

    return start


def require_common_pairs(plans: Mapping[Encoder, Sequence[ShardPlan]]) -> None:
    """Refuse calibration pairs of which none has all four members, before anything is computed.

    Raises:
        DataError: there is none among those that are planned.
    """
    if not _common_pairs(plans):
        counts = " and ".join(f"{sum(len(plan.keys) for plan in plans[name])} for {name}" for name in plans)
        raise DataError(
            f"sign needs calibration pairs with all four members, safe and unsafe text, safe and unsafe image; there are"
            f" {counts}, but none for both; add the missing members, or set sign: none"
        )


def _common_pairs(plans: Mapping[Encoder, Sequence[ShardPlan]]) -> frozenset[str]:
    of_encoders = (
        frozenset(pair_id(plan.shard.sha256, key) for plan in of_encoder for key in plan.keys)
        for of_encoder in plans.values()
    )
    return frozenset.intersection(*of_encoders)


def _write_layers(
    build: Build, fold: SlopeFold, encoder: Encoder, layers: Sequence[str], plans: Sequence[ShardPlan]
) -> None:
    # Asked for by the first layer that is not yet written: a killed run may have lost the sums, but no layer.
    finished = cache(fold.finish)
    counts = {}
    for index, layer in enumerate(layers):
        part = f"layer-{index:06d}"
        record = build.parts.record(part)
        if record is None:
            slopes, taken = finished()
            if not bool(torch.isfinite(slopes[layer]).all()):
                raise DataError(f"layer {layer}: a slope is NaN or infinite; look at the precision")
            path = build.folder / f"encoder={encoder}/layer={layer}" / SLOPES_FILE
            write_slopes(slopes[layer], path)
            record = {"n_pairs": taken["n_pairs"]}
            build.parts.finish(part, [path], record)
        counts[layer] = record
    build.counts["layers"] = counts
    # Every slope is written, so the sums go; also older ones that a killed process left.
    for plan in plans:
        (build.folder / sums_file(plan)).unlink(missing_ok=True)


def write_slopes(slopes: Tensor, path: Path) -> None:
    """Write [out, in] as Parquet, a row an output."""
    schema = slopes_schema(slopes.shape[1])
    columns = [pa.array(np.arange(slopes.shape[0], dtype=np.int32)), vector_column(slopes.cpu())]
    with open_parquet(path, schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=row_group_rows(schema))


@task(name="summarise-signed-scores")
def summarise_signed_scores(
    layer_scores: Mapping[Encoder, ArtifactRef],
    slopes: Mapping[Encoder, ArtifactRef],
    signs: Mapping[Encoder, Sign],
    asked: Mapping[Encoder, Sequence[tuple[Rule, float]]],
    loaded: LoadedModel,
    store: Store,
    context: RunContext,
) -> Made:
    """Bring the encoders' scores together with slopes and a summary; returns the `scores` artifact.

    `slopes` and `signs` are of the encoders with a sign filter. The summary counts what the filter leaves selected.
    """
    recipe = Recipe(
        kind="scores",
        settings={
            "asked": {encoder: [list(pair) for pair in pairs] for encoder, pairs in asked.items()},
            "sign": {str(encoder): sign for encoder, sign in signs.items()},
        },
        inputs={
            **{f"layer_scores.{encoder}": ref for encoder, ref in layer_scores.items()},
            **{f"slopes.{encoder}": ref for encoder, ref in slopes.items()},
            "model": loaded.digest,
        },
        **coded(summarise_signed_scores),
    )

    def write(build: Build) -> None:
        n_pairs: dict[str, int] = {}
        for ref in layer_scores.values():
            n_pairs |= {layer: counts["n_pairs"] for layer, counts in store.manifest(ref).counts["layers"].items()}
        for ref in (*layer_scores.values(), *slopes.values()):
            for entry in store.manifest(ref).files:
                if entry.path.startswith("encoder="):
                    build.take(store.path(ref), entry, entry.path)
        state = loaded.model.state_dict()
        weights = {layer: state[f"{layer}.weight"].cpu().float().numpy() for layer in n_pairs}
        write_signed_summary(build.folder, n_pairs, asked, signs, weights, build.folder / SUMMARY)
        build.counts["layers"] = n_pairs

    with stage("scores.summary", None, "layers"):
        return store.materialise(recipe, write, context)
