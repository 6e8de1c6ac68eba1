"""Figures of a night's evaluations, and what its gates say of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.caption_metrics import is_of_captions
from data_specs.evaluation_files import read_by_tag, read_figures, read_intervals, read_metrics
from data_specs.gate import Gate, GateResult
from data_specs.manifest import ArtifactRef
from data_specs.night import Measured
from data_specs.run_result import RunResult
from data_specs.watch import Watch
from flows.nightly.comparable import Origin, captions_differ, origin_of, what_differs
from flows.nightly.measuring import MEASURED
from tasks.evaluation.gates.captioned import examine_captions
from tasks.evaluation.gates.decision import decide
from tasks.evaluation.gates.examination import examine
from tasks.evaluation.gates.finding import Finding
from tasks.lineage.digest import text_sha256
from tasks.lineage.store import Store

_EVALUATION, _CAPTIONS = f"evaluation.{MEASURED}", f"caption_evaluation.{MEASURED}"


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
    report, captions = result.artifacts.get("report"), result.artifacts.get(_CAPTIONS)
    of_captions = None if captions is None else store.path(_captions(captions.version))
    return Measured(
        model=model,
        set=on,
        status="completed",
        evaluation=evaluation.version,
        caption_evaluation=None if captions is None else captions.version,
        what=what.version if isinstance(what, ArtifactRef) else str(what),
        n_pairs=int(read_metrics(folder)["n_pairs"]),
        skipped=origin.skipped,
        figures=read_figures(folder) | (read_figures(of_captions) if of_captions else {}),
        intervals=read_intervals(folder) | (read_intervals(of_captions) if of_captions else {}),
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


@dataclass
class Baselines:
    """What a night's changes are from, by set: the baseline's evaluation, and that of its captions where it has some."""

    evaluations: dict[str, ArtifactRef] = field(default_factory=dict)
    captions: dict[str, ArtifactRef] = field(default_factory=dict)

    def add(self, measured: Measured) -> None:
        """Take what the baseline's own run measured on a set."""
        if measured.evaluation is not None:
            self.evaluations[measured.set] = ArtifactRef(kind="evaluation", version=measured.evaluation)
        if measured.caption_evaluation is not None:
            self.captions[measured.set] = _captions(measured.caption_evaluation)


def judge(store: Store, watch: Watch, measured: Sequence[Measured], baselines: Baselines) -> list[list[GateResult]]:
    """What became of the gates of each model on each set.

    Args:
        store: holds the evaluations.
        watch: whose gates they are.
        measured: all of a night.
        baselines: of it; a set that lacks one can be compared with nothing.
    """
    findings: list[Sequence[Finding]] = []
    for item in measured:
        gates: list[Gate] = watch.gates_for(item.model, item.set) if item.model in watch.models else []
        if item.evaluation is None or not gates:
            findings.append([])
            continue
        of_captions = [gate for gate in gates if is_of_captions(gate.metric)]
        others = [gate for gate in gates if gate not in of_captions]
        found = [
            *_examined(store, watch, item, others, baselines.evaluations.get(item.set)),
            *_captions_examined(store, watch, item, of_captions, baselines.captions.get(item.set)),
        ]
        findings.append(sorted(found, key=lambda finding: gates.index(finding.gate)))
    return decide(findings)


def _examined(
    store: Store, watch: Watch, item: Measured, gates: Sequence[Gate], baseline: ArtifactRef | None
) -> list[Finding]:
    evaluation = ArtifactRef(kind="evaluation", version=str(item.evaluation))
    reasons: list[str] = []
    if baseline is not None and baseline != evaluation:
        reasons = what_differs(store, origin_of(store, evaluation), origin_of(store, baseline))
    place = None if baseline is None else store.path(baseline)
    return examine(gates, store.path(evaluation), place, watch.seed, not_comparable=reasons)


def _captions_examined(
    store: Store, watch: Watch, item: Measured, gates: Sequence[Gate], baseline: ArtifactRef | None
) -> list[Finding]:
    if item.caption_evaluation is None:
        return [Finding(gate, reasons=["the model was not captioned"]) for gate in gates]
    captions = _captions(item.caption_evaluation)
    reasons: dict[str, list[str]] = {}
    if baseline is not None and baseline != captions:
        reasons = {gate.metric: captions_differ(store, captions, baseline, gate.metric) for gate in gates}
    place = None if baseline is None else store.path(baseline)
    return examine_captions(gates, store.path(captions), place, watch.seed, not_comparable=reasons)


def _captions(version: str) -> ArtifactRef:
    return ArtifactRef(kind="caption_evaluation", version=version)


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
