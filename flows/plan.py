"""What a run would make, found out by its own steps on a store that makes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from tempfile import TemporaryDirectory

from data_specs.config_file import require_absolute
from data_specs.evaluation_files import read_metrics
from data_specs.families import encoder_of
from data_specs.manifest import ArtifactRef
from data_specs.plan import PlannedArtifact, RunPlan
from data_specs.run_config import ENCODERS, Encoder, RunConfig
from data_specs.store_place import StoreLocation, store_place_of
from flows.record import last_run
from flows.remotes.sharing import look_into, looked_at, remotes_of
from flows.runners import Placed
from flows.session import Session
from tasks.encoders.loading import LoadedModel
from tasks.lineage.contents import is_pruned
from tasks.lineage.dropping.dropped import Dropped
from tasks.lineage.planned import Planned, PlannedStore
from tasks.lineage.store import Made, Store
from tasks.lineage.trace import artifacts_in
from tasks.planning.pace import Paces
from tasks.planning.statistics import statistics_bytes
from tasks.planning.work import Work, work_of
from tasks.workers.devices import resolve_devices


class PlanSession(Session):
    """A run that goes through its steps without making anything."""

    store: PlannedStore

    def keep_measured(self, name: str, made: Made) -> ArtifactRef:
        """Put an evaluation on the account; its metrics only where it is there."""
        self.metrics[name] = read_metrics(self.store.path(made.ref)) if made.reused else {}
        return self.keep(f"evaluation.{name}", made)

    def keep_captions_measured(self, name: str, made: Made) -> ArtifactRef:
        """Put an evaluation of captions on the account; its metrics only where it is there."""
        return (
            super().keep_captions_measured(name, made) if made.reused else self.keep(f"caption_evaluation.{name}", made)
        )

    @contextmanager
    def edited_in_place(self, edit: ArtifactRef) -> Iterator[LoadedModel]:
        """The model with an edit; where that is not made yet, one whose changed encoders have digests of their own."""
        if self.store.holds(edit):
            with super().edited_in_place(edit) as loaded:
                yield loaded
            return
        original = self.original()
        encoders = _edited(self.store.planned, edit)
        changed = {name: f"{edit.version} of {name}" for name in original.digests if encoder_of(name) in encoders}
        with self.store.guessing():
            yield replace(original, digests={**original.digests, **changed})

    @contextmanager
    def told_by(self, refs: Sequence[ArtifactRef]) -> Iterator[None]:
        """Where one of the artifacts is not there, what it will say of itself is not known yet."""
        with nullcontext() if all(map(self.store.holds, refs)) else self.store.guessing():
            yield

    def roles(self) -> dict[ArtifactRef, str]:
        """The first name of each artifact on the account."""
        return {made.ref: name for name, made in reversed(self._made.items())}


def plan_of(
    configs: Sequence[RunConfig], store: StoreLocation, device: str, steps: Callable[[Sequence[Session]], None]
) -> RunPlan:
    """Take the steps of runs without making anything.

    Args:
        configs: of the runs, one but for a comparison.
        store: where artifacts lie; the folder need not be there, and nothing is written to it or to a remote.
        device: on which they would run.
        steps: what the runs would do.

    Returns:
        What they would find and make, in their order.

    Raises:
        PipelineError: as the run would before it makes anything: settings, model, shards or a remote are wrong.
    """
    place = store_place_of(store)
    planned = PlannedStore(place.folder)
    sessions = []
    for config in configs:
        require_absolute(config)
        sessions.append(PlanSession(config, planned, Placed(resolve_devices(device)[0]), 0))
    urls = remotes_of(place, configs)
    with ExitStack() as closed:
        for session in sessions:
            closed.callback(session.close)
        if urls:
            borrowed = Store(closed.enter_context(TemporaryDirectory(prefix="uwm-plan-")))
            look_into([borrowed], urls)
            planned.borrow(borrowed)
        dropped = planned.elsewhere = Dropped(planned.root, planned.elsewhere)
        steps(sessions)
        while wanted := _dropped_and_wanted(planned, sessions):
            for ref in wanted:
                dropped.want(ref)
            planned.forget()
            steps(sessions)
        return _plan(planned, sessions)


def _dropped_and_wanted(store: PlannedStore, sessions: Sequence[PlanSession]) -> set[ArtifactRef]:
    """What was dropped, counts as there, and would be asked for by a step that makes something, or looked at in the end."""
    used = {
        ref for item in store.planned.values() if not item.there for ref in artifacts_in(item.recipe.inputs).values()
    }
    shown = {made.ref for session in sessions for made in looked_at(session.account)}
    return {ref for ref in used | shown if is_pruned(store.folder(ref)) and store.holds(ref)}


def _plan(store: PlannedStore, sessions: Sequence[PlanSession]) -> RunPlan:
    first, name = sessions[0], " and ".join(session.config.name for session in sessions)
    paces = Paces(store, first.context.device)
    rows = []
    for ref, item in store.planned.items():
        owner, role = next(((one, one.roles()[ref]) for one in sessions if ref in one.roles()), (first, ref.kind))
        behind = "" if owner is first else f"{owner.config.name}."
        work = work_of(item, store.planned, owner.original())
        row = _row(ref, item, behind + role, work, None if item.there else paces.seconds(item.recipe, work))
        kept = statistics_bytes(item, store.planned, owner.original().model.state_dict())
        if kept is not None:
            row = row.model_copy(update={"rows_bytes": kept.rows, "folded_bytes": kept.folded, "tag_bytes": kept.a_tag})
        rows.append(row)
    return RunPlan(
        name=name,
        store=str(store.root),
        device=first.context.device,
        artifacts=rows,
        last_run=last_run(store.root, name),
    )


def _row(ref: ArtifactRef, item: Planned, role: str, work: Work, seconds: float | None) -> PlannedArtifact:
    n_parts = item.n_parts
    return PlannedArtifact(
        role=role,
        kind=ref.kind,
        version=ref.version if item.certain else None,
        there=item.there,
        parts=n_parts,
        parts_there=None if n_parts is None else n_parts - len(item.missing),
        images=work.images,
        texts=work.texts,
        gradients=work.gradients,
        captions=work.captions,
        tokens=work.tokens,
        judgements=work.judgements,
        size_bytes=work.size_bytes,
        seconds=seconds,
    )


def _edited(planned: Mapping[ArtifactRef, Planned], edit: ArtifactRef) -> set[Encoder]:
    """The encoders that an edit changes, which its recipe or that of the edit it is a control of says."""
    recipe = planned[edit].recipe
    copied = recipe.inputs.get("edit")
    if isinstance(copied, ArtifactRef):
        return _edited(planned, copied)
    return {encoder for encoder in ENCODERS if encoder in recipe.settings}
