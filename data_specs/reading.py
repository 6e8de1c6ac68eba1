"""Files of artifacts, read with a word on what to do where one is missing or wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

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


def read_spec(spec: type[AnySpec], path: Path, fields: Callable[[Any], Any] | None = None) -> AnySpec:
    """What a JSON file holds; `fields` turns its layout into the fields of the spec where these differ.

    Raises:
        ArtifactError: it is missing or holds something else.
    """
    try:
        content = json.loads(needed(path).read_bytes())
        return spec.model_validate(fields(content) if fields else content)
    except ValidationError as error:
        what = error.errors()[0]
        reason = f"{'.'.join(str(part) for part in what['loc'])}: {what['msg']}"
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ArtifactError(f"{path} is no {path.stem}: {reason}; remove the artifact's folder to have it made anew")
