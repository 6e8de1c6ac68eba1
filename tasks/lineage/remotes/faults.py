"""What a remote answers when it does not do what it is asked, whatever library speaks to it."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from data_specs.wording import first_line, one_line
from tasks.lineage.disk import behind, is_full

_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.5
_LONGEST = 200
_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
)
_NO_BUCKET = ("NoSuchBucket",)
_REFUSED_CODES = (errno.EACCES, errno.EPERM, errno.EROFS)

_Result = TypeVar("_Result")


class RemoteFault(Exception):
    """Why a remote cannot be used, as a part of a sentence."""


class Refused(RemoteFault):
    """It is there, and does not let us; trying again does not help."""


class Unreachable(RemoteFault):
    """It does not answer, or fails again and again."""


class Damaged(RemoteFault):
    """What it gives is not what its manifest says."""


def asked(call: Callable[[], _Result]) -> _Result:
    """What a remote answers; asked again, after growing pauses, where that could help.

    Raises:
        FileNotFoundError: what was asked for is not there.
        FileExistsError: what should be new is there.
        OSError: a disk is full.
        RemoteFault: it refuses, or cannot be reached.
    """
    attempt = 1
    while True:
        try:
            return call()
        except (FileNotFoundError, FileExistsError) as error:
            if has_code(error, _NO_BUCKET):
                raise Refused("there is no such bucket; make it, or check its name") from error
            raise
        except RemoteFault:
            raise
        except Exception as error:  # each library raises its own
            if is_full(error):
                raise
            fault = _as_fault(error)
            if isinstance(fault, Refused) or attempt == _ATTEMPTS:
                raise fault from error
        time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        attempt += 1


def has_code(error: BaseException, codes: tuple[str, ...]) -> bool:
    """Whether S3 said one of some codes."""
    for item in behind(error):
        response = getattr(item, "response", None)
        if isinstance(response, dict) and str(response.get("Error", {}).get("Code")) in codes:
            return True
    return False


def _as_fault(error: Exception) -> RemoteFault:
    causes = [*behind(error)]
    why = one_line(first_line(error), _LONGEST)
    if any(type(cause).__name__ in _CREDENTIALS for cause in causes):
        return Refused(
            f"there are no credentials for it ({why}); give them by the environment, such as AWS_PROFILE or"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, PermissionError) or getattr(error, "errno", None) in _REFUSED_CODES:
        return Refused(f"it refuses access ({why}); check the credentials, and whether they may read and write there")
    if isinstance(error, NotADirectoryError | IsADirectoryError):
        return Refused(f"it is not a folder ({why})")
    return Unreachable(f"it does not answer as it should ({why})")
