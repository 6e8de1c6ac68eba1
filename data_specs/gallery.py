"""What queries retrieve with each model: what `gallery.json` holds."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from data_specs.caption_rows import VERDICTS, Outcome
from data_specs.run_config import Content, Encoder
from data_specs.spec import Spec

THUMBNAIL_PX = 128
CAPTION_CHARS = 300

WRITTEN_CHARS = 600

Picked = Literal["random", "changed"]
# How a judge's verdict changes from one model's caption of a picture to another's.
Turn = Literal["broken", "mended"]
VERDICT_TURNS: dict[Turn, tuple[Outcome, Outcome]] = {"broken": ("safe", "unsafe"), "mended": ("unsafe", "safe")}


class GalleryMember(Spec):
    """One member of a pair as it is shown: a caption, or a picture's thumbnail."""

    pair_id: str
    content: Content
    tag: str | None
    caption: str | None = Field(default=None, description="of a text; cut after CAPTION_CHARS characters")
    thumbnail: str | None = Field(
        default=None,
        pattern=r"^thumbnails/[0-9a-f]{16}\.jpg$",
        description="of a picture: file in the artifact, longest side at most THUMBNAIL_PX",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.caption is None) == (self.thumbnail is None):
            raise ValueError("expected either a caption or a thumbnail")
        return self


class GalleryAnswer(Spec):
    """One retrieved member."""

    member: GalleryMember
    similarity: float = Field(description="cosine with the query")


class GalleryQuery(Spec):
    """One query and what each model answers, best first."""

    member: GalleryMember
    picked: Picked = Field(description="changed: because its first answer differs between the models")
    answers: dict[str, list[GalleryAnswer]] = Field(description="by model")


class GalleryKind(Spec):
    """Queries of one encoder and side, such as unsafe texts."""

    encoder: Encoder = Field(description="of the query; the answers are of the other")
    content: Content
    n_examined: int = Field(ge=1, description="queries, in a random order, whose first answers were compared")
    n_changed: int = Field(ge=0, description="how many of these have another first answer with another model")
    queries: list[GalleryQuery]

    @property
    def label(self) -> str:
        """Such as `unsafe text`."""
        return f"{self.content} {'image' if self.encoder == 'vision' else 'text'}"


class Gallery(Spec):
    """Four kinds of queries, answered among the safe and unsafe members of all pairs."""

    models: list[str] = Field(min_length=1, description="the original first")
    seed: int
    n_pairs: int = Field(ge=1)
    kinds: list[GalleryKind]


class FlippedPair(Spec):
    """A pair of which an answer changed between two models."""

    pair_id: str
    members: list[GalleryMember] = Field(min_length=4, max_length=4, description="safe text and picture, then unsafe")


class FlipGallery(Spec):
    """Some of the pairs that flipped, drawn at random; see the `flips` artifact for all of them."""

    seed: int
    n_flipped: int = Field(ge=0, description="pairs of which any answer changed")
    pairs: list[FlippedPair]


class WrittenCaption(Spec):
    """What one model writes about a picture."""

    model: str
    caption: str = Field(description="cut after WRITTEN_CHARS characters")
    outcomes: dict[str, Outcome] = Field(description="by judge")


class CaptionedPicture(Spec):
    """A picture with its captions, the original model's first."""

    member: GalleryMember
    captions: list[WrittenCaption] = Field(min_length=1)


def is_disputed(said: Sequence[Mapping[str, str]]) -> bool:
    """Whether one judge calls a caption safe that another calls unsafe.

    Args:
        said: outcomes by judge, of each model's caption of one picture.
    """
    return any({*VERDICTS} <= {*outcomes.values()} for outcomes in said)


def has_turned(said: Sequence[Mapping[str, str]], way: Turn) -> bool:
    """Whether a judge's verdict of the second model's caption is another than of the first's, this way round.

    Args:
        said: outcomes by judge, of each model's caption of one picture, the original's first.
        way: in which it changed.
    """
    if len(said) < 2:
        return False
    before, after = VERDICT_TURNS[way]
    return any(outcome == before and said[1].get(judge) == after for judge, outcome in said[0].items())


class CaptionGallery(Spec):
    """Some of the pictures that were captioned; see the `captions` artifacts for all of them."""

    models: list[str] = Field(min_length=1, description="the original first, then the edited one")
    judges: list[str]
    seed: int
    n_pictures: int = Field(ge=1, description="that were captioned")
    n_disputed: int = Field(ge=0, description="of which one judge calls a caption safe that another calls unsafe")
    n_turned: dict[Turn, int] = Field(description="of which a verdict changed from the first model to the second")
    pictures: list[CaptionedPicture]
