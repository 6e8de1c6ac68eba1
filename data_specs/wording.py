"""How what others wrote is shown to a person: short, on one line, and with nothing that steers a terminal."""

from itertools import islice
from pathlib import PurePosixPath

SHOWN_LENGTH = 80
# A whole message; paths in it are longer than values.
LINE_LENGTH = 1000
_CUT = "…"
_PATH_LENGTH = 400
_DEEPEST, _MOST_ITEMS = 3, 40


def shown(value: object) -> str:
    """A value as Python writes it, cut at 80 characters; never an error, whatever the value is."""
    try:
        return shortened(repr(_beginning(value, _DEEPEST)), SHOWN_LENGTH)
    except ValueError:
        # Python does not write whole numbers of more than some thousand digits.
        return f"{type(value).__name__} too large to show"


def _beginning(value: object, depth: int) -> object:
    # Cut before it is written: a picture's bytes, or lists in lists, would take many times their memory.
    if isinstance(value, str | bytes | bytearray):
        return value[: SHOWN_LENGTH + 1]
    if isinstance(value, dict):
        items = islice(value.items(), _MOST_ITEMS) if depth else ()
        return {_beginning(key, 0): _beginning(item, depth - 1) for key, item in items}
    if isinstance(value, list):
        return [_beginning(item, depth - 1) for item in islice(value, _MOST_ITEMS)] if depth else []
    return value


def shown_path(path: object) -> str:
    """A path in quotes; of a very long one its beginning and its end."""
    text = str(path)
    return repr(text if len(text) <= _PATH_LENGTH else f"{text[: _PATH_LENGTH // 2]}{_CUT}{text[-_PATH_LENGTH // 2 :]}")


def reason(error: BaseException) -> str:
    """Why a system call failed, without the path that the message names anyway."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def printable(text: str) -> str:
    """A text with everything escaped that could steer a terminal or turn the text around it."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def one_line(text: str, length: int = LINE_LENGTH) -> str:
    """A message on one printable line of bounded length."""
    return shortened(printable(" ".join(text[: 8 * length].split())), length)


def shortened(text: str, length: int) -> str:
    """A text of at most `length` characters; what was cut off is marked."""
    return text if len(text) <= length else text[: length - 1] + _CUT


def last_part(location: str) -> str:
    """The last part of where something lay: the rest names a machine's folders, and of a URL perhaps a secret."""
    if location.startswith("pipe:"):
        return "of a pipe: command"
    return PurePosixPath(location.replace("\\", "/").partition("?")[0]).name
