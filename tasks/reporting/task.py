"""The report and its galleries as artifacts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_specs.caption_figures import judges_of, read_caption_outcomes
from data_specs.errors import DataError, SpecError
from data_specs.evaluation_files import FLIPS_FILE, read_flips
from data_specs.gallery import GalleryMember
from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.run_config import ENCODERS, Encoder
from data_specs.sign_filter import signs_of
from data_specs.spec import Spec
from tasks.embeddings.pairs import read_pairs
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.reporting.box import describe_subject
from tasks.reporting.caption_artifacts import caption_sources
from tasks.reporting.caption_gallery import compose_captions, pick_pictures, pictures_written_about
from tasks.reporting.content import build_report
from tasks.reporting.flip_gallery import compose_flips, members_of, pick_flips
from tasks.reporting.gallery import PairMember, Retrieval, compose, retrieve
from tasks.reporting.html import render_report, template_digest
from tasks.reporting.showing import show_members
from tasks.reporting.sources import CAPTION_GALLERY_FILE, FLIP_GALLERY_FILE, GALLERY_FILE, BoxRow, Reported, Sources
from tasks.selection.scores_table import SUMMARY_FILE
from tasks.shards.inspection import Shard
from tasks.tables.kinds import KINDS
from tasks.tables.verdict import HEADLINE

REPORT_FILE = "report.html"
_N_FLIPS = 60
_N_CAPTIONED = 60


@task(name="write-report")
def write_report(name: str, reported: Reported, store: Store, context: RunContext) -> Made:
    """Write `report.html` of what a run has made, and `flips.parquet` of the second model; returns the `report` artifact.

    What the report says of machines, times and commands is that of the artifacts that it shows, and stands in its
    recipe: the same artifacts of one store give one report.
    """
    box = describe_subject(reported, store)
    recipe = Recipe(
        kind="report",
        settings={
            "name": name,
            "models": [*reported.evaluations],
            **({"captioned": [*reported.captions.captions]} if reported.captions else {}),
            "templates": template_digest(),
            "box": {row.name: [*row.lines] for row in box},
        },
        inputs={**reported.inputs},
        **coded(write_report),
    )

    def write(build: Build) -> None:
        html = render_report(build_report(name, _sources(reported, box, store)))
        (build.folder / REPORT_FILE).write_text(html, encoding="utf-8")
        for ref in [*reported.flips.values()][:1]:
            (entry,) = [file for file in store.manifest(ref).files if file.path == FLIPS_FILE]
            build.take(store.path(ref), entry, FLIPS_FILE)

    with stage("report", None, "files"):
        return store.materialise(recipe, write, context)


def _sources(reported: Reported, box: Sequence[BoxRow], store: Store) -> Sources:
    experiments = {ref.kind: ref for ref in reported.experiments}

    def place(ref: ArtifactRef | None) -> Path | None:
        return None if ref is None else store.path(ref)

    scores = reported.scores
    return Sources(
        evaluations={model: store.path(ref) for model, ref in reported.evaluations.items()},
        summary=store.path(scores) / SUMMARY_FILE if scores else None,
        box=box,
        versions={f"{role} ({item.kind})": item.version for role, item in reported.inputs.items()},
        differences={model: store.path(ref) for model, ref in reported.differences.items()},
        experiments={kind: store.path(experiments[kind]) for kind in KINDS if kind in experiments},
        gallery=place(reported.gallery),
        edit=store.manifest(reported.edit) if reported.edit else None,
        lead=place(reported.lead),
        overlap=place(reported.overlap),
        flips={model: store.path(ref) for model, ref in reported.flips.items()},
        flip_gallery=place(reported.flip_gallery),
        controls=frozenset(model for model, ref in reported.evaluations.items() if _is_control(ref, store)),
        signs=signs_of(store.manifest(scores).recipe.settings) if scores else {},
        captions=caption_sources(reported.captions, store) if reported.captions else None,
    )


def _is_control(evaluation: ArtifactRef, store: Store) -> bool:
    measured = store.manifest(evaluation).recipe.inputs.get("model")
    if not isinstance(measured, ArtifactRef) or not store.holds(measured):
        return False
    return "control" in store.manifest(measured).recipe.settings


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
        _finish(build, GALLERY_FILE, found, shards)

    return store.materialise(recipe, write, context)


@task(name="write-flip-gallery")
def write_flip_gallery(
    flips: ArtifactRef,
    shards: Sequence[Shard],
    seed: int,
    store: Store,
    context: RunContext,
    n_pairs: int = _N_FLIPS,
) -> Made:
    """Captions and small pictures of some of the pairs that flipped; returns the `gallery.flips` artifact.

    `shards` are those that both models were measured on.
    """
    recipe = Recipe(
        kind="gallery.flips",
        settings={"seed": seed, "n_pairs": n_pairs},
        inputs={"flips": flips, "shards": [shard.sha256 for shard in shards]},
        **coded(write_flip_gallery),
    )

    def write(build: Build) -> None:
        rows = read_flips(store.path(flips), ("pair_id", "tag", HEADLINE))
        pairs = pick_flips(rows, seed, n_pairs)
        members = show_members(members_of(pairs), shards, build.folder, "pairs that flipped")
        _finish(build, FLIP_GALLERY_FILE, compose_flips(rows, pairs, members, seed), shards)

    return store.materialise(recipe, write, context)


@task(name="write-caption-gallery")
def write_caption_gallery(
    evaluations: Mapping[str, ArtifactRef],
    shards: Sequence[Shard],
    seed: int,
    store: Store,
    context: RunContext,
    n_pictures: int = _N_CAPTIONED,
) -> Made:
    """Captions of some pictures by each model, with the small pictures; returns the `gallery.captions` artifact.

    Args:
        evaluations: a `caption_evaluation` artifact by model, the original's first and the edited one's second.
        shards: those whose pictures were captioned.
        seed: of the draw.
        store: takes the gallery.
        context: how the run is carried out.
        n_pictures: shown at most.

    Raises:
        DataError: no picture has captions of all models, or one is in none of the shards.
    """
    recipe = Recipe(
        kind="gallery.captions",
        settings={"models": [*evaluations], "seed": seed, "n_pictures": n_pictures},
        inputs={
            **{f"caption_evaluation.{model}": ref for model, ref in evaluations.items()},
            "shards": [shard.sha256 for shard in shards],
        },
        **coded(write_caption_gallery),
    )

    def write(build: Build) -> None:
        outcomes = [read_caption_outcomes(store.path(ref)) for ref in evaluations.values()]
        shared_judges = [name for name in judges_of(outcomes[0]) if all(name in judges_of(table) for table in outcomes)]
        pictures = pictures_written_about(outcomes, shared_judges)
        if not pictures:
            raise DataError("no picture has a caption of every model; caption the same shards with each of them")
        drawn = pick_pictures([item.said for item in pictures], seed, n_pictures)
        wanted = {pictures[place].key: pictures[place].tag for place in drawn}
        shown = show_members(wanted, shards, build.folder, "captioned pictures")
        _finish(build, CAPTION_GALLERY_FILE, compose_captions([*evaluations], pictures, drawn, shown, seed), shards)

    return store.materialise(recipe, write, context)


def _finish(build: Build, name: str, content: Spec, shards: Sequence[Shard]) -> None:
    text = json.dumps(content.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    (build.folder / name).write_text(text, encoding="utf-8")
    build.sources.extend(
        Source(location=shard.location, sha256=shard.sha256, size_bytes=shard.size_bytes) for shard in shards
    )


def _show(retrieval: Retrieval, shards: Sequence[Shard], folder: Path) -> dict[PairMember, GalleryMember]:
    members = {(retrieval.pair_ids[item.pair], item.encoder, item.content): item for item in retrieval.members()}
    wanted = {key: retrieval.tags[item.pair] for key, item in members.items()}
    found = show_members(wanted, shards, folder, "gallery")
    return {item: found[key] for key, item in members.items()}
