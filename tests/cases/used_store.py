"""A store made by hand over real shards, one of whose pairs was read for pictures, left out, bad or summed."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.schemas import pair_id
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import file_sha256, text_sha256
from tasks.lineage.exports import record_export
from tasks.lineage.store import Build, Store
from tests.cases.shard_files import pairs, write_tar

BASE = text_sha256("base")
KEYS = ("a0", "a1", "a2")


class UsedStore:
    """Two shards of three pairs each; `read` says which of them went into each part."""

    def __init__(self, folder: Path, places: dict[int, str] | None = None) -> None:
        """Make all of it in `folder`; `places` are where manifests say that shards lie, which is where they do."""
        folder.mkdir(exist_ok=True)
        self.store = Store(folder / "store")
        self.members = {f"{i}.tar": pairs([f"{key}{i}" for key in KEYS], seed=10 * i) for i in range(2)}
        self.shards = [write_tar(folder / name, members) for name, members in self.members.items()]
        self.digests = [file_sha256(path) for path in self.shards]
        self.places = [(places or {}).get(i, str(path)) for i, path in enumerate(self.shards)]
        self.refs: dict[str, ArtifactRef] = {}
        for encoder in ("text", "vision"):
            parts = []
            for i, digest in enumerate(self.digests):
                # The last pair of the first shard is beyond the limit, the second of the second bad.
                kept = [f"{key}{i}" for n, key in enumerate(KEYS) if n != 2 - i]
                parts.append(self.part(f"activations.{encoder}.part", digest, kept, [f"a1{i}"] if i else []))
            self.refs[f"activations.{encoder}"] = self.make(
                f"activations.{encoder}", {"parts": parts, "shards": self.digests}, self.digests
            )
        scores = self.make("layer_scores.vision", {"encoder": BASE, "activations": self.refs["activations.vision"]})
        sums = self.make("slopes.vision", {"encoder": BASE, "shards": self.digests}, self.digests)
        self.refs |= {"scores": self.make("scores", {"vision": scores}), "sums": sums}
        self.refs["edit"] = self.make("edit", {"scores": self.refs["scores"], "model": BASE})
        self.refs["model"] = self.make("model", {"edit": self.refs["edit"], "model": BASE})
        self.refs["other"] = self.make("edit", {"model": text_sha256("another base")})
        (folder / "out").mkdir()
        record_export(self.store.root, self.refs["model"], folder / "out", form="open_clip")

    def part(self, kind: str, shard: str, keys: list[str], bad: list[str]) -> ArtifactRef:
        """One shard's rows."""
        rows = pa.table({"pair_id": [pair_id(shard, key) for key in keys]})
        counts = {"samples_used": len(keys), "bad": [{"key": key, "reason": "undecodable image"} for key in bad]}
        return self.make(kind, {"encoder": BASE, "shard": shard}, [shard], rows, counts)

    def make(self, kind, inputs, shards=(), rows=None, counts=None) -> ArtifactRef:
        """An artifact with a file."""

        def write(build: Build) -> None:
            if rows is None:
                (build.folder / "content.txt").write_text(kind)
            else:
                pq.write_table(rows, build.folder / "rows.parquet")
            places = dict(zip(self.digests, self.places, strict=True))
            build.sources += [Source(location=places[item], sha256=item, size_bytes=1) for item in shards]
            build.counts.update(counts or {})

        recipe = Recipe(kind=kind, settings={}, inputs=inputs, code="code")
        return self.store.materialise(recipe, write, RunContext()).ref

    def file(self, folder: Path, shard: int, name: str) -> Path:
        """A member of a shard as a file of its own."""
        path = folder / hashlib.md5(name.encode()).hexdigest()
        path.write_bytes(dict(self.members[f"{shard}.tar"])[name])
        return path
