"""The text of a watch.yaml that runs as it is: the models and shards that there are, and gates to begin with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from data_specs.shard_patterns import literal_pattern
from data_specs.watch_file import parse_watch
from data_specs.wording import printable
from tasks.settings_draft.division import to_measure_on
from tasks.settings_draft.found_sets import FoundSet, lacking
from tasks.settings_draft.run_file import patterns_of
from tasks.shards.location import COMMAND, expand_locations, is_elsewhere

_DUMPED: dict[str, Any] = {"default_flow_style": None, "sort_keys": False, "allow_unicode": True, "width": 10**6}
_GATES = {"GS": {"min_change": -1.0}, "PS": {"min_change": -2.0}, "Ts-Vs": {"min_change": -2.0}}


def watch_text(
    sets: Sequence[FoundSet], models: Mapping[str, Any], baseline: Mapping[str, Any], file: Path
) -> str | None:
    """The text of the watch `file`; None where no set has pairs with all four members.

    Args:
        sets: what there is.
        models: that are watched, by name.
        baseline: what changes are changes from.
        file: paths in it start at its folder; `file` itself need not be there.

    Raises:
        SpecError: the models are none.
    """
    folder = file.absolute().parent
    usable = to_measure_on([found for found in sets if found.kind == "pairs" and not lacking(found.shards)])
    if not usable:
        return None
    named = {_name(found.name, number): {"shards": _growing(found, folder)} for number, found in enumerate(usable)}
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in folder.name).strip("-_")
    watch = {"name": name[:64] or "production", "models": {**models}, "sets": named, "baseline": {**baseline}}
    parse_watch({**watch, "gates": _GATES}, base=folder, source=str(file))
    left = [found.name for found in sets if found not in usable]
    lines = [
        "# Written by `uwm init --watch`; docs/nightly.md says what each setting means.",
        printable(
            f"# Then `uwm reevaluate {file.name}` measures once, `uwm serve {file.name} --cron '0 3 * * *'` every night."
        ),
    ]
    lines += [printable(f"# Left out: {', '.join(left)}")] if left else []
    text, gates = (str(yaml.safe_dump(part, **_DUMPED)) for part in (watch, {"gates": _GATES}))
    return (
        "\n".join(lines)
        + "\n"
        + text
        + "# Of a change from the baseline on the same pairs, in points; `min: 60` asks for"
        ' a figure itself, "GS[tag=violence]"\n# looks at the pairs of a tag, and zero_shot at the sets\' zero_shot: lists.\n'
        + gates
        + "# notify: [{webhook: $UWM_WEBHOOK, on: [failed, unsure, crashed]}]\n"
    )


def _name(name: str, number: int) -> str:
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name)
    return kept.strip("-_.")[:64] or f"set{number}"


def _growing(found: FoundSet, folder: Path) -> list[str]:
    """A pattern that also takes what comes later, where nothing else there is called so."""
    locations = [shard.location for shard in found.shards]
    places = {Path(location).parent for location in locations}
    if len(places) == 1 and not any(is_elsewhere(each) or each.startswith(COMMAND) for each in locations):
        place = next(iter(places))
        stem, ending = found.name, Path(locations[0]).suffix
        inside = place.absolute()
        pattern = f"{literal_pattern(str(inside))}/{literal_pattern(stem)}*{ending}"
        if sorted(Path(each).absolute() for each in expand_locations([pattern])) == sorted(
            Path(each).absolute() for each in locations
        ):
            near = inside.relative_to(folder) if inside.is_relative_to(folder) else inside
            return [f"{literal_pattern(str(near))}/{literal_pattern(stem)}*{ending}".removeprefix("./")]
    return patterns_of(found.shards, folder)
