"""The report and its gallery as artifacts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_specs.errors import DataError, SpecError
from data_specs.gallery import CAPTION_CHARS, GalleryMember
from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.run_config import ENCODERS, Encoder
from data_specs.sign_filter import signs_of
from data_specs.wording import shown
from tasks.embeddings.pairs import read_pairs
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.digest import text_sha256
from tasks.lineage.progress import advance, stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.reporting.content import build_report
from tasks.reporting.gallery import PairMember, Retrieval, compose, retrieve
from tasks.reporting.html import render_report, template_digest
from tasks.reporting.members import read_members
from tasks.reporting.sources import GALLERY_FILE, Sources
from tasks.reporting.thumbnails import thumbnail
from tasks.shards.images import BadImage
from tasks.shards.inspection import Shard
from tasks.tables.kinds import KINDS

REPORT_FILE = "report.html"
_SUMMARY = "layer_summary.parquet"
_THUMBNAILS = "thumbnails"


@dataclass(frozen=True)
class Reported:
    """The artifacts that a report shows: evaluations by model, the original first, and what else there is.

    `differences` from the original, by model, add intervals and tests to the table; experiments
    and a gallery each add a section. `edit` is of the second model, and `lead` how that differs from its
    control. `overlap` is what calibration and evaluation pairs share.
    """

    evaluations: Mapping[str, ArtifactRef]
    scores: ArtifactRef
    differences: Mapping[str, ArtifactRef] = field(default_factory=dict)
    experiments: Sequence[ArtifactRef] = ()
    gallery: ArtifactRef | None = None
    edit: ArtifactRef | None = None
    lead: ArtifactRef | None = None
    overlap: ArtifactRef | None = None


@task(name="write-report")
def write_report(name: str, reported: Reported, store: Store, context: RunContext) -> Made:
    """Write `report.html` of what a run has made; returns the `report` artifact."""
    evaluations, differences, gallery = reported.evaluations, reported.differences, reported.gallery
    others = {"gallery": gallery, "edit": reported.edit, "differences.over_control": reported.lead}
    others["overlap"] = reported.overlap
    asked = {ref.kind: ref for ref in reported.experiments}
    recipe = Recipe(
        kind="report",
        settings={"name": name, "models": [*evaluations], "templates": template_digest()},
        inputs={
            "scores": reported.scores,
            **{f"evaluation.{model}": ref for model, ref in evaluations.items()},
            **{f"differences.{model}": ref for model, ref in differences.items()},
            **asked,
            **{role: ref for role, ref in others.items() if ref is not None},
        },
        **coded(write_report),
    )

    def write(build: Build) -> None:
        sources = Sources(
            summary=store.path(reported.scores) / _SUMMARY,
            evaluations={model: store.path(ref) for model, ref in evaluations.items()},
            differences={model: store.path(ref) for model, ref in differences.items()},
            versions={f"{role} ({item.kind})": item.version for role, item in _inputs(recipe).items()},
            experiments={kind: store.path(asked[kind]) for kind in KINDS if kind in asked},
            gallery=store.path(gallery) if gallery else None,
            edit=store.manifest(reported.edit) if reported.edit else None,
            lead=store.path(reported.lead) if reported.lead else None,
            overlap=store.path(reported.overlap) if reported.overlap else None,
            signs=signs_of(store.manifest(reported.scores).recipe.settings),
        )
        html = render_report(build_report(name, sources))
        (build.folder / REPORT_FILE).write_text(html, encoding="utf-8")

    with stage("report", None, "files"):
        return store.materialise(recipe, write, context)


@task(name="write-gallery")
def write_gallery(
    embeddings: Mapping[str, Mapping[Encoder, ArtifactRef]],
    shards: Sequence[Shard],
    seed: int,
    store: Store,
    context: RunContext,
    n_queries: int = 3,
) -> Made:
    """What each of some queries retrieves with each model; returns the `gallery` artifact.

    `embeddings` holds both encoders' embeddings by model, the original first, and `shards` are those
    that were embedded.
    """
    if n_queries < 1:
        raise SpecError(f"n_queries is {n_queries}; expected at least 1")
    recipe = Recipe(
        kind="gallery",
        settings={"models": [*embeddings], "seed": seed, "n_queries": n_queries},
        inputs={
            **{f"embeddings.{model}.{name}": refs[name] for model, refs in embeddings.items() for name in ENCODERS},
            "shards": [shard.sha256 for shard in shards],
        },
        **coded(write_gallery),
    )

    def write(build: Build) -> None:
        folders = {model: [store.path(refs[name]) for name in ENCODERS] for model, refs in embeddings.items()}
        models = ((model, read_pairs(text, vision)) for model, (text, vision) in folders.items())
        retrieval = retrieve(models, seed, n_queries)
        found = compose(retrieval, _show(retrieval, shards, build.folder), seed)
        text = json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
        (build.folder / GALLERY_FILE).write_text(text, encoding="utf-8")
        build.sources.extend(
            Source(location=shard.location, sha256=shard.sha256, size_bytes=shard.size_bytes) for shard in shards
        )

    return store.materialise(recipe, write, context)


def _show(retrieval: Retrieval, shards: Sequence[Shard], folder: Path) -> dict[PairMember, GalleryMember]:
    """Read what the gallery shows of each member, and write its thumbnails; one member in memory at a time."""
    (folder / _THUMBNAILS).mkdir(exist_ok=True)
    wanted = {(retrieval.pair_ids[item.pair], item.encoder, item.content): item for item in retrieval.members()}
    shown: dict[PairMember, GalleryMember] = {}
    with stage("gallery", len(wanted), "members"):
        for key, data in read_members(shards, wanted):
            member = wanted[key]
            caption = picture = None
            if member.encoder == "text":
                caption = _caption(data)
            else:
                picture = f"{_THUMBNAILS}/{text_sha256('/'.join(key))[:16]}.jpg"
                (folder / picture).write_bytes(_thumbnail(data, member, key[0]))
            shown[member] = GalleryMember(
                pair_id=key[0],
                content=member.content,
                tag=retrieval.tags[member.pair],
                caption=caption,
                thumbnail=picture,
            )
            advance("gallery")
    return shown


def _caption(data: bytes) -> str:
    text = data.decode("utf-8", errors="replace").strip()
    return text if len(text) <= CAPTION_CHARS else text[:CAPTION_CHARS] + "…"


def _thumbnail(data: bytes, member: PairMember, pair: str) -> bytes:
    try:
        return thumbnail(data, member.content)
    except BadImage as error:
        raise DataError(
            f"the {member.content} picture of pair {shown(pair)} was read before and cannot be read now: {error}; leave shards"
            " as they are during a run"
        ) from error


def _inputs(recipe: Recipe) -> dict[str, ArtifactRef]:
    return {role: item for role, item in recipe.inputs.items() if isinstance(item, ArtifactRef)}
