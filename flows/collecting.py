"""What a store can do without: files that can be made again, and what killed processes left."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data_specs.dropping import DROPPED_KINDS
from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Manifest
from flows.reproducing.remaking import Remaking
from tasks.lineage.contents import label_of
from tasks.lineage.disk import refusal
from tasks.lineage.dropping.debris import Debris, count_dead_locks, dead_scratch, remove_dead_locks, remove_debris
from tasks.lineage.dropping.in_use import used_now
from tasks.lineage.dropping.pruning import freed_bytes, has_leftovers, prune, remove_leftovers
from tasks.lineage.progress import counted, notice
from tasks.lineage.runs import run_records
from tasks.lineage.store import Store
from tasks.lineage.tags import current_tags
from tasks.shards.run_copies import idle_copies, remove_idle_copies

_NEVER = (".joined",)  # sums that a set goes on from, and links of its files
_SCRATCH_STAYS = timedelta(days=7)


@dataclass(frozen=True)
class Wish:
    """What a collection may drop."""

    kinds: Sequence[str] = ("model",)  # keys of DROPPED_KINDS
    keep_tagged: bool = False
    older_than: timedelta = timedelta(0)  # since it was made, or a run last used it
    force: bool = False  # also what cannot be made again as it is


@dataclass(frozen=True)
class Candidate:
    """An artifact that could be dropped; `kept` says why it is not."""

    ref: ArtifactRef
    manifest: Manifest
    size_bytes: int
    seconds: float  # that it took to make
    kept: str | None


@dataclass
class Rubbish:
    """What a store can do without."""

    candidates: list[Candidate]
    leftovers: list[ArtifactRef]  # of drops that were cut off
    scratch: list[Debris]
    copies: list[Path]
    n_locks: int
    freed_bytes: int

    @property
    def dropped(self) -> list[Candidate]:
        """Those that are not kept."""
        return [item for item in self.candidates if item.kept is None]

    @property
    def seconds(self) -> float:
        """What it took to make all that is dropped."""
        return sum(item.seconds for item in self.dropped)


def find_rubbish(store: Store, wish: Wish) -> Rubbish:
    """Look what could be dropped and removed; nothing is.

    Raises:
        ArtifactError: the store cannot be read.
    """
    survey = store.survey()
    chosen = [item for item in survey.found if item.manifest is not None and _is_wanted(item.ref, wish)]
    kept = _Kept(store, wish)
    candidates = [
        Candidate(
            item.ref,
            item.manifest,
            sum(file.size_bytes for file in item.manifest.files),
            _seconds(item.manifest),
            kept.why(item.ref, item.manifest),
        )
        for item in counted("look through the store", [item for item in chosen if not item.pruned], "artifacts")
        if item.manifest is not None
    ]
    candidates.sort(key=lambda item: (_rank(item.ref), item.seconds / (item.size_bytes or 1), item.ref.version))
    return Rubbish(
        candidates=candidates,
        leftovers=[item.ref for item in survey.found if item.pruned and has_leftovers(item.folder)],
        scratch=[*dead_scratch(store, max(wish.older_than, _SCRATCH_STAYS).total_seconds())],
        copies=idle_copies(store.root) if store.root.is_dir() else [],
        n_locks=count_dead_locks(store.root),
        freed_bytes=_freed(store, [item for item in candidates if item.kept is None]),
    )


def collect(store: Store, rubbish: Rubbish, why: str) -> Rubbish:
    """Drop and remove it; what a process has begun to use meanwhile stays.

    Returns:
        What was dropped and removed.

    Raises:
        ArtifactError: the disk refuses.
    """
    done = replace(rubbish, candidates=[], leftovers=[], scratch=[], copies=[], n_locks=0, freed_bytes=0)
    try:
        for item in counted("drop", rubbish.dropped, "artifacts"):
            freed = _freed(store, [item])
            if _drop(store, item, why):
                done.candidates.append(item)
                done.freed_bytes += freed
        done.leftovers = [ref for ref in rubbish.leftovers if remove_leftovers(store, ref)]
        done.scratch = [item for item in rubbish.scratch if remove_debris(store, item)]
        done.copies = rubbish.copies
        if done.copies:
            remove_idle_copies(store.root)
        done.n_locks = remove_dead_locks(store.root)
    except OSError as error:
        raise ArtifactError(refusal(store.root, error.errno or errno.EIO, "room")) from error
    return done


def _drop(store: Store, item: Candidate, why: str) -> bool:
    try:
        dropped = prune(store, item.ref, why)
    except ArtifactError as error:
        notice(f"kept: {error}")
        return False
    if dropped is None:
        notice(f"kept: {label_of(item.ref)}: a process has begun to use it")
    return dropped is not None


class _Kept:
    """Says why artifacts are kept."""

    def __init__(self, store: Store, wish: Wish) -> None:
        self._wish, self._remaking = wish, Remaking(store)
        self._used = used_now(store.root, besides=store.uses)
        self._tagged: dict[ArtifactRef, str] = {}
        if wish.keep_tagged:
            self._tagged = {ref: name for name, ref in current_tags(store.root).items()}
        self._last = _last_uses(store)

    def why(self, ref: ArtifactRef, manifest: Manifest) -> str | None:
        """None for what may be dropped."""
        if ref in self._used:
            return "a process uses it"
        if ref in self._tagged:
            return f"tagged {self._tagged[ref]}"
        last = max(manifest.circumstances.ended, self._last.get(ref.version, ""))
        if datetime.now(UTC) - datetime.fromisoformat(last) < self._wish.older_than:
            return f"used on {last[:10]}"
        obstacle = None if self._wish.force else self._remaking.obstacle(ref, manifest)
        return None if obstacle is None else f"cannot be made again: {obstacle}"


def _last_uses(store: Store) -> dict[str, str]:
    """When a run last had each version on its account."""
    found: dict[str, str] = {}
    for record in run_records(store.root):
        when = str(record.get("ended") or record["started"])
        for version in (record.get("artifacts") or {}).values():
            found[version] = max(when, found.get(version, ""))
    return found


def _is_wanted(ref: ArtifactRef, wish: Wish) -> bool:
    beginnings = tuple(DROPPED_KINDS[kind] for kind in wish.kinds)
    return ref.kind.startswith(beginnings) and not ref.kind.endswith(_NEVER)


def _rank(ref: ArtifactRef) -> int:
    return next(place for place, beginning in enumerate(DROPPED_KINDS.values()) if ref.kind.startswith(beginning))


def _seconds(manifest: Manifest) -> float:
    then = manifest.circumstances
    return (datetime.fromisoformat(then.ended) - datetime.fromisoformat(then.started)).total_seconds()


def _freed(store: Store, candidates: Sequence[Candidate]) -> int:
    return freed_bytes({store.folder(item.ref): item.manifest for item in candidates})
