"""Calibration pairs by their embeddings: what gradients over them depend on, and their sums over all shards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from data_specs.errors import DataError
from data_specs.manifest import GRADIENT_SUMS, PART, ArtifactRef, Inputs, Recipe, Source
from data_specs.run_config import Encoder, EncoderConfig, RunConfig
from data_specs.schemas import pair_id
from tasks.embeddings.pairs import PairsByShard
from tasks.encoders.loading import LoadedModel
from tasks.lineage.circumstances import RunContext, now
from tasks.lineage.digest import canonical_json, recipe_ref, text_sha256
from tasks.lineage.store import Build, Made, Store
from tasks.scoring.gradients.parts import GradientPart, GradientPartMaker, GradientSet
from tasks.scoring.gradients.sums import BatchSums
from tasks.scoring.gradients.windows import PairWindow, pair_windows
from tasks.shards.plan import ShardPlan, planned_samples

SumsOf = Callable[[str], BatchSums]  # by the name of a layer


@dataclass(frozen=True)
class EmbeddedCalibration:
    """The calibration pairs: those of the tags that are in the plans of both encoders."""

    embeddings: Mapping[Encoder, ArtifactRef]  # of the same set, or of a larger one that begins with it
    plans: Mapping[Encoder, Sequence[ShardPlan]]
    tags: Sequence[str] | None

    def settings(self, config: RunConfig) -> dict[str, JsonValue]:
        """The settings of a recipe that say which pairs, and how they go through an encoder."""
        return {
            "tags": None if self.tags is None else [*sorted(self.tags)],
            "precision": config.precision,
            "batch_size": config.inputs_at_once,
            # An encoder's plan may hold samples that the other cannot read, in place of which it takes later ones.
            "samples": {
                name: {plan.shard.sha256: len(plan.keys) for plan in plans} for name, plans in self.plans.items()
            },
        }

    def inputs(self, encoder: Encoder, loaded: LoadedModel) -> Inputs:
        """The inputs of a recipe of one encoder's gradients."""
        return {
            **{f"embeddings.{name}": ref for name, ref in self.embeddings.items()},
            "encoder": loaded.encoder_digest(encoder),
            "shards": [plan.shard.sha256 for plan in self.plans[encoder]],
        }

    def part_maker(
        self, encoder: Encoder, chosen: EncoderConfig, loaded: LoadedModel, config: RunConfig, label: str
    ) -> dict[str, Any]:
        """What every maker of one encoder's sums is given, by name."""
        return {
            "model": loaded.files,
            "encoder": encoder,
            "precision": config.precision,
            "batch_size": config.inputs_at_once,
            "max_bad_fraction": 1.0,  # bad samples were counted when the same shards were embedded
            "n_planned": planned_samples(self.plans[encoder]),
            "stage": label,
            "decoder": config.decoder,
            "layer_names": chosen.layers,
            "embeddings": self.embeddings,
        }

    def used(self, encoder: Encoder, store: Store) -> list[list[str]]:
        """The ids of the pairs that are used, by shard of one encoder's plan, in their order."""
        planned, tags = common_pairs(self.plans), self.tags
        pairs = PairsByShard(store.path(self.embeddings["text"]), store.path(self.embeddings["vision"]))
        return [
            [
                name
                for name, tag in pairs.identities(plan.shard.sha256)
                if name in planned and (tags is None or tag in tags)
            ]
            for plan in self.plans[encoder]
        ]


def common_pairs(plans: Mapping[Encoder, Sequence[ShardPlan]]) -> frozenset[str]:
    """The ids of pairs that are in the plans of all encoders."""
    of_encoders = (
        frozenset(pair_id(plan.shard.sha256, key) for plan in of_encoder for key in plan.keys)
        for of_encoder in plans.values()
    )
    return frozenset.intersection(*of_encoders)


@dataclass(frozen=True)
class SummedGradients:
    """An artifact that is made of one encoder's gradients over all calibration pairs."""

    recipe: Recipe
    pairs: EmbeddedCalibration
    maker: GradientPartMaker
    batch_pairs: int | None  # None where the loss does not look across pairs
    part_settings: Mapping[str, JsonValue]  # what decides the sums of a shard beside the pairs
    part_code: Mapping[str, Any]
    nothing: str  # is told where no pair is left

    def made(
        self, finish: Callable[[Build, SumsOf], None], loaded: LoadedModel, store: Store, context: RunContext
    ) -> Made:
        """Make or find it: the sums of each shard first, by whoever makes parts, then what `finish` makes of them.

        Args:
            finish: fills the build; is given what all pairs come to.
            loaded: the model.
            store: takes the sums, as long as they are needed, and the artifact.
            context: how the run is carried out.

        Raises:
            DataError: no pair is left, or one that was embedded is not in its shard any more.
        """
        began, wanted = now(), store.makes and not store.holds(recipe_ref(self.recipe))
        windows = pair_windows(self._used(store), self.batch_pairs) if wanted else None
        sums = self._set(windows)
        if wanted:
            sums.sum_up(loaded, store, context)

        def write(build: Build) -> None:
            build.started = began
            finish(build, sums.sums_of(loaded, store, context))
            build.sources.extend(
                Source(location=plan.shard.location, sha256=plan.shard.sha256, size_bytes=plan.shard.size_bytes)
                for plan in sums.plans
            )

        made = store.materialise(self.recipe, write, context)
        if store.makes:
            sums.forget(store)
        return made

    def _used(self, store: Store) -> list[list[str]]:
        used = self.pairs.used(self.maker.encoder, store)
        if not any(used):
            raise DataError(self.nothing)
        return used

    def _set(self, windows: Sequence[PairWindow] | None) -> GradientSet:
        plans = self.pairs.plans[self.maker.encoder]
        # Which pairs are in a batch with those of a shard follows from all shards and their order.
        whole = {"samples": self.recipe.settings["samples"], "shards": self.recipe.inputs["shards"]}
        digest = text_sha256(canonical_json(whole))
        parts = [
            GradientPart(
                self._part_recipe(plan, digest),
                plan.shard.location,
                plan.shard.path,
                plan.shard.sha256,
                plan.shard.content,
                plan.room,
                plan.needs,
            )
            for plan in plans
        ]
        if windows is not None:
            parts = [replace(part, window=window) for part, window in zip(parts, windows, strict=True)]
        kind = f"{GRADIENT_SUMS}{self.maker.encoder}"
        return GradientSet(kind, self.maker, parts, plans, self.part_code, whole=recipe_ref(self.recipe))

    def _part_recipe(self, plan: ShardPlan, whole: str) -> Recipe:
        settings: dict[str, JsonValue] = {"set": whole, "samples": len(plan.keys), "content": plan.shard.content}
        inputs = {role: given for role, given in self.recipe.inputs.items() if role != "shards"}
        return Recipe(
            kind=f"{GRADIENT_SUMS}{self.maker.encoder}{PART}",
            settings={**self.part_settings, **settings},
            inputs={**inputs, "shard": plan.shard.sha256},
            **self.part_code,
        )
