"""Work that several processes do together on one store, and who carries it out."""

from collections.abc import Callable
from typing import Protocol

from tasks.encoders.loading import LoadedModel
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store


class SharedWork(Protocol):
    """What several processes do together."""

    def make(self, loaded: LoadedModel, store: Store, context: RunContext, interrupted: Callable[[], None]) -> None:
        """Do what is left of it, and see to it that others do theirs; `interrupted` is called often, and may raise."""

    def help(self, store: Store, context: RunContext) -> None:
        """Do a share of it, in the process of a worker."""

    def sendable(self) -> "SharedWork":
        """The same as a small value, for a process of this machine."""


class Runner(Protocol):
    """Has work done, by this process or by others."""

    def make(self, shared: SharedWork, loaded: LoadedModel, store: Store, context: RunContext) -> None:
        """Do some work until nothing is left of it.

        Raises:
            PipelineError: what this process or another met.
        """


class _Here:
    def make(self, shared: SharedWork, loaded: LoadedModel, store: Store, context: RunContext) -> None:
        shared.make(loaded, store, context, lambda: None)


def runner_of(context: RunContext) -> Runner:
    """Who carries out the work of a run: this process alone, unless others are named."""
    return context.runner or _Here()
