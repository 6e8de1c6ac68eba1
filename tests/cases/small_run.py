"""A run that is small enough for tests: a tiny model with random weights, drawn pictures, real shards."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tasks.shards.packing import pack_table
from tests.cases.places import ROOT

Here = Callable[..., subprocess.CompletedProcess[str]]
_BOX = re.compile(rb'<section class="box".*?</section>', re.DOTALL)
UWM = [sys.executable, "-m", "flows.commands.main"]
MODEL = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@dataclass(frozen=True)
class Finished:
    """A settings file and what a command made of it in a store."""

    config: Path
    store: Path
    result: dict[str, Any]

    def place(self, role: str) -> Path:
        """The folder of one of its artifacts."""
        return Path(self.result["artifacts"][role]["path"])

    def version(self, role: str) -> str:
        """The version of one of its artifacts."""
        return str(self.result["artifacts"][role]["version"])


def write_run(folder: Path, *, calibration: int = 24, test: int = 12, per_shard: int = 8, **changes: Any) -> Path:
    """A CONFIG.yaml with all that it names, in `folder`; `changes` replace settings."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(MODEL), encoding="utf-8")
    for name, n_pairs in (("calibration", calibration), ("test", test)):
        write_shards(folder, name, n_pairs, per_shard)
    settings = {
        "name": "small",
        "model": {"architecture": "model.json", "weights": "model.safetensors"},
        "calibration": {"shards": [path.name for path in sorted(folder.glob("calibration-*.tar"))]},
        "evaluation": {"shards": [path.name for path in sorted(folder.glob("test-*.tar"))]},
        "text": {"tau": 0.9},
        "vision": {"tau": 0.9},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings | changes, sort_keys=False), encoding="utf-8")
    return path


def change_run(config: Path, name: str, **changes: Any) -> Path:
    """Another settings file beside one, some settings replaced; `name` is its run's, too."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    path = config.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump(settings | {"name": name} | changes, sort_keys=False), encoding="utf-8")
    return path


def write_model(path: Path, seed: int = 0) -> None:
    """A checkpoint of random weights for the architecture `MODEL`."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = open_clip.CLIP(**MODEL).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def write_shards(folder: Path, name: str, n_pairs: int, per_shard: int) -> None:
    """Shards NAME-000000.tar and so on of drawn pairs, in `folder`."""
    lines = []
    for i in range(n_pairs):
        row = {"key": f"{name}{i:04d}", "tag": "odd" if i % 2 else "even"}
        for content, hue in (("safe", 40), ("unsafe", 200)):
            pixels = np.random.default_rng([i, hue, len(name)]).integers(0, 256, (36, 40, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels)
            picture.paste((hue, (i * 37) % 256, 90), (i % 20, 4, i % 20 + 12, 20))
            row[f"{content}_image"] = f"{name}{i}.{content}.png"
            picture.save(folder / row[f"{content}_image"])
            row[f"{content}_text"] = f"a {content} picture number {i} of {name}"
        lines.append(json.dumps(row))
    table = folder / f"{name}.jsonl"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pack_table(table, str(folder / f"{name}-%06d.tar"), max_count=per_shard)


def uwm(*arguments: str, api_url: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*UWM, *arguments], capture_output=True, text=True, timeout=600, env=environment(api_url), cwd=cwd, check=False
    )


def environment(api_url: str | None = None) -> dict[str, str]:
    """The environment of a child: this project's code, and a Prefect server where one is given."""
    own = {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100"}
    return {**os.environ, **own, **({"PREFECT_API_URL": api_url} if api_url else {})}


def damage(shard: Path, members: dict[str, bytes | None]) -> None:
    """Replace members of a shard; None leaves one out."""
    with tarfile.open(shard) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}
    if unknown := members.keys() - content.keys():
        raise KeyError(unknown)
    with tarfile.open(shard, "w") as tar:
        for name, data in (content | members).items():
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


@contextmanager
def prefect_here(api_url: str) -> Iterator[None]:
    """Flows of this process on a server, without what tests would wait for."""
    from prefect import settings

    from flows.server.temporary import no_events

    # A flow's end waits for the heartbeat, and nobody reads the server's log.
    quick = {settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, settings.PREFECT_LOGGING_TO_API_ENABLED: False}
    # As on a temporary server; what the server makes of events takes half of a small run's time.
    with settings.temporary_settings({settings.PREFECT_API_URL: api_url, **quick}), no_events():
        yield


def completed(here: Here, command: str, config: Path, store: Path, *options: str) -> Finished:
    """Run a command in this process to its good end."""
    done = here(command, str(config), "--store", str(store), "--workers", "0", "--json", *options)
    assert done.returncode == 0, done.stderr
    return Finished(config, store, json.loads(done.stdout.splitlines()[-1]))


def artifacts(store: Path) -> set[Path]:
    """The folders of all artifacts."""
    return {path for path in store.glob("[!.]*/*") if (path / "manifest.json").is_file()}


def kinds(store: Path) -> Counter[str]:
    """How many artifacts of each kind a store holds."""
    return Counter(path.parent.name for path in artifacts(store))


def file_digests(store: Path) -> dict[str, str]:
    """SHA-256 of every artifact file but the manifests, which record times, and of reports without the box that tells them."""
    found = {}
    for path in sorted(store.glob("[!.]*/*/**/*")):
        place = path.relative_to(store)
        if path.is_file() and path.name != "manifest.json":
            # A report's version follows from what its box tells.
            name = place.as_posix() if place.parts[0] != "report" else f"report/{place.name}"
            data = path.read_bytes()
            found[name] = hashlib.sha256(_BOX.sub(b"", data) if path.suffix == ".html" else data).hexdigest()
    return found
