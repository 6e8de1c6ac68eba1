"""What is told as artifacts are made and used: the seam for a log, signatures and other people's catalogues."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_specs.manifest import ArtifactRef, Manifest, Recipe
from tasks.lineage.circumstances import RunContext


class Listener:
    """Hears of a store's artifacts, from any thread; what it raises ends the work, so what may fail, it keeps to itself."""

    def started(self, recipe: Recipe, context: RunContext) -> None:
        """An artifact is not there, and its making begins."""

    def publishing(self, manifest: Manifest, folder: Path) -> None:
        """An artifact is complete in `folder`, its manifest too; it is there when all listeners have returned."""

    def made(self, manifest: Manifest, folder: Path) -> None:
        """An artifact is there now, in `folder`."""

    def arriving(self, manifest: Manifest, folder: Path, source: str) -> None:
        """An artifact from `source`, such as a remote, is complete in `folder`; it is there when all listeners have returned."""

    def failed(self, recipe: Recipe, error: BaseException) -> None:
        """What has started came to nothing."""

    def used(self, manifest: Manifest, folder: Path) -> None:
        """An artifact that this run did not make was found as its manifest says, and is about to be used."""

    def dropping(self, manifest: Manifest) -> None:
        """An artifact's files are about to be dropped, since they can be made again; its manifest stays."""

    def discarding(self, ref: ArtifactRef) -> None:
        """An artifact that nothing names is about to be removed."""

    def recorded(self, content: dict[str, Any]) -> None:
        """A run has begun or ended, and its record says so."""


class Listeners(Listener):
    """Several listeners, told in order."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        """Tell these."""
        self.each = tuple(listeners)

    def started(self, recipe: Recipe, context: RunContext) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.started(recipe, context)

    def publishing(self, manifest: Manifest, folder: Path) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.publishing(manifest, folder)

    def made(self, manifest: Manifest, folder: Path) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.made(manifest, folder)

    def arriving(self, manifest: Manifest, folder: Path, source: str) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.arriving(manifest, folder, source)

    def failed(self, recipe: Recipe, error: BaseException) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.failed(recipe, error)

    def used(self, manifest: Manifest, folder: Path) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.used(manifest, folder)

    def dropping(self, manifest: Manifest) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.dropping(manifest)

    def discarding(self, ref: ArtifactRef) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.discarding(ref)

    def recorded(self, content: dict[str, Any]) -> None:
        """See `Listener`."""
        for listener in self.each:
            listener.recorded(content)

    @contextmanager
    def told_of_failure(self, recipe: Recipe) -> Iterator[None]:
        """Tell all of what the block raises."""
        try:
            yield
        except BaseException as error:
            self.failed(recipe, error)
            raise
