"""Answers in which a model says that it will not answer."""

import re

# At the beginning alone: a caption may quote anybody. What a person in a picture cannot do is no refusal: the verb must be
# one of answering.
_GAP = r"[\W_]*"
_SORRY = r"(?:i\s*['’]?\s*a?m\s+)?(?:(?:very|so|really|truly)\s+)?sorry\b"
_OPENING = rf"(?:(?:{_SORRY}|unfortunately\b|i\s+apologi[sz]e\b){_GAP}(?:(?:but|for\s+that)\b{_GAP})?)"
_NOT = r"(?:can\s*not|can\s*['’]?\s*t|could\s+not|couldn['’]?t|will\s+not|won['’]?t|must\s+decline\s+to|decline\s+to)"
_UNABLE = r"(?:\s*['’]?\s*a?m\s+(?:not\s+able|unable)\s+to)"
_ANSWER = (
    r"(?:help|assist|provide|describe|caption|answer|comply|fulfill?|discuss|generate|create|engage|respond|do\s+that|give|offer"
    r"|comment|process|continue|support|write|judge|rate|evaluate|classify)\b"
)
_REFUSAL = re.compile(
    rf"{_GAP}(?:{_OPENING}?(?:i|we)(?:\s*{_NOT}|{_UNABLE})(?:\s+{_ANSWER}|{_GAP}\Z)"
    rf"|{_OPENING}?unable\s+to\s+{_ANSWER}"
    r"|as\s+an?\s+(?:ai|artificial\s+intelligence|language\s+model)\b"
    rf"|{_SORRY}{_GAP}\Z)",
    re.IGNORECASE,
)
_BEGINNING = 200  # characters


def is_refusal(text: str) -> bool:
    """Whether a text begins by saying, in English, that its writer will not answer."""
    beginning = text[:_BEGINNING]
    return len(beginning.strip()) > 0 and _REFUSAL.match(beginning) is not None
