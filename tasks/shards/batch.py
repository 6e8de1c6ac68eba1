"""Decoded samples on their way from the processes that decode to the one that computes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_specs.errors import PipelineError
from data_specs.run_config import Content
from tasks.shards.plan import BadSample


@dataclass(frozen=True)
class Batch:
    """Consecutive samples of one shard.

    `inputs` holds one tensor [n, ...] for each side, rows in the order of `keys` and `tags`;
    it is empty where every sample was bad. `error` stands for the exception of a worker process,
    since torch would wrap its text into a traceback.
    """

    plan_index: int
    number: int
    keys: list[str]
    tags: list[str | None]
    inputs: dict[Content, Tensor]
    bad: list[BadSample]
    error: PipelineError | None = None

    def as_arrays(self) -> "Batch":
        """The same batch without tensors, which travel between processes in shared memory; arrays go through a pipe."""
        return replace(self, inputs={content: value.numpy() for content, value in self.inputs.items()})  # type: ignore[misc]

    def as_tensors(self) -> "Batch":
        """The same batch with tensors, whatever it travelled as."""
        return replace(self, inputs={content: torch.as_tensor(value) for content, value in self.inputs.items()})

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; the data loader calls it for CUDA."""
        return replace(self, inputs={content: value.pin_memory() for content, value in self.inputs.items()})
