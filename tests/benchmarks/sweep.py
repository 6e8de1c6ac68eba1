"""What points of a sweep cost: over evaluating one edited model alone, over forward passes, and over the passes of a grid."""

import contextlib
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import open_clip
import torch
from prefect import flow
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from safetensors.torch import save_file
from torch import Tensor

from data_specs.config_file import load_config
from data_specs.run_config import Encoder, RunConfig
from flows.edit import write_model
from flows.measure import EvaluationSets, edit_of, measure_edit, selected_edit
from flows.scores import scores_of
from flows.server.temporary import prefect_api
from flows.session import open_session
from flows.sweep import sweep_of
from tasks.embeddings.task import embed_in_turn
from tasks.encoders.forward import encode
from tasks.encoders.loading import LoadedModel, load_model
from tasks.experiments.grid import grid_points, method_at
from tasks.extraction.in_turn import ModelInTurn
from tasks.extraction.shard_pass import input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.manipulation.edit import Edit, positions
from tasks.manipulation.edit_file import write_edit
from tasks.manipulation.in_place import edited_in_place
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import ShardPlan, plan_reading
from tests.benchmarks.timing import by_turns, median_by_turns, one_thread, ratio, seconds
from tests.cases.shard_files import image_bytes, write_tar
from tests.cases.small_run import write_run

_PAIRS = 256
_MODEL = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 6, "width": 256, "head_width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 6},
}


def sweep_point_over_evaluation() -> dict[str, Any]:
    """A 6-layer model of width 256 and 256 pairs, both encoders swept; every point and model is a new one."""
    with tempfile.TemporaryDirectory() as folder, _quiet_prefect(Path(folder)):
        config = write_run(Path(folder), calibration=32, test=_PAIRS, per_shard=128)
        _write_model(Path(folder))
        settings = load_config(config)
        point, evaluation = _timed(settings, str(Path(folder) / "store"))
    return ratio(point / evaluation, "<= 1.1", point_seconds=point, evaluation_seconds=evaluation)


def _write_model(folder: Path) -> None:
    """In place of the tests' model, which is so small that files take most of its time."""
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**_MODEL).state_dict(), folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(_MODEL), encoding="utf-8")


@flow
def _timed(config: RunConfig, store: str) -> tuple[float, float]:
    with open_session(config, store, "cpu", 0) as session:
        sets, scores = EvaluationSets(session), scores_of(session)
        taus = iter(range(50, 90))

        def edit(name: str) -> Any:
            point = {"tau": next(taus) / 100, "alpha": -1.0}
            changed = config.with_method(method_at(config, ["text", "vision"], point))
            return selected_edit(session, scores, changed, f"{name}.{point['tau']}")

        def sweep_point() -> None:
            selected = edit("point")
            measure_edit(session, sets, selected, f"point.{selected.version[:8]}")

        def one_model() -> Any:
            # Made beforehand; its evaluation alone is timed.
            return write_model(session, edit("model"), "model")

        def evaluation(model: Any) -> None:
            measure_edit(session, sets, edit_of(session, model), f"model.{model.version[:8]}")

        return median_by_turns((lambda: None, lambda _: sweep_point()), (one_model, evaluation), repeats=3)


def grid_cost_over_passes() -> dict[str, Any]:
    """The same model and a quarter of the pairs: 6 text taus crossed with 5 vision taus, over the 6 and the 5 alone; all in new stores."""
    text, vision = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0.5, 0.6, 0.7, 0.8, 0.9]
    with tempfile.TemporaryDirectory() as folder, _quiet_prefect(Path(folder)):
        config = load_config(write_run(Path(folder), calibration=32, test=_PAIRS // 4, per_shard=128))
        _write_model(Path(folder))
        stores = (str(Path(folder) / f"store-{number}") for number in count())

        def swept(taus: dict[Encoder, list[float]]) -> None:
            _swept(config, taus, next(stores))

        swept({"text": text[:1]})
        grid = seconds(lambda: swept({"text": text, "vision": vision}))
        passes = seconds(lambda: swept({"text": text})) + seconds(lambda: swept({"vision": vision}))
    return ratio(grid / passes, "<= 1.5", grid_seconds=grid, passes_seconds=passes)


@flow
def _swept(config: RunConfig, taus: dict[Encoder, list[float]], store: str) -> None:
    with open_session(config, store, "cpu", 0) as session:
        sweep_of(session, grid_points(taus, [-1.0]), [*taus], None)


def sweep_10_points_over_1() -> dict[str, Any]:
    """Ten edits of a vision tower of 4 layers of width 384, over ten forward passes and one decoding of 128 JPEGs of 256 pixels."""
    with tempfile.TemporaryDirectory() as name, one_thread():
        folder = Path(name)
        config, plans = _pictures(folder)
        loaded = load_model(config.model)
        edits = [_random_edit(loaded, seed, folder / f"{seed}.safetensors") for seed in range(10)]
        batches = [*_decoded(loaded, plans, config)]
        stores = count()

        def points() -> None:
            models = []
            for edit in edits:
                with edited_in_place(loaded, *edit) as edited:
                    models.append(ModelInTurn(edited, partial(edited_in_place, loaded, *edit, edited.digests)))
            store = Store(folder / f"store-{next(stores)}")
            embed_in_turn("vision", plans, models, config, store, RunContext(workers=0), label="points")

        def forward() -> None:
            with torch.inference_mode():
                for inputs in batches:
                    encode(loaded.model, "vision", inputs)

        def bare() -> None:
            for _ in range(10):
                forward()
            deque(_decoded(loaded, plans, config), maxlen=0)

        swept, least = by_turns(points, bare, repeats=2)
    return ratio(swept / least, "<= 1.15", sweep_seconds=swept, forward_and_decode_seconds=least)


def _pictures(folder: Path) -> tuple[RunConfig, list[ShardPlan]]:
    model = _MODEL | {"vision_cfg": {"image_size": 64, "layers": 4, "width": 384, "head_width": 64, "patch_size": 16}}
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**model).state_dict(), folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
    shards = []
    for shard in range(2):
        picture = image_bytes(shard, "JPEG", (256, 256))
        members = [(f"{i}.{side}.jpg", picture) for i in range(32) for side in ("safe", "unsafe")]
        shards.append(inspect_shard(f"{shard}.tar", None, write_tar(folder / f"{shard}.tar", members)))
    data = {"shards": [str(folder / "*.tar")]}
    settings = {"name": "points", "calibration": data, "evaluation": data}
    files = {"architecture": str(folder / "model.json"), "weights": str(folder / "model.safetensors")}
    return RunConfig.model_validate(settings | {"model": files}), plan_reading(shards, "vision", None)


def _decoded(loaded: LoadedModel, plans: list[ShardPlan], config: RunConfig) -> Iterator[Tensor]:
    stream = input_stream(loaded, "vision", plans, batch_size=config.batch_size, context=RunContext(workers=0))
    for index in range(len(plans)):
        for batch in stream.batches(index):
            yield torch.stack([*batch.inputs.values()], dim=1).flatten(0, 1)


def _random_edit(loaded: LoadedModel, seed: int, path: Path) -> tuple[Edit, Path]:
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for layer, weight in loaded.target_weights("vision", "mlp_output").items():
        index = torch.randperm(weight.numel(), generator=generator)[: weight.numel() // 50].sort().values
        layers[layer] = positions(index, weight, "vision")
    edit = Edit(loaded.digest, layers, {"vision": -1.0}, {"vision": "top_share"}, {"vision": 0.98})
    write_edit(edit, path)
    return edit, path


@contextlib.contextmanager
def _quiet_prefect(home: Path) -> Iterator[None]:
    os.environ["PREFECT_HOME"] = str(home / "prefect")
    # Log lines still on their way when the server ends would be told on the screen.
    quiet = temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False})
    with quiet, prefect_api() as wait_for_server, contextlib.redirect_stdout(sys.stderr):
        wait_for_server()
        yield
