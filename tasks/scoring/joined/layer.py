"""What a set of sums asks of one layer, and of who makes its parts."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import PartMaker
from tasks.extraction.shard_pass import ShardCounts

# Of the record of such an artifact: what its sums count, and what became of the samples of each of its shards.
SUMMED, OF_SHARDS = "summed", "of_shards"

SumCounts = Mapping[str, int]
State = TypeVar("State")


class JoinedLayer(Protocol[State]):
    """One layer's sums over neighbouring shards, joined and kept."""

    def join(self, earlier: State, later: State) -> State:
        """Bring two neighbours together, neither of which is to be used again."""

    def write(self, state: State, folder: Path) -> None:
        """Write a layer's files into its folder."""

    def read(self, folder: Path, counts: SumCounts | None) -> State:
        """Read what `write` wrote; `counts` are those of the record."""

    def as_read(self, state: State) -> State:
        """What `read` would give, had `write` written it; the state is not to be used again."""

    def counts(self, state: State) -> SumCounts | None:
        """What the record says of the sums, the same for all layers that say something."""


@dataclass(frozen=True)
class JoinedPartMaker(PartMaker):
    """How the parts of a set are made whose sums are joined; a value that can be sent to another process."""

    @abstractmethod
    def layers(self, loaded: LoadedModel, device: torch.device) -> Mapping[str, JoinedLayer[Any]]:
        """How each layer is joined, by its folder."""

    def counts(self, counted: ShardCounts) -> dict[str, Any]:
        """As those of many shards: a list of what became of the samples of each."""
        return {OF_SHARDS: [{"used": counted.used, "bad": [vars(item) for item in counted.bad]}]}
