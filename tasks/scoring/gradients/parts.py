"""One shard's sums of gradients as an artifact of its own, joined with its neighbours; all of them go once the scores are there."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from data_specs.manifest import ArtifactRef
from data_specs.run_config import CONTENTS, Content, Encoder
from data_specs.schemas import layer_folder
from tasks.embeddings.pairs import PairsByShard
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import Part
from tasks.extraction.sharing import SharedParts
from tasks.extraction.windows import complete_nodes
from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.progress import stage
from tasks.lineage.store import Store
from tasks.scoring.gradients.embedding_gradients import BatchGradients, OwnGradients
from tasks.scoring.gradients.gradient_pass import GradientFold
from tasks.scoring.gradients.sums import BatchSums, GradientLayer
from tasks.scoring.gradients.windows import NO_PAIRS, PairWindow
from tasks.scoring.joined.layer import JoinedPartMaker
from tasks.scoring.joined.sets import JoinedSet, Joining, joined_state
from tasks.workers.shared_work import runner_of


@dataclass(frozen=True)
class GradientPart(Part):
    """A shard, and the pairs that its gradients depend on."""

    window: PairWindow = NO_PAIRS  # where it is not to be made


@dataclass(frozen=True)
class GradientPartMaker(JoinedPartMaker):
    """How the sums of gradients of each shard are made; a value that can be sent to another process."""

    layer_names: str  # a pattern, as in the settings
    embeddings: Mapping[Encoder, ArtifactRef]

    @property
    @abstractmethod
    def contents(self) -> Sequence[Content]:
        """The sides of pairs that go through the encoder."""

    @property
    @abstractmethod
    def own_gradients(self) -> OwnGradients:
        """The gradients of a batch with respect to its embeddings, a row for each of `contents`."""

    @property
    def side(self) -> Content | None:
        """See `PartMaker`."""
        return self.contents[0] if len(self.contents) < len(CONTENTS) else None

    def layers(self, loaded: LoadedModel, device: torch.device) -> dict[str, GradientLayer]:
        """How each layer is joined, by its folder."""
        del device
        names = target_layers(loaded.model, self.encoder, self.layer_names)
        return {layer_folder(self.encoder, name): GradientLayer() for name in names}

    def fold(self, parts: Sequence[Part], loaded: LoadedModel, store: Store, device: torch.device) -> GradientFold:
        """Sums over the pairs of each shard."""
        windows = {part.sha256: part.window for part in parts if isinstance(part, GradientPart)}
        pairs = PairsByShard(*(store.path(self.embeddings[encoder]) for encoder in ("text", "vision")))
        return GradientFold(
            loaded,
            self.encoder,
            target_layers(loaded.model, self.encoder, self.layer_names),
            BatchGradients(pairs.read, self.encoder, self.own_gradients, device).of,
            windows,
            contents=self.contents,
            precision=self.precision,
            device=device,
        )


@dataclass(frozen=True)
class GradientSet(JoinedSet):
    """Sums of gradients that are there until `whole` is, which is made of them."""

    whole: ArtifactRef = field(kw_only=True)

    def lacking(self, store: Store) -> list[int]:
        """See `JoinedSet`; nothing where what is made of them is there."""
        lacking = super().lacking(store)
        return [] if store.holds(self.whole) else lacking

    def is_there(self, index: int, store: Store) -> bool:
        """See `JoinedSet`; whoever does not find them looks afterwards for what was made of them."""
        return super().is_there(index, store) or store.holds(self.whole)

    def sum_up(self, loaded: LoadedModel, store: Store, context: RunContext) -> None:
        """Make all sums that are not there, alone or with others.

        Raises:
            DataError: a pair that was embedded is not in its shard any more.
        """
        with stage(self.maker.stage, self.maker.n_planned, "samples"):
            runner_of(context).make(SharedParts(self), loaded, store, context)

    def sums_of(self, loaded: LoadedModel, store: Store, context: RunContext) -> Callable[[str], BatchSums]:
        """The sums over all shards, by the name of a layer."""
        made = Joining(self, loaded, store, context).complete()
        return lambda layer: joined_state(GradientLayer(), layer_folder(self.maker.encoder, layer), made)

    def forget(self, store: Store) -> None:
        """Remove all sums, once what is made of them is there."""
        if any(store.is_here(self.ref(node)) for node in complete_nodes(len(self.parts))):
            for ref in self.nodes():
                discard(store, ref)
