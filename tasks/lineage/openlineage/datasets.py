"""Artifacts and shards as OpenLineage's data sets: where they lie, and facets of version, schema, size and figures."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attr
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    OutputDatasetFacet,
    dataset_version_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    storage_dataset,
)

from data_specs.manifest import PART, ArtifactRef, Inputs, Manifest, Source
from tasks.lineage.digest import text_sha256
from tasks.lineage.trace import artifacts_in

_PARQUET, _METRICS = ".parquet", "metrics.json"
_FILE = "file"
# Of a set with very many files or shards, an event would be larger than collectors take.
_MOST_FOOTERS, _MOST_INPUTS = 200, 1000


@attr.define
class MetricsFacet(OutputDatasetFacet):
    """Figures of an evaluation, by name; percent but for what is counted."""

    metrics: dict[str, Any] = attr.field(factory=dict)


def artifact_inputs(root: Path, inputs: Inputs) -> list[InputDataset]:
    """Artifacts that something is made of; shares of single shards are left out, the shards are inputs themselves."""
    refs = dict.fromkeys(ref for ref in artifacts_in(inputs).values() if not ref.kind.endswith(PART))
    return [InputDataset(*_place(root, ref), facets={"version": _version(ref.version)}) for ref in refs][:_MOST_INPUTS]


def source_inputs(sources: Sequence[Source]) -> list[InputDataset]:
    """Shards and files from outside, each with its digest as its version."""
    found = {}
    for source in sources:
        namespace, name = named(source.location)
        found[namespace, name] = InputDataset(namespace, name, facets={"version": _version(source.sha256)})
    return [*found.values()][:_MOST_INPUTS]


def output_of(root: Path, manifest: Manifest, folder: Path) -> OutputDataset:
    """An artifact that was made, and lies in `folder`."""
    parquet = [folder / entry.path for entry in manifest.files if entry.path.endswith(_PARQUET)]
    fields, n_rows = _tables(folder, parquet)
    facets: dict[str, DatasetFacet] = {
        "version": _version(manifest.version),
        "storage": storage_dataset.StorageDatasetFacet(
            storageLayer=_FILE, fileFormat="parquet" if parquet else _ending(manifest)
        ),
    }
    if fields:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    size = sum(entry.size_bytes for entry in manifest.files)
    of_output: dict[str, OutputDatasetFacet] = {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=n_rows, size=size, fileCount=len(manifest.files)
        )
    }
    with suppress(OSError, ValueError):
        if any(entry.path == _METRICS for entry in manifest.files):
            figures = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
            of_output["unsafeWeights_metrics"] = MetricsFacet(metrics=dict(figures))
    return OutputDataset(*_place(root, manifest.ref), facets=facets, outputFacets=of_output)


def named(location: str) -> tuple[str, str]:
    """Namespace and name of what lay somewhere, by OpenLineage's rules; without what a URL may hold of secrets."""
    if location.startswith("pipe:"):
        return "pipe", text_sha256(location)
    url = urlsplit(location)
    if url.scheme and url.netloc:
        host = url.hostname or ""
        port = f":{url.port}" if url.port else ""
        return f"{url.scheme}://{host}{port}", url.path.lstrip("/") if url.scheme == "s3" else url.path
    return _FILE, str(Path(location.removeprefix("file:")).absolute())


def _place(root: Path, ref: ArtifactRef) -> tuple[str, str]:
    # One data set a kind, whose versions are the artifacts: so a graph of data sets is that of the pipeline.
    return _FILE, f"{root}/{ref.kind}"


def _version(version: str) -> dataset_version_dataset.DatasetVersionDatasetFacet:
    return dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)


def _ending(manifest: Manifest) -> str:
    endings = {Path(entry.path).suffix.lstrip(".") for entry in manifest.files}
    return next((each for each in ("safetensors", "html", "json") if each in endings), "")


def _tables(folder: Path, paths: Sequence[Path]) -> tuple[list[schema_dataset.SchemaDatasetFacetFields], int | None]:
    """Columns of Parquet files, and how many rows they have together; files of other columns are fields of their own."""
    if not paths:
        return [], None
    import pyarrow.parquet as pq

    by_columns: dict[tuple[tuple[str, str], ...], Path] = {}
    n_rows = 0
    for path in paths[:_MOST_FOOTERS]:
        with pq.ParquetFile(path) as file:
            n_rows += file.metadata.num_rows
            by_columns.setdefault(tuple((item.name, str(item.type)) for item in file.schema_arrow), path)
    rows = n_rows if len(paths) <= _MOST_FOOTERS else None
    if len(by_columns) == 1:
        return [*_fields(next(iter(by_columns)))], rows
    return [
        schema_dataset.SchemaDatasetFacetFields(
            name=path.relative_to(folder).as_posix(), type="parquet", fields=[*_fields(columns)]
        )
        for columns, path in by_columns.items()
    ], rows


def _fields(columns: Sequence[tuple[str, str]]) -> Iterator[schema_dataset.SchemaDatasetFacetFields]:
    for place, (name, kind) in enumerate(columns, start=1):
        yield schema_dataset.SchemaDatasetFacetFields(name=name, type=kind, ordinal_position=place)
