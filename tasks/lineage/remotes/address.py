"""The URL of a remote: which it may be, and how it is shown."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from data_specs.errors import SpecError
from data_specs.wording import shown

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SHOULD = "expected a URL such as s3://bucket/prefix or file:///folder"
_FOLDER = "file"
# They have no way to list what is there, or to put anything there.
_READ_ONLY = frozenset({"http", "https", "data", "zip", "tar"})


def remote_url(text: str) -> str:
    """The URL of a remote as it is compared and shown: without a slash at its end, a plain path as `file://`.

    Raises:
        SpecError: it is no URL of a place that files can be put to, or holds a password.
    """
    given = text.strip().rstrip("/")
    if given.startswith(("/", "~", ".")):
        given = f"{_FOLDER}://{Path(os.path.abspath(Path(given).expanduser()))}"  # noqa: PTH100  (keeps links)
    scheme = _SCHEME.match(given)
    if scheme is None:
        raise SpecError(f"remote {shown(_without_secret(text))} is no URL; {_SHOULD}")
    if scheme.group(1).lower() in _READ_ONLY:
        raise SpecError(f"remote {shown(_without_secret(text))}: nothing can be put to {scheme.group(1)}://; {_SHOULD}")
    parts = urlsplit(given)
    if parts.password is not None or parts.query or parts.fragment:
        raise SpecError(
            f"remote {shown(_without_secret(text))} holds a password or what follows a ?, which its records would show;"
            " give credentials by the environment, such as AWS_PROFILE or AWS_ACCESS_KEY_ID"
        )
    if not (parts.netloc or parts.path):
        raise SpecError(f"remote {shown(text)} names no place; {_SHOULD}")
    if scheme.group(1) == _FOLDER and (parts.netloc or not parts.path.startswith("/")):
        raise SpecError(f"remote {shown(text)} is no absolute path; {_SHOULD}")
    return given


def folder_of(url: str) -> Path | None:
    """The folder of a `file://` remote; None for any other."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == _FOLDER else None


def _without_secret(text: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", text).partition("?")[0]
