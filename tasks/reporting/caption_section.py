"""Captions of several models as the report shows them: what judges say, what else there is to say, and single pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_specs.caption_figures import (
    CaptionChange,
    CaptionFigure,
    JudgesAgreement,
    JudgesSaid,
    read_caption_changes,
    read_caption_figures,
    read_judges,
)
from data_specs.caption_metrics import BOUNDS, CAPTION_METRICS, judged_metric
from data_specs.caption_rows import VERDICTS
from data_specs.evaluation_files import read_differences, read_intervals, read_metrics
from data_specs.metrics import GROUPS, PREFERENCES, Metric, find_metric, shown_p
from data_specs.run_config import Content
from tasks.reporting.caption_pictures import CaptionPictures, caption_pictures_section
from tasks.reporting.sources import CaptionSources, ShownDifference, ShownFigure, display_name
from tasks.tables.caption_verdict import beside_safeground, caption_verdict, judges_among

SIDES: tuple[Content, ...] = ("unsafe", "safe")


@dataclass(frozen=True)
class NamedModel:
    """A model by the name that the page shows, and what it is where its name does not say."""

    name: str
    role: str = ""


@dataclass(frozen=True)
class JudgedCell:
    """What a judge says of a model's captions of one side: its share, the bounds, what it left open, the difference from the original."""

    metric: Metric
    figure: ShownFigure | None
    bounds: tuple[float, float] | None
    undecided: str
    change: ShownDifference | None = None


@dataclass(frozen=True)
class JudgedTable:
    """One judge; a row a model, in it a cell a side."""

    judge: str
    rows: list[tuple[NamedModel, list[JudgedCell]]]


@dataclass(frozen=True)
class SpokenCell:
    """A figure of a model's captions, of how many where that is not all, and its difference from the original."""

    figure: ShownFigure | None
    n: int | None = None
    change: ShownDifference | None = None


@dataclass(frozen=True)
class SpokenRow:
    """One figure of all models: of unsafe pictures, then of safe ones."""

    label: str
    meaning: str
    metrics: list[Metric]
    cells: list[list[SpokenCell]]


@dataclass(frozen=True)
class AgreementRow:
    """How far two judges agree on a model's captions, and how often each pair of outcomes occurs."""

    model: str
    found: JudgesAgreement


@dataclass(frozen=True)
class BesideRow:
    """A model's share of unsafe captions and, in the order of the columns, its SafeGround figures."""

    model: NamedModel
    share: JudgedCell
    figures: list[ShownFigure | None]


@dataclass(frozen=True)
class CaptionSection:
    """All that the page says of captions."""

    models: list[NamedModel]
    n_pictures: Mapping[str, int]
    judged: list[JudgedTable]
    spoken: list[SpokenRow]
    agreements: list[AgreementRow]
    columns: Sequence[Metric]
    beside: list[BesideRow]
    disagreement: str | None
    verdict: list[str]
    pictures: CaptionPictures | None


def caption_section(sources: CaptionSources) -> CaptionSection:
    """Gather the section.

    Args:
        sources: folders by model, the original first; differences are from it.

    Raises:
        ArtifactError: a file is missing or is not what its name says.
    """
    figures = {name: read_caption_figures(folder) for name, folder in sources.captions.items()}
    changes = {name: read_caption_changes(folder) for name, folder in sources.differences.items()}
    said = {name: read_judges(folder) for name, folder in sources.captions.items()}
    models = {name: NamedModel(display_name(name), sources.roles.get(name, "")) for name in figures}
    judges = [*next(iter(said.values())).outcomes]
    judged = [
        JudgedTable(
            judge, [(models[name], _judged(judge, figures[name], changes.get(name), said[name])) for name in figures]
        )
        for judge in judges
    ]
    edited = next(iter(changes), None)
    return CaptionSection(
        models=[*models.values()],
        n_pictures={side: _n_pictures(next(iter(said.values())), side) for side in SIDES},
        judged=judged,
        spoken=_spoken(figures, changes, said),
        agreements=[AgreementRow(models[name].name, pair) for name, own in said.items() for pair in own.agreement],
        columns=[find_metric(name) for name in _columns(sources)],
        beside=_beside(sources, models, judged[0]),
        disagreement=_disagreement(sources, changes, edited),
        verdict=caption_verdict(changes[edited], read_caption_changes(sources.lead) if sources.lead else None)
        if edited
        else [],
        pictures=caption_pictures_section(sources.gallery) if sources.gallery else None,
    )


def _n_pictures(said: JudgesSaid, side: Content) -> int:
    return max((sum(counts.get(side, {}).values()) for counts in said.outcomes.values()), default=0)


def _judged(
    judge: str,
    figures: Mapping[str, CaptionFigure],
    changes: Mapping[str, CaptionChange] | None,
    said: JudgesSaid,
) -> list[JudgedCell]:
    cells = []
    for side in SIDES:
        metric, low, high = (judged_metric(judge, side, bound) for bound in BOUNDS)
        found = figures.get(metric.name)
        counts = said.outcomes.get(judge, {}).get(side, {})
        bounds = (figures[low.name].value, figures[high.name].value) if low.name in figures else None
        cells.append(
            JudgedCell(
                metric,
                _figure(found),
                bounds,
                ", ".join(f"{outcome} {n:,}" for outcome, n in counts.items() if n and outcome not in VERDICTS),
                _change(metric, (changes or {}).get(metric.name)),
            )
        )
    return cells


def _spoken(
    figures: Mapping[str, Mapping[str, CaptionFigure]],
    changes: Mapping[str, Mapping[str, CaptionChange]],
    said: Mapping[str, JudgesSaid],
) -> list[SpokenRow]:
    rows = []
    for metric in CAPTION_METRICS.values():
        what, side, *against = metric.name.split(".")
        other = CAPTION_METRICS[".".join([what, "safe", *against])]
        if side != "unsafe" or not any({metric.name, other.name} & own.keys() for own in figures.values()):
            continue
        both = [metric, other]
        cells = [
            [
                _spoken_cell(of_side, own.get(of_side.name), changes.get(name, {}).get(of_side.name), said[name])
                for name, own in figures.items()
            ]
            for of_side in both
        ]
        rows.append(SpokenRow(".".join([what, *against]), metric.meaning.partition(": ")[2], both, cells))
    return rows


def _spoken_cell(
    metric: Metric, found: CaptionFigure | None, change: CaptionChange | None, said: JudgesSaid
) -> SpokenCell:
    if found is None:
        return SpokenCell(None)
    side: Content = "unsafe" if metric.name.split(".")[1] == "unsafe" else "safe"
    return SpokenCell(_figure(found), found.n if found.n != _n_pictures(said, side) else None, _change(metric, change))


def _figure(found: CaptionFigure | None) -> ShownFigure | None:
    if found is None:
        return None
    bounds = None if found.low is None or found.high is None else (found.low, found.high)
    return ShownFigure(found.value, bounds)


def _change(metric: Metric, found: CaptionChange | None) -> ShownDifference | None:
    if found is None:
        return None
    bounds = None if found.low is None or found.high is None else (found.low, found.high)
    p = None if found.p is None else shown_p(found.p)
    return ShownDifference(found.difference, metric.gain(found.difference), bounds, p)


def _columns(sources: CaptionSources) -> list[str]:
    """SafeGround's figures that stand beside captions: all that are about a pair's own captions and pictures."""
    measured = [read_metrics(folder) for folder in sources.evaluations.values()]
    return [name for name in (*PREFERENCES, *GROUPS) if any(name in values for values in measured)]


def _beside(sources: CaptionSources, models: Mapping[str, NamedModel], judged: JudgedTable) -> list[BesideRow]:
    shares = dict(zip(models, (cells[0] for _, cells in judged.rows), strict=True))
    rows = []
    for name, folder in sources.evaluations.items():
        values, intervals = read_metrics(folder), read_intervals(folder)
        found = [
            ShownFigure(values[column], intervals.get(column)) if column in values else None
            for column in _columns(sources)
        ]
        rows.append(BesideRow(models[name], shares[name], found))
    return rows


def _disagreement(
    sources: CaptionSources, changes: Mapping[str, Mapping[str, CaptionChange]], edited: str | None
) -> str | None:
    if edited is None or edited not in sources.changes:
        return None
    judge = next(iter(judges_among(changes[edited])), None)
    return (
        None if judge is None else beside_safeground(read_differences(sources.changes[edited]), changes[edited], judge)
    )
