"""What several models of a run read is decoded once for all of them, and what they leave is what each leaves alone."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.shards.decoding import DECODERS
from tests.cases.small_run import Here, change_run, completed, file_digests, write_run

N_CALIBRATION, N_TEST = 4, 6


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("once"), calibration=N_CALIBRATION, test=N_TEST, per_shard=4)


@contextmanager
def counted_pictures(of: str) -> Iterator[Counter[str]]:
    """How often each picture of a set is decoded, by its key and member."""
    calls: Counter[str] = Counter()
    decode = DECODERS["pillow"]

    def counted(data: bytes, *, key: str, name: str) -> Any:
        if key.startswith(of):
            calls[f"{key}.{name}"] += 1
        return decode(data, key=key, name=name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DECODERS, "pillow", counted)
        yield calls


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("run",), ("compare",), ("sweep", "--tau", "0.8,0.9")], ids=lambda command: command[0]
)
def test_original_and_edits_of_a_run_share_one_decoding(
    config: Path, tmp_path: Path, here: Here, command: tuple[str, ...]
) -> None:
    with counted_pictures("test") as calls:
        completed(here, command[0], config, tmp_path / "store", *command[1:])
    assert len(calls) == 2 * N_TEST
    assert set(calls.values()) == {1}


@pytest.mark.slow
def test_bytes_are_those_of_one_model_after_the_other(config: Path, tmp_path: Path, here: Here) -> None:
    together = completed(here, "run", config, tmp_path / "together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.make_safe.embed_together", lambda *_: None)
        apart = completed(here, "run", config, tmp_path / "apart")
    assert together.result["metrics"] == apart.result["metrics"]
    assert file_digests(together.store) == file_digests(apart.store)


@pytest.mark.slow
def test_statistics_and_embeddings_of_a_calibration_set_share_one_decoding(
    config: Path, tmp_path: Path, here: Here
) -> None:
    signed = change_run(config, "signed", vision={"sign": "loss"})
    with counted_pictures("calibration") as calls:
        together = completed(here, "run", signed, tmp_path / "together")
    assert len(calls) == 2 * N_CALIBRATION
    assert set(calls.values()) == {2}  # once more for the slopes, which follow from the embeddings
    with pytest.MonkeyPatch.context() as patch, counted_pictures("calibration") as calls:
        patch.setattr("flows.scores.read_for_both", lambda *_: None)
        apart = completed(here, "run", signed, tmp_path / "apart")
    assert set(calls.values()) == {3}
    assert file_digests(together.store) == file_digests(apart.store)
