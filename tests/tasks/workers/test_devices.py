"""How devices are named."""

import pytest

from data_specs.errors import SpecError
from tasks.workers.devices import resolve_devices


def test_devices_are_named_one_by_one_or_counted():
    assert resolve_devices("cpu:3") == ["cpu"] * 3
    assert resolve_devices("cpu") == ["cpu"]
    for wrong, said in (
        ("cpu:0", "expected 1 to 256 processes"),
        ("cpu:999", "expected 1 to 256 processes"),
        ("cpu,cpu", "each must be another cuda:N"),
        ("tpu", "use auto, cpu, cuda or cuda:N"),
        ("cuda:0,cuda:99", "is not here; this machine has"),
    ):
        with pytest.raises(SpecError, match=said):
            resolve_devices(wrong)
