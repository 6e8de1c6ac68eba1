"""What somebody is told of a night: sentences for a person, and the same as JSON for a program."""

import os
from typing import Any
from urllib.parse import quote

from data_specs.errors import SpecError
from data_specs.night import Measured, Night
from data_specs.notification import Event
from data_specs.wording import one_line, shown

REPORTS_URL = "UWM_REPORTS_URL"
_MOST_SENTENCES = 20
_SAYS: dict[Event, str] = {
    "passed": "passed",
    "failed": "FAILED",
    "unsure": "is unsure",
    "not_comparable": "is not comparable",
    "crashed": "ended without a result",
    "missed": "did not begin",
}
_OUTCOMES: dict[Event, tuple[str, ...]] = {
    "passed": (),
    "failed": ("fail",),
    "unsure": ("unsure", "not_comparable"),
    "not_comparable": ("not_comparable",),
}


def subject_of(night: Night, event: Event) -> str:
    """One line that says which watch, which night and how it ended."""
    when = (night.due if event == "missed" and night.due else night.started)[:16].replace("T", " ")
    return one_line(f"{night.watch}: the night of {when} UTC {_SAYS[event]}", 200)


def sentences_of(night: Night, event: Event) -> list[str]:
    """What happened, the worst first: faults, then the gates that the event is about; at most 20."""
    said: list[str] = []
    for one in night.measured:
        if one.error is not None:
            said.append(one_line(f"{pair_name(one)}: {one.error}"))
    # What a night failed by repeats what its models and gates say.
    if night.error is not None and not said and event not in _OUTCOMES:
        said.append(one_line(night.error))
    for outcome in _OUTCOMES.get(event, ()):
        for one in night.measured:
            said += [
                one_line(f"{pair_name(one)}: {result.sentence}") for result in one.gates if result.outcome == outcome
            ]
    if len(said) > _MOST_SENTENCES:
        said = [*said[: _MOST_SENTENCES - 1], f"and {len(said) - _MOST_SENTENCES + 1} more"]
    return said or [_without_sentence(night, event)]


def told_text(night: Night, event: Event) -> str:
    """All that a person is told, a line each: subject, sentences, where the reports are."""
    lines = [subject_of(night, event), *(f"- {said}" for said in sentences_of(night, event))]
    lines += [f"Report of {pair_name(one)}: {report_link(one.report)}" for one in night.measured if one.report]
    if night.flow_run_id:
        lines.append(f"Flow run {night.flow_run_id}, night {night.id}")
    return "\n".join(lines)


def message_of(night: Night, event: Event) -> dict[str, Any]:
    """What a webhook is posted: `text` for people's chats, the rest for programs.

    Raises:
        SpecError: UWM_REPORTS_URL is no URL.
    """
    return {
        "text": told_text(night, event),
        "event": event,
        "watch": night.watch,
        "night": night.id,
        "status": night.status,
        "outcome": night.outcome,
        "exit_code": night.exit_code,
        "due": night.due,
        "started": night.started,
        "ended": night.ended,
        "host": night.host,
        "flow_run_id": night.flow_run_id,
        "sentences": sentences_of(night, event),
        "gates": [
            {"model": one.model, "set": one.set, "name": result.gate.name, **result.model_dump(mode="json")}
            for one in night.measured
            for result in one.gates
        ],
        "reports": [
            {"model": one.model, "set": one.set, "path": one.report, "url": report_link(one.report)}
            for one in night.measured
            if one.report
        ],
    }


def pair_name(one: Measured) -> str:
    """How a model on a set is called, here and in Prefect."""
    return f"{one.model} @ {one.set}"


def report_link(path: str) -> str:
    """Where a report of a store is looked at: below UWM_REPORTS_URL where that is set, else its path.

    Raises:
        SpecError: UWM_REPORTS_URL is no URL.
    """
    base = os.environ.get(REPORTS_URL, "")
    if not base:
        return path
    if not base.startswith(("http://", "https://")):
        raise SpecError(f"{REPORTS_URL} is {shown(base)}, expected a URL such as http://127.0.0.1:8090")
    # As `uwm serve --reports` serves them: the last three parts lead from the store to the file.
    return f"{base.rstrip('/')}/{'/'.join(quote(part) for part in path.split('/')[-3:])}"


def _without_sentence(night: Night, event: Event) -> str:
    if event == "missed":
        return f"no night of {night.watch} began when one was due; see that its scheduler runs"
    if event == "crashed":
        return "its process is gone; the next night goes on from what is in the store"
    n_gates = sum(len(one.gates) for one in night.measured)
    return f"{n_gates} gate{'s' if n_gates != 1 else ''} of {len(night.measured)} measured"
