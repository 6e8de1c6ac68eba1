"""Files of artifacts, read with a word on what to do where one is missing or wrong."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from data_specs.errors import ArtifactError
from data_specs.spec import Spec

AnySpec = TypeVar("AnySpec", bound=Spec)


def needed(path: Path) -> Path:
    """A file that must be there.

    Raises:
        ArtifactError: it is not.
    """
    if not path.is_file():
        raise ArtifactError(
            f"{path.name} is needed, but there is none in {path.parent}; remove that folder to have it made anew"
        )
    return path


def read_spec(spec: type[AnySpec], path: Path) -> AnySpec:
    """What a JSON file holds.

    Raises:
        ArtifactError: it is missing or holds something else.
    """
    try:
        return spec.model_validate_json(needed(path).read_bytes())
    except ValidationError as error:
        what = error.errors()[0]
        raise ArtifactError(
            f"{path} is no {path.stem}: {'.'.join(str(part) for part in what['loc'])}: {what['msg']};"
            " remove the artifact's folder to have it made anew"
        ) from error
