"""What changed between two models pair by pair: which answers flipped, how margins moved, and where."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_specs.errors import DataError
from data_specs.evaluation_files import OUTCOMES_FILE, SIMILARITIES_FILE
from data_specs.metrics import FLIPPING, GROUPS, RETRIEVALS
from data_specs.schemas import CHANGES_BY_CERTAINTY, CHANGES_BY_TAG, FLIPS, MARGINS
from tasks.evaluation.intervals import Groups, difference_interval, generator, mcnemar_p, share_interval
from tasks.evaluation.safeground import COSINES
from tasks.extraction.table_reader import query, stream_rows

# Whose margin it is, and which cosine less which.
MARGIN_OF: dict[str, tuple[str, str]] = {
    "P_t_s": ("ss", "su"),
    "P_t_u": ("us", "uu"),
    "P_v_s": ("ss", "us"),
    "P_v_u": ("su", "uu"),
}
N_THIRDS = 3
_N_BINS = 40
_MODELS = ("first", "second")


def pair_changes(first: Path, second: Path) -> pa.Table:
    """Every pair of two evaluations with what became of it in both, in the order of the first.

    Args:
        first: folder of an evaluation artifact, such as the original model's.
        second: folder of another on the same pairs.

    Returns:
        The columns of FLIPS, and whether each metric is right in the first, as `right.METRIC`. A third is one of
        three parts of equal size by the first model's smallest absolute margin, 1 the least sure.

    Raises:
        DataError: the two are not on the same pairs.
    """
    relations = {}
    for model, folder in zip(_MODELS, (first, second), strict=True):
        relations[f"{model}_cosines"] = stream_rows([folder / SIMILARITIES_FILE], ("pair_id", "tag", *COSINES))
        relations[f"{model}_answers"] = stream_rows([folder / OUTCOMES_FILE], ("pair_id", *FLIPPING))
    table = query(_changes_sql(), relations)
    for folder in (first, second):
        counts = {"measured": stream_rows([folder / SIMILARITIES_FILE], ("pair_id",))}
        (row,) = query("SELECT count(*) AS n FROM measured", counts).to_pylist()
        if row["n"] != table.num_rows:
            raise DataError(
                f"the two evaluations are not on the same pairs: {table.num_rows} in both, {row['n']} in {folder.name[:12]};"
                " measure both models on the same shards with the same limit"
            )
    return table


def _changes_sql() -> str:
    cosines = [f"{model}_cosines.{name} AS {model}_{name}" for model in _MODELS for name in COSINES]
    # Cosines are float32; their differences are taken in float64, so that no margin is rounded to 0.
    margins = [f"abs(first_cosines.{more}::DOUBLE - first_cosines.{less}::DOUBLE)" for more, less in MARGIN_OF.values()]
    right = {name: f'{{model}}_answers."{name}"{" < 1" if name in RETRIEVALS else ""}' for name in FLIPPING}
    flips = [
        f'(({sql.format(model="second")})::TINYINT - ({sql.format(model="first")})::TINYINT)::TINYINT AS "{name}"'
        for name, sql in right.items()
    ]
    before = [f'({sql.format(model="first")}) AS "right.{name}"' for name, sql in right.items()]
    columns = [*cosines, *flips, *before, f"least({', '.join(margins)}) AS certainty"]
    return f"""
        SELECT *, ntile({N_THIRDS}) OVER (ORDER BY certainty, pair_id)::TINYINT AS third
        FROM (
            SELECT first_cosines.pair_id AS pair_id, first_cosines.tag AS tag,
                   first_cosines.row_number AS place, {", ".join(columns)}
            FROM first_cosines JOIN first_answers USING (pair_id)
            JOIN second_cosines USING (pair_id) JOIN second_answers USING (pair_id)
        )
        ORDER BY place
    """


def flipped(changes: pa.Table) -> pa.Table:
    """The pairs of `pair_changes` of which any answer changed, a row of FLIPS each."""
    changed = np.zeros(changes.num_rows, bool)
    for name in FLIPPING:
        changed |= changes.column(name).to_numpy() != 0
    return changes.filter(pa.array(changed)).select(FLIPS.names).cast(FLIPS)


def changes_by_tag(changes: pa.Table, seed: int) -> pa.Table:
    """The groups' figures of both models and their differences for each tag; pairs without one are a tag, null, and last."""
    tags = sorted(pc.unique(changes.column("tag")).to_pylist(), key=lambda tag: (tag is None, tag or ""))
    parts = [({"tag": tag}, changes.filter(_has_tag(changes, tag))) for tag in tags]
    rows = [row for part, pairs in parts for row in _part_rows(part, pairs, seed)]
    return pa.Table.from_pylist(rows, schema=CHANGES_BY_TAG)


def changes_by_certainty(changes: pa.Table, seed: int) -> pa.Table:
    """The same for each third of the pairs by how sure the first model was, the least sure first."""
    rows: list[dict[str, Any]] = []
    for third in range(1, N_THIRDS + 1):
        pairs = changes.filter(pc.equal(changes.column("third"), third))
        if pairs.num_rows:
            bounds = pc.min_max(pairs.column("certainty")).as_py()
            part = {"third": third, "least": bounds["min"], "most": bounds["max"]}
            rows += _part_rows(part, pairs, seed)
    return pa.Table.from_pylist(rows, schema=CHANGES_BY_CERTAINTY)


def _has_tag(changes: pa.Table, tag: str | None) -> pa.Array:
    column = changes.column("tag")
    return pc.is_null(column) if tag is None else pc.fill_null(pc.equal(column, tag), False)


def _part_rows(part: dict[str, Any], pairs: pa.Table, seed: int) -> Iterator[dict[str, Any]]:
    n = pairs.num_rows
    groups = Groups(np.array([n]))
    for name in GROUPS:
        flips = pairs.column(name).to_numpy()
        gained, lost = (np.array([int((flips == way).sum())]) for way in (1, -1))
        right = {"first": np.array([int(pc.sum(pairs.column(f"right.{name}")).as_py())])}
        right["second"] = right["first"] + gained - lost
        row = part | {"n_pairs": n, "metric": name, "n_gained": int(gained[0]), "n_lost": int(lost[0])}
        for model, count in right.items():
            row[model] = 100 * int(count[0]) / n
            row[f"{model}_low"], row[f"{model}_high"] = share_interval(groups, count, generator(seed))
        row["difference"] = 100 * int(gained[0] - lost[0]) / n
        bounds = difference_interval(groups, gained, lost, generator(seed))
        row["difference_low"], row["difference_high"] = bounds
        yield row | {"p": mcnemar_p(row["n_gained"], row["n_lost"])}


def margins(changes: pa.Table) -> pa.Table:
    """How each margin is spread over the pairs before and after, in bins that both models share."""
    rows = []
    for name, (more, less) in MARGIN_OF.items():
        values = {
            model: changes.column(f"{model}_{more}").to_numpy().astype(np.float64)
            - changes.column(f"{model}_{less}").to_numpy().astype(np.float64)
            for model in _MODELS
        }
        widest = max(float(np.abs(found).max()) for found in values.values()) or 1.0
        edges = np.linspace(-widest, widest, _N_BINS + 1)
        edges[_N_BINS // 2] = 0.0
        for model, found in values.items():
            counts, _ = np.histogram(found, edges)
            rows += [
                {"preference": name, "model": model, "low": low, "high": high, "n": n}
                for low, high, n in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
            ]
    return pa.Table.from_pylist(rows, schema=MARGINS)
