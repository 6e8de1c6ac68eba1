"""A copy of a LLaVA's folder in which a few tensors are others; all other files are the same ones, by hard links."""

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import uint8

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.llava.folder import LlavaFolder
from tasks.encoders.llava.stored_tensors import stored_tensors
from tasks.encoders.transformers_format import INDEX, WEIGHTS
from tasks.lineage.disk import sync
from tasks.manipulation.llava.changes import TowerChange

# Forms of the same weights, which no edit reaches: whoever loads them has the model of before.
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx"})
_PROBE = ".link"


@dataclass(frozen=True)
class WrittenFiles:
    """What became of the files of a folder, by name; copied are those that the disk does not link."""

    rewritten: list[str]
    linked: list[str]
    copied: list[str]
    left_out: list[str]


def write_changed(
    llava: LlavaFolder, changes: Sequence[TowerChange], draft: Path, without: Collection[str] = ()
) -> WrittenFiles:
    """Fill a folder with a checkpoint in which tensors are changed.

    Only files that hold a changed tensor are written; memory is that of the largest of them.

    Args:
        llava: the checkpoint, which stays as it is.
        changes: the tensors.
        draft: an empty folder; a hard link needs it on the same disk.
        without: names of files that do not come along.

    Returns:
        What was done with each file.

    Raises:
        SpecError: the disk has no room for what must be written.
        ArtifactError: what was written is not what it should be.
    """
    by_file = defaultdict(list)
    for item in changes:
        by_file[item.tensor.file.name].append(item)
    kept, left_out = _sorted_out(llava, without)
    linking = _links(llava.folder / llava.weight_files[0], draft)
    _require_room(draft, [path for path in kept if path.name in by_file or not linking])
    done = WrittenFiles([], [], [], left_out)
    for path in kept:
        if path.name in by_file:
            _rewrite(path, draft / path.name, by_file[path.name])
            done.rewritten.append(path.name)
        elif linking and _link(path, draft / path.name):
            done.linked.append(path.name)
        else:
            shutil.copyfile(path, draft / path.name)
            done.copied.append(path.name)
    return done


def _sorted_out(llava: LlavaFolder, without: Collection[str]) -> tuple[list[Path], list[str]]:
    """The files that come along, and the names of what does not: folders, and weights that the edit does not reach."""
    kept, left_out = [], []
    stale = {INDEX} if llava.weight_files == (WEIGHTS,) else set()
    for path in sorted(llava.folder.iterdir()):
        other = path.suffix.lower() in _WEIGHTS or path.name.endswith(".bin.index.json") or path.name in stale
        if not path.is_file() or path.name in without or (other and path.name not in llava.weight_files):
            left_out.append(path.name)
        else:
            kept.append(path)
    return kept, left_out


def _links(path: Path, draft: Path) -> bool:
    linked = _link(path, draft / _PROBE)
    (draft / _PROBE).unlink(missing_ok=True)
    return linked


def _link(path: Path, place: Path) -> bool:
    try:
        os.link(path.resolve(), place)  # the hub's cache holds links to files
    except OSError:
        return False
    return True


def _require_room(draft: Path, written: Sequence[Path]) -> None:
    needed, free = sum(path.stat().st_size for path in written), shutil.disk_usage(draft).free
    if needed > free:
        raise SpecError(
            f"--out needs {needed / 1e9:.1f} GB for {len(written)} files, and its disk has {free / 1e9:.1f} GB left; make"
            " space, or choose a folder on the disk of the original, where the other files are linked"
        )


def _rewrite(path: Path, place: Path, changes: Sequence[TowerChange]) -> None:
    """Copy a file and put the changed tensors in; then compare the digest of every tensor with what it should be."""
    shutil.copyfile(path, place)
    expected = {}
    with place.open("r+b") as file:
        for item in changes:
            content = item.values().view(-1).view(uint8).numpy().data
            file.seek(item.tensor.begin)
            file.write(content)
            expected[item.tensor.name] = hashlib.sha256(content).hexdigest()
    sync(place)
    before = stored_tensors(path, "MODEL")
    if stored_tensors(place, "--out").keys() != before.keys():
        raise ArtifactError(f"{place.name} has other tensors than {path}; the disk may be faulty, try again")
    for name, tensor in before.items():
        if tensor.sha256(place) != (expected.get(name) or tensor.sha256()):
            raise ArtifactError(
                f"{place.name}: tensor {name} is not what was written; the original changed meanwhile, or the disk is faulty"
            )
