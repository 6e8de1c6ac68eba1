"""How many cores this process may use."""

import os


def available_cores() -> int:
    """Cores that the process may run on, at least 1; a job of Slurm or a container may have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def usual_workers(device_type: str) -> int:
    """Processes that decode where none are asked for: with a GPU all cores but two, at most 16, else one a core, at most 4.

    A GPU reads hundreds of pictures a second, of which one core decodes a hundred or two; on the CPU the model needs the
    cores itself.
    """
    cores = available_cores()
    return min(16, max(1, cores - 2)) if device_type == "cuda" else min(4, cores)
