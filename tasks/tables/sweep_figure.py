"""The paper's figure 5: what a sweep measures against tau, as one SVG."""

import io
import re
from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from data_specs.errors import DataError
from data_specs.experiment import Experiment, Row
from data_specs.metrics import ZERO_SHOT
from tasks.tables.experiment_verdict import point_in_words
from tasks.tables.kinds import PANELS

_TITLES = {"Vs-Ts": "Vs-Ts, R@1", ZERO_SHOT: "zero-shot accuracy"}
_MAX_COLUMNS = 3
_PANEL_INCHES = (3.1, 2.45)
_LEGEND_ENTRY_INCHES, _LETTER_INCHES = 1.15, 0.085
_ROOM_OF_ONE = 0.005
# Okabe and Ito's colours, told apart with any colour vision; the marker says the same in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "v", "D", "P")
_INK, _DIM, _STAR = "#1c2330", "#5b6577", "#F0E442"
_STYLE: Any = {
    # Outlines, not text: the picture looks the same without the font and under any style sheet of a page.
    "svg.fonttype": "path",
    "svg.hashsalt": "sweep-figure",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.edgecolor": _DIM,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _DIM,
    "ytick.color": _DIM,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_CHANCE: dict[str, Any] = {"color": "#b3261e", "linestyle": ":", "linewidth": 1.2}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def sweep_figure(sweep: Experiment) -> str:
    """Draw a sweep: a panel a metric, a line an alpha, the original dashed, the chosen point starred.

    Source: UWM paper, figure 5.

    Args:
        sweep: its points; intervals become bands.

    Returns:
        An `<svg>` element without anything from elsewhere; the same sweep gives the same bytes.

    Raises:
        DataError: the sweep measures nothing that the figure shows.
    """
    with mpl.rc_context():
        # A matplotlibrc of the machine must not decide how the picture looks.
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = draw_sweep(sweep)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=_NO_METADATA, facecolor="white")
    return _as_element(stream.getvalue(), _description(sweep))


def draw_sweep(sweep: Experiment) -> Figure:
    """The figure itself, not yet written in any format."""
    panels = [metric for metric in PANELS if metric in sweep.original]
    if not panels:
        raise DataError(
            f"sweep {sweep.name} measures {', '.join(sweep.columns) or 'nothing'}, none of {', '.join(PANELS)}"
        )
    # Four fill two rows of two better than one of three and one of one.
    n_columns = 2 if len(panels) == 4 else min(_MAX_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    width = n_columns * _PANEL_INCHES[0]
    figure = Figure(figsize=(width, n_rows * _PANEL_INCHES[1] + 0.6), layout="constrained")
    FigureCanvasSVG(figure)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    cells = [cell for row in grid for cell in row]
    for cell, metric in zip(cells, panels, strict=False):
        _draw_panel(cell, sweep, metric)
    for cell in cells[len(panels) :]:
        cell.set_axis_off()
    _draw_legend(figure, sweep)
    lines = [*wrap(sweep.name, int(width * 11)), *wrap(_subtitle(sweep), int(width * 13))]
    # A name is data: a dollar sign in it starts no formula.
    figure.suptitle("\n".join(lines), fontsize=9.5, parse_math=False)
    return figure


def _subtitle(sweep: Experiment) -> str:
    encoders = f"{' and '.join(sweep.encoders)} encoder{'s' if len(sweep.encoders) > 1 else ''}"
    bands = "; bands: 95 % intervals" if any(point.intervals for point in sweep.points) else ""
    return f"{encoders} edited, percent of {sweep.n_pairs:,} pairs{bands}"


def _lines(sweep: Experiment) -> dict[str, list[Row]]:
    """The points of each line, by what they share: all axes but the first, or of these the ones on which points differ."""
    along, *others = sweep.axes
    several = [axis for axis in others if len({point.at(axis) for point in sweep.points}) > 1] or others[-1:]
    found: dict[str, list[Row]] = {}
    for point in sweep.points:
        label = ", ".join(f"{axis.replace('_', ' ')} {point.at(axis):g}" for axis in several)
        found.setdefault(label, []).append(point)
    return {label: sorted(points, key=lambda point: point.at(along)) for label, points in found.items()}


def _draw_panel(cell: Axes, sweep: Experiment, metric: str) -> None:
    along = sweep.axes[0]
    cell.axhline(sweep.original[metric], color=_DIM, linestyle=(0, (5, 3)), linewidth=1.2, zorder=1)
    if metric in sweep.chance:
        cell.axhline(sweep.chance[metric], **_CHANCE, zorder=1)
    for number, points in enumerate(_lines(sweep).values()):
        _draw_line(cell, along, [point for point in points if metric in point.values], metric, number)
    if sweep.chosen is not None and metric in (chosen := sweep.points[sweep.chosen]).values:
        cell.plot(chosen.at(along), chosen.values[metric], **_star())
    cell.set_title(_TITLES.get(metric, metric), fontsize=9, loc="left", fontweight="bold")
    cell.set_xlabel(along.replace("_", " "))
    cell.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    cell.yaxis.set_major_locator(MaxNLocator(5))
    cell.grid(axis="y", color="#d9dee7", linewidth=0.6)
    cell.set_axisbelow(True)
    cell.margins(y=0.1)
    taus = [point.at(along) for point in sweep.points]
    room = 0.06 * (max(taus) - min(taus)) or _ROOM_OF_ONE
    cell.set_xlim(min(taus) - room, max(taus) + room)


def _draw_line(cell: Axes, along: str, points: Sequence[Row], metric: str, number: int) -> None:
    taus = [point.at(along) for point in points]
    cell.plot(taus, [point.values[metric] for point in points], **_line(number), zorder=3)
    banded = [point for point in points if metric in point.intervals]
    low, high = ([point.intervals[metric][side] for point in banded] for side in (0, 1))
    colour = _COLOURS[number % len(_COLOURS)]
    if len(banded) == 1:
        cell.vlines(banded[0].at(along), low, high, color=colour, linewidth=1.6, zorder=2)
    cell.fill_between([point.at(along) for point in banded], low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)


def _line(number: int) -> dict[str, Any]:
    # After all colours the lines are dotted: dashes are the original's.
    style = "-" if number < len(_COLOURS) else ":"
    marker = _MARKERS[number % len(_MARKERS)]
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": style,
        "linewidth": 1.6,
        "marker": marker,
        "markersize": 3.4,
    }


def _star() -> dict[str, Any]:
    return {
        "marker": "*",
        "markersize": 13,
        "markerfacecolor": _STAR,
        "markeredgecolor": "black",
        "markeredgewidth": 0.9,
        "linestyle": "none",
        "zorder": 5,
    }


def _draw_legend(figure: Figure, sweep: Experiment) -> None:
    handles = [Line2D([], [], **_line(number), label=label) for number, label in enumerate(_lines(sweep))]
    handles.append(Line2D([], [], color=_DIM, linestyle=(0, (5, 3)), linewidth=1.2, label="original"))
    if sweep.chance:
        handles.append(Line2D([], [], **_CHANCE, label="chance"))
    if sweep.chosen is not None:
        handles.append(Line2D([], [], **_star(), label="chosen"))
    longest = max(len(str(handle.get_label())) for handle in handles)
    fitting = max(1, int(figure.get_figwidth() / max(_LEGEND_ENTRY_INCHES, longest * _LETTER_INCHES)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), fitting), frameon=False)


def _description(sweep: Experiment) -> str:
    over = " and ".join(axis.replace("_", " ") for axis in sweep.axes)
    text = f"Sweep {sweep.name}: {len(sweep.points)} points over {over} against the original model"
    if sweep.chosen is None:
        return text
    return f"{text}; chosen: {point_in_words(sweep.points[sweep.chosen])}"


def _as_element(document: str, description: str) -> str:
    # Without the XML prolog, so that it can stand inside a page.
    element = document[document.index("<svg") :]
    labelled = f'<svg role="img" aria-label="{escape(" ".join(description.split()))}"'
    return re.sub(r"^<svg", lambda _: labelled, element)
