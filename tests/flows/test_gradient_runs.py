"""Runs with a gradient scorer from outside: killed in between, and with other numbers of workers."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.cases.forked import forked
from tests.cases.small_run import Finished, Here, completed, file_digests, write_run

ENCODERS = ("text", "vision")
N_SHARDS = 8


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    folder = tmp_path_factory.mktemp("gradients")
    # A batch reaches across shards, so that a run that goes on needs what others have gathered of an open one.
    ways = {encoder: {"scorer": "gradient_unsafe", "batch_pairs": 5, "tau": 0.9} for encoder in ENCODERS}
    config = write_run(folder, calibration=2 * N_SHARDS, test=4, per_shard=2, **ways)
    return completed(here, "run", config, folder / "store", "--workers", "1")


def killed_at(n_files: int, pattern: str, store: Path) -> None:
    """Let this process end by SIGKILL as soon as so many files are there."""

    def looking(move):
        def moved(*places):
            move(*places)
            if len(list(store.glob(pattern))) >= n_files:
                os.kill(os.getpid(), signal.SIGKILL)

        return moved

    os.replace, os.rename = looking(os.replace), looking(os.rename)


def summed_shards(encoder: str) -> str:
    return f"gradient_sums.{encoder}.*/*"


def test_killed_in_both_gradient_passes_a_run_ends_with_the_same_bytes(
    left_alone: Finished, tmp_path: Path, here: Here, api_url: str
) -> None:
    store = tmp_path / "store"
    arguments = ["run", str(left_alone.config), "--store", str(store), "--workers", "2"]
    for encoder in ENCODERS:
        summed = summed_shards(encoder)
        process = forked(
            *arguments, api_url=api_url, said=tmp_path / "said", first=partial(killed_at, 2, summed, store)
        )
        assert process.wait() == -signal.SIGKILL, process.err
        assert len(list(store.glob(summed))) == 2
        assert not list(store.glob(f"layer_scores.{encoder}/*"))
        assert all((path / "manifest.json").is_file() for path in store.glob("[!.]*/*"))
    done = completed(here, "run", left_alone.config, store)
    assert file_digests(store) == file_digests(left_alone.store)
    assert done.result["metrics"] == left_alone.result["metrics"]
    counts = json.loads((done.place("layer_scores.vision") / "manifest.json").read_text())["counts"]["layers"]
    assert [(layer["n_pairs"], layer["n_batches"]) for layer in counts.values()] == [(16, 4), (16, 4)]


def test_four_workers_change_no_byte(left_alone: Finished, tmp_path: Path, here: Here) -> None:
    completed(here, "run", left_alone.config, tmp_path / "store", "--workers", "4")
    assert file_digests(tmp_path / "store") == file_digests(left_alone.store)
