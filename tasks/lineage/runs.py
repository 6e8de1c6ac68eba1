"""The records of a store's runs, `STORE/.runs/ID.json`, and artifacts by the names of runs."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from data_specs.suggestions import did_you_mean
from data_specs.wording import shown
from tasks.lineage.listing import survey
from tasks.lineage.store import Store

RUNS = ".runs"
# What a run is for, first of all.
MAIN_ROLES = ("model", "sweep", "comparison", "ablation", "edit", "scores")
_ROLE_MARK = ":"
_MOST_TOLD = 4


def run_records(root: Path) -> list[dict[str, Any]]:
    """Every record that can be read, the newest first; of a comparison of several settings one for each."""
    records = []
    for path in (root / RUNS).glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            found = [*records_of_each(content)]
            if all(isinstance(each["settings"]["name"], str) and each["started"] and each["status"] for each in found):
                records += found
    # Identifiers count seconds, and two runs may begin in one.
    return sorted(records, key=lambda record: str(record["started"]), reverse=True)


def records_of_each(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A record, or of one of several settings a record of each."""
    settings = content["settings"]
    if isinstance(settings, dict):
        yield content
        return
    # All but the first stand behind their names.
    prefixes = [f"{each['name']}." for each in settings[1:]]
    for prefix, each in zip(["", *prefixes], settings, strict=True):
        others = tuple(other for other in prefixes if other != prefix)
        own = {
            part: {
                name.removeprefix(prefix): value
                for name, value in (content.get(part) or {}).items()
                if name.startswith(prefix) and not (others and not prefix and name.startswith(others))
            }
            for part in ("artifacts", "figures", "intervals")
        }
        yield content | own | {"settings": each}


def dotted_settings(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names, such as `text.tau`."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from dotted_settings(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def find_artifact(store: Store, named: str, roles: Sequence[str] = MAIN_ROLES) -> ArtifactRef:
    """The artifact of a version, or of the newest completed run of a name; the beginning of either is enough.

    Args:
        store: where it lies.
        named: a version, or NAME or NAME:ROLE of a run.
        roles: which artifact of a run is meant where no role is given, best first.

    Raises:
        ArtifactError: nothing is called so, or several are.
    """
    name, mark, role = named.partition(_ROLE_MARK)
    newest: dict[str, dict[str, Any]] = {}
    for record in run_records(store.root):
        if record["status"] == "completed" and record.get("artifacts"):
            newest.setdefault(record["settings"]["name"], record)
    names = [name] if name in newest else sorted(known for known in newest if name and known.startswith(name))
    versions = [] if mark or not named else [item.ref for item in survey(store.root, named).found]
    if not names:
        if versions or not newest:
            return store.find(named)
        raise ArtifactError(
            f"{shown(named)} names neither an artifact nor a run in {store.root}{did_you_mean(name, newest)}; see"
            " `uwm artifacts list` and `uwm results`"
        )
    if versions or len(names) > 1:
        told = [f"run {each}" for each in names] + [f"{ref.kind} {ref.version[:16]}" for ref in versions]
        raise ArtifactError(
            f"{shown(named)} names {len(told)}: {', '.join(told[:_MOST_TOLD])}; write more of it, or NAME:ROLE for a run's"
        )
    return store.find(_version(newest[names[0]], role, roles))


def _version(record: dict[str, Any], role: str, roles: Sequence[str]) -> str:
    artifacts: dict[str, str] = record["artifacts"]
    chosen = role or next((each for each in roles if each in artifacts), "")
    name = record["settings"]["name"]
    if chosen not in artifacts:
        expected = shown(role) if role else " or ".join(roles)
        raise ArtifactError(
            f"run {name} of {record['started'][:16]} made no {expected}, only {', '.join(artifacts)}"
            f"{did_you_mean(role, artifacts)}"
        )
    return artifacts[chosen]
