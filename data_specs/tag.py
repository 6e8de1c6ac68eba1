"""A name that somebody gave to one artifact, as a line of the store's history of tags says it."""

import re

from pydantic import Field

from data_specs.errors import SpecError
from data_specs.fields import NAME_PATTERN
from data_specs.manifest import ArtifactRef
from data_specs.spec import Spec
from data_specs.wording import shown

_NAME, _VERSION_LIKE = re.compile(NAME_PATTERN), re.compile(r"[0-9A-Fa-f]+")
_RUN_LIKE = re.compile(r"\d{8}T.*")


class TagEvent(Spec):
    """One change of a tag: what it named from then on, and who said so."""

    name: str = Field(pattern=NAME_PATTERN)
    artifact: ArtifactRef | None = Field(description="what it names from now on; null: the tag was removed")
    before: ArtifactRef | None = Field(description="what it named until then; null: nothing")
    given: str | None = Field(description="the artifact as the person wrote it")
    user: str
    host: str
    at: str = Field(description="ISO 8601, UTC")


def require_tag_name(name: str) -> str:
    """A name that a tag may have.

    Raises:
        SpecError: it is none, or it could be taken for a version, the beginning of one or the id of a run.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{shown(name)} is no name of a tag; expected letters, digits, '.', '-' and '_', such as prod-2026"
        )
    if _VERSION_LIKE.fullmatch(name):
        raise SpecError(f"tag {shown(name)} could be the beginning of a version; add a letter after f, or '-' or '_'")
    if _RUN_LIKE.fullmatch(name):
        raise SpecError(f"tag {shown(name)} could be the id of a run; begin it otherwise")
    return name
