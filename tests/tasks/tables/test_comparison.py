import csv
import io
import json
import re

import numpy as np
import pytest
from pydantic import ValidationError

from data_specs.experiment import PAPER_COLUMNS, Experiment, Row, comparison_columns, zero_shot_column
from tasks.tables.cells import cell, mark, notes
from tasks.tables.columns import experiment_csv
from tasks.tables.documents import experiment_latex, experiment_markdown
from tasks.tables.escaping import escape_latex, escape_markdown

ODD = 'a|b_c*d & 50% {x} $y$ #1 ~^\\ <i>\n`[z]"'


def random_row(rng, name, role, columns):
    values = {column: float(rng.uniform(0, 100)) for column in columns}
    tested = role in ("method", "control")
    return Row(
        name=name,
        role=role,
        values=values,
        intervals={column: (value - 1.25, value + 1.75) for column, value in values.items()} if role != "paper" else {},
        p_values={column: float(rng.uniform(0, 1) ** 6) for column in columns} if tested else {},
        settings={"text": {"tau": 0.98, "note": 'quote " and, comma'}},
        versions={"evaluation": "ab12"},
    )


def random_comparison(seed=0, columns=PAPER_COLUMNS):
    rng = np.random.default_rng(seed)
    roles = ("original", "method", "method", "control", "paper")
    rows = [random_row(rng, f"{role} {number}", role, columns) for number, role in enumerate(roles)]
    return Experiment(kind="comparison", name="test run", n_pairs=1234, columns=list(columns), rows=rows)


def comparison_of(figures, roles=None, columns=("GS",), p_values=None):
    rows = [
        Row(
            name=f"m{number}",
            role=(roles or ["original", *["method"] * len(figures)])[number],
            values=dict(zip(columns, figure if isinstance(figure, tuple) else (figure,), strict=False)),
            p_values=(p_values or {}).get(number, {}),
        )
        for number, figure in enumerate(figures)
    ]
    return Experiment(kind="comparison", name="c", n_pairs=10, columns=list(columns), rows=rows)


def naive_holm(ps):
    order = np.argsort(np.array(ps, dtype=np.float64), kind="stable")
    adjusted, n = np.empty(len(ps)), len(ps)
    for rank, position in enumerate(order):
        adjusted[position] = min(1.0, max((n - k) * ps[order[k]] for k in range(rank + 1)))
    return adjusted


def test_columns_come_in_the_paper_s_order_and_single_data_sets_last():
    measured = [
        "GS",
        "n_pairs",
        zero_shot_column("food101"),
        "zero_shot.food101.acc5",
        "Ts-Vs@5",
        "P_t_s",
        "zero_shot",
        "Ts-Vs",
    ]
    assert comparison_columns(measured) == ["zero_shot", "Ts-Vs", "P_t_s", "GS", "zero_shot.food101.acc1"]


def test_the_best_of_a_column_is_its_highest_figure_with_all_ties_and_never_the_paper_s():
    assert comparison_of([1.0, 3.0, 2.0]).best("GS") == [1]
    assert comparison_of([3.0, 1.0, 3.0]).best("GS") == [0, 2]
    assert comparison_of([1.0, 3.01, 2.99, 2.94]).best("GS") == [1, 2]
    assert comparison_of([1.0, 2.0, 9.0], ["original", "control", "paper"]).best("GS") == [1]
    assert comparison_of([1.0], ["paper"]).best("GS") == []


def test_a_row_without_the_figure_is_not_the_best():
    comparison = comparison_of([(1.0, 5.0), (2.0,)], columns=("GS", "PS"))
    assert comparison.best("PS") == [0]
    assert cell(comparison, 1, "PS").figure == "–"


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_p_values_equal_holm_s_method_written_out(seed):
    comparison = random_comparison(seed)
    tests = [
        (position, column)
        for position, row in enumerate(comparison.rows)
        for column in comparison.columns
        if column in row.p_values
    ]
    expected = naive_holm([comparison.rows[position].p_values[column] for position, column in tests])
    assert len(tests) == 3 * len(PAPER_COLUMNS)
    for test, value in zip(tests, expected, strict=True):
        assert comparison.adjusted_p_values[test] == pytest.approx(value, rel=1e-12)


def test_marks_are_given_by_adjusted_p_and_only_over_the_columns_shown():
    ps = {1: {"GS": 0.0004, "PS": 0.004, "hidden": 1e-9}, 2: {"GS": 0.02, "PS": 0.9}}
    comparison = comparison_of([(1.0, 1.0)] * 3, columns=("GS", "PS"), p_values=ps)
    # Holm over four tests: 0.0016, 0.012, 0.04, 0.9.
    marks = [mark(comparison, position, column) for position in (1, 2) for column in ("GS", "PS")]
    assert marks == ["**", "*", "*", ""]
    assert mark(comparison, 0, "GS") == ""
    assert any("4 tests" in note and "Holm" in note for note in notes(comparison))


def test_a_p_of_exactly_the_level_has_no_mark():
    assert mark(comparison_of([1.0, 2.0], p_values={1: {"GS": 0.05}}), 1, "GS") == ""
    assert mark(comparison_of([1.0, 2.0], p_values={1: {"GS": 0.0}}), 1, "GS") == "***"


@pytest.mark.parametrize("field", ["values", "p_values"])
def test_figures_that_are_not_numbers_are_refused(field):
    settings = {"values": {"GS": 1.0}, field: {"GS": float("nan")}}
    with pytest.raises(ValidationError):
        Row(name="m", role="method", **settings)


def test_the_csv_read_back_equals_the_numbers_to_the_last_digit():
    comparison = random_comparison(3)
    comparison.rows[1].values.pop("PU")
    rows = list(csv.DictReader(io.StringIO(experiment_csv(comparison))))
    assert [row["name"] for row in rows] == [row.name for row in comparison.rows]
    assert [row["role"] for row in rows] == [row.role for row in comparison.rows]
    assert [row["n_pairs"] for row in rows] == ["1234"] * 4 + [""]
    assert rows[1]["PU"] == ""
    for position, (read, row) in enumerate(zip(rows, comparison.rows, strict=True)):
        assert json.loads(read["settings"]) == row.settings
        assert json.loads(read["versions"]) == row.versions
        for column in set(comparison.columns) - {"PU"}:
            assert float(read[column]) == row.values[column]
            if row.role != "paper":
                assert (float(read[f"{column}_low"]), float(read[f"{column}_high"])) == row.intervals[column]
            p = row.p_values.get(column)
            assert read[f"{column}_p"] == ("" if p is None else repr(p))
            adjusted = comparison.adjusted_p_values.get((position, column))
            assert read[f"{column}_p_holm"] == ("" if adjusted is None else repr(adjusted))


def markdown_cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_markdown_table_has_a_cell_a_column_whatever_the_names():
    comparison = random_comparison(1)
    rows = [comparison.rows[0], comparison.rows[1].model_copy(update={"name": ODD}), *comparison.rows[2:]]
    comparison = comparison.model_copy(update={"rows": rows})
    lines = [line for line in experiment_markdown(comparison).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(rows)
    assert {len(markdown_cells(line)) for line in lines} == {1 + len(comparison.columns)}
    assert r"a\|b\_c\*d &amp; 50%" in lines[3]


def test_markdown_shows_the_best_in_bold_with_marks_and_intervals():
    comparison = random_comparison(2)
    for position, line in enumerate(experiment_markdown(comparison).splitlines()[4:9]):
        for column, shown in zip(comparison.columns, markdown_cells(line)[1:], strict=True):
            row = comparison.rows[position]
            assert (f"**{row.values[column]:.1f}**" in shown) == (position in comparison.best(column))
            assert shown.replace("**", "", 2).startswith(f"{row.values[column]:.1f}")
            assert shown.count(r"\*") == len(mark(comparison, position, column))
            assert ("[" in shown) == (row.role != "paper")


def test_escaped_markdown_says_what_was_given():
    def read(text):
        # GitHub's rules: a backslash before punctuation stands for it, entities for their sign.
        plain = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
        return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

    assert read(escape_markdown(ODD)) == ODD.replace("\n", " ")
    assert not re.search(r"(?<!\\)[|*_`\[\]]", escape_markdown("|*_`[]"))


def test_latex_is_balanced_and_has_a_cell_a_column_whatever_the_names():
    comparison = random_comparison(4)
    rows = [row.model_copy(update={"name": f"{ODD} {number}"}) for number, row in enumerate(comparison.rows)]
    comparison = Experiment(kind="comparison", name=ODD, n_pairs=9, columns=comparison.columns, rows=rows)
    text = experiment_latex(comparison)
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\(?:begin|end)\{([a-z*]+)\}", text) == ["table*", "tabular", "tabular", "table*"]
    assert not set('#%~"') & set(bare)
    table = text[text.index(r"\hline") : text.index(r"\end{tabular}")]
    lines = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 5 + 4
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(comparison.columns)}
    # A line that begins so would be an option of the line's end before it.
    assert not any(line.lstrip().startswith(("[", "*")) for line in table.splitlines())


@pytest.mark.parametrize(
    ("sign", "expected"),
    [("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("\\", r"\textbackslash{}"), ("{", r"\{"), ("^", r"\textasciicircum{}")],
)
def test_latex_s_own_signs_are_escaped_once(sign, expected):
    assert escape_latex(f"a{sign}b") == f"a{expected}b"


def test_latex_shows_the_best_in_bold_and_the_paper_in_italics():
    comparison = comparison_of([1.0, 3.0, 9.0], ["original", "method", "paper"], p_values={1: {"GS": 1e-9}})
    text = experiment_latex(comparison)
    assert r"m1 & \textbf{3.0}$^{***}$ \\" in text
    assert r"\textit{m2} & 9.0 \\" in text
    assert text.count(r"\textbf") == 1
