"""What Prefect shows of a night: a page of its figures and gates, and links to the reports of its models."""

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from data_specs.caption_metrics import find_figure
from data_specs.gate import GateResult
from data_specs.night import Measured, Night
from flows.nightly.telling.message import pair_name, report_link
from flows.prefect_page import artifact_key, tried
from flows.server.temporary import is_temporary
from tasks.tables.escaping import Plain, escape_markdown, markdown_table

_WORDS = {"not_comparable": "not comparable", "fail": "**FAIL**"}
_GATES = ("model @ set", "metric", "before", "after", "change", "95 % interval", "limit", "gate")
_MEASURED = ("model @ set", "pairs", "skipped", "shards added", "computed", "reused", "run's record", "report")


def show_night_in_prefect(night: Night) -> None:
    """Put a night's page on the server of the flow run, where that outlives it; a server that fails ends nothing."""
    if FlowRunContext.get() is None or is_temporary():
        return
    log, key = get_run_logger(), artifact_key(night.watch)
    log.info(f"night {night.id} of {night.watch}: {night.outcome or night.status}")
    tried(log, create_markdown_artifact, night_markdown(night), f"{key}-night", f"What the night {night.id} came to")
    for one in night.measured:
        if one.report is not None:
            name = f"{key}-{artifact_key(pair_name(one))}-report"
            tried(log, create_link_artifact, report_link(one.report), one.report, name, f"Report of {pair_name(one)}")


def night_markdown(night: Night) -> str:
    """A night in GitHub's Markdown: gates with what they were held against, what was measured, where it is."""
    lines = [f"# {escape_markdown(night.watch)}: {_word(night.outcome or night.status)}", ""]
    if night.error is not None:
        lines += [f"- {escape_markdown(night.error)}", ""]
    gates = [(one, result) for one in night.measured for result in one.gates]
    if gates:
        lines += [*markdown_table(_GATES, [_gate_row(one, result) for one, result in gates]), ""]
        lines += [f"- {escape_markdown(f'{pair_name(one)}: {result.sentence}')}" for one, result in gates]
        lines.append("")
    lines += markdown_table(_MEASURED, [_measured_row(one) for one in night.measured])
    for one in night.measured:
        if one.skipped:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in one.skipped.items())
            lines += ["", f"- skipped: {escape_markdown(f'{pair_name(one)}: {reasons}')}"]
        if one.error is not None:
            lines += ["", f"- not measured: {escape_markdown(f'{pair_name(one)}: {one.error}')}"]
    lines += ["", "A part or stage that was there counts as reused: nothing was computed for it.", ""]
    lines += [f"- told: {escape_markdown(told)}" for told in night.told]
    return "\n".join(lines)


def _gate_row(one: Measured, result: GateResult) -> list[object]:
    about, gate = find_figure(result.gate.metric), result.gate

    def figure(value: float | None, sign: str = "") -> str:
        return "" if value is None else about.shown(value, more=1, sign=sign)

    sign = "+" if gate.of_change else ""
    known = result.low is not None and result.high is not None
    interval = f"[{figure(result.low, sign)}, {figure(result.high, sign)}]" if known else ""
    held = [pair_name(one), gate.figure, figure(result.baseline), figure(result.value), figure(result.change, "+")]
    return [*held, interval, f"{gate.rule} {gate.limit:g}", Plain(_word(result.outcome))]


def _measured_row(one: Measured) -> list[object]:
    n_pairs = "" if one.n_pairs is None else f"{one.n_pairs:,}"
    computed: object = one.computed if one.computed else "nothing"
    report = "" if one.report is None else report_link(one.report)
    skipped = sum(one.skipped.values()) if one.status == "completed" else ""
    if one.status != "completed":
        computed = one.status
    return [pair_name(one), n_pairs, skipped, len(one.shards_added), computed, one.reused, one.run or "", report]


def _word(outcome: str) -> str:
    return _WORDS.get(outcome, outcome)
