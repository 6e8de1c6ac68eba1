"""Whether what a store holds could be made again, byte for byte, and making it again where its files were dropped."""

from contextlib import suppress
from pathlib import Path

from data_specs.errors import ArtifactError, PipelineError
from data_specs.manifest import ArtifactRef, Manifest, Recipe
from data_specs.placement import Device
from data_specs.run_config import ModelConfig
from data_specs.wording import first_line
from flows.plan import PlanSession
from flows.reproducing.repeating import request_of
from flows.reproducing.replay import Request, replay, take_steps
from flows.runners import Placed
from tasks.encoders.loading import LoadedModel, load_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.contents import label_of
from tasks.lineage.dropping.dropped import Dropped
from tasks.lineage.environment import environment_changes, environment_here, environment_when_made
from tasks.lineage.listeners import Listener, Listeners
from tasks.lineage.planned import PlannedStore
from tasks.lineage.progress import notice, unheard
from tasks.lineage.remotes.elsewhere import Withdrawn
from tasks.lineage.store import Store
from tasks.lineage.trace import artifacts_in
from tasks.manipulation.task import edit_model

_MODEL = "model"


class Remaking:
    """Looks whether artifacts of a store can be made again; each base model is loaded, and each run planned, once."""

    def __init__(self, store: Store) -> None:
        """Look into `store`; nothing is written."""
        self._store = store
        self._loaded: dict[ModelConfig, LoadedModel] = {}
        self._planned: dict[str, set[ArtifactRef] | str] = {}

    def obstacle(self, ref: ArtifactRef, manifest: Manifest) -> str | None:
        """Why an artifact cannot be made again as it is; None where it can.

        An edited model needs its edit and the base model; anything else the shards and settings of its run, too. Code,
        settings and all that lies outside are compared by the version that they lead to.
        """
        made = manifest.circumstances
        changes = environment_changes(environment_when_made(made), environment_here(made.device, made.precision))
        if changes:
            name, (then, here) = next(iter(changes.items()))
            return f"it was made with {name} {then}, here is {here}"
        try:
            with unheard():
                request = request_of(self._store, ref)
                if ref.kind == _MODEL:
                    return self._obstacle_of_model(ref, manifest, request)
                found = self._versions(request)
        except (PipelineError, OSError) as error:
            return first_line(error)
        if isinstance(found, str):
            return found
        return None if ref in found else "the code, settings or data of its run lead to another version now"

    def load(self, config: ModelConfig) -> LoadedModel:
        """The base model of some settings."""
        if config not in self._loaded:
            self._loaded[config] = load_model(config)
        return self._loaded[config]

    def _obstacle_of_model(self, ref: ArtifactRef, manifest: Manifest, request: Request) -> str | None:
        edit = edit_behind(manifest)
        self._store.check(edit)
        for config in request.configs:
            made = edit_model(edit, self.load(config.model), PlannedStore(self._store.root), context_of(manifest))
            if made.ref == ref:
                return None
        return "the code or the base model leads to another version now"

    def _versions(self, request: Request) -> set[ArtifactRef] | str:
        key = request.key
        if key not in self._planned:
            try:
                self._planned[key] = self._planned_versions(request)
            except (PipelineError, OSError) as error:
                self._planned[key] = first_line(error)
        return self._planned[key]

    def _planned_versions(self, request: Request) -> set[ArtifactRef]:
        store = PlannedStore(self._store.root)
        sessions = [PlanSession(config, store, Placed("cpu"), 0) for config in request.configs]
        try:
            take_steps(request.asked, sessions)
        finally:
            for session in sessions:
                session.close()
        found = {ref for ref, item in store.planned.items() if item.certain}
        return found | {part for ref in found for part in artifacts_in(store.planned[ref].recipe.inputs).values()}


def context_of(manifest: Manifest) -> RunContext:
    """How an artifact was made, as far as this machine can do the same."""
    then = manifest.circumstances
    return RunContext(device=then.device, precision=then.precision, seed=then.seed)


def edit_behind(model: Manifest) -> ArtifactRef:
    """The edit that a `model` artifact was made by.

    Raises:
        ArtifactError: its manifest names none.
    """
    edit = model.recipe.inputs.get("edit")
    if not isinstance(edit, ArtifactRef):
        raise ArtifactError(f"{label_of(model.ref)} names no edit that it was made by")
    return edit


class _Enough(BaseException):
    """What was wanted is made; no step of a run takes it for an error."""


class _Until(Listener):
    """Ends a run with the first artifact that it begins after the wanted one was made."""

    def __init__(self, wanted: ArtifactRef) -> None:
        self._wanted, self._is_made = wanted, False

    def started(self, recipe: Recipe, context: RunContext) -> None:
        if self._is_made:
            raise _Enough

    def made(self, manifest: Manifest, folder: Path) -> None:
        self._is_made = self._is_made or manifest.ref == self._wanted


def make_again(store: Store, ref: ArtifactRef, device: Device = "auto", workers: int | None = None) -> None:
    """Make the files of an artifact again that were dropped, and of what it was made of as far as that is needed.

    Raises:
        ArtifactError: they come out otherwise now, or do not come of the run that made them.
        PipelineError: as the run would, where shards or weights are not there.
    """
    manifest, request = store.manifest(ref), request_of(store, ref)
    if ref.kind == _MODEL:
        remaking = Remaking(store)
        edit = edit_behind(manifest)
        for config in request.configs:
            loaded = remaking.load(config.model)
            if edit_model(edit, loaded, PlannedStore(store.root), context_of(manifest)).ref == ref:
                edit_model(edit, loaded, store, context_of(manifest))
                break
    else:
        own = Store(store.root, hash_once=True)
        own.listeners = Listeners([*own.listeners.each, _Until(ref)])
        dropped = own.elsewhere = Dropped(own.root, own.elsewhere)
        dropped.want(ref)
        again = True
        while again:
            again = False
            with suppress(_Enough):
                try:
                    replay(request, own, device, workers)
                except Withdrawn as error:
                    notice(f"{error}; it is made here")
                    again = True
    if not store.holds(ref):
        raise ArtifactError(
            f"{label_of(ref)}: its files were dropped, and its run leads to another version now; `uwm reproduce` tells in"
            " what they differ"
        )
