"""The artifacts whose content a file or folder holds: byte for byte, or, of weights, tensor for tensor."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.errors import PipelineError
from data_specs.manifest import ArtifactRef
from data_specs.run_config import ENCODERS
from tasks.lineage.contents import is_stored
from tasks.lineage.digest import file_sha256
from tasks.lineage.exports import export_records
from tasks.lineage.store import Store
from tasks.tracing.index import Index, open_index
from tasks.tracing.rows import flattened

_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_CONFIG = "config.json"  # of a transformers model


def artifacts_with_content(store: Store, path: Path) -> list[ArtifactRef]:
    """The artifacts that hold a file's bytes, or a checkpoint's weights; of a folder, those of the weights in it.

    Weights are found under other names, too: exported for transformers, or written again with other metadata. Half
    precision that was rounded is not.

    Args:
        store: holds the artifacts.
        path: a file, an artifact's folder, or a model's folder.

    Returns:
        Each once; none where nothing holds it.

    Raises:
        ArtifactError: the store cannot be read.
    """
    stored = _in_store(store, path)
    if stored is not None:
        return [stored]
    index = open_index(store.root)
    files = _weights_in(path) if path.is_dir() else [path]
    found = [ref for file in files for ref in _with_bytes(store, index, file)]
    if not found and files and all(file.suffix in _WEIGHTS for file in files):
        found = _with_tensors(index, path if _is_of_transformers(path) else files[0])
    return [*dict.fromkeys(found)]


def encoder_digests_of(path: Path) -> dict[str, str]:
    """The digest of each encoder of a checkpoint, and of the whole model under no name; nothing of what is none.

    Args:
        path: a checkpoint, or the folder of one in transformers' format.
    """
    if not (_is_of_transformers(path) or (path.is_file() and path.suffix in _WEIGHTS)):
        return {}
    # These bring torch, which most questions do without.
    from tasks.encoders.checkpoint import encoder_digest, model_digest, tensor_digests
    from tasks.encoders.llava.folder import is_llava
    from tasks.encoders.transformers_format import read_checkpoint
    from tasks.encoders.weights_file import read_weights

    with suppress(PipelineError, OSError):
        if is_llava(path):
            return {}  # what was written of it is known by its bytes; a language model is many gigabytes
        digests = tensor_digests(read_checkpoint(path) if path.is_dir() else read_weights(path).state)
        return {"": model_digest(digests)} | {name: encoder_digest(digests, name) for name in ENCODERS}
    return {}


def _in_store(store: Store, path: Path) -> ArtifactRef | None:
    """The artifact in whose folder something lies."""
    with suppress(ValueError):
        kind, version, *_ = path.resolve().relative_to(store.root).parts
        if is_stored(Path(version)):
            ref = ArtifactRef(kind=kind, version=version)
            return ref if store.holds(ref) else None
    return None


def _weights_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())


def _is_of_transformers(path: Path) -> bool:
    return path.is_dir() and (path / _CONFIG).is_file()


def _with_bytes(store: Store, index: Index, path: Path) -> Iterator[ArtifactRef]:
    files = flattened(index.table("files"), "files")
    files = files.filter(pc.equal(files.column("size_bytes"), path.stat().st_size))
    exported = [
        (ArtifactRef(kind=record["kind"], version=record["version"]), file.get("sha256"))
        for record in export_records(store.root)
        for file in record.get("files", [])
        if file.get("size_bytes") == path.stat().st_size
    ]
    if not files.num_rows and not exported:  # so that gigabytes are not read for nothing
        return
    digest = file_sha256(path)
    yield from refs_in(files.filter(pc.equal(files.column("sha256"), digest)))
    yield from (ref for ref, sha256 in exported if sha256 == digest and store.holds(ref))


def _with_tensors(index: Index, path: Path) -> list[ArtifactRef]:
    models = index.table("counts")
    models = models.filter(pc.equal(models.column("kind"), "model"))
    digests = encoder_digests_of(path) if models.num_rows else {}
    own = {name: digests.get(name) for name in ENCODERS}
    counts: Sequence[str | None] = models.column("counts").to_pylist()
    same = [bool(digests) and json.loads(told or "{}").get("encoder_digests") == own for told in counts]
    return refs_in(models.filter(pa.array(same, pa.bool_())))


def refs_in(rows: pa.Table) -> list[ArtifactRef]:
    """The artifacts that rows are of, each once."""
    pairs = zip(rows.column("kind").to_pylist(), rows.column("version").to_pylist(), strict=True)
    return [ArtifactRef.model_construct(kind=kind, version=version) for kind, version in dict.fromkeys(pairs)]
