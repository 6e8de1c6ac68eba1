"""Small shards made on the spot: images, tars member by member, tables."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tasks.shards.inspection import Shard, inspect_shard
from tasks.shards.plan import BadSample, plan_reading
from tasks.shards.reading import Batch, BatchStream

Members = list[tuple[str, bytes]]
END = bytes(1024)


def picture(seed, size=(12, 8)):
    """A picture of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def image_bytes(seed, format="PNG", size=(12, 8)):
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, format=format)
    return buffer.getvalue()


def tar_bytes(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_tar(path: Path, members: Members) -> Path:
    path.write_bytes(tar_bytes(members))
    return path


def pair(key, seed=0, **changed) -> Members:
    """The five members of one pair; `changed` replaces some by name (dots as underscores), None leaves one out."""
    members = {
        "json": b'{"tag": "hate"}',
        "safe.png": image_bytes(seed),
        "safe.txt": f"a safe caption of {key}".encode(),
        "unsafe.png": image_bytes(seed + 1000),
        "unsafe.txt": f"an unsafe caption of {key}".encode(),
    }
    for name, data in changed.items():
        members[name if name in members or name.startswith("__") else name.replace("_", ".")] = data
    return [(f"{key}.{name}", data) for name, data in members.items() if data is not None]


def pairs(keys, seed=0) -> Members:
    return [member for number, key in enumerate(keys) for member in pair(key, seed + number)]


def inspected(path: Path, content=None) -> Shard:
    return inspect_shard(str(path), content, path)


def caption_tensor(caption: str) -> Tensor:
    """A caption's UTF-8 bytes, padded with zeros."""
    return torch.tensor(list(caption.encode().ljust(400, b"\0")), dtype=torch.uint8)


def caption_of(row: Tensor) -> str:
    return bytes(row.tolist()).rstrip(b"\0").decode()


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


def read_all(
    shards: Sequence[Shard], encoder, transform, *, limit=None, batch_size=4, workers=0
) -> tuple[list[Batch], list[BadSample]]:
    """Every batch of every shard, and all bad samples."""
    plans = plan_reading(shards, encoder, limit)
    stream = BatchStream(plans, encoder, transform, batch_size=batch_size, workers=workers)
    batches = [batch for index in range(len(plans)) for batch in stream.batches(index)]
    bad = [item for plan in plans for item in plan.bad] + [item for batch in batches for item in batch.bad]
    return batches, bad


def member(name, data=b"x", **fields):
    """One member as raw blocks; `fields` of its header are set before it is written."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
