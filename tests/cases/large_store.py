"""Manifests of a store of many runs, without the files that they list."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_specs.manifest import ArtifactRef, Circumstances, FileEntry, Manifest, Recipe, Source
from tasks.lineage.digest import recipe_version, text_sha256

CIRCUMSTANCES = Circumstances(
    libraries=dict.fromkeys(("python", "torch", "numpy", "pyarrow", "duckdb", "prefect", "pillow", "timm"), "1.0"),
    device="cpu",
    precision="fp32",
    seed=0,
    git_commit=None,
    git_dirty=None,
    flow_run_id=None,
    command=["uwm", "run", "run.yaml"],
    started="2026-01-01T00:00:00.000+00:00",
    ended="2026-01-01T00:00:01.000+00:00",
)
N_SHARDS, N_LAYERS = 100, 12
_MODULES = {f"tasks.stage.module_{i}": text_sha256(f"module {i}") for i in range(20)}


class LargeStore:
    """Runs that differ in batch size and tau, over the same shards."""

    def __init__(self, root: Path) -> None:
        """Write below `root`."""
        self.root, self.n_artifacts = root, 0
        self.shards = [
            Source(location=f"/data/{i:06d}.tar", sha256=text_sha256(f"shard {i}"), size_bytes=1)
            for i in range(N_SHARDS)
        ]

    def fill(self, n_artifacts: int) -> None:
        """Write runs until there are that many artifacts."""
        number = 0
        while self.n_artifacts < n_artifacts:
            self.run(f"run-{number:04d}", {"batch_size": 32 + number}, tau=0.9 + number / 10_000)
            number += 1

    def run(self, name: str, settings: dict[str, Any], tau: float) -> dict[str, ArtifactRef]:
        """One run's artifacts by role, and its record."""
        made: dict[str, ArtifactRef] = {}
        layers = [f"encoder=vision/layer={i}/0.parquet" for i in range(N_LAYERS)]
        base = text_sha256("base")
        for encoder in ("text", "vision"):
            activations = self._set(f"activations.{encoder}", settings, layers, base)
            made[f"layer_scores.{encoder}"] = self.add(
                f"layer_scores.{encoder}", {}, {"encoder": base, "activations": activations}, layers
            )
        made["scores"] = self.add("scores", {}, dict(made), layers)
        made["edit"] = self.add(
            "edit", {"text": {"tau": tau}}, {"scores": made["scores"], "model": base}, ["edit.safetensors"]
        )
        made["model"] = self.add("model", {}, {"edit": made["edit"], "model": base}, ["model.safetensors"])
        embeddings = {
            f"embeddings.{encoder}": self._set(f"embeddings.{encoder}", settings, ["0.parquet"], text_sha256(name))
            for encoder in ("text", "vision")
        }
        made["evaluation.edited"] = self.add("evaluation", {}, {"model": made["model"], **embeddings}, ["metrics.json"])
        self._record(name, tau, made)
        return made

    def _set(self, kind: str, settings: dict[str, Any], files: list[str], encoder: str) -> ArtifactRef:
        parts = [
            self.add(f"{kind}.part", settings, {"encoder": encoder, "shard": shard.sha256}, files, [shard])
            for shard in self.shards
        ]
        inputs = {"parts": parts, "shards": [shard.sha256 for shard in self.shards]}
        return self.add(kind, settings, inputs, [f"{i}-{name}" for i in range(2) for name in files], self.shards)

    def add(
        self, kind: str, settings: dict[str, Any], inputs: dict[str, Any], files: list[str], sources: Any = ()
    ) -> ArtifactRef:
        """Write one manifest."""
        recipe = Recipe(kind=kind, settings=settings, inputs=inputs, code=text_sha256("code"))
        version = recipe_version(recipe)
        entries = [FileEntry(path=path, sha256=text_sha256(version + path), size_bytes=len(path)) for path in files]
        manifest = Manifest(
            format=1,
            version=version,
            recipe=recipe,
            modules=_MODULES,
            files=entries,
            sources=list(sources),
            circumstances=CIRCUMSTANCES,
        )
        folder = self.root / kind / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(manifest.model_dump_json())
        self.n_artifacts += 1
        return manifest.ref

    def _record(self, name: str, tau: float, made: dict[str, ArtifactRef]) -> None:
        (self.root / ".runs").mkdir(exist_ok=True)
        content = {
            "id": f"20260101T000000-{self.n_artifacts:08x}",
            "status": "completed",
            "started": "2026-01-01T00:00:00.000+00:00",
            "settings": {"name": name, "text": {"tau": tau}},
            "artifacts": {role: ref.version for role, ref in made.items()},
            "figures": {"edited": {"GS": tau * 100}},
        }
        (self.root / ".runs" / f"{content['id']}.json").write_text(json.dumps(content))


def manifests(root: Path) -> Iterator[dict[str, Any]]:
    """Every manifest as JSON has it: the naive way to ask."""
    for path in sorted(root.glob("[!.]*/*/manifest.json")):
        yield json.loads(path.read_text(encoding="utf-8"))
