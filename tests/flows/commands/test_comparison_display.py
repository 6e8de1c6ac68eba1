import io
import re

import pytest
from rich.console import Console

from data_specs.experiment import PAPER_COLUMNS, Experiment, LeftOut, Row
from tasks.tables.terminal import experiment_table


def printed(table, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, soft_wrap=True).print(table)
    return stream.getvalue()


def comparison(n_models, intervals):
    rows = []
    for number in range(n_models):
        # No two figures of the table look the same.
        values = {column: float(number * 20 + place + 0.1 * number) for place, column in enumerate(PAPER_COLUMNS)}
        rows.append(
            Row(
                name="original" if not number else f"gradient_safe_clip_{number}",
                role="original" if not number else "method",
                values={column: value % 100 for column, value in values.items()},
                intervals={column: (value % 100 - 1, value % 100 + 1) for column, value in values.items()}
                if intervals
                else {},
                p_values={"GS": 1e-6} if number else {},
            )
        )
    return Experiment(kind="comparison", name="[red]c[/red]", n_pairs=50, columns=list(PAPER_COLUMNS), rows=rows)


@pytest.mark.parametrize("n_models", [1, 2, 4])
@pytest.mark.parametrize("intervals", [False, True])
def test_of_few_models_every_figure_is_shown_whole_in_a_hundred_columns(n_models, intervals):
    table = comparison(n_models, intervals)
    text = printed(experiment_table(table))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert "[red]c[/red]" in text
    for row in table.rows:
        for column in PAPER_COLUMNS:
            assert re.search(rf"^\s+{column} .*\b{row.values[column]:.1f}\b", text, re.MULTILINE), (row.name, column)
    assert len(re.findall(r"\*\*\*(?!\s*p)", text)) == n_models - 1
    assert text.count("[") >= (n_models * len(PAPER_COLUMNS) if intervals else 0)


@pytest.mark.parametrize("n_models", [5, 12])
@pytest.mark.parametrize("width", [80, 100, 220])
def test_of_many_models_each_has_a_row_with_every_figure_and_mark(n_models, width):
    table = comparison(n_models, intervals=True)
    text = printed(experiment_table(table, width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    blocks = [line[1:] for line in lines if line[:1] == ["model"]]
    assert [column for block in blocks for column in block] == list(PAPER_COLUMNS)
    for row in table.rows:
        figures = [cell for line in lines if line[:1] == [row.name[:22]] for cell in line[1:]]
        marks = ["***" if column in row.p_values else "" for column in PAPER_COLUMNS]
        expected = [f"{row.values[column]:.1f}{mark}" for column, mark in zip(PAPER_COLUMNS, marks, strict=True)]
        assert figures == expected
    assert "Intervals are in the files." in text


def test_a_sweep_shows_differences_and_stars_the_chosen_point():
    points = [
        Row(
            name="p",
            role="method",
            axes={"tau": tau, "alpha": alpha},
            values={"GS": gs, "PS": 50.0},
            n_selected=1234,
            versions={"edit": "e", "evaluation": "v"},
        )
        for tau, alpha, gs in [(0.9, -1, 7.25), (0.95, -1, 3.5), (0.9, 0, 5.0)]
    ]
    sweep = Experiment(
        kind="sweep",
        name="s",
        n_pairs=9,
        encoders=["text"],
        columns=["PS", "GS"],
        rows=[Row(name="original", role="original", values={"GS": 4.0, "PS": 51.0}), *points],
        limits=["PS>=-1"],
        chosen=0,
    )
    text = printed(experiment_table(sweep))
    (starred,) = [line for line in text.splitlines() if line.strip().startswith("★ 0.9 ")]
    assert starred.split() == ["★", "0.9", "-1", "1,234", "50.0", "-1.0", "7.2", "+3.2"]
    assert "3.5 -0.5" in text
    assert "★ keeps PS>=-1" in text
    narrow = printed(experiment_table(sweep, 60), 60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert re.search(r"★ 0\.9 +-1 +1,234 +50\.0 +7\.2 *\n +-1\.0 +\+3\.2", narrow)
    none = sweep.model_copy(update={"chosen": None})
    assert "no point keeps PS>=-1" in printed(experiment_table(none))


def test_an_ablation_shows_every_point_and_what_was_left_out():
    rows = [Row(name="original", role="original", values={"GS": 1.0})]
    rows += [Row(name=f"[b]uwm[/b], seed {seed}", role="method", values={"GS": 2.5 + seed}) for seed in (0, 1)]
    left_out = [LeftOut(label="random", axes={}, reason="it needs pairs")]
    settings = {"kind": "ablation", "name": "a", "n_pairs": 9, "columns": ["GS"]}
    text = printed(experiment_table(Experiment(**settings, rows=rows, left_out=left_out)))
    assert re.search(r"\[b\]uwm\[/b\], seed 1 +3\.5", text)
    assert re.search(r"original +1\.0", text)
    assert "left out: random: it needs pairs" in text
