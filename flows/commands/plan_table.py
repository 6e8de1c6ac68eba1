"""A plan for a person: a line an artifact, and what it comes to."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from data_specs.plan import PlannedArtifact, RunPlan

_VERSION_CHARS = 12
_UNKNOWN = "not known yet"
_MINUTE, _HOUR = 60.0, 3600.0


def plan_table(plan: RunPlan, width: int) -> Table:
    """All artifacts in the order of a run; where there is room, with their versions."""
    table = Table(title=f"plan of {plan.name}, store {plan.store}", title_justify="left")
    table.add_column("artifact", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("through the model", justify="right", overflow="fold")
    for name in ("about", "last time"):
        table.add_column(name, justify="right", no_wrap=True)
    with_versions = width >= 110
    if with_versions:
        table.add_column("version", no_wrap=True)
    for item in plan.artifacts:
        cells = [item.role, _state(item), _passes(item)]
        cells += ["", ""] if item.there else [decimal(item.size_bytes), shown_seconds(item.seconds)]
        version = _UNKNOWN if item.version is None else item.version[:_VERSION_CHARS]
        table.add_row(*cells, *([version] if with_versions else []))
    return table


def plan_lines(plan: RunPlan) -> list[str]:
    """What it comes to, in sentences."""
    to_make, totals = plan.to_make, plan.totals
    n_there = len(plan.artifacts) - len(to_make)
    lines = [f"{len(plan.artifacts)} artifacts: {n_there} there, {len(to_make)} to make"]
    if to_make:
        passes = _listed(totals, ("images", "texts", "gradients")) or "nothing"
        lines[0] += f": {passes} through the model, about {decimal(totals['size_bytes'])}"
        lines[0] += " with the sums of one tag" if any(item.tag_bytes is not None for item in to_make) else ""
        if totals["captions"]:
            lines.append(f"{totals['captions']:,} captions of at most {totals['tokens']:,} tokens in all")
        if totals["judgements"]:
            lines.append(f"at most {totals['judgements']:,} judgements of captions")
        known = [item for item in to_make if item.seconds is not None]
        if known:
            spent = sum(item.seconds or 0.0 for item in known)
            of = "all" if len(known) == len(to_make) else f"{len(known)} of them"
            lines.append(f"{of} took about {shown_seconds(spent)} when the like was last made on {plan.device}")
        if len(known) < len(to_make):
            kinds = sorted({item.kind for item in to_make if item.seconds is None})
            lines.append(f"this store has no record of how long these take on {plan.device}: {', '.join(kinds)}")
    lines += [
        f"{item.role}: about {decimal(item.rows_bytes)} with statistics: rows, {decimal(item.folded_bytes)} with folded"
        + ("" if item.tag_bytes is None else f" for one tag, {decimal(item.tag_bytes)} more for each further one")
        for item in to_make
        if item.rows_bytes is not None and item.folded_bytes is not None
    ]
    if any(item.version is None for item in to_make):
        lines.append("Some versions follow from weights that are not selected yet; those may turn out to be there.")
    last = plan.last_run
    if last is not None:
        made = f"{last.computed} made, {last.reused} found"
        lines.append(f"last run of this name: {last.started[:16]}Z, {shown_seconds(last.seconds)} ({made})")
    return lines


def shown_seconds(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "?"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def _state(item: PlannedArtifact) -> str:
    if item.there:
        return "there"
    if item.parts and item.parts_there:
        return f"to make ({item.parts - item.parts_there} of {item.parts} shards)"
    return "to make"


def _passes(item: PlannedArtifact) -> str:
    return _listed(item.model_dump(), ("images", "texts", "gradients", "captions", "judgements"))


def _listed(counts: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in names if counts[name])
