"""What a store's log says of tags that the tags themselves do not."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from data_specs.log_entry import LogEntry, LogFact
from data_specs.manifest import ArtifactRef
from tasks.lineage.contents import label_of
from tasks.lineage.tags import TAG_DETAIL, current_tags, tag_fact


def tag_faults(entries: Iterable[LogEntry], root: Path) -> Iterator[tuple[str, LogFact]]:
    """Tags that name something else than the log says, each in a sentence, with what would have to be added to the log.

    Args:
        entries: of the log, in order.
        root: the store's folder.

    Raises:
        ArtifactError: the history of the tags cannot be read.
    """
    logged: dict[str, LogEntry] = {}
    for entry in entries:
        if entry.event in ("tagged", "untagged") and TAG_DETAIL in entry.details:
            logged[entry.details[TAG_DETAIL]] = entry
    tags = current_tags(root)
    for name in sorted(logged.keys() | tags.keys()):
        line, ref = logged.get(name), tags.get(name)
        if line is None:
            yield f"tag {name} is not in the log: it was given by other means than `uwm tag`", tag_fact(root, name, ref)
        elif _named(line) != ref:
            told = f"entry {line.number} of the log says {_told(_named(line))}"
            yield f"tag {name} names {_told(ref)}, but {told}", tag_fact(root, name, ref)


def _named(entry: LogEntry) -> ArtifactRef | None:
    if entry.event == "untagged" or entry.kind is None or entry.version is None:
        return None
    return ArtifactRef(kind=entry.kind, version=entry.version)


def _told(ref: ArtifactRef | None) -> str:
    return "nothing" if ref is None else label_of(ref)
