"""Captions in a store, as a captioner would leave them."""

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load_file, save_file

from data_specs.caption_rows import CAPTIONS, CAPTIONS_FOLDER
from data_specs.manifest import Recipe
from tasks.lineage.circumstances import RunContext

N_BYTES_AND_MARKS = 5 + 256  # the first tokens of a tiny LLaVA
CALM, ANGRY = "a calm man with a cup", "an angry man with a knife"


def caption_rows(said, tag=None):
    """Rows of CAPTIONS of pairs; `said` holds what is said of each pair's safe and unsafe picture."""
    rows = [
        {
            "pair_id": f"s/{pair}",
            "content": side,
            "tag": tag,
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


def stored_captions(store, said, name="original"):
    """The `captions` artifact of them, in files of two pairs each."""
    rows = caption_rows(said)

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
