"""Small shards whose statistics are kept as rows or folded, and what is scored from either."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_specs.manifest import ArtifactRef
from data_specs.run_config import RunConfig
from tasks.activations.task import extract_activations, statistics_of
from tasks.encoders.loading import load_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Made, Store
from tasks.scoring.folded.task import fold_activations, score_by_sums
from tasks.scoring.task import CalibrationRows, score_by_activations
from tasks.selection.scores_table import layer_files, read_layer
from tasks.shards.inspection import Shard, inspect_shard
from tasks.shards.plan import plan_reading
from tests.cases.models import write_tiny_model
from tests.cases.shard_files import pair, write_tar

Scores = dict[str, np.ndarray]
TAGS = ("hate", "war", None)
# The width of the tiny model's layers is 128: windows of 6 rows, which are 3 pairs.
WINDOW_BYTES = 6 * 8 * 128
# Of seven shards, some of which are less than a window and some more.
SIZES = (1, 5, 2, 9, 3, 1, 4)


def write_sized_shards(folder: Path, sizes: Sequence[int]) -> list[Shard]:
    """Shards of so many pairs each, whose tags differ."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, size in enumerate(sizes):
        members = []
        for i in range(size):
            tag = TAGS[(number + i) % len(TAGS)]
            text = b"{}" if tag is None else b'{"tag": "%s"}' % tag.encode()
            members += pair(f"s{number}k{i}", seed=100 * number + i, json=text)
        shards.append(inspect_shard(f"{number}.tar", None, write_tar(folder / f"{number}.tar", members)))
    return shards


class FoldedBench:
    """One model, and a store for each asked name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_tiny_model(folder / "model")
        self.loaded = load_model(self.model)

    def store(self, name: str = "store") -> Store:
        return Store(self.folder / name, hash_once=True)

    def config(self, *, tags: Sequence[str] | None = None, batch_size: int = 4, **vision: Any) -> RunConfig:
        named = {"shards": ["/nowhere.tar"]}
        settings = {
            "name": "bench",
            "model": self.model.model_dump(),
            "calibration": {**named, "tags": tags},
            "evaluation": named,
            "text": None,
            "vision": vision,
            "batch_size": batch_size,
        }
        return RunConfig.model_validate(settings)

    def activations(
        self, shards: Sequence[Shard], config: RunConfig, store: Store, *, limit: int | None = None
    ) -> Made:
        """The statistics of the vision encoder, as the settings say."""
        chosen = config.encoder("vision")
        plans = plan_reading(shards, "vision", limit)
        if chosen.statistics == "rows":
            return extract_activations("vision", chosen.layers, plans, self.loaded, config, store, RunContext())
        rows = statistics_of("vision", chosen.layers, self.loaded)
        return fold_activations(rows, chosen, plans, self.loaded, config, store, RunContext())

    def scored(self, activations: ArtifactRef, config: RunConfig, store: Store) -> Scores:
        """The scores of each layer."""
        chosen = config.encoder("vision")
        if chosen.statistics == "rows":
            rows = CalibrationRows(activations, config.calibration.tags)
            made = score_by_activations("vision", chosen, rows, self.loaded, store, RunContext())
        else:
            made = score_by_sums("vision", chosen, activations, self.loaded, config, store, RunContext())
        return {layer: read_layer(path, "score").copy() for layer, (_, path) in layer_files(made.path).items()}

    def scores(self, shards: Sequence[Shard], config: RunConfig, store: Store, *, limit: int | None = None) -> Scores:
        """Statistics and the scores that follow from them."""
        return self.scored(self.activations(shards, config, store, limit=limit).ref, config, store)


def kept_parts(store: Store) -> list[str]:
    """The kinds of what a store holds of shards, an entry each."""
    return sorted(
        path.parent.name
        for path in store.root.glob("activations.*/*")
        if path.parent.name.endswith((".part", ".joined"))
    )
