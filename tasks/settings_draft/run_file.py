"""The text of a run.yaml that runs as it is: which shards are for calibration, which for evaluation, and what they hold."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from data_specs.config_file import parse_config
from data_specs.errors import DataError
from data_specs.fields import NAME_PATTERN
from data_specs.shard_patterns import literal_pattern
from data_specs.wording import printable, shortened
from tasks.settings_draft.found_sets import FEWEST_SHARDS, KIND_OF_MEMBERS, FoundSet, FoundShard, lacking

_FOR_EVALUATION = re.compile(
    r"(?:^|[^a-z])(?:test|eval|evaluation|val|valid|validation|dev|held.?out)(?:[^a-z]|$)", re.I
)
_NUMBERED = re.compile(r"(.*?)(\d+)([^\d/]*)")
_MOST_TAGS, _TAG_LENGTH = 12, 40
_DUMPED: dict[str, Any] = {"default_flow_style": None, "sort_keys": False, "allow_unicode": True, "width": 10**6}


def split_sets(sets: Sequence[FoundSet]) -> tuple[list[FoundShard], list[FoundShard]]:
    """Shards for calibration and for evaluation, never the same: by the names of sets, else every fifth for evaluation.

    Raises:
        DataError: there is one shard only.
    """
    named = [found for found in sets if _FOR_EVALUATION.search(found.name)]
    others = [found for found in sets if found not in named]
    if named and others:
        return [shard for found in others for shard in found.shards], [
            shard for found in named for shard in found.shards
        ]
    shards = [shard for found in sets for shard in found.shards]
    if len(shards) < 2:
        raise DataError(
            f"shard {shards[0].path} is the only one, and what a model was edited on must not measure it; give a second one,"
            " or pack again with a smaller --max-count"
        )
    # Spread over all, because tables are often sorted.
    evaluation = shards[FEWEST_SHARDS - 1 :: FEWEST_SHARDS] or shards[-1:]
    return [shard for shard in shards if shard not in evaluation], evaluation


def run_text(sets: Sequence[FoundSet], settings: Mapping[str, Any], file: Path) -> str:
    """The text of the settings file `file`.

    Args:
        sets: what there is.
        settings: all that is not taken from it, such as a preset.
        file: paths in it start at its folder; `file` itself need not be there.

    Raises:
        DataError: the sets cannot be split, or evaluation lacks texts or images.
        SpecError: the settings are wrong.
    """
    calibration, evaluation = split_sets(sets)
    if missing := lacking(evaluation):
        raise DataError(
            f"the shards to measure on, such as {evaluation[0].path}, hold no pair with a safe and an unsafe"
            f" {' or '.join(missing)}; expected all four members"
        )
    folder = file.absolute().parent
    left_alone = [encoder for encoder, kind in KIND_OF_MEMBERS.items() if kind in lacking(calibration)]
    whole: dict[str, Any] = {**settings, "name": _run_name(sets, file)}
    for encoder in left_alone:
        whole[encoder] = None
    whole["calibration"] = {**whole.get("calibration", {}), "shards": patterns_of(calibration, folder)}
    whole["evaluation"] = {**whole.get("evaluation", {}), "shards": patterns_of(evaluation, folder)}
    parse_config(whole, base=folder, source=str(file))
    comments: dict[str, str] = {"calibration": _held(calibration), "evaluation": _held(evaluation)}
    for encoder in left_alone:
        comments[encoder] = f"left alone: no pair of calibration holds a safe and an unsafe {KIND_OF_MEMBERS[encoder]}"
    lines = [f"# {line}" for line in _heading(sets, file)]
    for name in _ordered(whole):
        lines += [f"# {comments[name]}"] if name in comments else []
        lines.append(_entry(name, whole[name]))
    return "\n".join(lines) + "\n"


def patterns_of(shards: Sequence[FoundShard], folder: Path) -> list[str]:
    """Patterns, relative to a folder where they lie below it, that expand to these shards; runs of numbers as braces."""
    names = [_relative(shard.path, folder) for shard in shards]

    def series(item: tuple[int, str]) -> tuple[Any, ...]:
        number, name = item
        found = _NUMBERED.fullmatch(name)
        if found is None:
            return (name,)
        before, digits, after = found.groups()
        return before, after, len(digits), int(digits) - number

    patterns: list[str] = []
    for _, group in groupby(enumerate(names), key=series):
        members = [name for _, name in group]
        first, last = _NUMBERED.fullmatch(members[0]), _NUMBERED.fullmatch(members[-1])
        if len(members) == 1 or first is None or last is None:
            patterns += map(literal_pattern, members)
        else:
            numbers = f"{{{first[2]}..{last[2]}}}"
            patterns.append(f"{literal_pattern(first[1])}{numbers}{literal_pattern(first[3])}")
    return patterns


def _relative(path: Path, folder: Path) -> str:
    whole = Path(os.path.abspath(path))  # noqa: PTH100  (links stay)
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)


def _run_name(sets: Sequence[FoundSet], file: Path) -> str:
    for name in (file.stem if file.stem != "run" else "", file.absolute().parent.name, sets[0].name):
        if re.match(NAME_PATTERN, name):
            return name
    return "first"


def _heading(sets: Sequence[FoundSet], file: Path) -> list[str]:
    folder = file.absolute().parent
    lines = ["Written by `uwm init`; README.md says what each setting means, `uwm config` checks them."]
    tables = [(found, found.table) for found in sets if found.table is not None]
    if tables:
        lines.append("First, in this folder:")
    for found, table in tables:
        name = _relative(table, folder)
        out = _relative(table.with_name(f"{table.stem}-%06d.tar"), folder)
        lines.append(printable(f"    uwm shards pack {quote(name)} --out {quote(out)} --max-count {found.max_count}"))
    return [*lines, printable(f"Then `uwm plan {file.name}` says what it takes, and `uwm run {file.name}` runs it.")]


def _entry(name: str, value: Any) -> str:
    text: str = yaml.safe_dump({name: value}, **_DUMPED).strip()
    # A mapping of single values is dumped as one in braces.
    return text[1:-1] if text.startswith("{") else text


def _held(shards: Sequence[FoundShard]) -> str:
    tags: Counter[str] = sum((shard.tags for shard in shards), Counter())
    named = [f"{shortened(printable(tag), _TAG_LENGTH)} {n}" for tag, n in tags.most_common(_MOST_TAGS)]
    more = f", {len(tags) - _MOST_TAGS} more" if len(tags) > _MOST_TAGS else ""
    n_pairs = sum(shard.n_pairs for shard in shards)
    shown = f"; tags: {', '.join(named)}{more}" if tags else "; no tags"
    return f"{n_pairs} pairs in {len(shards)} shards{shown}"


def _ordered(settings: Mapping[str, Any]) -> list[str]:
    first = ["name", "seed", "model", "calibration", "evaluation", "text", "vision"]
    return [*(name for name in first if name in settings), *(name for name in settings if name not in first)]
