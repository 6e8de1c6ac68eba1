"""Events of OpenLineage: that a stage or a run has started, is complete, or has failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState, set_producer
from openlineage.client.facet_v2 import (
    JobFacet,
    RunFacet,
    error_message_run,
    job_type_job,
    parent_run,
    processing_engine_run,
    source_code_location_job,
)

from data_specs.manifest import Manifest, Recipe
from data_specs.wording import LINE_LENGTH, one_line
from tasks.lineage.circumstances import now
from tasks.lineage.environment import product_version

PACKAGE = "unsafe-weights"
# The job that a run's stages have as their parent; their own are called after the kind of what they make.
RUN_JOB = "run"
_INTEGRATION = "UNSAFE_WEIGHTS"
_ROOT = Path(__file__).resolve().parents[3]


@attr.define
class RecipeFacet(RunFacet):
    """What decides an artifact's content: settings, and digests of the code, a module each."""

    kind: str = ""
    settings: dict[str, Any] = attr.field(factory=dict)
    code: str = ""
    modules: dict[str, str] = attr.field(factory=dict)


@attr.define
class AskedFacet(RunFacet):
    """Who asked for a run, and for what: an extract of its record."""

    record: str = ""
    command: list[str] = attr.field(factory=list)
    settings: Any = None
    artifacts: dict[str, str] = attr.field(factory=dict)
    figures: dict[str, Any] = attr.field(factory=dict)


@dataclass(frozen=True)
class Told:
    """One event, as far as it is of this project; `error` is of a run that failed."""

    state: RunState
    run_id: str
    job: str
    inputs: Sequence[InputDataset] = ()
    outputs: Sequence[OutputDataset] = ()
    facets: Mapping[str, RunFacet] = field(default_factory=dict)
    parent: str | None = None
    commit: str | None = None
    error: str | None = None


def event_of(told: Told, namespace: str) -> RunEvent:
    """The event that a collector is sent, of now."""
    set_producer(f"urn:{PACKAGE}:{_product()}")
    facets: dict[str, RunFacet] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(version=_product(), name=PACKAGE),
        **told.facets,
    }
    if told.parent is not None:
        facets["parent"] = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=told.parent), job=parent_run.Job(namespace=namespace, name=RUN_JOB)
        )
    if told.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=one_line(told.error, LINE_LENGTH), programmingLanguage="PYTHON"
        )
    job_facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration=_INTEGRATION, jobType="RUN" if told.job == RUN_JOB else "STAGE"
        ),
        "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=_ROOT.as_uri(), path=told.job, version=told.commit
        ),
    }
    return RunEvent(
        eventType=told.state,
        eventTime=now(),
        run=Run(runId=told.run_id, facets=facets),
        job=Job(namespace=namespace, name=told.job, facets=job_facets),
        inputs=[*told.inputs],
        outputs=[*told.outputs],
    )


def _product() -> str:
    return product_version() or "0"


def recipe_facet(recipe: Recipe, manifest: Manifest | None = None) -> RecipeFacet:
    """A recipe, and what its code is of."""
    modules = recipe.modules if manifest is None else manifest.modules
    return RecipeFacet(kind=recipe.kind, settings=dict(recipe.settings), code=recipe.code, modules=dict(modules))
