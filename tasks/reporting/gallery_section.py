"""The gallery as the report shows it, thumbnails inside."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_specs.gallery import Gallery, GalleryAnswer, GalleryKind, GalleryMember, GalleryQuery
from data_specs.reading import needed


@dataclass(frozen=True)
class Shown:
    """A caption, or a picture as a data: URI with what it is in words; the words never tell what it shows."""

    is_safe: bool
    tag: str | None
    caption: str | None
    picture: str | None
    description: str


@dataclass(frozen=True)
class ShownAnswer:
    """One answer; `is_own` where it is of the query's pair."""

    shown: Shown
    similarity: float
    is_own: bool


@dataclass(frozen=True)
class ShownQuery:
    """A query with each model's answers, in the order of the gallery's models."""

    shown: Shown
    has_changed: bool
    answers: list[list[ShownAnswer]]


@dataclass(frozen=True)
class ShownKind:
    """A kind of queries, and how often their first answer changed."""

    label: str
    answers_are_pictures: bool
    n_examined: int
    n_changed: int
    queries: list[ShownQuery]


@dataclass(frozen=True)
class GallerySection:
    """All kinds, and how queries came to be shown."""

    models: list[str]
    seed: int
    n_pairs: int
    kinds: list[ShownKind]


def gallery_section(gallery: Gallery, folder: Path) -> GallerySection:
    """Gather the section; thumbnails are read from `folder`."""
    show = partial(show_member, folder=folder)
    return GallerySection(
        models=[model.replace("_", " ") for model in gallery.models],
        seed=gallery.seed,
        n_pairs=gallery.n_pairs,
        kinds=[_kind(kind, gallery.models, show) for kind in gallery.kinds],
    )


def show_member(member: GalleryMember, folder: Path) -> Shown:
    """A member as the page shows it; its thumbnail is read from `folder`."""
    picture = None
    if member.thumbnail is not None:
        data = needed(folder / member.thumbnail).read_bytes()
        picture = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    what = "picture" if member.caption is None else "caption"
    tag = f", tag {member.tag}" if member.tag else ""
    return Shown(
        is_safe=member.content == "safe",
        tag=member.tag,
        caption=member.caption,
        picture=picture,
        description=f"{member.content} {what} of pair {member.pair_id}{tag}",
    )


def _kind(kind: GalleryKind, models: list[str], show: Callable[[GalleryMember], Shown]) -> ShownKind:
    def answer(found: GalleryAnswer, query: GalleryQuery) -> ShownAnswer:
        return ShownAnswer(show(found.member), found.similarity, found.member.pair_id == query.member.pair_id)

    return ShownKind(
        label=kind.label,
        answers_are_pictures=kind.encoder == "text",
        n_examined=kind.n_examined,
        n_changed=kind.n_changed,
        queries=[
            ShownQuery(
                show(query.member),
                query.picked == "changed",
                [[answer(found, query) for found in query.answers[model]] for model in models],
            )
            for query in kind.queries
        ],
    )
