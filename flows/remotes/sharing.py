"""What a run shares with remotes: it takes what is there, and puts there what it made."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from data_specs.manifest import ArtifactRef
from data_specs.run_config import RunConfig
from data_specs.store_place import StorePlace
from tasks.lineage.listeners import Listeners
from tasks.lineage.progress import notice
from tasks.lineage.remotes.background import BackgroundPush
from tasks.lineage.remotes.elsewhere import Withdrawn
from tasks.lineage.remotes.pulling import Remotes
from tasks.lineage.remotes.remote import Remote
from tasks.lineage.store import Made, Store
from tasks.lineage.trace import artifacts_in

if TYPE_CHECKING:
    from flows.session import Session

# Kinds whose files only later steps read, by the first part of their names.
_FOR_STEPS = frozenset({"activations", "embeddings", "class_embeddings", "layer_scores", "slopes", "scores"})


class Sharing:
    """The remotes of a run."""

    def __init__(self, stores: Sequence[Store], urls: Iterable[str]) -> None:
        """Make sure of the remotes at `urls`, and let the stores of the run, which lie in one folder, use them.

        Raises:
            SpecError: a URL is none, or of an unknown kind.
            ArtifactError: a remote does not answer, or refuses.
        """
        self._pulls = look_into(stores, urls)
        self._pushes: BackgroundPush | None = None
        if self._pulls:
            self._pushes = pushes = BackgroundPush(stores[0], self._pulls[0])
            for store in stores:
                store.listeners = Listeners([*store.listeners.each, pushes])

    def settle(self, refs: Iterable[ArtifactRef]) -> None:
        """Put there what was made or used and is not there yet, and say what could not be put there."""
        if self._pushes is not None:
            self._pushes.settle(dict.fromkeys(refs))

    def told(self) -> dict[str, Any]:
        """For the record of a run: by URL, how much was taken and put there, and what is still to be put there."""
        if self._pushes is None:
            return {}
        pulled = {ref: n_bytes for pulls in self._pulls for ref, n_bytes in pulls.pulled.items()}
        return {
            "remotes": {
                "pulled": {"artifacts": len(pulled), "bytes": sum(pulled.values())},
                "pushed": {
                    pusher.remote.url: {
                        "artifacts": len(pusher.sent),
                        "bytes": sum(pusher.sent.values()),
                        "left": len(self._pushes.left[pusher.remote.url]),
                    }
                    for pusher in self._pushes.pushers
                },
            }
        }

    def close(self) -> None:
        """Begin nothing more."""
        if self._pushes is not None:
            self._pushes.close()


@contextmanager
def shared(stores: Sequence[Store], urls: Iterable[str]) -> Iterator[Sharing]:
    """Let stores use remotes for as long as the block lasts; see `Sharing`."""
    sharing = Sharing(stores, urls)
    try:
        yield sharing
    finally:
        sharing.close()


def remotes_of(place: StorePlace, configs: Sequence[RunConfig]) -> list[str]:
    """The remotes that a command and its settings name, those of the command first."""
    return [*place.remote, *(url for config in configs for url in config.store.remote)]


def look_into(stores: Sequence[Store], urls: Iterable[str]) -> list[Remotes]:
    """Make sure of remotes, and let stores find there what they do not hold; none where no URL is given.

    Raises:
        SpecError: a URL is none, or of an unknown kind.
        ArtifactError: a remote does not answer, or refuses.
    """
    remotes = {remote.url: remote for remote in map(Remote, urls)}
    for remote in remotes.values():
        remote.require()
    if not remotes:
        return []
    found = [Remotes(store, [*remotes.values()]) for store in stores]
    for store, each in zip(stores, found, strict=True):
        store.elsewhere = each
    return found


def carry_out(sessions: "Sequence[Session]", steps: Callable[[], object]) -> None:
    """Take the steps of a run, and bring here what a person looks at afterwards.

    They are taken again where a remote does not give what it had said to have: what is there by then is found, and
    what it did not give is made, each time one artifact more.
    """
    while True:
        try:
            steps()
            for session in sessions:
                for made in looked_at(session.account):
                    session.store.path(made.ref)
                session.store.elsewhere.know(made.ref for made in session.account)
        except Withdrawn as error:
            notice(f"{error}; it is made here")
            continue
        return


def looked_at(made: Sequence[Made]) -> list[Made]:
    """Those of a run's artifacts that are for people, or that no other of them is made of."""
    inputs = {ref for each in made for ref in artifacts_in(each.manifest.recipe.inputs).values()}
    return [each for each in made if each.ref not in inputs or each.ref.kind.partition(".")[0] not in _FOR_STEPS]
