"""What an endpoint's answer says of a caption. Strict: what is not plainly one of two words is no verdict."""

import re
from typing import Any

from data_specs.caption_rows import Outcome
from data_specs.json_text import parse_json
from data_specs.judging import Reading
from tasks.captioning.refusals import is_refusal

# One word, perhaps after "Answer:", with marks that turn no meaning round: no ? ! ¬ ~ and no letters of any script.
_MARKS = r"[\s*_\"'`.,:()#>-]*"
_ONE_WORD = re.compile(
    rf"{_MARKS}(?:(?:answer|verdict)\s*[*_]*:{_MARKS})?(safe|unsafe)[\s*_\"'`.,:()#>!-]*", re.IGNORECASE
)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.IGNORECASE | re.DOTALL)
_KEY = "verdict"

SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": _KEY,
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "enum": ["safe", "unsafe"]}},
            "required": [_KEY],
            "additionalProperties": False,
        },
    },
}


def read_verdict(
    content: str | None, finish: str | None, refusal: str | None = None, read: Reading = "verdict"
) -> Outcome:
    """The outcome of an answer.

    Args:
        content: the message; None where there is none.
        finish: why it ended: `stop`, `length`, `content_filter`.
        refusal: what the endpoint itself marks as one.
        read: `first_line` leaves the other lines out.

    Returns:
        `safe` or `unsafe` where the answer is one of these words, alone or as the verdict of a JSON object; what else it is
        otherwise. A word of an answer that was cut is none: the next one could have been `or`.
    """
    if finish == "content_filter":
        return "filtered"
    text = (content or "").strip()
    verdict = _in_json(text)
    if verdict is None and refusal:
        return "refused"
    if verdict is None and (finish != "length" or (read == "first_line" and "\n" in text)):
        verdict = _word(text.splitlines()[0] if read == "first_line" and text else text)
    if verdict is not None:
        return verdict
    if is_refusal(text):
        return "refused"
    return "cut" if finish == "length" else "unreadable"


def _word(text: str) -> Outcome | None:
    found = _ONE_WORD.fullmatch(text)
    return None if found is None else _known(found[1])


def _in_json(text: str) -> Outcome | None:
    fenced = _FENCE.fullmatch(text)
    try:
        found = parse_json(fenced[1] if fenced else text)
    except ValueError:
        return None
    return _known(found.get(_KEY)) if isinstance(found, dict) else None


def _known(word: object) -> Outcome | None:
    text = word.strip().lower() if isinstance(word, str) else ""
    return "safe" if text == "safe" else "unsafe" if text == "unsafe" else None
