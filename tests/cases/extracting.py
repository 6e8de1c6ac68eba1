"""A tiny model and small shards of pairs, and what is taken from the shards by one process or by several."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data_specs.run_config import ENCODERS, ModelConfig, RunConfig
from tasks.activations.task import statistics_of
from tasks.embeddings.task import embeddings_of
from tasks.encoders.loading import LoadedModel, load_model
from tasks.extraction.parts import PartMaker
from tasks.extraction.sets import extract_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Made, Store
from tasks.scoring.folded.task import fold_activations
from tasks.scoring.gradients.calibration import EmbeddedCalibration
from tasks.scoring.gradients.task import score_by_gradients
from tasks.scoring.slopes.task import measure_slopes
from tasks.shards.inspection import Shard, inspect_shard
from tasks.shards.plan import plan_reading
from tasks.workers.shared_work import Runner
from tests.cases.models import TINY_CLIP, write_tiny_model, write_toy_tokenizer
from tests.cases.processes import wait_for
from tests.cases.shard_files import pair, write_tar

LAYERS = "mlp_output"
NOWHERE = {"shards": ["/nowhere.tar"]}


def write_model_with_tokenizer(folder: Path, model_cfg: dict[str, Any] = TINY_CLIP) -> ModelConfig:
    """A tiny model and a tokenizer of 64 words, as files."""
    write_toy_tokenizer(folder / "tokenizer")
    return write_tiny_model(folder, model_cfg=model_cfg).model_copy(update={"tokenizer": str(folder / "tokenizer")})


def write_pair_shards(folder: Path, sizes: Sequence[int], *, broken: int | None = None) -> list[Shard]:
    """Shards 0.tar and so on of so many pairs of two tags; number `broken` holds one more, of which nothing unsafe can be read."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, size in enumerate(sizes):
        members = []
        for i in range(size):
            tag = json.dumps({"tag": ("hate", "violence")[i % 2]}).encode()
            members += pair(f"s{number}k{i}", seed=100 * number + i, json=tag)
        if number == broken:
            members += pair("bad", unsafe_png=b"no picture", unsafe_txt=b"\xff\xfe")
        shards.append(inspect_shard(f"{number}.tar", None, write_tar(folder / f"{number}.tar", members)))
    return shards


def config_of(model: ModelConfig, **settings: Any) -> RunConfig:
    """Settings of a run over shards that are handed in as they are."""
    named = {"name": "run", "model": model.model_dump(), "calibration": NOWHERE, "evaluation": NOWHERE}
    return RunConfig.model_validate(named | settings)


class Extracting:
    """One model, and the shards that its vision encoder reads."""

    def __init__(
        self, folder: Path, sizes: Sequence[int], *, broken: int | None = None, model_cfg: dict[str, Any] = TINY_CLIP
    ) -> None:
        self.model = write_model_with_tokenizer(folder / "model", model_cfg)
        self.loaded: LoadedModel = load_model(self.model)
        self.shards = write_pair_shards(folder / "shards", sizes, broken=broken)

    def config(self, **settings: Any) -> RunConfig:
        return config_of(self.model, **settings)

    def rows(
        self,
        store: Path | Store,
        runner: Runner | None = None,
        *,
        shards: Sequence[Shard] | None = None,
        limit: int | None = None,
        **settings: Any,
    ) -> Made:
        """Statistics as rows."""
        plans = plan_reading(self.shards if shards is None else shards, "vision", limit)
        what = statistics_of("vision", LAYERS, self.loaded)
        return extract_set(what, plans, self.loaded, self.config(**settings), opened(store), RunContext(runner=runner))

    def folded(
        self,
        store: Path | Store,
        runner: Runner | None = None,
        *,
        shards: Sequence[Shard] | None = None,
        **settings: Any,
    ) -> Made:
        """Statistics as sums."""
        return self._folded({}, store, runner, shards=shards, **settings)

    def by_tag(self, store: Path | Store, runner: Runner | None = None, **settings: Any) -> Made:
        """Statistics as sums of each tag."""
        return self._folded({"sums_by_tag": True}, store, runner, **settings)

    def _folded(
        self,
        how: dict[str, Any],
        store: Path | Store,
        runner: Runner | None,
        *,
        shards: Sequence[Shard] | None = None,
        **settings: Any,
    ) -> Made:
        vision = {"layers": LAYERS, "statistics": "folded", **how}
        config = self.config(text=None, vision=vision, **settings)
        plans = plan_reading(self.shards if shards is None else shards, "vision", None)
        rows, context = statistics_of("vision", LAYERS, self.loaded), RunContext(runner=runner)
        return fold_activations(rows, config.encoder("vision"), plans, self.loaded, config, opened(store), context)

    def embedded(self, store: Path | Store, runner: Runner | None = None, **settings: Any) -> EmbeddedCalibration:
        """The pairs of all shards, by their embeddings."""
        config, context = self.config(**settings), RunContext(runner=runner)
        plans = {encoder: plan_reading(self.shards, encoder, None) for encoder in ENCODERS}
        made = {
            encoder: extract_set(
                embeddings_of(encoder, self.loaded, encoder), of, self.loaded, config, opened(store), context
            )
            for encoder, of in plans.items()
        }
        return EmbeddedCalibration({encoder: each.ref for encoder, each in made.items()}, plans, None)

    def gradients(self, store: Path | Store, runner: Runner | None = None, **settings: Any) -> list[Made]:
        """Scores of the text encoder by gradients, in batches that reach across shards, and slopes of the vision encoder."""
        text = {"layers": LAYERS, "scorer": "gradient_safe_clip", "batch_pairs": 7}
        config, context = self.config(text=text, vision={"layers": LAYERS}, **settings), RunContext(runner=runner)
        given = (self.embedded(store, runner, **settings), self.loaded, config, opened(store), context)
        scores = score_by_gradients("text", config.encoder("text"), *given)
        return [scores, measure_slopes("vision", config.encoder("vision"), *given)]


def opened(store: Path | Store) -> Store:
    return store if isinstance(store, Store) else Store(store, hash_once=True)


def moved_away(shards: Sequence[Shard]) -> list[Shard]:
    """The same shards, of which a worker finds none where it looks."""
    return [type(shard)(**{**vars(shard), "path": Path("/nowhere") / shard.path.name}) for shard in shards]


@contextmanager
def leaving_to_others(monkeypatch: pytest.MonkeyPatch, condition: Callable[[], Any]) -> Iterator[None]:
    """This process makes nothing before a condition holds."""
    make = PartMaker.make

    def late(self: PartMaker, *given: Any) -> Any:
        wait_for(condition)
        return make(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(PartMaker, "make", late)
        yield
