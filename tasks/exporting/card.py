"""The model card: what was edited, from what, how it measured, what it is for and what it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from data_specs.sign_filter import SIGN_NOTE
from tasks.exporting.card_figures import data_table, measured_lines
from tasks.exporting.record import EncoderChange, ModelRecord
from tasks.tables.escaping import escape_markdown, markdown_table
from tasks.tables.verdict import EditSize, run_verdict

ExportFormat = Literal["open_clip", "transformers", "llava"]


@dataclass(frozen=True)
class Stated:
    """What a store cannot know of a model: its license, and, of weights from a file, its base model's name on the hub."""

    license: str | None = None
    base_model: str | None = None


_ZERO_SHOT, _CAPTIONS = "zero-shot-image-classification", "image-text-to-text"
_TAG = "model-editing"
_HEAD_BYTES = 2000
_IN_LLAVA = """\
This is a LLaVA whose vision tower is the CLIP vision encoder that was edited; its language model is as it was. All figures
below are of the CLIP model by itself. Whether captions became safer was not measured by them: measure that, too."""
# The hub knows no license of this name, and asks for one where it is none of its own.
_LICENSE_NAME = "that-of-the-base-model"
_NAMES: dict[ExportFormat, str] = {"open_clip": "CLIP model", "transformers": "CLIP model", "llava": "LLaVA"}
_LOADING: dict[ExportFormat, str] = {
    "open_clip": """\
```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:PATH/OF/THIS/FOLDER")
```""",
    "transformers": """\
```python
from transformers import CLIPImageProcessor, CLIPModel

model = CLIPModel.from_pretrained("PATH/OF/THIS/FOLDER")
images = CLIPImageProcessor.from_pretrained("PATH/OF/THIS/FOLDER")
```""",
    "llava": """\
```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("PATH/OF/THIS/FOLDER", dtype="auto")
processor = AutoProcessor.from_pretrained("PATH/OF/THIS/FOLDER")
```""",
}
# Settings that hold a number a shard.
_OF_SHARDS = ("samples",)
_USE = """\
For measuring and lowering a CLIP-like model's preference for unsafe content in retrieval and in zero-shot use, where the
base model was used before. The base model's own terms and limits go on to apply."""
_LIMITS = """\
- The edit lowers the model's preference for unsafe content. It does not remove that content from what the model can
  represent, and it is no guarantee: unsafe inputs can still be close to unsafe outputs.
- The measurements hold for the evaluation data named here. Other data, languages, image styles and kinds of harm may
  behave differently; measure on your own before you rely on it.
- What counts as safe and unsafe is what the calibration pairs say. Gaps and biases of those pairs are in the edit.
- The edit may cost accuracy on harmless content; look at the retrieval and zero-shot figures.
- Whoever holds the base model can undo the edit. It is no protection against a person with the weights.
- Do not use it as the only filter of a product, and do not use it to search for unsafe content."""


def is_own_card(path: Path) -> bool:
    """Whether a `README.md` is a card that was written here."""
    if not path.is_file():
        return False
    head = path.read_bytes()[:_HEAD_BYTES].decode("utf-8", errors="replace")
    return head.startswith("---") and f"- {_TAG}\n" in head.partition("\n---\n")[0] + "\n"


def model_card(
    record: ModelRecord,
    export_format: ExportFormat,
    tokenizer_included: bool,
    stated: Stated = Stated(),
    about_llava: Sequence[str] = (),
) -> str:
    """`README.md` of an exported model.

    Args:
        record: what the store says of the model; its texts are data and are escaped.
        export_format: whose folder the card lies in.
        tokenizer_included: whether tokenizer files lie beside it.
        stated: license and base model, by whoever exports it.
        about_llava: what was done to the LLaVA whose folder it is, in sentences.

    Returns:
        Markdown that ends with a newline.
    """
    parts = [
        ["---", _hub_fields(record, export_format, stated), "---"],
        [f"# {_NAMES[export_format]} edited for safety, version {record.version[:12]}"],
        *([[_IN_LLAVA]] if export_format == "llava" else []),
        *([[f"- {escape_markdown(sentence)}" for sentence in about_llava]] if about_llava else []),
        *_verdict(record),
        _what_was_edited(record),
        *_choice(record),
        _origins(record),
        ["## Measurements", "", *measured_lines(record.measurements), *_warnings(record)],
        ["## Intended use", "", _USE],
        ["## License", "", _license_line(record, export_format, stated)],
        ["## Limits", "", _LIMITS],
        [
            "## How to load it",
            "",
            _LOADING[export_format],
            *_tokenizer_lines(record, export_format, tokenizer_included),
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _hub_fields(record: ModelRecord, export_format: ExportFormat, stated: Stated) -> str:
    """What the hub reads of a card."""
    is_llava = export_format == "llava"
    library, task = ("transformers", _CAPTIONS) if is_llava else (export_format, _ZERO_SHOT)
    fields: dict[str, Any] = {"library_name": library, "pipeline_tag": task}
    fields |= {"license": stated.license} if stated.license else {"license": "other", "license_name": _LICENSE_NAME}
    base = _base(record, export_format, stated)
    if base:
        fields |= {"base_model": base, "base_model_relation": "finetune"}
    fields["tags"] = ["llava" if is_llava else "clip", _TAG, "safety"]
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return text.strip()


def _base(record: ModelRecord, export_format: ExportFormat, stated: Stated) -> str | None:
    """The name of what was edited: of a LLaVA not that of its CLIP, which the store knows."""
    return stated.base_model or (record.base_on_hub if export_format != "llava" else None)


def _license_line(record: ModelRecord, export_format: ExportFormat, stated: Stated) -> str:
    if stated.license:
        return f"{escape_markdown(stated.license)}, as stated when this folder was written."
    base = _base(record, export_format, stated) or "the base model"
    return f"That of {escape_markdown(base)}, whose terms go on to apply; which it is was not stated."


def _verdict(record: ModelRecord) -> list[list[str]]:
    """What the edit gained and cost, by the last measurement that compares it with the original."""
    compared = next((item for item in reversed(record.measurements) if item.differences), None)
    if compared is None:
        return []
    sizes = [
        EditSize(item.encoder, item.n_selected, item.n_weights, len(item.layers), _alpha(item))
        for item in record.encoders
    ]
    told = run_verdict(compared.differences, chance=compared.edited.chance, sizes=sizes)
    return [[f"- {escape_markdown(sentence)}" for sentence in told]]


def _choice(record: ModelRecord) -> list[list[str]]:
    if not record.chosen_by:
        return []
    told = [f"- {escape_markdown(sentence)}" for sentence in record.chosen_by]
    return [["## How it was chosen", "", *told]]


def _alpha(change: EncoderChange) -> float | None:
    alpha = change.settings.get("alpha")
    return float(alpha) if isinstance(alpha, int | float) else None


def _what_was_edited(record: ModelRecord) -> list[str]:
    signs = {change.settings.get("sign") for change in record.encoders}
    header = ["encoder", "scorer", "rule", "tau", "alpha", "layers", "weights changed", "share of these layers"]
    lines = [
        "## What was edited",
        "",
        _how(record, signs),
        "",
        *([escape_markdown(SIGN_NOTE), ""] if signs - {None} else []),
        *markdown_table(header, [_encoder_row(item) for item in record.encoders]),
    ]
    for change in record.encoders:
        others = {name: value for name, value in change.settings.items() if name not in (*header, *_OF_SHARDS)}
        told = ", ".join(f"{name} {_plain(value)}" for name, value in others.items() if value is not None)
        lines += ["", f"Layers of the {change.encoder} encoder" + (f" ({escape_markdown(told)}):" if told else ":"), ""]
        lines += markdown_table(
            ["layer", "weights changed", "of"],
            [(layer.layer, f"{layer.n_selected:,}", f"{layer.n_weights:,}") for layer in change.layers],
        )
    return lines


def _how(record: ModelRecord, signs: set[object]) -> str:
    if record.is_control:
        return (
            "**This is a control, not a safer model**: as many weights of the same layers as the edit that it is compared with"
            " were drawn at random."
        )
    if "against" in signs:
        return (
            "**This is a control, not a safer model**: its sign filter left only weights whose negation raises, to first order,"
            " the loss that an edit should lower."
        )
    if signs - {None}:
        return (
            "Of the weights that a sign filter leaves, those of highest score were multiplied by alpha; all other weights are"
            " the base model's, bit for bit."
        )
    return (
        "Weights were chosen by their score and multiplied by alpha, without training (Unsafe Weights Manipulation,"
        " arXiv:2503.11742); all other weights are the base model's, bit for bit."
    )


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _encoder_row(change: EncoderChange) -> list[object]:
    settings = change.settings
    return [
        change.encoder,
        settings.get("scorer", "uwm"),
        settings.get("rule", "?"),
        settings.get("tau", "?"),
        f"{settings['alpha']:g}" if isinstance(settings.get("alpha"), int | float) else "?",
        len(change.layers),
        f"{change.n_selected:,} of {change.n_weights:,}",
        f"{change.n_selected / max(change.n_weights, 1):.3%}",
    ]


def _origins(record: ModelRecord) -> list[str]:
    rows = [
        ("base model, digest of its tensors", record.base_digest),
        ("base model, name of its weights", record.base_name or "not recorded"),
        ("edit", record.edit_version),
        ("edited model", record.version),
    ]
    lines = ["## Where it comes from", "", *markdown_table(["what", "version"], rows), ""]
    if not record.calibration:
        return [*lines, "No data went into the choice of weights."]
    return [*lines, "Data that the weights were chosen on:", "", *data_table(record.calibration)]


def _warnings(record: ModelRecord) -> list[str]:
    sentences = record.overlap.sentences if record.overlap else []
    return [line for sentence in sentences for line in ("", f"**Note:** {escape_markdown(sentence)}")]


def _tokenizer_lines(record: ModelRecord, export_format: ExportFormat, included: bool) -> list[str]:
    return [] if export_format == "llava" else ["", _tokenizer_line(record, included)]


def _tokenizer_line(record: ModelRecord, included: bool) -> str:
    if included:
        return "The tokenizer that the model was edited and measured with lies in this folder."
    if not record.tokenizers:
        return "Texts go through open_clip's tokenizer for this config: `open_clip.get_tokenizer` of the same folder."
    names = escape_markdown(", ".join(record.tokenizers))
    return f"Texts go through the base model's tokenizer, {names}; no other gives the same numbers."
