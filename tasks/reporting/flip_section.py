"""Single pairs that flipped, and the headline figure by how sure the original was, as the report shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_specs.evaluation_files import read_changes_by_certainty, read_flips
from data_specs.figures import PartChange
from data_specs.gallery import FlipGallery
from data_specs.metrics import FLIPPING, Metric, find_metric, shown_p
from data_specs.reading import read_spec
from tasks.reporting.gallery_section import Shown, show_member
from tasks.reporting.sources import FLIP_GALLERY_FILE, ShownFigure, display_name
from tasks.tables.verdict import HEADLINE, SAFE_SIDE

THIRDS = {1: "least sure", 2: "between", 3: "surest"}
_MARGINS = (("ss", "su"), ("us", "uu"), ("ss", "us"), ("su", "uu"))


@dataclass(frozen=True)
class CertaintyRow:
    """One metric over one third of the pairs: how sure the original was there, its figure, and each model's with its difference."""

    metric: Metric
    third: str
    margins: str
    n_pairs: int
    figures: list[ShownFigure]
    differences: list[tuple[float, tuple[float, float], str]]
    chance: float | None


@dataclass(frozen=True)
class CertaintyTable:
    """Thirds from the least sure to the surest, of the headline figure and then of the safe side."""

    models: list[str]
    rows: list[CertaintyRow]


@dataclass(frozen=True)
class Flip:
    """A metric whose answer changed; gained where it is right now."""

    metric: str
    gained: bool


@dataclass(frozen=True)
class FlipRow:
    """One pair that flipped; margins are the smallest of its four, above 0 where all four prefer safe."""

    key: str
    tag: str | None
    third: str
    flips: list[Flip]
    before: float
    after: float
    safe: list[Shown]
    unsafe: list[Shown]

    @property
    def marks(self) -> str:
        """The flips for the page's filter, such as `+GS -PS`."""
        return " ".join(f"{'+' if flip.gained else '-'}{flip.metric}" for flip in self.flips)


@dataclass(frozen=True)
class FlipSection:
    """The pairs that are shown, of how many, and what the filter offers."""

    model: str
    n_flipped: int
    seed: int
    gained: int
    lost: int
    headline: str
    rows: list[FlipRow]
    metrics: list[str]
    tags: list[str]
    thirds: list[str]


def certainty_table(flips: Mapping[str, Path], original: str, chance: Mapping[str, float]) -> CertaintyTable | None:
    """Gather the table from the `flips` artifacts of each model; None where there are none."""
    by_model = {model: read_changes_by_certainty(folder) for model, folder in flips.items()}
    if not by_model:
        return None
    found = []
    for name in (HEADLINE, SAFE_SIDE):
        of_models = [[row for row in rows if row.metric == name] for rows in by_model.values()]
        found += [_certainty_row(name, parts, chance) for parts in zip(*of_models, strict=True)]
    return CertaintyTable([display_name(original), *map(display_name, by_model)], found)


def _certainty_row(name: str, parts: tuple[PartChange, ...], chance: Mapping[str, float]) -> CertaintyRow:
    first = parts[0]
    return CertaintyRow(
        metric=find_metric(name),
        third=THIRDS[first.third or 1],
        margins=f"{first.least or 0:.4f} to {first.most or 0:.4f}",
        n_pairs=first.n_pairs,
        figures=[
            ShownFigure(first.first, (first.first_low, first.first_high)),
            *(ShownFigure(part.second, (part.second_low, part.second_high)) for part in parts),
        ],
        differences=[(part.difference, (part.difference_low, part.difference_high), shown_p(part.p)) for part in parts],
        chance=chance.get(name),
    )


def flip_section(flips: Mapping[str, Path], gallery: Path | None) -> FlipSection | None:
    """Gather the section of the first model in `flips`, from its pairs and the gallery that shows some of them."""
    if gallery is None or not flips:
        return None
    model, folder = next(iter(flips.items()))
    shown = read_spec(FlipGallery, gallery / FLIP_GALLERY_FILE)
    rows = {row["pair_id"]: row for row in read_flips(folder, pairs=[pair.pair_id for pair in shown.pairs])}
    parts = [row for row in read_changes_by_certainty(folder) if row.metric == HEADLINE]
    found = [
        _flip_row(rows[pair.pair_id], [show_member(member, gallery) for member in pair.members]) for pair in shown.pairs
    ]
    used = {flip.metric for row in found for flip in row.flips}
    return FlipSection(
        model=display_name(model),
        n_flipped=shown.n_flipped,
        seed=shown.seed,
        gained=sum(row.n_gained for row in parts),
        lost=sum(row.n_lost for row in parts),
        headline=HEADLINE,
        rows=found,
        metrics=[name for name in FLIPPING if name in used],
        tags=sorted({row.tag for row in found if row.tag}),
        thirds=[name for name in THIRDS.values() if any(row.third == name for row in found)],
    )


def _flip_row(row: Mapping[str, Any], members: list[Shown]) -> FlipRow:
    before, after = (
        min(row[f"{model}_{more}"] - row[f"{model}_{less}"] for more, less in _MARGINS) for model in ("first", "second")
    )
    return FlipRow(
        key=row["pair_id"].partition("/")[2] or row["pair_id"],
        tag=row["tag"],
        third=THIRDS[row["third"]],
        flips=[Flip(name, row[name] > 0) for name in FLIPPING if row[name]],
        before=before,
        after=after,
        safe=[member for member in members if member.is_safe],
        unsafe=[member for member in members if not member.is_safe],
    )
