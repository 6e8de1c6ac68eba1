"""What can be told of settings before a server is asked for anything: that what they name is there."""

from pathlib import Path

from data_specs.run_config import RunConfig
from tasks.encoders.loading import require_model_files
from tasks.evaluation.zero_shot import open_data_set
from tasks.shards.location import expand_locations, is_elsewhere, local_copy


def require_files(config: RunConfig) -> None:
    """Refuse settings that name files which are not there; what lies elsewhere is not fetched.

    Raises:
        SpecError: the model is not there, or a shard is named twice.
        DataError: a shard or a zero-shot data set is not there.
    """
    require_model_files(config.model)
    for item in config.evaluation.zero_shot:
        open_data_set(item)
    calibration = config.calibration
    for patterns in (config.evaluation.shards, calibration.shards, calibration.safe, calibration.unsafe):
        for location in expand_locations(patterns or []):
            if not is_elsewhere(location):
                local_copy(location, Path())
