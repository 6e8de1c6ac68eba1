"""A judge from a folder: a transformers sequence classifier, which runs no code of its own and fetches nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from data_specs.caption_rows import JUDGEMENTS
from data_specs.errors import DataError, SpecError
from data_specs.judging import ClassifierJudge
from data_specs.wording import first_line, one_line, shown, shown_path
from tasks.captioning.quiet import without_bars
from tasks.encoders.foreign_code import nothing_runs_or_asks
from tasks.encoders.model_json import CONFIG, read_json
from tasks.lineage.digest import digest_of, file_sha256
from tasks.lineage.progress import advance, notice

_READ = (".json", ".safetensors", ".txt", ".model")
_LONGEST_WITHOUT_LIMIT = 512


@dataclass(frozen=True)
class _Classifier:
    model: Any
    tokenizer: Any
    unsafe: list[int]
    independent: bool  # labels have a probability each, in place of one over all
    longest: int  # tokens of a caption


def classifier_digest(judge: ClassifierJudge) -> str:
    """Digest of all files that a classifier is read from.

    Raises:
        SpecError: the folder is not there, or holds no settings and weights.
    """
    folder = _folder(judge)
    files = sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
    return digest_of({path.name: file_sha256(path) for path in files})


def classify(judge: ClassifierJudge, captions: Sequence[str], device: torch.device, stage: str = "") -> pa.Table:
    """What a classifier says of captions.

    Args:
        judge: its settings.
        captions: distinct.
        device: computes.
        stage: whose progress this is.

    Returns:
        Rows of JUDGEMENTS; unsafe from the threshold on.

    Raises:
        SpecError: the folder holds no classifier that can be loaded whole, or none with these labels.
        DataError: a probability is no number.
    """
    loaded = _loaded(judge, device)
    rows = []
    for caption, score in zip(captions, _scores(judge, loaded, captions, device, stage), strict=True):
        rows.append({"caption": caption, "outcome": "unsafe" if score >= judge.threshold else "safe", "score": score})
    return pa.Table.from_pylist(rows, schema=JUDGEMENTS)


def _scores(
    judge: ClassifierJudge, loaded: _Classifier, captions: Sequence[str], device: torch.device, stage: str
) -> Iterator[float]:
    at_once = judge.batch_size if loaded.tokenizer.pad_token is not None else 1
    n_cut = 0
    for start in range(0, len(captions), at_once):
        batch = list(captions[start : start + at_once])
        n_cut += sum(len(ids) > loaded.longest for ids in loaded.tokenizer(batch, truncation=False)["input_ids"])
        inputs = loaded.tokenizer(
            batch, padding=at_once > 1, truncation=True, max_length=loaded.longest, return_tensors="pt"
        )
        with torch.inference_mode():
            scores = unsafe_probability(
                loaded.model(**inputs.to(device)).logits.float(), loaded.unsafe, loaded.independent
            )
        if not bool(scores.isfinite().all()):
            raise DataError(f"judges.{judge.name}: the classifier gives no number for a caption; use another one")
        yield from scores.tolist()
        advance(stage, len(batch))
    if n_cut:
        notice(f"judge {judge.name}: of {n_cut} captions only the first {loaded.longest} tokens were judged")


def unsafe_probability(logits: Tensor, unsafe: Sequence[int], independent: bool) -> Tensor:
    """How probable it is that each caption is unsafe.

    Args:
        logits: [captions, labels].
        unsafe: places of the labels that mean unsafe.
        independent: whether a caption may have several labels; then the most probable one counts, else their sum.

    Returns:
        [captions], 0 to 1.
    """
    if independent:
        return logits.sigmoid()[:, list(unsafe)].amax(dim=1)
    return logits.double().softmax(dim=1)[:, list(unsafe)].sum(dim=1)


def _folder(judge: ClassifierJudge) -> Path:
    folder, where = Path(judge.path), f"judges.{judge.name}.path: {shown_path(judge.path)}"
    if not folder.is_dir():
        raise SpecError(f"{where} is no folder; download the classifier, and name its folder")
    lacking = [
        what
        for what, pattern in ((CONFIG, CONFIG), ("weights as .safetensors", "*.safetensors"))
        if not any(folder.glob(pattern))
    ]
    if lacking:
        raise SpecError(f"{where} has no {' and no '.join(lacking)}; name a folder that save_pretrained wrote")
    return folder


def _loaded(judge: ClassifierJudge, device: torch.device) -> _Classifier:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, where = _folder(judge), f"judges.{judge.name}.path: {shown_path(judge.path)}"
    read_json(folder / CONFIG, f"judges.{judge.name}.path")  # refuses what names code
    try:
        with nothing_runs_or_asks(), without_bars():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except SpecError:
        raise
    except Exception as error:  # transformers raises what it happens to meet
        raise SpecError(
            f"{where} is no classifier that transformers loads: {one_line(first_line(error), 200)}"
        ) from error
    absent = sorted({*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])})
    if absent:
        raise SpecError(
            f"{where} lacks {len(absent)} tensors such as {shown(absent[0])}, so that it would judge at random"
        )
    config = model.config
    labels = {str(name): int(place) for place, name in config.id2label.items()}
    unknown = [label for label in judge.unsafe_labels if label not in labels]
    if unknown:
        raise SpecError(
            f"judges.{judge.name}.unsafe_labels has {shown(unknown[0])}, expected some of {shown([*labels])}"
        )
    independent = config.problem_type == "multi_label_classification" or len(labels) == 1
    unsafe = [labels[label] for label in dict.fromkeys(judge.unsafe_labels)]
    return _Classifier(model.to(device).eval(), tokenizer, unsafe, independent, _longest(config, tokenizer))


def _longest(config: Any, tokenizer: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    if "roberta" in str(config.model_type) and positions:
        positions -= int(config.pad_token_id or 0) + 1  # its positions begin behind padding's
    known = [n for n in (positions, int(tokenizer.model_max_length)) if 0 < n < 10**6]
    return min(known, default=_LONGEST_WITHOUT_LIMIT)
