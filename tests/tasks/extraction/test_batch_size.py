"""`batch_size: auto` is a number before anything is named after it."""

import pytest
import torch

from data_specs.errors import SpecError
from data_specs.run_config import RunConfig
from tasks.extraction.batch_size import batch_size_for_memory, usual_batch_size
from tests.cases.devices import with_cuda

NAMED = {"shards": ["/nowhere.tar"]}
RUN = {
    "name": "run",
    "model": {"architecture": "ViT-B-32", "weights": "openai"},
    "calibration": NAMED,
    "evaluation": NAMED,
}


def config(**changes):
    return RunConfig.model_validate(RUN | changes)


# Memory as these devices report it, a little below what their names say.
@pytest.mark.parametrize(
    ("gib", "expected"),
    [
        (0.0, 32),
        (3.9, 32),
        (14.6, 32),
        (15.9, 32),
        (22.5, 64),
        (39.4, 128),
        (47.5, 128),
        (79.1, 256),
        (139.8, 512),
        (500, 512),
    ],
)
def test_a_larger_device_takes_more_inputs_at_once_up_to_512(gib, expected):
    assert batch_size_for_memory(int(gib * 2**30)) == expected


def test_on_the_cpu_auto_is_the_default():
    assert usual_batch_size("cpu") == config().batch_size == 32


@with_cuda
def test_a_gpu_gives_the_same_number_however_much_of_it_is_taken():
    before = usual_batch_size("cuda")
    taken = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    assert usual_batch_size(f"cuda:{taken.device.index}") == before


def test_auto_becomes_a_number_and_a_number_stays():
    assert config(batch_size="auto").with_batch_size(128) == config(batch_size=128)
    assert config(batch_size=7).with_batch_size(128) == config(batch_size=7)


def test_a_recipe_holds_the_number_and_never_auto():
    assert config(batch_size="auto").with_batch_size(64).reading("text") == {"precision": "fp32", "batch_size": 64}
    with pytest.raises(SpecError, match="batch_size is auto, which becomes a number where a run knows its device"):
        config(batch_size="auto").reading("text")
