"""Statistics of target layers' inputs, taken by hooks during one forward pass."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import pyarrow as pa
import torch
from torch import Tensor, nn

from data_specs.errors import SpecError
from data_specs.run_config import Encoder
from data_specs.schemas import activation_stats_schema, layer_folder
from tasks.activations.statistics import channel_statistics
from tasks.encoders.layers import target_layers
from tasks.extraction.columns import vector_column
from tasks.extraction.host_copy import HostCopy
from tasks.extraction.rows import Identity, RowsToCome
from tasks.extraction.shard_pass import require_rows


@dataclass(frozen=True)
class CallStatistics:
    """One call of one layer: norm and std [rows, in] float32, and the tokens each row was taken over."""

    norm: Tensor
    std: Tensor
    n_tokens: Tensor


class StatisticsObserver:
    """Reduces each target layer's input to norm and std while the encoder runs.

    The activations themselves never leave the device, nor outlive their layer's call.
    """

    def __init__(self, model: nn.Module, encoder: Encoder, layers: str) -> None:
        """Observe the layers of `encoder` that `layers` names."""
        self._encoder: Encoder = encoder
        self._model = model
        self._targets = target_layers(model, encoder, layers)
        self._schemas = {
            layer_folder(encoder, name): activation_stats_schema(layer.in_features)
            for name, layer in self._targets.items()
        }
        self._seen: dict[str, list[CallStatistics]] = {}
        self._mask: Tensor | None = None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "StatisticsObserver":
        self._handles = [layer.register_forward_pre_hook(self._hook(name)) for name, layer in self._targets.items()]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def prepare(self, valid: Tensor | None) -> None:
        """Forget the last batch; `valid` is the next one's [rows, tokens] mask."""
        self._seen = {name: [] for name in self._targets}
        self._mask = valid

    def schemas(self) -> dict[str, pa.Schema]:
        """A folder for each layer."""
        return self._schemas

    def rows_to_come(self, embeddings: Tensor) -> RowsToCome:
        """A row a sample and side, for every layer; called, it waits until their numbers are on the host.

        Raises:
            SpecError: a layer was not called, or more than once.
            NotFinite: when it is called, a statistic is NaN or infinite.
        """
        calls = [self._only_call(name, len(embeddings)) for name in self._targets]
        # Looked at on the device, which has all of it at hand; the host gets one flag a row and layer.
        finite = [torch.isfinite(call.norm + call.std).all(dim=1) for call in calls]
        coming = HostCopy(
            [*(call.norm for call in calls), *(call.std for call in calls), *finite, *(call.n_tokens for call in calls)]
        )
        return lambda identity: self._rows(identity, coming.arrived())

    def rows(self, identity: Identity, embeddings: Tensor) -> dict[str, pa.RecordBatch]:
        """The same at once."""
        return self.rows_to_come(embeddings)(identity)

    def _rows(self, identity: Identity, columns: list[Tensor]) -> dict[str, pa.RecordBatch]:
        n_layers = len(self._targets)
        norms, stds, flags, n_tokens = (columns[start : start + n_layers] for start in range(0, len(columns), n_layers))
        made = {}
        for number, (name, (folder, schema)) in enumerate(zip(self._targets, self._schemas.items(), strict=True)):
            require_rows(flags[number], f"the statistics of layer {name}")
            vectors = [vector_column(norms[number]), vector_column(stds[number])]
            counted = pa.array(n_tokens[number].numpy(), pa.int32())
            made[folder] = pa.RecordBatch.from_arrays([*identity.values(), counted, *vectors], schema=schema)
        return made

    def _only_call(self, name: str, n_rows: int) -> CallStatistics:
        calls = self._seen[name]
        if len(calls) != 1 or len(calls[0].norm) != n_rows:
            got = f"{len(calls)} times" if len(calls) != 1 else f"with {len(calls[0].norm)} rows for {n_rows} inputs"
            raise SpecError(
                f"{self._encoder}.layers: layer {name} was called {got} in a forward pass, expected once with a row an"
                " input; its scores would be wrong, choose other layers"
            )
        return calls[0]

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def take(_layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs = arguments[0]
            norm, std = channel_statistics(inputs, self._mask)
            n_tokens = _n_tokens(inputs, self._mask)
            self._seen[name].append(CallStatistics(norm, std, n_tokens))

        return take


def _n_tokens(inputs: Tensor, mask: Tensor | None) -> Tensor:
    return torch.full((len(inputs),), inputs.shape[1], device=inputs.device) if mask is None else mask.sum(dim=1)
