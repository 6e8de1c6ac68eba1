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
from tasks.settings_draft.division import divided
from tasks.settings_draft.found_sets import KIND_OF_MEMBERS, FoundSet, FoundShard, lacking
from tasks.shards.location import COMMAND, is_elsewhere

_NUMBERED = re.compile(r"(.*?)(\d+)([^\d/]*)")
_MOST_TAGS, _TAG_LENGTH = 12, 40
_DUMPED: dict[str, Any] = {"default_flow_style": None, "sort_keys": False, "allow_unicode": True, "width": 10**6}


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
    division = divided(sets)
    evaluation = division.evaluation
    if missing := lacking(evaluation):
        raise DataError(
            f"the shards to measure on, such as {evaluation[0].location}, hold no pair with a safe and an unsafe"
            f" {' or '.join(missing)}; expected all four members"
        )
    folder = file.absolute().parent
    missing_in = {kind for shards in division.calibration.values() for kind in lacking(shards)}
    whole: dict[str, Any] = {**settings, "name": _run_name(sets, file)}
    comments: dict[str, str] = {
        "calibration": "; ".join(_held(shards, side) for side, shards in division.calibration.items()),
        "evaluation": _held(evaluation),
    }
    for encoder, kind in KIND_OF_MEMBERS.items():
        if kind in missing_in:
            whole[encoder] = None
            comments[encoder] = f"left alone: calibration holds no {kind}s that it could be scored on"
        elif division.encoder and whole.get(encoder, {}) is not None:
            whole[encoder] = {**whole.get(encoder, {}), **division.encoder}
            comments[encoder] = f"{' '.join(division.encoder.values())}: {division.reason}"
    if division.encoder and whole.pop("methods", None):
        comments["calibration"] += "; the preset's methods are left out, which compare with pairs"
    named = {side: patterns_of(shards, folder) for side, shards in division.calibration.items()}
    whole["calibration"] = {**whole.get("calibration", {}), **named}
    for side in {"shards", "safe", "unsafe"} - named.keys():
        whole["calibration"].pop(side, None)
    whole["evaluation"] = {**whole.get("evaluation", {}), "shards": patterns_of(evaluation, folder)}
    parse_config(whole, base=folder, source=str(file))
    lines = [f"# {line}" for line in _heading(sets, file)]
    for name in _ordered(whole):
        lines += [f"# {comments[name]}"] if name in comments else []
        lines.append(_entry(name, whole[name]))
    return "\n".join(lines) + "\n"


def patterns_of(shards: Sequence[FoundShard], folder: Path) -> list[str]:
    """Patterns, relative to a folder where they lie below it, that expand to these shards; runs of numbers as braces."""
    names = [
        shard.location if is_elsewhere(shard.location) else _relative(Path(shard.location), folder) for shard in shards
    ]

    def series(item: tuple[int, str]) -> tuple[Any, ...]:
        number, name = item
        # A command is taken as it is.
        found = None if name.startswith(COMMAND) else _NUMBERED.fullmatch(name)
        if found is None:
            return (name,)
        before, digits, after = found.groups()
        return before, after, len(digits), int(digits) - number

    patterns: list[str] = []
    for _, group in groupby(enumerate(names), key=series):
        members = [name for _, name in group]
        first, last = _NUMBERED.fullmatch(members[0]), _NUMBERED.fullmatch(members[-1])
        if len(members) == 1 or first is None or last is None:
            patterns += (name if name.startswith(COMMAND) else literal_pattern(name) for name in members)
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


def _held(shards: Sequence[FoundShard], side: str = "") -> str:
    tags: Counter[str] = sum((shard.tags for shard in shards), Counter())
    named = [f"{shortened(printable(tag), _TAG_LENGTH)} {n}" for tag, n in tags.most_common(_MOST_TAGS)]
    more = f", {len(tags) - _MOST_TAGS} more" if len(tags) > _MOST_TAGS else ""
    n_pairs = sum(shard.n_pairs for shard in shards)
    what = {"pairs": "pairs", "unsafe members": "unsafe samples"}.get(shards[0].kind, f"{side} samples")
    shown = f"; tags: {', '.join(named)}{more}" if tags else "; no tags"
    return f"{n_pairs} {what} in {len(shards)} shards{shown}"


def _ordered(settings: Mapping[str, Any]) -> list[str]:
    first = ["name", "seed", "model", "calibration", "evaluation", "text", "vision"]
    return [*(name for name in first if name in settings), *(name for name in settings if name not in first)]
