"""Captions of one shard's pictures as an artifact, which any process can make that reaches the store and the captioner's files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from data_specs.caption_rows import CAPTIONS, CAPTIONS_FOLDER
from data_specs.run_config import CONTENTS
from data_specs.samples import member_names, needed_contents
from data_specs.schemas import pair_id
from tasks.captioning.captioner import Captioned, Captioner
from tasks.captioning.captioner_files import CaptionerFiles
from tasks.extraction.parts import MakesParts, Part
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Build, Store
from tasks.shards.batch import Batch
from tasks.shards.decoding import Undecodable, decode_caption
from tasks.shards.plan import ShardPlan
from tasks.shards.reading import BatchStream
from tasks.shards.tar import FILE, Tar, split_name


class OnTower(Protocol):
    """Names by value what changes a vision tower, such as an edit."""

    def __call__(self, tower: nn.Module) -> AbstractContextManager[None]:
        """Change it for as long as the block lasts; what stood there comes back bit for bit."""


@dataclass(frozen=True)
class CaptionPartMaker(MakesParts[CaptionerFiles]):
    """How the parts of one model's captions are made."""

    on_tower: OnTower | None  # None: the tower as it is

    def stream(self, loaded: CaptionerFiles, plans: Sequence[ShardPlan], context: RunContext) -> BatchStream:
        """Pictures as the captioner's own processor fits them."""
        return BatchStream(
            plans,
            self.encoder,
            loaded.fit,
            batch_size=self.batch_size,
            workers=context.workers,
            decoder=self.decoder,
        )

    def fold(self, parts: Sequence[Part], loaded: CaptionerFiles, store: Store, device: torch.device) -> "CaptionFold":
        """Captions in files."""
        del parts, store
        return CaptionFold(lambda: loaded.on(str(device)), self.on_tower)


class CaptionFold:
    """Captions both sides' pictures and writes them beside the captions of their pairs."""

    def __init__(self, opened: Callable[[], Captioner], on_tower: OnTower | None) -> None:
        """Open the captioner when the first picture comes; its tower is changed while a shard is captioned."""
        self._opened, self._on_tower = opened, on_tower

    @contextmanager
    def shard(self, plan: ShardPlan, build: Build) -> Iterator[None]:
        """Write `captions/part.parquet`."""
        self._rows: list[dict[str, Any]] = []
        self._references, self._captioner = _references(plan), self._opened()
        with nullcontext() if self._on_tower is None else self._on_tower(self._captioner.tower):
            yield
        folder = build.folder / CAPTIONS_FOLDER
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(self._rows, schema=CAPTIONS), folder / "part.parquet")

    def take(self, batch: Batch, plan: ShardPlan) -> None:
        """Caption a batch.

        Raises:
            DataError: the captioner gives no number for a token.
        """
        for content, pixels in batch.inputs.items():
            for key, tag, said in zip(batch.keys, batch.tags, self._captioner(pixels), strict=True):
                pair = pair_id(plan.shard.sha256, key)
                self._rows.append(_row(pair, content, tag, said, self._references.get(key, {})))


def _row(pair: str, content: str, tag: str | None, said: Captioned, references: dict[str, str]) -> dict[str, Any]:
    return {
        "pair_id": pair,
        "content": content,
        "tag": tag,
        "caption": said.caption,
        "n_tokens": said.n_tokens,
        "finish": said.finish,
        **{f"reference_{side}": references.get(side) for side in CONTENTS},
    }


def _references(plan: ShardPlan) -> dict[str, dict[str, str]]:
    """The pairs' own captions, by key and side; those that are missing or unreadable are left out."""
    shard = plan.shard
    ends = {
        name: side
        for side in needed_contents(shard.content)
        for name in member_names("text", side, paired=shard.paired)
    }
    found: dict[str, dict[str, str]] = {key: {} for key in plan.keys}
    with Tar(shard.path) as tar:
        for member in tar:
            key, ending = split_name(member.name)
            if member.kind == FILE and key in found and (side := ends.get(str(ending).lower())):
                for text in _decoded(tar.read(member), key, member.name):
                    found[key][side] = text
    return found


def _decoded(data: bytes, key: str, name: str) -> Iterator[str]:
    try:
        yield decode_caption(data, key=key, name=name)
    except Undecodable:
        return
