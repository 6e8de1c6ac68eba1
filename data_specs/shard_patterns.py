"""Shard names in settings are patterns: braces expand; a path from elsewhere is made one that means itself."""

import re


def literal_pattern(path: str) -> str:
    """The pattern that expands to a path and nothing else."""
    return re.sub(r"([\\{}])", r"\\\1", path)
