"""What is known of how far an edit's calibration data and its evaluation data are apart."""

from contextlib import suppress

from data_specs.errors import ArtifactError
from data_specs.manifest import Manifest
from data_specs.overlap import Overlap, read_overlap
from tasks.lineage.store import Store


def overlap_behind(store: Store, behind: list[Manifest]) -> Overlap | None:
    """What the newest comparison of the calibration data with evaluation data found; None where there is none."""
    used = {str(digest) for item in behind for digest in item.recipe.inputs.get("shards", [])}
    found = [store.manifest(item) for item in store.refs() if item.kind == "overlap"]
    own = [item for item in found if used and used <= {*map(str, item.recipe.inputs["calibration"])}]
    for manifest in sorted(own, key=lambda item: item.circumstances.ended, reverse=True):
        with suppress(ArtifactError):
            store.check(manifest.ref)
            return read_overlap(store.path(manifest.ref))
    return None
