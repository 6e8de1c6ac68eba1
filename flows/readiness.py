"""What can be told of settings before a server is asked for anything: that what they name is there."""

from pathlib import Path

from data_specs.run_config import RunConfig
from tasks.encoders.reference import require_weights_path
from tasks.lineage.remotes.address import remote_url
from tasks.shards.location import expand_locations, is_elsewhere, local_copy


def require_paths(config: RunConfig) -> None:
    """Refuse settings that name files which are not there, without a heavy import; what lies elsewhere is not fetched.

    Raises:
        SpecError: the weights are not there, a remote is no URL, or a shard is named twice.
        DataError: a shard is not there.
    """
    require_weights_path(config.model.weights)
    for url in config.store.remote:
        remote_url(url)
    calibration, selection = config.calibration, config.selection
    chosen_on = selection.shards if selection is not None else None
    for patterns in (calibration.shards, calibration.safe, calibration.unsafe, config.evaluation.shards, chosen_on):
        for location in expand_locations(patterns or []):
            if not is_elsewhere(location):
                local_copy(location, Path())


def require_known(config: RunConfig) -> None:
    """Refuse a model that open_clip does not know, and zero-shot data sets that are incomplete.

    Raises:
        SpecError: architecture, weights' tag or tokenizer are unknown.
        DataError: a zero-shot data set is not there.
    """
    # Only here: they bring torch and open_clip.
    from tasks.encoders.loading import require_model_files
    from tasks.evaluation.zero_shot import open_data_set

    require_model_files(config.model)
    for item in config.evaluation.zero_shot:
        open_data_set(item)
