"""The report as an artifact."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from data_specs.manifest import ArtifactRef, Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import source_digest, text_sha256
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.reporting.content import build_report
from tasks.reporting.html import render_report, template_text

REPORT_FILE = "report.html"
_SUMMARY = "layer_summary.parquet"


@task(name="write-report", cache_policy=NO_CACHE)
def write_report(
    name: str,
    metrics: Mapping[str, Mapping[str, float]],
    evaluations: Mapping[str, ArtifactRef],
    scores: ArtifactRef,
    store: Store,
    context: RunContext,
) -> Made:
    """Write `report.html` from the evaluations of several models, the original first."""
    recipe = Recipe(
        kind="report",
        settings={"name": name, "models": [*metrics], "template": text_sha256(template_text())},
        inputs={"scores": scores, **{f"evaluation.{model}": ref for model, ref in evaluations.items()}},
        code=source_digest(__package__ or ""),
    )

    def write(build: Build) -> None:
        versions = {f"{role} ({item.kind})": item.version for role, item in _inputs(recipe).items()}
        report = build_report(name, metrics, store.path(scores) / _SUMMARY, versions)
        (build.folder / REPORT_FILE).write_text(render_report(report), encoding="utf-8")

    with stage("report", None, "files"):
        return store.materialise(recipe, write, context)


def _inputs(recipe: Recipe) -> dict[str, ArtifactRef]:
    return {role: item for role, item in recipe.inputs.items() if isinstance(item, ArtifactRef)}
