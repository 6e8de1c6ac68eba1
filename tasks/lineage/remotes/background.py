"""Pushing beside the work that makes more: it never costs the run, and what was not put there is told at the end."""

import queue
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from data_specs.errors import ArtifactError
from data_specs.manifest import GRADIENT_SUMS, ArtifactRef, Manifest
from data_specs.wording import first_line
from tasks.lineage.contents import label_of
from tasks.lineage.listeners import Listener
from tasks.lineage.progress import advance, notice, stage
from tasks.lineage.remotes.faults import RemoteFault, Unreachable
from tasks.lineage.remotes.pulling import Remotes
from tasks.lineage.remotes.pushing import Pusher

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.lineage.store import Store

_LOOK_SECONDS = 0.2
STAGE = "push"


class BackgroundPush(Listener):
    """Puts artifacts into remotes, by a thread of its own, in the order in which they were made."""

    def __init__(self, store: "Store", remotes: Remotes) -> None:
        """Push what `store` holds; a remote that does not answer is silenced for `remotes`, too."""
        self.pushers = [Pusher(store, remote, lambda _: advance(STAGE)) for remote in remotes.remotes]
        self.left: dict[str, set[ArtifactRef]] = {pusher.remote.url: set() for pusher in self.pushers}
        self.why: dict[str, str] = {}  # by URL, why nothing more is put there
        self._remotes = remotes
        self._queue: queue.SimpleQueue[ArtifactRef | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def made(self, manifest: Manifest, folder: "Path") -> None:
        """Push it when its turn comes, unless it is soon discarded."""
        del folder
        if not manifest.recipe.kind.startswith(GRADIENT_SUMS):
            self._put(manifest.ref)

    def settle(self, refs: Iterable[ArtifactRef]) -> None:
        """Push these, too, and wait until all is pushed that can be; then say what is not.

        A remote that gave out meanwhile is asked once more.
        """
        with stage(STAGE, None, "artifacts"):
            self._wait_for(refs)
            again = {ref for pusher in self.pushers if self._answers_again(pusher) for ref in self._left(pusher)}
            self._wait_for(again)
        for pusher in self.pushers:
            self._tell(pusher)

    def close(self) -> None:
        """Begin nothing more."""
        if self._thread is not None:
            self._queue.put(None)

    def _left(self, pusher: Pusher) -> set[ArtifactRef]:
        return self.left[pusher.remote.url]

    def _wait_for(self, refs: Iterable[ArtifactRef]) -> None:
        for ref in refs:
            self._put(ref)
        if self._thread is not None:
            reached = threading.Event()
            self._queue.put(reached)
            # So that a signal is heard meanwhile.
            while not reached.wait(_LOOK_SECONDS):
                pass

    def _put(self, ref: ArtifactRef) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=STAGE, daemon=True)
            self._thread.start()
        self._queue.put(ref)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            for pusher in self.pushers:
                self._push(pusher, item)

    def _push(self, pusher: Pusher, ref: ArtifactRef) -> None:
        url, left = pusher.remote.url, self._left(pusher)
        if self._remotes.is_from(pusher.remote, ref):
            return
        if url in self.why or pusher.remote.silent is not None:
            left.add(ref)
            return
        try:
            pusher.push(ref)
            left.discard(ref)
        except Unreachable as error:
            left.add(ref)
            self.why[url] = str(error)
            self._remotes.silence(pusher.remote, error)
        except RemoteFault as error:
            left.add(ref)
            self.why[url] = str(error)
        except (ArtifactError, OSError) as error:
            left.add(ref)
            notice(f"{label_of(ref)} is not put into {url}: {first_line(error)}")

    def _answers_again(self, pusher: Pusher) -> bool:
        if pusher.remote.silent is None or not self._left(pusher):
            return False
        try:
            pusher.remote.require()
        except ArtifactError:
            return False
        self.why.pop(pusher.remote.url, None)
        return True

    def _tell(self, pusher: Pusher) -> None:
        url, left = pusher.remote.url, self._left(pusher)
        if left:
            why = self.why.get(url) or pusher.remote.silent
            notice(
                f"{len(left)} artifacts are here, and not in {url}{f': {why}' if why else ''};"
                f" `uwm store push --store {self._remotes.root} --remote {url}` puts them there"
            )
        if pusher.others:
            some = ", ".join(sorted(label_of(ref) for ref in pusher.others)[:3])
            notice(
                f"{len(pusher.others)} artifacts are not put into {url}, which has others of the same versions, or of what they"
                f" were made of: made on another device, they differ in last digits ({some})"
            )
