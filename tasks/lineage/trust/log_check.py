"""What a log says that is not so: lines changed or missing, artifacts removed, put in, changed or brought back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.errors import ArtifactError, SpecError
from data_specs.log_entry import NO_ENTRY, LogEntry, LogEvent, LogFact
from data_specs.manifest import ArtifactRef
from data_specs.wording import first_line, shown
from tasks.lineage.contents import SCRATCH, label_of, manifest_sha256
from tasks.lineage.trust.log import Log, artifacts_there, fact_of, parse_line
from tasks.lineage.trust.log_tags import tag_faults

_GONE: frozenset[LogEvent] = frozenset({"discarded", "lost"})
_THERE: frozenset[LogEvent] = frozenset({"made", "found", "pulled", "upgraded", "pruned"})


@dataclass
class LogReport:
    """What a log holds, and all that is wrong with it, each in a sentence."""

    entries: list[LogEntry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # What would have to be added to the log for it to tell what the store holds.
    lacking: list[LogFact] = field(default_factory=list)

    @property
    def head(self) -> str | None:
        """The hash of the newest line."""
        return self.entries[-1].hash if self.entries else None


def read_log(root: Path) -> LogReport:
    """The log of the store at `root`, with what is wrong with its lines.

    Raises:
        ArtifactError: it cannot be read.
    """
    report = LogReport()
    path = Log(root).path
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return report
    except OSError as error:
        raise ArtifactError(f"cannot read the log {path}: {error.strerror or error}") from error
    lines, _, torn = data.rpartition(b"\n")
    if torn:
        report.notes.append(
            "the last line has no end: a process was killed as it wrote, and the next entry leaves it out"
        )
    previous, expected = NO_ENTRY, 1
    for place, line in enumerate(lines.split(b"\n") if lines else [], start=1):
        try:
            entry = parse_line(line)
        except ValueError as error:
            report.faults.append(f"line {place} of the log was changed: {first_line(error)}")
            previous, expected = "", expected + 1
            continue
        report.faults += _breaks(entry, previous, expected)
        report.entries.append(entry)
        previous, expected = entry.hash, entry.number + 1
    return report


def _breaks(entry: LogEntry, previous: str, expected: int) -> Iterator[str]:
    if entry.number > expected:
        one = entry.number == expected + 1
        missing = (
            f"entry {expected} of the log is" if one else f"entries {expected} to {entry.number - 1} of the log are"
        )
        yield f"{missing} missing"
    elif entry.number < expected:
        yield f"entry {entry.number} of the log stands where entry {expected} should"
    elif previous and entry.previous != previous:
        yield f"entry {entry.number} of the log does not follow from the one before it: that one was changed"


def check_log(root: Path, expected: Sequence[str] = ()) -> LogReport:
    """Compare a log with itself, with hashes that were noted before, and with what the store holds.

    Args:
        root: the store's folder.
        expected: hashes of entries that were the newest when they were noted.

    Returns:
        The report; nothing is wrong where it has no faults.

    Raises:
        SpecError: what is expected is no hash.
        ArtifactError: the log or the store cannot be read.
    """
    for noted in expected:
        if len(noted) != len(NO_ENTRY) or set(noted) - set("0123456789abcdef"):
            raise SpecError(f"--expect {shown(noted)} is no head of a log; expected 64 hexadecimal digits")
    # Listed first: what is made meanwhile has its line before it is there.
    there = dict(artifacts_there(root))
    report = read_log(root)
    places = {entry.hash: entry.number for entry in report.entries}
    for noted in expected:
        if noted not in places:
            report.faults.append(
                f"the log does not hold the head {noted[:16]} that was noted: entries were removed or rewritten since"
            )
        else:
            report.notes.append(
                f"entry {places[noted]} is the head that was noted; {len(places) - places[noted]} since"
            )
    if report.entries:
        _compare(report, there, root)
    elif there:
        report.faults.append(f"there is no log, but {len(there)} artifacts; the next one that is made begins one")
    return report


def _compare(report: LogReport, there: dict[ArtifactRef, str], root: Path) -> None:
    history: dict[ArtifactRef, list[LogEntry]] = {}
    for entry in report.entries:
        if entry.kind is not None and entry.version is not None and entry.event in _GONE | _THERE:
            history.setdefault(ArtifactRef(kind=entry.kind, version=entry.version), []).append(entry)
    for ref, entries in history.items():
        digest = there.get(ref)
        if digest != (None if entries[-1].event in _GONE else entries[-1].manifest):
            # Looked at again: a run may have made or discarded it since.
            _tell(report, ref, entries, _digest(root / ref.kind / ref.version), root)
    for ref in there.keys() - history.keys():
        report.faults.append(f"{label_of(ref)} is not in the log: it was put there by other means than a run")
        report.lacking.append(fact_of("found", ref, there[ref]))
    for fault, lacking in tag_faults(report.entries, root):
        report.faults.append(fault)
        report.lacking.append(lacking)


def _tell(report: LogReport, ref: ArtifactRef, entries: Sequence[LogEntry], digest: str | None, root: Path) -> None:
    last, label = entries[-1], label_of(ref)
    if last.event in _GONE:
        if digest is not None:
            report.faults.append(f"{label} is there, but entry {last.number} says that it was {last.event}")
            report.lacking.append(fact_of("found", ref, digest))
    elif digest is None:
        if _digest(root / SCRATCH / f"{ref.kind}-{ref.version}") == last.manifest:
            report.notes.append(f"{label} of entry {last.number} is not there yet; a run was ended as it put it there")
        else:
            report.faults.append(f"{label} of entry {last.number} is gone, and the log does not say why")
            report.lacking.append(fact_of("lost", ref))
    elif digest != last.manifest:
        older = next((entry.number for entry in reversed(entries) if entry.manifest == digest), None)
        said = f"is that of entry {older} again" if older else "is in no entry"
        report.faults.append(f"{label}: its manifest {said}; entry {last.number} is the newest")
        report.lacking.append(fact_of("found", ref, digest))


def _digest(folder: Path) -> str | None:
    try:
        return manifest_sha256(folder)
    except OSError:
        return None


def acknowledge(root: Path, expected: Sequence[str] = ()) -> LogReport:
    """Write into the log what a check found of the store's artifacts; faults of its own lines stay.

    Args:
        root: the store's folder.
        expected: see `check_log`.

    Returns:
        The report of before.

    Raises:
        SpecError: what is expected is no hash.
        ArtifactError: the log or the store cannot be read or written.
    """
    report = check_log(root, expected)
    if report.lacking:
        Log(root).append(report.lacking)
    return report
