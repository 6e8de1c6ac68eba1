"""The devices that a run is asked to use, each by a process of its own."""

import re

import torch

from data_specs.errors import SpecError
from tasks.encoders.forward import resolve_device

_MOST_PROCESSES = 256
_CPU_PROCESSES = re.compile(r"cpu:([0-9]{1,4})")


def resolve_devices(names: str) -> list[str]:
    """The devices for `auto`, `cpu`, `cuda`, `cuda:0,cuda:1`, `all` or `cpu:N`; the first is this process's.

    Raises:
        SpecError: a name is none of these, comes twice, or no such device is here.
    """
    if counted := _CPU_PROCESSES.fullmatch(names):
        n_processes = int(counted[1])
        if not 1 <= n_processes <= _MOST_PROCESSES:
            raise SpecError(f"--devices {names!r}: expected 1 to {_MOST_PROCESSES} processes")
        return ["cpu"] * n_processes
    if names == "all":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not n_devices:
            raise SpecError("--devices all: this machine has no CUDA device; use cpu, or cpu:N for N processes")
        return [f"cuda:{index}" for index in range(n_devices)]
    devices = [str(resolve_device(name.strip())) for name in names.split(",")]
    if len(set(devices)) < len(devices) or (len(devices) > 1 and {"cpu", "cuda"} & set(devices)):
        raise SpecError(
            f"--devices {names!r}: of several, each must be another cuda:N; cpu:N is N processes on the CPU"
        )
    return devices
