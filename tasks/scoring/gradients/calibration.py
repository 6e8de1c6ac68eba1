"""Calibration pairs by their embeddings: what gradients over them depend on, and their sums over all shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import JsonValue

from data_specs.manifest import ArtifactRef, Inputs, Source
from data_specs.run_config import Encoder, RunConfig
from data_specs.schemas import pair_id
from tasks.embeddings.pairs import EmbeddedPairs, pairs_by_shard
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import ShardPass
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Store
from tasks.scoring.gradients.gradient_pass import GradientFold, sum_gradients, sums_file
from tasks.shards.plan import ShardPlan
from tasks.shards.reading import BatchStream


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

    def wanted(self) -> Callable[[str, str | None], bool]:
        """Whether a pair is used, by its id and tag."""
        planned, tags = common_pairs(self.plans), self.tags
        return lambda name, tag: name in planned and (tags is None or tag in tags)

    def by_shard(self, store: Store) -> Iterator[EmbeddedPairs]:
        """All embedded pairs in the order of the shards, wanted or not."""
        return pairs_by_shard(store.path(self.embeddings["text"]), store.path(self.embeddings["vision"]))


def common_pairs(plans: Mapping[Encoder, Sequence[ShardPlan]]) -> frozenset[str]:
    """The ids of pairs that are in the plans of all encoders."""
    of_encoders = (
        frozenset(pair_id(plan.shard.sha256, key) for plan in of_encoder for key in plan.keys)
        for of_encoder in plans.values()
    )
    return frozenset.intersection(*of_encoders)


@contextmanager
def gradients_summed(
    build: Build, fold: GradientFold, stream: BatchStream, plans: Sequence[ShardPlan], label: str
) -> Iterator[None]:
    """Sum gradients over all shards, for layers to be written from the fold within the block.

    Args:
        build: keeps the sums as long as a killed run may need them, and the shards as sources.
        fold: takes the gradients; in the block, `fold.finish` gives what they come to.
        stream: reads the shards.
        plans: of the scored encoder.
        label: of the progress.
    """
    # Bad samples were counted when the same shards were embedded.
    shard_pass = ShardPass(stream, plans, fold, stage=label, max_bad_fraction=1.0)
    with stage(label, sum(len(plan.keys) for plan in plans), "samples"):
        sum_gradients(build, fold, shard_pass, plans, label)
    yield
    # All layers are written, so the sums go; also older ones that a killed process left.
    for plan in plans:
        (build.folder / sums_file(plan)).unlink(missing_ok=True)
    build.sources.extend(
        Source(location=plan.shard.location, sha256=plan.shard.sha256, size_bytes=plan.shard.size_bytes)
        for plan in plans
    )
