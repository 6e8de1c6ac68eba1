"""How two models differ on the same pairs and images."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from data_specs.errors import DataError
from data_specs.evaluation_files import OUTCOMES_FILE, ZERO_SHOT_OUTCOMES_FILE, read_figures, read_zero_shot
from data_specs.schemas import DIFFERENCES
from tasks.evaluation.counts import CountedFigure, labelled_figures, pair_figures
from tasks.evaluation.intervals import difference_interval, generator, mcnemar_p
from tasks.extraction.table_reader import query, stream_rows


def differences(first: Path, second: Path, seed: int) -> pa.Table:
    """Every figure of two evaluations, their difference with its interval, and McNemar's p.

    Args:
        first: folder of an evaluation artifact, such as the original model's.
        second: folder of another on the same pairs and images.
        seed: of the resamples.

    Returns:
        A row a figure, pairs first; p is null where a figure is a mean of several shares.

    Raises:
        DataError: a pair or an image is in one of the evaluations only, or twice in one.
    """
    before, after = read_figures(first), read_figures(second)
    rows = []
    for figure in _changes(first, second):
        sizes, gained, lost = figure.groups.sizes, figure.counts["gained"], figure.counts["lost"]
        low, high = difference_interval(figure.groups, gained, lost, generator(seed))
        n_gained, n_lost = int(gained.sum()), int(lost.sum())
        rows.append(
            {
                "metric": figure.metric,
                "n": int(sizes.sum()),
                "first": before[figure.metric],
                "second": after[figure.metric],
                "difference": 100 * float(((gained - lost) / sizes).mean()),
                "low": low,
                "high": high,
                "n_gained": n_gained,
                "n_lost": n_lost,
                "p": mcnemar_p(n_gained, n_lost) if figure.is_share else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=DIFFERENCES)


def _changes(first: Path, second: Path) -> Iterator[CountedFigure]:
    pairs = first / OUTCOMES_FILE, second / OUTCOMES_FILE
    _require_same(*pairs, key=("pair_id",), what="pairs")
    accuracies, other = read_zero_shot(first), read_zero_shot(second)
    if accuracies.keys() != other.keys():
        raise DataError(
            f"the two evaluations are not on the same zero-shot data sets: {sorted(accuracies)} and {sorted(other)};"
            " measure both models with the same settings"
        )
    yield from pair_figures(*pairs)
    if accuracies:
        images = first / ZERO_SHOT_OUTCOMES_FILE, second / ZERO_SHOT_OUTCOMES_FILE
        _require_same(*images, key=("data_set", "sample_id", "label"), what="images of zero-shot data sets")
        yield from labelled_figures(accuracies, *images)


def _require_same(first: Path, second: Path, *, key: tuple[str, ...], what: str) -> None:
    columns = ", ".join(key)
    sql = f"""
        WITH counted AS (
            SELECT count(*) FILTER (NOT of_second) AS n_first, count(*) FILTER (of_second) AS n_second
            FROM (
                SELECT {columns}, false AS of_second FROM first
                UNION ALL SELECT {columns}, true AS of_second FROM second
            )
            GROUP BY {columns}
        )
        SELECT
            count(*) FILTER (n_second = 0) AS only_first, count(*) FILTER (n_first = 0) AS only_second,
            count(*) FILTER (n_first > 0 AND n_second > 0) AS n_both,
            count(*) FILTER (n_first > 1 OR n_second > 1) AS n_repeated
        FROM counted
    """
    (counts,) = query(sql, {"first": stream_rows([first], key), "second": stream_rows([second], key)}).to_pylist()
    only_first, only_second, n_both, n_repeated = counts.values()
    if only_first or only_second:
        raise DataError(
            f"the two evaluations are not on the same {what}: {only_first} in the first only, {only_second} in the second"
            f" only, {n_both} in both; measure both models on the same shards with the same limit"
        )
    if n_repeated:
        raise DataError(f"{n_repeated} {what} occur more than once in an evaluation; name each shard once")
