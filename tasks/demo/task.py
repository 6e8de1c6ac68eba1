"""The demo's data and model as artifacts, and the settings of its run."""

import json
from pathlib import Path
from typing import Any

from data_specs.config_file import parse_config
from data_specs.manifest import Recipe
from data_specs.run_config import Encoder, RunConfig
from data_specs.shard_patterns import literal_pattern
from tasks.demo.data import CALIBRATION, LABELLED, TEST, write_labelled_sets, write_pair_shards
from tasks.demo.scenes import LABEL_SETS, draw_pairs
from tasks.demo.training import MODEL_CONFIG, STEPS, train
from tasks.encoders.checkpoint import write_state_dict
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import advance, stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task

N_TRAINING_PAIRS, N_CALIBRATION_PAIRS, N_TEST_PAIRS, N_LABELLED = 2_500, 768, 1_000, 300
TAU_TEXT, TAU_VISION = 0.86, 0.98
SEED = 0
METHODS: dict[str, dict[str, Any]] = {
    "UWM": {},
    # As many weights as UWM edits, at the same tau, so that nothing is chosen on the pairs that it is measured on.
    "UWM-sign": {"sign": "loss"},
    "unsafe-only": {"scorer": "unsafe_only"},
    "difference": {"scorer": "difference", "rule": "top_share", "tau": 0.98},
    "G-Unsafe": {"scorer": "gradient_unsafe", "rule": "top_share", "tau": 0.965, "alpha": 0},
    "G-Safe-CLIP": {"scorer": "gradient_safe_clip", "rule": "top_share", "tau": 0.995, "alpha": 0},
    "magnitude": {"scorer": "magnitude", "rule": "top_share", "tau": 0.98},
    "random": {"scorer": "random", "rule": "top_share", "tau": 0.98},
}
SWEEP_ENCODER: Encoder = "text"
SWEEP_POINTS = [{"tau": tau, "alpha": alpha} for alpha in (-1.0, 0.0) for tau in (0.8, 0.84, 0.88, 0.92, 0.96)]
SWEEP_LIMITS = "zero_shot>=-5"
_ARCHITECTURE, _WEIGHTS = "model.json", "model.safetensors"


@task(name="draw-demo-data")
def draw_data(store: Store, context: RunContext) -> Made:
    """Draw and pack calibration, test and zero-shot shards; returns the `demo_data` artifact."""
    recipe = Recipe(
        kind="demo_data",
        settings={"calibration": N_CALIBRATION_PAIRS, "test": N_TEST_PAIRS, "labelled": N_LABELLED, "seed": SEED},
        **coded(draw_data),
    )
    total = N_CALIBRATION_PAIRS + N_TEST_PAIRS + N_LABELLED * len(LABEL_SETS)

    def write(build: Build) -> None:
        label = "draw pictures"
        with stage(label, total, "scenes"):
            write_pair_shards(build.folder, CALIBRATION, N_CALIBRATION_PAIRS, seed=SEED, stage=label)
            write_pair_shards(build.folder, TEST, N_TEST_PAIRS, seed=SEED, stage=label)
            write_labelled_sets(build.folder, N_LABELLED, seed=SEED, stage=label)

    return store.materialise(recipe, write, context)


@task(name="train-demo-model")
def train_model(store: Store, context: RunContext) -> Made:
    """Train the tiny model on pictures of its own; returns the `demo_model` artifact."""
    recipe = Recipe(
        kind="demo_model",
        settings={"architecture": MODEL_CONFIG, "pairs": N_TRAINING_PAIRS, "steps": STEPS, "seed": SEED},
        **coded(train_model),
    )

    def write(build: Build) -> None:
        label = "train a tiny model"
        with stage(label, STEPS, "steps"):
            pairs = draw_pairs(N_TRAINING_PAIRS, SEED, "training")
            state = train(pairs, seed=SEED, on_step=lambda _done, _all: advance(label))
        write_state_dict(state, build.folder / _WEIGHTS, {"format": "pt"})
        (build.folder / _ARCHITECTURE).write_text(json.dumps(MODEL_CONFIG, indent=1) + "\n", encoding="utf-8")

    return store.materialise(recipe, write, context)


def demo_config(data: Path, model: Path) -> RunConfig:
    """The settings of the demo's run, on the artifacts' files."""
    return parse_config(demo_settings(data, model), base=data, source="the demo's settings")


def demo_settings(data: Path, model: Path) -> dict[str, Any]:
    """The same as a file would hold them."""
    zero_shot = [{"name": name, "path": str(data / LABELLED / name)} for name in LABEL_SETS]
    return {
        "name": "demo",
        "seed": SEED,
        "model": {"architecture": str(model / _ARCHITECTURE), "weights": str(model / _WEIGHTS)},
        "calibration": {"shards": _patterns(data, CALIBRATION)},
        "evaluation": {
            "shards": _patterns(data, TEST),
            "zero_shot": zero_shot,
        },
        "text": {"tau": TAU_TEXT},
        "vision": {"tau": TAU_VISION},
        "methods": {name: {"text": settings, "vision": settings} for name, settings in METHODS.items()},
        "batch_size": 128,
    }


def _patterns(data: Path, name: str) -> list[str]:
    return [literal_pattern(str(path)) for path in sorted(data.glob(f"{name}-*.tar"))]
