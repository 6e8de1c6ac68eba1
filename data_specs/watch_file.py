"""Reading a watch from YAML, with paths taken relative to the file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_specs.config_file import (
    captioning_with_paths,
    data_set_with_path,
    model_with_paths,
    read_mapping,
    require_no_relative_path,
    resolvers,
    validated,
    with_values,
)
from data_specs.watch import Watch, WatchedModel, WatchedSet


def load_watch(path: Path) -> Watch:
    """Read and validate WATCH.yaml; relative paths inside it start at its folder.

    Raises:
        SpecError: the file is missing, is not YAML, or a field is unknown or out of bounds.
    """
    return parse_watch(read_mapping(path, "name, models, sets"), base=path.absolute().parent, source=str(path))


def parse_watch(data: Mapping[str, Any], *, base: Path, source: str) -> Watch:
    """Validate a watch given as a mapping.

    Args:
        data: as YAML gives it.
        base: folder that relative paths start at.
        source: named in errors.

    Raises:
        SpecError: a field is unknown or out of bounds; every such field is named.
    """
    return _with_paths(validated(Watch, data, source), *resolvers(base), base)


def require_absolute_watch(watch: Watch) -> None:
    """Make sure that a watch which comes from no file, such as a deployment's, names no relative path.

    Raises:
        SpecError: it does.
    """
    _with_paths(watch, require_no_relative_path, require_no_relative_path, None)


def _with_paths(
    watch: Watch, resolve: Callable[[str], str], resolve_pattern: Callable[[str], str], base: Path | None
) -> Watch:
    def of_model(model: WatchedModel) -> WatchedModel:
        config = None if model.config is None else resolve(model.config)
        plain = None if model.model is None else model_with_paths(model.model, resolve, base)
        return with_values(model, {"config": config, "model": plain})

    def of_set(on: WatchedSet) -> WatchedSet:
        zero_shot = [data_set_with_path(item, resolve) for item in on.zero_shot]
        return with_values(on, {"shards": [resolve_pattern(each) for each in on.shards], "zero_shot": zero_shot})

    return with_values(
        watch,
        {
            "models": {name: of_model(model) for name, model in watch.models.items()},
            "sets": {name: of_set(on) for name, on in watch.sets.items()},
            "baseline": None if watch.baseline is None else of_model(watch.baseline),
            "captioning": captioning_with_paths(watch.captioning, resolve),
            "store": with_values(watch.store, {"remote": [resolve(url) for url in watch.store.remote]}),
        },
    )
