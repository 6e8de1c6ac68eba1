"""Plots of an edit: margins, answers that flipped, depth and tags."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from data_specs.figures import Difference, MarginBin, PartChange
from data_specs.metrics import METRICS, find_metric, shown_p
from data_specs.wording import shortened
from tasks.reporting.layers import LayerShare
from tasks.reporting.plot import CHANCE_KEY, Panel, Plot, room
from tasks.tables.verdict import HEADLINE, SAFE_SIDE

_ROW, _MOST_TAGS, _TAG_LENGTH = 20, 24, 14


def margins_plot(bins: Sequence[MarginBin], names: Sequence[str]) -> Plot | None:
    """How the four margins of all pairs are spread in both models; `names` are theirs."""
    panels = []
    for preference, rows in groupby(bins, key=lambda row: row.preference):
        of_models: dict[str, list[MarginBin]] = {"first": [], "second": []}
        for row in rows:
            of_models[row.model].append(row)
        panels.append(_margin_panel(preference, of_models))
    if not panels:
        return None
    return Plot(
        title="Margins before and after",
        panels=panels,
        caption=(
            "How to read it: a margin is how much closer safe is than unsafe, a difference of two cosines; pairs right of the"
            " dotted line prefer safe. With random answers half of them would lie there (chance 50 %)."
        ),
        key=[("m0", names[0]), ("m1", names[1]), CHANCE_KEY],
    )


def _margin_panel(preference: str, of_models: Mapping[str, Sequence[MarginBin]]) -> Panel:
    rows = [row for found in of_models.values() for row in found]
    used = [row for row in rows if row.n]
    widest = max(max(abs(row.low), abs(row.high)) for row in used) if used else 1.0
    highest = max((row.n for row in rows), default=1)
    right = {}
    for model, found in of_models.items():
        n = sum(row.n for row in found)
        right[model] = 100 * sum(row.n for row in found if row.low >= 0) / n if n else 0.0
    told = f"{right['first']:.1f} % right of 0, then {right['second']:.1f} %"
    panel = Panel(
        label=f"{preference}: {METRICS[preference].meaning}; {told}",
        xs=(-widest, widest),
        ys=(0, 1.08 * highest),
        height=170,
        title=f"{preference}: {told}",
    )
    panel.axes("margin (cosines)")
    panel.across("chance", x=0, tip="by chance half of the pairs lie right of it")
    for look, found in zip(("m0 filled", "m1 stroked"), of_models.values(), strict=True):
        steps = [point for row in found for point in ((row.low, row.n), (row.high, row.n))]
        if steps:
            panel.path(look, [(steps[0][0], 0), *steps, (steps[-1][0], 0)])
    return panel


def flips_plot(change: Mapping[str, Difference]) -> Plot | None:
    """How many answers an edit turned to right and to wrong, metric by metric."""
    rows = [
        change[name] for name, metric in METRICS.items() if name in change and metric.kind == "share" and metric.main
    ]
    if not any(row.n_gained or row.n_lost for row in rows):
        return None
    most = max(max(row.n_gained, row.n_lost) for row in rows)
    panel = Panel(
        label="; ".join(f"{row.metric}: {row.n_gained} gained, {row.n_lost} lost" for row in rows),
        xs=(-1.3 * most, 1.3 * most),
        ys=(-len(rows), 0),
        height=_ROW * len(rows) + 50,
        left=72,
    )
    panel.axes("answers lost | gained", y_ticks=False)
    for place, row in enumerate(rows):
        middle = -place - 0.5
        p = "" if row.p is None else f", p {shown_p(row.p)}"
        tip = f"{row.metric}: {row.n_gained:,} gained, {row.n_lost:,} lost of {row.n:,}{p}"
        panel.words(row.metric, panel.xs[0], middle, anchor="end", shift=(-6, 4))
        panel.bar("gained", (0, row.n_gained), (middle - 0.35, middle + 0.35), tip)
        panel.bar("lost", (0, -row.n_lost), (middle - 0.35, middle + 0.35), tip)
        panel.words(f"{row.n_gained:,}", row.n_gained, middle, look="tick", shift=(4, 4))
        panel.words(f"{row.n_lost:,}", -row.n_lost, middle, anchor="end", look="tick", shift=(-4, 4))
    panel.across("chance", x=0)
    return Plot(
        title="Answers that flipped",
        panels=[panel],
        caption=(
            "How to read it: answers that were wrong and are right now to the right, the other way round to the left. Where luck"
            " alone moves answers (chance), both bars of a metric are equally long but for McNemar's p."
        ),
        key=[("gained", "gained"), ("lost", "lost"), CHANCE_KEY],
    )


def depth_plot(layers: Sequence[LayerShare]) -> Plot | None:
    """Which share of each layer was edited, over depth; a panel an encoder."""
    panels = []
    for encoder, found in groupby(layers, key=lambda row: row.encoder):
        rows = [*found]
        highest = 100 * max(row.share for row in rows)
        n_weights = sum(row.n_weights for row in rows)
        even = 100 * sum(row.n_selected for row in rows) / n_weights if n_weights else 0.0
        panel = Panel(
            label=f"{encoder} encoder: " + ", ".join(f"{row.layer} {row.share:.2%}" for row in rows),
            xs=(0.4, len(rows) + 0.6),
            ys=(0, 1.15 * highest or 1.0),
            height=180,
            title=f"{encoder} encoder",
        )
        panel.axes("layer, from input to output", "% of its weights")
        for place, row in enumerate(rows, start=1):
            tip = f"{row.layer}: {row.n_selected:,} of {row.n_weights:,} weights ({row.share:.3%})"
            panel.bar("m1", (place - 0.35, place + 0.35), (0, 100 * row.share), tip)
        panel.across("chance", y=even, tip=f"evenly spread: {even:.3f} %")
        panels.append(panel)
    if not panels:
        return None
    return Plot(
        title="Share of edited weights over depth",
        panels=panels,
        caption=(
            "How to read it: a bar a layer, in the order of the forward pass. Dotted: what weights drawn at random from all of"
            " these layers (chance) would give each of them."
        ),
        key=[("m1", "edited"), CHANCE_KEY],
    )


def tags_plot(changes: Sequence[PartChange]) -> Plot | None:
    """The difference of the headline figure and of the safe side for each tag, with intervals."""
    if not any(row.tag is not None for row in changes):
        return None
    panels = []
    n_tags = 0
    for name in (HEADLINE, SAFE_SIDE):
        rows = sorted((row for row in changes if row.metric == name), key=lambda row: (row.tag is None, -row.n_pairs))
        n_tags = len(rows)
        if rows:
            panels.append(_tag_panel(name, rows[:_MOST_TAGS]))
    more = f" The {_MOST_TAGS} tags with most pairs of {n_tags}." if n_tags > _MOST_TAGS else ""
    return Plot(
        title="Differences by tag",
        panels=panels,
        caption=(
            "How to read it: a point is the difference from the original on the pairs of a tag, in points, its line the 95 %"
            f" interval on the same pairs. Dotted: no difference, what chance alone gives on average.{more}"
        ),
        key=[("m1", "difference"), CHANCE_KEY],
    )


def _tag_panel(name: str, rows: Sequence[PartChange]) -> Panel:
    panel = Panel(
        label=f"{name} by tag: {'; '.join(_told(row) for row in rows)}",
        xs=room([0.0, *(edge for row in rows for edge in (row.difference_low, row.difference_high))]),
        ys=(-len(rows), 0),
        height=_ROW * len(rows) + 66,
        left=150,
        title=name,
    )
    panel.axes("points against the original", y_ticks=False)
    panel.across("chance", x=0, tip="no difference")
    for place, row in enumerate(rows):
        middle = -place - 0.5
        named = f"{shortened(_tag(row), _TAG_LENGTH)} ({row.n_pairs:,})"
        panel.words(named, panel.xs[0], middle, anchor="end", shift=(-6, 4))
        panel.line("spread m1", (row.difference_low, middle), (row.difference_high, middle))
        panel.dot("m1", row.difference, middle, tip=f"{_told(row)}, {row.n_pairs:,} pairs, p {shown_p(row.p)}")
    return panel


def _told(row: PartChange) -> str:
    metric = find_metric(row.metric)
    value, low, high = (
        metric.shown(edge, sign="+") for edge in (row.difference, row.difference_low, row.difference_high)
    )
    return f"{_tag(row)} {value} [{low}, {high}]"


def _tag(row: PartChange) -> str:
    return "no tag" if row.tag is None else row.tag or "empty tag"
