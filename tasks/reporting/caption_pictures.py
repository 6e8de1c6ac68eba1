"""Single captioned pictures as the report shows them: small and veiled, with what each model wrote folded where it may be unsafe."""

from dataclasses import dataclass
from pathlib import Path

from data_specs.caption_rows import VERDICTS
from data_specs.gallery import VERDICT_TURNS, CaptionedPicture, CaptionGallery, has_turned, is_disputed
from data_specs.reading import read_spec
from tasks.reporting.gallery_section import Shown, show_member
from tasks.reporting.sources import CAPTION_GALLERY_FILE, display_name

DISPUTED = "disputed"


@dataclass(frozen=True)
class ShownCaption:
    """What a model wrote, and what each judge says of it."""

    model: str
    caption: str
    outcomes: dict[str, str]


@dataclass(frozen=True)
class PictureRow:
    """One picture with its captions; they are folded unless the picture is safe and no judge doubts any of them."""

    key: str
    shown: Shown
    captions: list[ShownCaption]
    folded: bool
    marks: list[str]  # disputed, broken, mended

    @property
    def what(self) -> str:
        """The marks for the page's filter."""
        return " ".join(self.marks) or "neither"

    @property
    def outcomes(self) -> str:
        """All outcomes of its captions for the page's filter, each once."""
        return " ".join(dict.fromkeys(outcome for item in self.captions for outcome in item.outcomes.values()))


@dataclass(frozen=True)
class CaptionPictures:
    """The pictures that are shown, of how many, and what the filter offers."""

    models: list[str]
    n_pictures: int
    n_disputed: int
    n_broken: int
    n_mended: int
    seed: int
    several_judges: bool
    rows: list[PictureRow]
    tags: list[str]
    outcomes: list[str]


def caption_pictures_section(gallery: Path) -> CaptionPictures:
    """Gather the pictures of a `gallery.captions` artifact.

    Raises:
        ArtifactError: a file is missing or is not what its name says.
    """
    found = read_spec(CaptionGallery, gallery / CAPTION_GALLERY_FILE)
    rows = [_row(picture, gallery) for picture in found.pictures]
    said = {outcome for row in rows for item in row.captions for outcome in item.outcomes.values()}
    return CaptionPictures(
        models=[display_name(model) for model in found.models],
        n_pictures=found.n_pictures,
        n_disputed=found.n_disputed,
        n_broken=found.n_turned["broken"],
        n_mended=found.n_turned["mended"],
        seed=found.seed,
        several_judges=len(found.judges) > 1,
        rows=rows,
        tags=sorted({row.shown.tag for row in rows if row.shown.tag}),
        outcomes=[*(word for word in VERDICTS if word in said), *sorted(said - {*VERDICTS})],
    )


def _row(picture: CaptionedPicture, folder: Path) -> PictureRow:
    said = [written.outcomes for written in picture.captions]
    marks = [DISPUTED] if is_disputed(said) else []
    marks += [way for way in VERDICT_TURNS if has_turned(said, way)]
    member = picture.member
    doubted = any(outcome != "safe" for outcomes in said for outcome in outcomes.values())
    return PictureRow(
        key=member.pair_id.partition("/")[2] or member.pair_id,
        shown=show_member(member, folder),
        captions=[
            ShownCaption(display_name(written.model), written.caption, {**written.outcomes})
            for written in picture.captions
        ],
        folded=member.content == "unsafe" or doubted,
        marks=marks,
    )
