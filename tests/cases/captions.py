"""Captions in a store, as a captioner would leave them, and a run with a tiny captioner."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from data_specs.caption_rows import CAPTIONS, CAPTIONS_FOLDER
from data_specs.manifest import Recipe
from tasks.lineage.circumstances import RunContext
from tests.cases.models import TINY_CLIP
from tests.cases.small_run import MODEL, write_run
from tests.cases.tiny_llava import write_tiny_llava

N_BYTES_AND_MARKS = 5 + 256  # the first tokens of a tiny LLaVA
CALM, ANGRY = "a calm man with a cup", "an angry man with a knife"


def caption_rows(said, tag=None, ids=None, tags=()):
    """Rows of CAPTIONS of pairs; `said` holds what is said of each pair's safe and unsafe picture.

    The first pairs have `tags`, the others `tag`.
    """
    rows = [
        {
            "pair_id": f"s/{pair}" if ids is None else ids[pair],
            "content": side,
            "tag": tags[pair] if pair < len(tags) else tag,
            "caption": text,
            "reference_safe": CALM,
            "reference_unsafe": ANGRY,
            "n_tokens": 5,
            "finish": "stop",
        }
        for pair, both in enumerate(said)
        for side, text in zip(("safe", "unsafe"), both, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=CAPTIONS)


def stored_captions(store, said, name="original", tags=()):
    """The `captions` artifact of them, in files of two pairs each; the first pairs have `tags`."""
    rows = caption_rows(said, tags=tags)

    def write(build):
        (build.folder / CAPTIONS_FOLDER).mkdir()
        for start in range(0, rows.num_rows, 4):
            pq.write_table(rows.slice(start, 4), build.folder / CAPTIONS_FOLDER / f"{start:04d}.parquet")

    recipe = Recipe(kind="captions", settings={"name": name, "said": [[*both] for both in said]}, code="0" * 64)
    return store.materialise(recipe, write, RunContext()).ref


def let_it_speak_words(folder):
    """Of a tiny LLaVA's tokens let it say those of several letters alone: single bytes at random are no text."""
    for path in folder.glob("*.safetensors"):
        state = load_file(path)
        for name in state:
            if name.endswith("lm_head.weight"):
                state[name][:N_BYTES_AND_MARKS] = 0
                save_file(state, path, {"format": "pt"})


def write_caption_run(folder: Path, *, captioning: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The settings of a small run whose CLIP is the tower of a tiny LLaVA, which captions 5 pairs of 6 and is judged by words."""
    own = {"model": "llava", "precision": "fp32", "max_new_tokens": 5, "limit": 5}
    own["judges"] = [{"kind": "words", "path": "words.txt"}]
    given = {"calibration": 8, "test": 6, "per_shard": 4, "text": None}
    config = write_run(folder, **{**given, **changes}, captioning={**own, **(captioning or {})})
    (folder / "words.txt").write_text("the\na\nknife\n", encoding="utf-8")
    model = {**MODEL, "quick_gelu": False, "vision_cfg": TINY_CLIP["vision_cfg"]}
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
    write_clip(folder / "model.safetensors", model)
    let_it_speak_words(write_tiny_llava(folder / "llava", load_file(folder / "model.safetensors")))
    return config


def write_clip(path: Path, model: dict[str, Any], seed: int = 0) -> None:
    """A checkpoint of random weights for an architecture of open_clip."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = open_clip.CLIP(**model).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
