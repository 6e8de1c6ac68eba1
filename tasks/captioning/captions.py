"""Captions of shards' pictures as artifacts: a part a shard, and a set that names the parts in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_specs.caption_rows import CAPTIONS, CAPTIONS_FOLDER
from data_specs.captioning import CaptioningConfig
from data_specs.manifest import PART, ArtifactRef, Inputs, Recipe, Source
from data_specs.run_config import CONTENTS, Decoder
from data_specs.samples import member_names, needed_contents
from data_specs.schemas import pair_id
from tasks.captioning.captioner import Captioned, Captioner
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.digest import canonical_json, recipe_ref, text_sha256
from tasks.lineage.progress import advance, notice, stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.shards.decoding import Undecodable, decode_caption
from tasks.shards.plan import BadSample, ShardPlan, Tally, planned_samples
from tasks.shards.reading import BatchStream
from tasks.shards.tar import FILE, Tar, split_name

_KIND = "captions"


@dataclass(frozen=True)
class Captioning:
    """What is captioned and how, beside the captioner."""

    plans: Sequence[ShardPlan]
    config: CaptioningConfig
    decoder: Decoder  # of pictures; the processor takes Pillow's and torchvision's
    max_bad_fraction: float


@task(name="caption-pictures", task_run_name="caption-pictures-{label}")
def caption_pictures(
    captioner: Captioner, what: Captioning, edit: ArtifactRef | None, store: Store, context: RunContext, label: str
) -> Made:
    """Caption both sides' pictures; returns the `captions` artifact.

    Args:
        captioner: the model, with the edit on its tower.
        what: pictures and settings.
        edit: that is on it; None for the model as it is.
        store: takes the parts and the set; a part that is there is not made again.
        context: how the run is carried out.
        label: of its progress.

    Raises:
        DataError: too many pictures are bad, or the captioner gives no numbers.
    """
    name = f"captions of {label}"
    recipes = [_part_recipe(captioner, what, plan, edit) for plan in what.plans]
    parts = []
    with stage(name, planned_samples(what.plans), "pairs"):
        stream = _stream(captioner, what, context)
        for place, (plan, recipe) in enumerate(zip(what.plans, recipes, strict=True)):
            write = partial(_write_part, captioner=captioner, what=what, stream=stream, place=place)
            parts.append(store.materialise(recipe, write, context))
            advance(name, len(plan.keys) + len(plan.bad))
    recipe = Recipe(
        kind=_KIND,
        settings=_shared_settings(captioner, what.config),
        inputs={
            "parts": [recipe_ref(each) for each in recipes],
            "shards": [plan.shard.sha256 for plan in what.plans],
            **_model(captioner, edit),
        },
        **coded(caption_pictures),
    )
    return store.materialise(recipe, lambda build: _gather(build, parts, what, store), context)


def _part_recipe(captioner: Captioner, what: Captioning, plan: ShardPlan, edit: ArtifactRef | None) -> Recipe:
    decoder = {} if what.decoder == "pillow" else {"decoder": what.decoder}
    return Recipe(
        kind=_KIND + PART,
        settings={
            **_shared_settings(captioner, what.config),
            **decoder,
            "content": plan.shard.content,
            "samples": {"n": len(plan.keys), "sha256": text_sha256(canonical_json(list(plan.keys)))},
        },
        inputs={"shard": plan.shard.sha256, **_model(captioner, edit)},
        **coded(caption_pictures),
    )


def _shared_settings(captioner: Captioner, config: CaptioningConfig) -> dict[str, Any]:
    return {
        "prompt": captioner.prompt,  # with its template applied
        "decoding": {"greedy": True, "max_new_tokens": config.max_new_tokens},
        "precision": config.precision,
        "batch_size": config.batch_size,
    }


def _model(captioner: Captioner, edit: ArtifactRef | None) -> Inputs:
    found: Inputs = {"captioner": captioner.digest}
    return found if edit is None else {**found, "edit": edit}


def _stream(captioner: Captioner, what: Captioning, context: RunContext) -> BatchStream:
    return BatchStream(
        what.plans,
        "vision",
        captioner.fit,
        batch_size=what.config.batch_size,
        workers=context.workers,
        decoder=what.decoder,
    )


def _write_part(build: Build, captioner: Captioner, what: Captioning, stream: BatchStream, place: int) -> None:
    plan = what.plans[place]
    references = _references(plan)
    rows: list[dict[str, Any]] = []
    bad = list(plan.bad)
    for batch in stream.batches(place):
        bad += batch.bad
        for content, pixels in batch.inputs.items():
            for key, tag, said in zip(batch.keys, batch.tags, captioner(pixels), strict=True):
                rows.append(_row(pair_id(plan.shard.sha256, key), content, tag, said, references.get(key, {})))
    folder = build.folder / CAPTIONS_FOLDER
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=CAPTIONS), folder / "part.parquet")
    build.counts.update(
        {"samples_used": len(plan.keys) - len(bad) + len(plan.bad), "bad": [vars(item) for item in bad]}
    )
    shard = plan.shard
    build.sources.append(Source(location=shard.location, sha256=shard.sha256, size_bytes=shard.size_bytes))


def _row(pair: str, content: str, tag: str | None, said: Captioned, references: dict[str, str]) -> dict[str, Any]:
    return {
        "pair_id": pair,
        "content": content,
        "tag": tag,
        "caption": said.caption,
        "n_tokens": said.n_tokens,
        "finish": said.finish,
        **{f"reference_{side}": references.get(side) for side in CONTENTS},
    }


def _references(plan: ShardPlan) -> dict[str, dict[str, str]]:
    """The pairs' own captions, by key and side; those that are missing or unreadable are left out."""
    shard = plan.shard
    ends = {
        name: side
        for side in needed_contents(shard.content)
        for name in member_names("text", side, paired=shard.paired)
    }
    found: dict[str, dict[str, str]] = {key: {} for key in plan.keys}
    with Tar(shard.path) as tar:
        for member in tar:
            key, ending = split_name(member.name)
            if member.kind == FILE and key in found and (side := ends.get(str(ending).lower())):
                for text in _decoded(tar.read(member), key, member.name):
                    found[key][side] = text
    return found


def _decoded(data: bytes, key: str, name: str) -> Iterator[str]:
    try:
        yield decode_caption(data, key=key, name=name)
    except Undecodable:
        return


def _gather(build: Build, parts: Sequence[Made], what: Captioning, store: Store) -> None:
    tally = Tally(planned_samples(what.plans), what.max_bad_fraction)
    for place, (made, plan) in enumerate(zip(parts, what.plans, strict=True)):
        counts = made.manifest.counts
        tally.add(counts["samples_used"], plan.shard.location, [BadSample(**item) for item in counts["bad"]])
        for entry in made.manifest.files:
            build.take(store.path(made.ref), entry, f"{CAPTIONS_FOLDER}/{place:06d}.parquet")
        build.sources += made.manifest.sources
    build.counts.update(tally.counts())
    if tally.skipped:
        notice(f"captions: {len(tally.skipped)} of {tally.n_planned} pairs are left out ({tally.reasons()})")
