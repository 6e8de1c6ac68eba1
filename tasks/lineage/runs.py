"""The records of a store's runs, `STORE/.runs/ID.json`."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

RUNS = ".runs"
_NEWEST = 64  # other processes may leave some meanwhile
# What a run is for, first of all.
MAIN_ROLES = ("model", "sweep", "comparison", "ablation", "edit", "scores")


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


def run_of_flow_run(root: Path, flow_run_id: str) -> str | None:
    """The identifier of the record that a flow run has just left; None where it is not among the newest."""
    for path in sorted((root / RUNS).glob("*.json"), reverse=True)[:_NEWEST]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["flow_run_id"] == flow_run_id:
                return str(content["id"])
    return None


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
