"""Writing an edited model as a folder that open_clip or transformers loads."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from data_specs.families import VISION_PREFIX
from data_specs.manifest import ArtifactRef
from data_specs.wording import shown
from tasks.encoders.architecture import OPEN_CLIP_CONFIG
from tasks.encoders.checkpoint import read_state_dict, write_state_dict
from tasks.encoders.llava.stored_tensors import stored_tensors
from tasks.encoders.model_json import CONFIG, read_json
from tasks.encoders.tokenizer import tokenizer_digest, tokenizer_files
from tasks.encoders.transformers_config import clip_config
from tasks.encoders.transformers_format import WEIGHTS, to_transformers
from tasks.encoders.transformers_images import PREPROCESSOR, preprocessor_config
from tasks.exporting.card import ExportFormat, Stated, model_card
from tasks.exporting.clip_tokenizer import VOCABULARY_SIZE, write_clip_tokenizer
from tasks.exporting.record import ModelRecord, describe_edited
from tasks.lineage.appearing import appearing, require_new_folder
from tasks.lineage.exports import record_export
from tasks.lineage.place import require_local
from tasks.lineage.store import Store
from tasks.lineage.trust.signatures import Signer

CARD = "README.md"


def export_model(
    store: Store,
    version: str,
    export_format: ExportFormat,
    out: Path | str,
    tokenizer: Path | None = None,
    stated: Stated = Stated(),  # noqa: B008  (frozen)
    signer: Signer | None = None,
) -> Path:
    """Write an edited model with its card; the folder appears when it is complete, and the store keeps a record of it.

    Args:
        store: holds the model.
        version: of a `model` artifact, or the beginning of one.
        export_format: `open_clip` or `transformers`.
        out: the folder to make; it must be empty or not there yet.
        tokenizer: folder of the tokenizer that the model was edited with, to be put beside it.
        stated: license and base model, for the card.
        signer: signs the folder, if given; `model.sig` lies in it.

    Returns:
        `out`, absolute.

    Raises:
        SpecError: no model has the version, `out` cannot be made, or tokenizer or format do not fit.
        ArtifactError: the model, or what it was made of, is missing or has changed.
    """
    require_local(out, "--out")
    ref = edited_model_ref(store, version)
    out = Path(out).resolve()
    require_new_folder(out)
    store.check(ref)
    _require_both_encoders(store.path(ref) / WEIGHTS)
    record = describe_edited(store, ref)
    _require_tokenizer(tokenizer, record)
    with appearing(out) as draft:
        _fill(draft, store.path(ref), export_format)
        included = _add_tokenizer(draft, store.path(ref), export_format, record, tokenizer)
        (draft / CARD).write_text(model_card(record, export_format, included, stated), encoding="utf-8")
        if signer is not None:
            signer.sign_folder(draft)
    record_export(store.root, ref, out, form=export_format)
    return out


def _require_both_encoders(weights: Path) -> None:
    if all(name.startswith(VISION_PREFIX) for name in stored_tensors(weights, "EDITED")):
        raise SpecError(
            "the model is the vision tower of a LLaVA, which no library loads by itself; use --format llava with the LLaVA as"
            " --model"
        )


def edited_model_ref(store: Store, version: str) -> ArtifactRef:
    """The `model` artifact of a version, or of the beginning of one.

    Raises:
        SpecError: it is an artifact of another kind.
        ArtifactError: nothing has the version.
    """
    ref = store.find(version)
    if ref.kind == "model":
        return ref
    made = [
        item.version[:16]
        for item in store.refs()
        if item.kind == "model" and store.manifest(item).recipe.inputs.get("edit") == ref
    ]
    hint = f"the model that this edit made is {' or '.join(made)}" if made else "see `uwm artifacts list`"
    raise SpecError(f"version {shown(version)} is an artifact of kind {ref.kind}, expected an edited model; {hint}")


def _require_tokenizer(folder: Path | None, record: ModelRecord) -> None:
    if folder is None:
        return
    digest = tokenizer_digest(folder)
    known = [name for name in record.tokenizers if name.startswith("sha256:")]
    if known and digest not in known:
        raise SpecError(f"--tokenizer {folder} is {digest[:19]}, but the model was edited with {known[0][:19]}")


def _fill(draft: Path, model: Path, export_format: ExportFormat) -> None:
    if export_format == "open_clip":
        for name in (OPEN_CLIP_CONFIG, WEIGHTS):
            shutil.copyfile(model / name, draft / name)
        return
    described = read_json(model / OPEN_CLIP_CONFIG, "EDITED")
    model_cfg = described["model_cfg"]
    config = clip_config(model_cfg)
    image_size = config["vision_config"]["image_size"]
    images = preprocessor_config(described.get("preprocess_cfg", {}), image_size)
    write_state_dict(to_transformers(read_state_dict(model / WEIGHTS)), draft / WEIGHTS, {"format": "pt"})
    _write_json(draft / CONFIG, config)
    _write_json(draft / PREPROCESSOR, images)


def _add_tokenizer(
    draft: Path, model: Path, export_format: ExportFormat, record: ModelRecord, tokenizer: Path | None
) -> bool:
    if tokenizer is None:
        return _add_clip_tokenizer(draft, model, export_format, record)
    for path in tokenizer_files(tokenizer):
        # A tokenizer's config.json only names its class, and the model's own comes first.
        if not (draft / path.name).exists():
            shutil.copyfile(path, draft / path.name)
    return True


def _add_clip_tokenizer(draft: Path, model: Path, export_format: ExportFormat, record: ModelRecord) -> bool:
    """Write CLIP's tokenizer where the model uses it: transformers makes up one where a folder has none."""
    text = read_json(model / OPEN_CLIP_CONFIG, "EDITED")["model_cfg"]["text_cfg"]
    of_another_kind = text.get("hf_tokenizer_name") or any(name.startswith("sha256:") for name in record.tokenizers)
    if export_format != "transformers" or of_another_kind or text.get("vocab_size", VOCABULARY_SIZE) != VOCABULARY_SIZE:
        return False
    write_clip_tokenizer(draft, int(text.get("context_length", 77)))
    return True


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
