"""A store's listener that tells OpenLineage of each stage as it starts and ends, and of the runs around them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from openlineage.client.event_v2 import RunState
from openlineage.client.uuid import generate_new_uuid

from data_specs.manifest import PART, Manifest, Recipe
from data_specs.wording import first_line, one_line
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_version
from tasks.lineage.listeners import Listener
from tasks.lineage.openlineage.datasets import artifact_inputs, output_of, source_inputs
from tasks.lineage.openlineage.events import RUN_JOB, AskedFacet, Told, event_of, recipe_facet
from tasks.lineage.openlineage.sending import Sender
from tasks.lineage.progress import notice

_NAMESPACE = "OPENLINEAGE_NAMESPACE"
_RECORDS = uuid5(NAMESPACE_URL, "urn:unsafe-weights:records")
_ENDS = {"completed": RunState.COMPLETE, "failed": RunState.FAIL, "interrupted": RunState.ABORT}


class OpenLineage(Listener):
    """Tells of stages: START when one begins, COMPLETE with what it made, FAIL with why not, ABORT for a signal.

    What is found and not made has no event; it is the input of others. Of the shares of single shards only failures
    are told.
    """

    def __init__(self, root: Path) -> None:
        """Tell of the store at `root`."""
        self._root = root
        self._namespace = os.environ.get(_NAMESPACE) or "unsafe-weights"
        self._runs: dict[str, tuple[str, str | None]] = {}  # of recipes that were started: run and parent
        self._lock = threading.Lock()

    def started(self, recipe: Recipe, context: RunContext) -> None:
        """Tell that a stage has begun."""
        sender = self._sender
        with self._lock:
            run_id, parent = str(generate_new_uuid()), _uuid(context.flow_run_id)
            self._runs[recipe_version(recipe)] = run_id, parent
        if not recipe.kind.endswith(PART):
            with _kept_to_itself():
                inputs = artifact_inputs(self._root, recipe.inputs)
                facets = {"unsafeWeights_recipe": recipe_facet(recipe)}
                told = Told(RunState.START, run_id, recipe.kind, inputs=inputs, facets=facets, parent=parent)
                sender.send(event_of(told, self._namespace))

    def made(self, manifest: Manifest, folder: Path) -> None:
        """Tell what a stage has made."""
        run_id, parent = self._ended(manifest.version)
        recipe = manifest.recipe
        if recipe.kind.endswith(PART):
            return
        with _kept_to_itself():
            told = Told(
                RunState.COMPLETE,
                run_id,
                recipe.kind,
                inputs=[
                    *artifact_inputs(self._root, recipe.inputs),
                    *source_inputs([*manifest.sources, *manifest.weights]),
                ],
                outputs=[output_of(self._root, manifest, folder)],
                facets={"unsafeWeights_recipe": recipe_facet(recipe, manifest)},
                parent=parent,
                commit=manifest.circumstances.git_commit,
            )
            self._sender.send(event_of(told, self._namespace))

    def failed(self, recipe: Recipe, error: BaseException) -> None:
        """Tell that a stage has come to nothing."""
        run_id, parent = self._ended(recipe_version(recipe))
        with _kept_to_itself():
            state = RunState.FAIL if isinstance(error, Exception) else RunState.ABORT
            text = f"{type(error).__name__}: {error}"
            inputs, facets = artifact_inputs(self._root, recipe.inputs), {"unsafeWeights_recipe": recipe_facet(recipe)}
            told = Told(state, run_id, recipe.kind, inputs=inputs, facets=facets, parent=parent, error=text)
            self._sender.send(event_of(told, self._namespace))

    def recorded(self, content: dict[str, Any]) -> None:
        """Tell that a run has begun or ended, by its record."""
        sender = self._sender
        with _kept_to_itself():
            facet = AskedFacet(
                record=content["id"],
                command=[*content["command"]],
                settings=content["settings"],
                artifacts=content.get("artifacts", {}),
                figures=content.get("figures", {}),
            )
            told = Told(
                _ENDS.get(content["status"], RunState.START),
                _uuid(content.get("flow_run_id")) or str(uuid5(_RECORDS, content["id"])),
                RUN_JOB,
                facets={"unsafeWeights_asked": facet},
                error=content.get("error"),
            )
            sender.send(event_of(told, self._namespace))

    @cached_property
    def _sender(self) -> Sender:
        return Sender()

    def _ended(self, version: str) -> tuple[str, str | None]:
        with self._lock:
            return self._runs.pop(version, None) or (str(generate_new_uuid()), None)


@contextmanager
def _kept_to_itself() -> Iterator[None]:
    """An event that cannot be made is a notice: the run is about other things."""
    try:
        yield
    except Exception as error:
        notice(f"OpenLineage: an event could not be made ({one_line(first_line(error), 200)}); the run goes on")


def _uuid(text: Any) -> str | None:
    """An identifier as a UUID, which OpenLineage's are; None for any other."""
    try:
        return str(UUID(str(text)))
    except ValueError:
        return None
