"""Where the files of captions lie, and how to read them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.caption_rows import CAPTIONS, CAPTIONS_FOLDER, JUDGEMENTS, JUDGEMENTS_FILE, TEXT_SCORES_FILE
from data_specs.reading import needed


def read_captions(artifact: Path) -> pa.Table:
    """All captions of a `captions` artifact, in the order of shards and pictures: rows of CAPTIONS."""
    files = sorted((artifact / CAPTIONS_FOLDER).glob("*.parquet"))
    if not files:
        return CAPTIONS.empty_table()
    return pa.concat_tables(pq.read_table(path, schema=CAPTIONS, partitioning=None) for path in files)


def read_text_scores(artifact: Path) -> pa.Table:
    """Rows of CAPTION_SCORES, one for each caption in the same order."""
    return pq.read_table(needed(artifact / TEXT_SCORES_FILE))


def read_judgements(artifact: Path) -> pa.Table:
    """Rows of JUDGEMENTS, one for each distinct caption."""
    return pq.read_table(needed(artifact / JUDGEMENTS_FILE), schema=JUDGEMENTS)
