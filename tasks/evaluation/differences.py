"""How two models differ on the same pairs and images."""

from pathlib import Path

import pyarrow as pa

from data_specs.errors import DataError
from data_specs.evaluation_files import OUTCOME_TABLES, read_figures, read_zero_shot
from data_specs.metrics import Of
from data_specs.schemas import DIFFERENCES
from tasks.evaluation.counts import changes
from tasks.evaluation.intervals import generator
from tasks.extraction.table_reader import query, stream_rows


def differences(first: Path, second: Path, seed: int) -> pa.Table:
    """Every figure of two evaluations, their difference with its interval, and McNemar's p.

    Args:
        first: folder of an evaluation artifact, such as the original model's.
        second: folder of another on the same pairs, captions and images.
        seed: of the resamples.

    Returns:
        A row a figure, pairs first; p is null where a figure is a mean of several shares or of scores.

    Raises:
        DataError: a pair, caption or image is in one of the evaluations only, or twice in one.
    """
    before, after = read_figures(first), read_figures(second)
    _require_same("pair", first, second)
    accuracies, other = read_zero_shot(first), read_zero_shot(second)
    if accuracies.keys() != other.keys():
        raise DataError(
            f"the two evaluations are not on the same zero-shot data sets: {sorted(accuracies)} and {sorted(other)};"
            " measure both models with the same settings"
        )
    for what in ("caption", "image"):
        _require_same(what, first, second)
    rows = []
    for change in changes(first, second, accuracies):
        low, high = change.interval(generator(seed))
        rows.append(
            {
                "metric": change.metric,
                "n": change.n,
                "first": before[change.metric],
                "second": after[change.metric],
                "difference": change.difference,
                "low": low,
                "high": high,
                "n_gained": change.n_gained,
                "n_lost": change.n_lost,
                "p": change.p,
            }
        )
    return pa.Table.from_pylist(rows, schema=DIFFERENCES)


def _require_same(what: Of, first: Path, second: Path) -> None:
    table = OUTCOME_TABLES[what]
    same = ", ".join(table.same)
    places = [folder / table.file for folder in (first, second)]
    held = [place.exists() for place in places]
    if not any(held):
        return
    if not all(held):
        raise DataError(f"only one of the two evaluations is on {table.what}; measure both with the same settings")
    sql = f"""
        WITH counted AS (
            SELECT count(*) FILTER (NOT of_second) AS n_first, count(*) FILTER (of_second) AS n_second
            FROM (
                SELECT {same}, false AS of_second FROM first
                UNION ALL SELECT {same}, true AS of_second FROM second
            )
            GROUP BY {same}
        )
        SELECT
            count(*) FILTER (n_second = 0) AS only_first, count(*) FILTER (n_first = 0) AS only_second,
            count(*) FILTER (n_first > 0 AND n_second > 0) AS n_both,
            count(*) FILTER (n_first > 1 OR n_second > 1) AS n_repeated
        FROM counted
    """
    relations = {
        name: stream_rows([place], table.same) for name, place in zip(("first", "second"), places, strict=True)
    }
    (counts,) = query(sql, relations).to_pylist()
    only_first, only_second, n_both, n_repeated = counts.values()
    if only_first or only_second:
        raise DataError(
            f"the two evaluations are not on the same {table.what}: {only_first} in the first only, {only_second} in the second"
            f" only, {n_both} in both; measure both models on the same shards with the same limit"
        )
    if n_repeated:
        raise DataError(f"{n_repeated} {table.what} occur more than once in an evaluation; name each shard once")
