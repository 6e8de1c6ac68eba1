"""What calibration and evaluation share, as an artifact."""

from collections.abc import Sequence

from data_specs.manifest import Recipe
from data_specs.overlap import OVERLAP_FILE, Contents, Overlap
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.overlap.members import Held, held_by
from tasks.shards.inspection import Shard


@task(name="find-overlap")
def find_overlap(calibration: Sequence[Shard], evaluation: Sequence[Shard], store: Store, context: RunContext) -> Made:
    """Count what two sets of shards share, and what each holds twice; returns the `overlap` artifact."""
    recipe = Recipe(
        kind="overlap",
        settings={"contents": [shard.content for shard in [*calibration, *evaluation]]},
        inputs={
            "calibration": [shard.sha256 for shard in calibration],
            "evaluation": [shard.sha256 for shard in evaluation],
        },
        **coded(find_overlap),
    )

    def write(build: Build) -> None:
        text = compare_contents(calibration, evaluation).model_dump_json(indent=1) + "\n"
        (build.folder / OVERLAP_FILE).write_text(text, encoding="utf-8")

    with stage("overlap", None, "shards"):
        return store.materialise(recipe, write, context)


def compare_contents(calibration: Sequence[Shard], evaluation: Sequence[Shard]) -> Overlap:
    """Compare two sets of shards by the bytes of their pictures and the texts of their captions."""
    first, second = held_by(calibration), held_by(evaluation)
    return Overlap(
        calibration=_contents(calibration, first),
        evaluation=_contents(evaluation, second),
        shared_shards=len({shard.sha256 for shard in calibration} & {shard.sha256 for shard in evaluation}),
        shared_images=sum(n for digest, n in second.images.items() if digest in first.images),
        shared_captions=sum(n for digest, n in second.captions.items() if digest in first.captions),
    )


def _contents(shards: Sequence[Shard], held: Held) -> Contents:
    return Contents(
        n_shards=len(shards),
        n_images=sum(held.images.values()),
        n_captions=sum(held.captions.values()),
        repeated_images=sum(held.images.values()) - len(held.images),
        repeated_captions=sum(held.captions.values()) - len(held.captions),
    )
