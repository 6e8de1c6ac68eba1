"""Between a store and its remotes, whatever a run takes and gives by itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import ArtifactRef
from data_specs.store_place import StorePlace
from data_specs.wording import first_line
from flows.references import find_reference
from flows.remotes.sharing import look_into
from tasks.lineage.contents import label_of
from tasks.lineage.progress import advance, counted, stage
from tasks.lineage.remotes.elsewhere import Withdrawn
from tasks.lineage.remotes.faults import RemoteFault
from tasks.lineage.remotes.pulling import Remotes
from tasks.lineage.remotes.pushing import Pusher
from tasks.lineage.remotes.remote import Remote
from tasks.lineage.store import Store


@dataclass
class Exchanged:
    """What went one way: how many artifacts and bytes, how many were there, and what did not come through."""

    url: str
    n_artifacts: int = 0
    n_bytes: int = 0
    n_there: int = 0
    failed: list[str] = field(default_factory=list)


def open_shared(place: StorePlace) -> tuple[Store, Remotes]:
    """A store and its remotes.

    Raises:
        SpecError: no remote is named, or one is no URL.
        ArtifactError: a remote does not answer, or refuses.
    """
    store = Store(place.folder, hash_once=True)
    found = look_into([store], place.remote)
    if not found:
        raise SpecError("no remote is named; give --remote URL, such as s3://bucket/prefix, or set UWM_REMOTE")
    return store, found[0]


def push_artifacts(store: Store, remote: Remote, named: Sequence[str]) -> Exchanged:
    """Put artifacts into a remote, each after all that it was made of.

    Args:
        store: holds them.
        remote: takes them.
        named: versions, or names of runs; none means all that are sound.

    Returns:
        What was put there; an artifact that changed since it was made, and what was made of it, is not.

    Raises:
        ArtifactError: the remote does not answer, or refuses; what was put there stays.
    """
    survey = store.survey()
    broken = [] if named else [item.problem or "" for item in survey.broken]
    refs = [find_reference(store, name) for name in named] or [item.ref for item in survey.found if not item.problem]
    done = Exchanged(remote.url, failed=broken)
    pusher = Pusher(store, remote, lambda _: advance("push"))
    with stage("push", None, "artifacts"):
        for ref in refs:
            try:
                pusher.push(ref)
            except RemoteFault as error:
                raise ArtifactError(
                    f"remote {remote.url}: {error}; {len(pusher.sent)} artifacts were put there, the same command goes on"
                ) from error
            except (ArtifactError, OSError) as error:
                done.failed.append(first_line(error))
    done.failed += [
        f"{label_of(ref)}: {remote.url} has another one, made elsewhere" for ref in sorted_refs(pusher.others)
    ]
    done.n_artifacts, done.n_bytes = len(pusher.sent), sum(pusher.sent.values())
    done.n_there = pusher.n_there - done.n_artifacts
    return done


def pull_artifacts(store: Store, remotes: Remotes, named: Sequence[str], *, inputs: bool) -> Exchanged:
    """Bring artifacts here, with the manifests of all that they were made of.

    Args:
        store: takes them.
        remotes: have them.
        named: versions, or names of runs of this store; none means all that the remotes have.
        inputs: bring the files of what they were made of, too.

    Returns:
        What was brought here; what is damaged there, is not.

    Raises:
        ArtifactError: a name says nothing, or a remote does not answer.
    """
    refs = [find_reference(store, name) for name in named] or remotes.known()
    done = Exchanged(" ".join(remote.url for remote in remotes.remotes))
    behind = remotes.know(refs)
    for ref in counted("pull", sorted_refs({*refs, *(behind if inputs else ())}), "artifacts"):
        if store.is_here(ref):
            done.n_there += 1
            continue
        try:
            store.path(ref)
        except (Withdrawn, ArtifactError) as error:
            done.failed.append(first_line(error))
    done.n_artifacts, done.n_bytes = len(remotes.pulled), sum(remotes.pulled.values())
    return done


@dataclass(frozen=True)
class KindStatus:
    """Of one kind, how many artifacts are here and in one remote, and in only one of the two."""

    kind: str
    url: str
    here: int
    there: int
    to_push: int
    to_pull: int


def status_of(store: Store, remotes: Remotes) -> list[KindStatus]:
    """What each remote has of a store's artifacts, and what the store has not.

    Raises:
        ArtifactError: a remote does not answer, or refuses.
    """
    here = {item.ref for item in store.survey().found if item.problem is None}
    rows = []
    for remote in remotes.remotes:
        there = {*remote.refs()}
        for kind in sorted({ref.kind for ref in here | there}):
            own = {ref for ref in here if ref.kind == kind}
            of_remote = {ref for ref in there if ref.kind == kind}
            rows.append(
                KindStatus(kind, remote.url, len(own), len(of_remote), len(own - of_remote), len(of_remote - own))
            )
    return rows


def sorted_refs(refs: Iterable[ArtifactRef]) -> list[ArtifactRef]:
    """Artifacts by kind and version."""
    return sorted(refs, key=lambda ref: (ref.kind, ref.version))
