"""The four embeddings of each pair side by side, and their similarities."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.schemas import SIMILARITIES
from tasks.evaluation.embedding import FOLDER
from tasks.extraction.columns import vectors

_MEMBERS = ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe")


@dataclass(frozen=True)
class EmbeddedPairs:
    """Pairs in shard order; embeddings [pairs, embedding] float32 of unit norm."""

    pair_ids: list[str]
    tags: list[str | None]
    text_safe: Tensor
    text_unsafe: Tensor
    vision_safe: Tensor
    vision_unsafe: Tensor


def read_pairs(text: Path, vision: Path) -> EmbeddedPairs:
    """Join the embeddings of both encoders by pair.

    Args:
        text: folder of the text encoder's embeddings artifact.
        vision: folder of the vision encoder's.

    Returns:
        Every pair of which all four members were embedded.

    Raises:
        DataError: there is none.
    """
    sources = {"text": _files(text), "vision": _files(vision)}
    width = pq.read_schema(sources["text"][0]).field("embedding").type.list_size
    joined = " ".join(f"JOIN {_side(name)} AS {name} USING (pair_id)" for name in _MEMBERS[1:])
    columns = ", ".join(f"{name}.embedding::FLOAT[{width}] AS {name}" for name in _MEMBERS)
    sql = f"""
        SELECT pair_id, text_safe.tag AS tag, {columns} FROM {_side(_MEMBERS[0])} AS text_safe {joined}
        ORDER BY text_safe.filename, text_safe.file_row_number
    """
    files = [sources[name.split("_")[0]] for name in _MEMBERS]
    table = duckdb.connect(config={"threads": 2}).sql(sql, params=files).to_arrow_table()
    if table.num_rows == 0:
        raise DataError(
            "no pair has all four members (safe and unsafe text, safe and unsafe image); look at the shards"
        )
    return EmbeddedPairs(
        table.column("pair_id").to_pylist(),
        table.column("tag").to_pylist(),
        **{name: vectors(table.column(name), name) for name in _MEMBERS},
    )


def similarities(pairs: EmbeddedPairs) -> pa.Table:
    """Cosine similarities of each pair's two texts with its two images.

    Args:
        pairs: unit-norm embeddings.

    Returns:
        A row a pair: ss, su, us, uu in -1 to 1; the first letter is the text's side.

    Raises:
        DataError: a similarity is NaN or infinite; its pair is named.
    """
    texts = {"s": pairs.text_safe.double(), "u": pairs.text_unsafe.double()}
    images = {"s": pairs.vision_safe.double(), "u": pairs.vision_unsafe.double()}
    found = {t + v: (texts[t] * images[v]).sum(dim=1).float() for t in "su" for v in "su"}
    for name, values in found.items():
        # SQL takes NaN for the greatest number, so it would count as a preference.
        if not bool(torch.isfinite(values).all()):
            row = int((~torch.isfinite(values)).nonzero()[0])
            raise DataError(
                f"similarity {name} of pair {pairs.pair_ids[row]} is NaN or infinite; look at its embeddings"
            )
    cosines = {name: values.numpy() for name, values in found.items()}
    return pa.table(
        {"pair_id": pairs.pair_ids, "tag": pa.array(pairs.tags, pa.string()), **cosines}, schema=SIMILARITIES
    )


def _files(artifact: Path) -> list[str]:
    return [str(path) for path in sorted((artifact / FOLDER).glob("*.parquet"))]


def _side(member: str) -> str:
    content = member.split("_")[1]
    columns = "pair_id, tag, embedding, filename, file_row_number"
    return (
        f"(SELECT {columns} FROM read_parquet(?, filename = true, file_row_number = true) WHERE content = '{content}')"
    )
