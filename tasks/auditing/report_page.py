"""A report without the pairs that it shows: no picture and no caption of anybody's data."""

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

# Each goes on to the next heading of the page, or to what is folded below it; texts of the data are escaped and hold no tag.
_PAIRS = re.compile(
    r"<h2>(Pairs that flipped|Pictures and their captions|What queries retrieve)</h2>.*?(?=\n<h2>|\n<details class=\"more\">)",
    re.DOTALL,
)
_LEFT_OUT = r'<h2>\1</h2>\n<p class="note">Left out of this copy: it holds no pictures and no captions.</p>\n'
_PICTURES = ("data:image", "<img", "<picture", "<object", "<embed")
_SHORTEST = 8  # shorter captions may stand anywhere


def page_without_pairs(page: str, captions: Iterable[str]) -> str | None:
    """The page without its single pairs.

    Args:
        page: the report.
        captions: of the pairs that it shows.

    Returns:
        None where a picture or a caption would be left, as in the page of another version.
    """
    stripped = _PAIRS.sub(_LEFT_OUT, page)
    is_clean = not any(sign in stripped for sign in _PICTURES) and not any(
        html.escape(caption) in stripped or caption in stripped for caption in captions if len(caption) >= _SHORTEST
    )
    return stripped if is_clean else None


def captions_in(content: str) -> Iterator[str]:
    """All captions that a gallery's JSON holds.

    Raises:
        ValueError: it is no JSON.
    """
    pending: list[Any] = [json.loads(content)]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            caption = item.get("caption")
            if isinstance(caption, str):
                yield caption
            pending += item.values()
        elif isinstance(item, list):
            pending += item
