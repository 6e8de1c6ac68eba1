"""Figures of a night's evaluations, and what its gates say of them."""

from collections.abc import Sequence
from pathlib import Path

from data_specs.evaluation_files import read_by_tag, read_figures, read_intervals, read_metrics
from data_specs.gate import Gate, GateResult
from data_specs.manifest import ArtifactRef
from data_specs.night import Measured
from data_specs.run_result import RunResult
from data_specs.watch import Watch
from flows.nightly.comparable import Origin, origin_of, what_differs
from flows.nightly.measuring import MEASURED
from tasks.evaluation.gates.decision import decide
from tasks.evaluation.gates.examination import examine
from tasks.evaluation.gates.finding import Finding
from tasks.lineage.digest import text_sha256
from tasks.lineage.store import Store

_EVALUATION = f"evaluation.{MEASURED}"


def measured_of(store: Store, model: str, on: str, result: RunResult, before: Measured | None) -> Measured:
    """What a run of one model on one set came to.

    Args:
        store: holds its artifacts.
        model: its name in the watch.
        on: the set's.
        result: of the run.
        before: the same of the night before, with which shards are compared.
    """
    evaluation = ArtifactRef(kind="evaluation", version=result.artifacts[_EVALUATION].version)
    folder, origin = store.path(evaluation), origin_of(store, evaluation)
    known = set() if before is None else set(before.shards)
    what = origin.manifest.recipe.inputs["model"]
    report = result.artifacts.get("report")
    return Measured(
        model=model,
        set=on,
        status="completed",
        evaluation=evaluation.version,
        what=what.version if isinstance(what, ArtifactRef) else str(what),
        n_pairs=int(read_metrics(folder)["n_pairs"]),
        skipped=origin.skipped,
        figures=read_figures(folder),
        intervals=read_intervals(folder),
        by_tag=_by_tag(folder),
        shards=origin.shards,
        shards_added=[] if before is None else _locations(store, origin, known),
        shards_removed=sorted(known - set(origin.shards)),
        environments=origin.environments,
        libraries=origin.manifest.circumstances.libraries,
        code=text_sha256(origin.code),
        report=None if report is None else str(Path(report.path) / "report.html"),
        computed=result.computed,
        reused=result.reused,
        seconds=round(sum(result.seconds.values()), 3),
    )


def judge(
    store: Store, watch: Watch, measured: Sequence[Measured], baselines: dict[str, ArtifactRef]
) -> list[list[GateResult]]:
    """What became of the gates of each model on each set.

    Args:
        store: holds the evaluations.
        watch: whose gates they are.
        measured: all of a night.
        baselines: the baseline's evaluation by set; a set that lacks one can be compared with nothing.
    """
    findings: list[Sequence[Finding]] = []
    for item in measured:
        gates: list[Gate] = watch.gates_for(item.model, item.set) if item.model in watch.models else []
        if item.evaluation is None or not gates:
            findings.append([])
            continue
        evaluation, baseline = ArtifactRef(kind="evaluation", version=item.evaluation), baselines.get(item.set)
        reasons: list[str] = []
        if baseline is not None and baseline != evaluation:
            reasons = what_differs(store, origin_of(store, evaluation), origin_of(store, baseline))
        place = None if baseline is None else store.path(baseline)
        findings.append(examine(gates, store.path(evaluation), place, watch.seed, not_comparable=reasons))
    return decide(findings)


def _locations(store: Store, origin: Origin, known: set[str]) -> list[str]:
    """Where the shards of pairs lie that were not there before."""
    found: dict[str, str] = {}
    for (what, sha), part, _ in origin.parts():
        if what.startswith("embeddings.") and sha not in known and sha not in found:
            found[sha] = next((source.location for source in store.manifest(part).sources), sha)
    return [*found.values()]


def _by_tag(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in read_by_tag(folder):
        if row.tag is not None:
            found.setdefault(row.tag, {})[row.metric] = row.value
    return found
