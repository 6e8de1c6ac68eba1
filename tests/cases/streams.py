"""Batches that processes read; a module of its own, so that a program of another process finds it."""

import torch

from tasks.shards.plan import plan_reading
from tasks.shards.reading import BatchStream
from tests.cases.shard_files import inspected, pairs, write_tar


def large(caption):
    """A megabyte for each caption."""
    return torch.full((512, 512), float(len(caption)))


def shard_of(tmp_path, n=12):
    members = [
        (name, f"{content} {key}".encode() if name.endswith("txt") else data)
        for key in range(n)
        for name, data in pairs([f"k{key}"])
        for content in ["text"]
    ]
    return inspected(write_tar(tmp_path / "x.tar", members))


def stream_of(tmp_path, transform, workers):
    return BatchStream(
        plan_reading([shard_of(tmp_path)], "text", None), "text", transform, batch_size=4, workers=workers
    )
