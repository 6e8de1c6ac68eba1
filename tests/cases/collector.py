"""A collector of OpenLineage events: an HTTP server in a process of its own on loopback, and the standard's schemas."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from tests.cases.places import ROOT
from tests.cases.receivers import Receiver, webhook

_SCHEMAS = ROOT / "tests" / "data" / "openlineage"
_checker = FormatChecker()


@_checker.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return datetime.fromisoformat(str(value)).tzinfo is not None


@dataclass
class Collector:
    """A running collector, and what it has received."""

    url: str
    receiver: Receiver

    def asked(self) -> list[dict[str, Any]]:
        """Requests that it took: path, authorization and event."""
        taken = [each for each in self.receiver.got() if each["status"] < HTTPStatus.MULTIPLE_CHOICES]
        return [{"path": each["path"], "authorization": each["authorization"], "event": each["body"]} for each in taken]

    def events(self) -> list[dict[str, Any]]:
        """Events, each found valid by the standard's schemas."""
        return [validated(asked["event"]) for asked in self.asked()]


@contextmanager
def collecting(folder: Path, status: int = 201) -> Iterator[Collector]:
    """A collector that writes into `folder` and answers with a status, until the block ends."""
    with webhook(folder, (status,)) as receiver:
        yield Collector(f"http://127.0.0.1:{receiver.port}", receiver)


def validated(event: dict[str, Any]) -> dict[str, Any]:
    """An event that is valid by the standard: as a whole, and each facet by the schema that it names."""
    _validate(event, event["schemaURL"])
    facets = [event["run"].get("facets", {}), event["job"].get("facets", {})]
    for data_set in (*event.get("inputs", []), *event.get("outputs", [])):
        facets += [data_set.get(name, {}) for name in ("facets", "inputFacets", "outputFacets")]
    for facet in (facet for group in facets for facet in group.values()):
        _validate(facet, facet["_schemaURL"])
    return event


def _validate(instance: object, url: str) -> None:
    Draft202012Validator({"$ref": url}, registry=_registry(), format_checker=_checker).validate(instance)


def _registry() -> Registry[Any]:
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in _SCHEMAS.glob("*.json")]
    return Registry().with_resources([(content["$id"], Resource.from_contents(content)) for content in contents])
