"""Captions of shards' pictures as artifacts: a part a shard, and a set that names the parts in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_specs.manifest import PART, ArtifactRef, Inputs, Recipe
from data_specs.run_config import Decoder
from tasks.captioning.captioner_files import CaptionerFiles
from tasks.captioning.parts import CaptionPartMaker, OnTower
from tasks.extraction.parts import Part
from tasks.extraction.sets import RowSet, make_set
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.store import Made, Store
from tasks.lineage.task import task
from tasks.shards.plan import ShardPlan, planned_samples

_KIND = "captions"


@dataclass(frozen=True)
class Captioning:
    """What is captioned, and how it is read."""

    plans: Sequence[ShardPlan]
    decoder: Decoder  # of pictures; the processor takes Pillow's and torchvision's
    max_bad_fraction: float


@dataclass(frozen=True)
class ChangedTower:
    """What changes a captioner's tower, and how recipes name it."""

    on_tower: OnTower
    edit: ArtifactRef | None = None
    put_in: str | None = None  # digest of the vision encoder that is put in, as it is without the edit
    code: tuple[type, ...] = ()  # beside `on_tower`'s own, what it calls by value


@task(name="caption-pictures", task_run_name="caption-pictures-{label}")
def caption_pictures(
    captioner: CaptionerFiles,
    what: Captioning,
    changed: ChangedTower | None,
    store: Store,
    context: RunContext,
    label: str,
) -> Made:
    """Caption both sides' pictures; returns the `captions` artifact.

    Args:
        captioner: the model, which is read only where a caption is not there.
        what: pictures.
        changed: its tower; None for the tower as it is.
        store: takes the parts and the set; a part that is there is not made again.
        context: how the run is carried out, and by whom.
        label: of its progress.

    Raises:
        DataError: too many pictures are bad, or the captioner gives no numbers.
    """
    maker = CaptionPartMaker(
        model=captioner,
        encoder="vision",
        batch_size=captioner.config.batch_size,
        max_bad_fraction=what.max_bad_fraction,
        n_planned=planned_samples(what.plans),
        stage=f"captions of {label}",
        decoder=what.decoder,
        on_tower=None if changed is None else changed.on_tower,
    )
    parts = [_part_of(captioner, what, plan, changed) for plan in what.plans]
    rows = RowSet(_KIND, maker, parts, what.plans, _model(captioner, changed))
    return make_set(rows, captioner, store, context)


def _model(captioner: CaptionerFiles, changed: ChangedTower | None) -> Inputs:
    found: Inputs = {"captioner": captioner.digest}
    if changed is not None and changed.put_in is not None:
        found["tower"] = changed.put_in
    if changed is not None and changed.edit is not None:
        found["edit"] = changed.edit
    return found


def _part_of(captioner: CaptionerFiles, what: Captioning, plan: ShardPlan, changed: ChangedTower | None) -> Part:
    shard = plan.shard
    decoder = {} if what.decoder == "pillow" else {"decoder": what.decoder}
    recipe = Recipe(
        kind=_KIND + PART,
        settings={
            **_shared_settings(captioner),
            **decoder,
            "samples": len(plan.keys),
            "content": shard.content,
        },
        inputs={"shard": shard.sha256, **_model(captioner, changed)},
        **coded(CaptionPartMaker, *([] if changed is None else [type(changed.on_tower), *changed.code])),
    )
    return Part(recipe, shard.location, shard.path, shard.sha256, shard.content, plan.room, plan.needs)


def _shared_settings(captioner: CaptionerFiles) -> dict[str, Any]:
    config = captioner.config
    return {
        "prompt": captioner.prompt,  # with its template applied
        "decoding": {"greedy": True, "max_new_tokens": config.max_new_tokens},
        "precision": config.precision,
        "batch_size": config.batch_size,
    }
