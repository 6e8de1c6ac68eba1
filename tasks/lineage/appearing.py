"""A folder outside of the store that appears when it is complete, or not at all."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_specs.errors import SpecError
from tasks.lineage.disk import sync, written_out


def require_new_folder(out: Path) -> None:
    """Refuse a place at which something lies.

    Raises:
        SpecError: it is no folder, or one that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"--out {out} is there already and not empty; choose another folder")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder of the same name to be filled within the block, which then stands at `out`.

    It lies beside `out`, on the same disk. What a process that was killed left of it is removed by the next one.

    Raises:
        SpecError: the disk refuses it.
    """
    around = out.with_name(f".{out.name}.part-{os.getpid()}")
    draft = around / out.name  # signatures name the folder
    lock = None
    try:
        with written_out(out):
            _remove_abandoned(out)
            around.mkdir(parents=True)
            lock = os.open(around, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft.mkdir()
            yield draft
            sync(draft)
            os.rename(draft, out)
    finally:
        shutil.rmtree(around, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_abandoned(out: Path) -> None:
    """Remove drafts of the same folder that no process holds any more."""
    beginning = f".{out.name}.part-"
    with suppress(OSError):
        for path in [path for path in out.parent.iterdir() if path.name.startswith(beginning)]:
            with suppress(OSError):
                lock = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(lock)
