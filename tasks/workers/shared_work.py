"""Work that several processes do together on one store, and who carries it out."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store

# What the work computes with, such as a model with its weights.
Given = TypeVar("Given")
_Given_contra = TypeVar("_Given_contra", contravariant=True)


class SharedWork(Protocol[_Given_contra]):
    """What several processes do together."""

    def make(self, loaded: _Given_contra, store: Store, context: RunContext, interrupted: Callable[[], None]) -> None:
        """Do what is left of it, and see to it that others do theirs; `interrupted` is called often, and may raise."""

    def help(self, store: Store, context: RunContext) -> None:
        """Do a share of it, in the process of a worker."""

    def sendable(self) -> "SharedWork[_Given_contra]":
        """The same as a small value, for a process of this machine."""

    def shares(self, loaded: _Given_contra, store: Store, context: RunContext) -> "SharesLeft":
        """What is left of it, cut up for an engine that hands it out."""


class Share(Protocol):
    """A share of some work; a small value that stands alone."""

    def do(self, store: Store, context: RunContext) -> None:
        """Do it, in whatever process this is.

        Raises:
            PipelineError: what this process met.
        """


class SharesLeft(Protocol):
    """The shares of some work, as the process knows them that hands them out."""

    @property
    def shares(self) -> Sequence[Share]:
        """All of them, in their order."""

    def done(self, number: int, made: Collection[ArtifactRef]) -> None:
        """Go on from a share that was done elsewhere, which made some artifacts.

        Raises:
            ArtifactError: they are not in the store of this process.
        """


def require_here(store: Store, *, is_here: bool) -> None:
    """Refuse what a worker of an engine made and this process does not see.

    Raises:
        ArtifactError: it is in another store.
    """
    if not is_here:
        raise ArtifactError(
            f"a worker made a part that is not in {store.root} here; give a --store that is the same folder, under the same"
            " path, for every worker"
        )


class Runner(Protocol):
    """Has work done, by this process or by others."""

    def make(self, shared: SharedWork[Given], loaded: Given, store: Store, context: RunContext) -> None:
        """Do some work until nothing is left of it.

        Raises:
            PipelineError: what this process or another met.
        """


class _Here:
    def make(self, shared: SharedWork[Given], loaded: Given, store: Store, context: RunContext) -> None:
        shared.make(loaded, store, context, lambda: None)


def runner_of(context: RunContext) -> Runner:
    """Who carries out the work of a run: this process alone, unless others are named."""
    return context.runner or _Here()
