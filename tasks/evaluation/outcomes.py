"""What became of each pair and each labelled image: the rows that every figure counts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from data_specs.metrics import GROUPS, PREFERENCES, RETRIEVALS
from data_specs.schemas import OUTCOMES, ZERO_SHOT_OUTCOMES
from tasks.evaluation.safeground import COSINES, preferences_sql
from tasks.extraction.table_reader import open_rows, query, stream_rows


def pair_outcomes(similarities: Path, ranks: Mapping[str, Tensor]) -> pa.Table:
    """Preferences, groups and retrieval ranks of each pair.

    Args:
        similarities: a `similarities.parquet`.
        ranks: by retrieval, [pairs] int64 in the order of `similarities`, 0 where the right answer is first.

    Returns:
        A row a pair in the same order.
    """
    sql = f"SELECT {', '.join((*PREFERENCES, *GROUPS))} FROM ({preferences_sql()}) ORDER BY row_number"
    preferred = query(sql, {"similarities": stream_rows([similarities], COSINES)})
    # Not by way of SQL, which would hold all ids a second time to put them in order.
    with open_rows(similarities) as file:
        identity = file.read(["pair_id", "tag"])
    found = {name: pa.array(ranks[name].numpy()).cast(pa.int32()) for name in RETRIEVALS}
    columns = {name: table.column(name) for table in (identity, preferred) for name in table.column_names}
    return pa.table({**columns, **found}).cast(OUTCOMES)


def labelled_outcomes(data_set: str, sample_ids: Sequence[str], labels: Tensor, ranks: Tensor) -> pa.Table:
    """The rank of each image's class.

    Args:
        data_set: its name.
        sample_ids: of the images.
        labels: [images] int64, class numbers.
        ranks: [images] int64, 0 where the right class is first.

    Returns:
        A row an image in the same order.
    """
    columns = {
        "data_set": pa.array([data_set] * len(sample_ids), pa.string()),
        "sample_id": pa.array(list(sample_ids), pa.string()),
        "label": pa.array(labels.numpy()),
        "rank": pa.array(ranks.numpy()),
    }
    return pa.table(columns).cast(ZERO_SHOT_OUTCOMES)
