"""JSON files of which one line holds the digest of all others: `grep -v '^ "digest": ' FILE | sha256sum` computes it."""

import hashlib
import json
import re
from typing import TypeVar

from data_specs.manifest import Manifest, Pruned

_Sealed = TypeVar("_Sealed", Manifest, Pruned)
# A line break within a text is written as \n, and what is nested is indented deeper: no other line can look so.
_SEAL = re.compile(rb'^ "digest": "([^"\n]*)",\n', re.MULTILINE)


class NotAsSealed(ValueError):
    """A file that changed since its digest was taken."""


def sealed(content: _Sealed) -> tuple[_Sealed, bytes]:
    """The same content with its digest, and the bytes of its file."""
    draft = _text(content.model_copy(update={"digest": ""}))
    digest = sealed_digest(draft)
    return content.model_copy(update={"digest": digest}), _SEAL.sub(f' "digest": "{digest}",\n'.encode(), draft)


def unsealed(spec: type[_Sealed], data: bytes) -> _Sealed:
    """What a file holds, with its digest; of a manifest of format 1, which names none, that of the whole file.

    Raises:
        NotAsSealed: it is not what its digest was taken of.
        ValueError: it holds something else.
    """
    content = spec.model_validate_json(data)
    computed = sealed_digest(data)
    if content.digest is None and isinstance(content, Manifest) and content.format == 1:
        return content.model_copy(update={"digest": computed})
    if content.digest != computed:
        raise NotAsSealed(
            f"it changed since it was made: its digest is {computed[:12]}, but it says {(content.digest or 'none')[:12]}"
        )
    return content


def sealed_digest(data: bytes) -> str:
    """The digest that the file should hold."""
    return hashlib.sha256(_SEAL.sub(b"", data)).hexdigest()


def _text(content: Manifest | Pruned) -> bytes:
    return (json.dumps(content.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()
