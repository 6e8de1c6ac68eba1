"""How many cores this process may use."""

import os


def available_cores() -> int:
    """Cores that the process may run on, at least 1; a job of Slurm or a container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def usual_workers(device: str, n_processes: int = 1) -> int:
    """Processes that decode where none are asked for: with a GPU all cores but two, at most 16, else one a core, at most 4.

    Several processes that run the model beside each other share the cores, with at least one decoder each.
    A GPU reads hundreds of pictures a second, of which one core decodes a hundred or two; on the CPU the model needs the
    cores itself.
    """
    cores = max(1, available_cores() // n_processes)
    return min(16, max(1, cores - 2)) if device.startswith("cuda") else min(4, cores)
