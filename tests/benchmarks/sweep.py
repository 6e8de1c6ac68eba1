"""What a further point of a sweep costs, over evaluating one edited model alone."""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from prefect import flow
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from safetensors.torch import save_file

from data_specs.config_file import load_config
from data_specs.run_config import RunConfig
from flows.edit import write_model
from flows.measure import EvaluationSets, measure, measure_edit, selected_edit
from flows.scores import scores_of
from flows.server.temporary import prefect_api
from flows.session import open_session
from tasks.experiments.grid import method_at
from tests.benchmarks.timing import median_by_turns, ratio
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
            tau = next(taus) / 100
            changed = config.with_method(method_at(config, ["text", "vision"], tau, -1.0))
            return selected_edit(session, scores, changed, f"{name}.{tau}")

        def sweep_point() -> None:
            selected = edit("point")
            measure_edit(session, sets, selected, f"point.{selected.version[:8]}")

        def one_model() -> Any:
            # Made beforehand; its evaluation alone is timed.
            return write_model(session, edit("model"), "model")

        def evaluation(model: Any) -> None:
            measure(session, sets, session.edited(model), model, f"model.{model.version[:8]}")

        return median_by_turns((lambda: None, lambda _: sweep_point()), (one_model, evaluation), repeats=3)


@contextlib.contextmanager
def _quiet_prefect(home: Path) -> Iterator[None]:
    os.environ["PREFECT_HOME"] = str(home / "prefect")
    # Log lines still on their way when the server ends would be told on the screen.
    quiet = temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False})
    with quiet, prefect_api() as wait_for_server, contextlib.redirect_stdout(sys.stderr):
        wait_for_server()
        yield
