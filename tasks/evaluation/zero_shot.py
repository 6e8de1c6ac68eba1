"""Zero-shot classification on data sets in CLIP_benchmark's WebDataset layout."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from data_specs.errors import DataError
from tasks.embeddings.observer import FOLDER
from tasks.encoders.architecture import Tokenizer
from tasks.encoders.forward import encode
from tasks.extraction.columns import vectors

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
CLASS_PLACE = "{c}"


@dataclass(frozen=True)
class DataSet:
    """One data set: class names, prompt templates that hold `{c}`, and its shards in order."""

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    shards: tuple[str, ...]


def open_data_set(name: str, path: Path, split: str) -> DataSet:
    """Read a data set's description; its shards are checked when they are read.

    Args:
        name: as in the tables.
        path: folder with classnames.txt, zeroshot_classification_templates.txt and SPLIT/nshards.txt.
        split: folder of the shards.

    Returns:
        The description.

    Raises:
        DataError: a file is missing, empty or makes no sense; it is named.
    """
    class_names = _lines(name, path / CLASS_NAMES)
    templates = _lines(name, path / TEMPLATES)
    for template in templates:
        if CLASS_PLACE not in template:
            raise DataError(
                f"zero-shot data set {name}: template {template!r} in {path / TEMPLATES} lacks {CLASS_PLACE}"
            )
    counted = _lines(name, path / split / "nshards.txt")[0]
    if not counted.isdecimal() or int(counted) < 1:
        raise DataError(f"zero-shot data set {name}: {path / split / 'nshards.txt'} says {counted!r}, expected a count")
    shards = tuple(str(path / split / f"{index}.tar") for index in range(int(counted)))
    return DataSet(name, class_names, templates, shards)


def _lines(name: str, path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"zero-shot data set {name}: cannot read {path}: {error}") from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not lines:
        raise DataError(f"zero-shot data set {name}: {path} is empty")
    return lines


def class_embeddings(model: nn.Module, tokenizer: Tokenizer, data_set: DataSet, device: torch.device) -> Tensor:
    """One embedding a class: the mean over its prompts' unit-norm embeddings, of unit norm itself.

    Source: Radford et al. 2021, prompt ensembling, as CLIP_benchmark computes it.

    Returns:
        [classes, embedding] float32 on the CPU.
    """
    rows = []
    for class_name in data_set.class_names:
        prompts = [template.replace(CLASS_PLACE, class_name) for template in data_set.templates]
        embedded = encode(model, "text", tokenizer(prompts).to(device)).mean(dim=0)
        rows.append(nn.functional.normalize(embedded, dim=0).cpu())
    return torch.stack(rows)


def read_labelled(artifact: Path, n_classes: int, name: str) -> tuple[Tensor, Tensor]:
    """Image embeddings [images, embedding] and class numbers [images] from an embeddings artifact.

    Raises:
        DataError: an image's class is missing or not below `n_classes`.
    """
    table = pa.concat_tables(pq.read_table(path) for path in sorted((artifact / FOLDER).glob("*.parquet")))
    labels = []
    for pair_id, label in zip(table.column("pair_id").to_pylist(), table.column("tag").to_pylist(), strict=True):
        if label is None or not label.isdecimal() or int(label) >= n_classes:
            raise DataError(
                f"zero-shot data set {name}: sample {pair_id} has class {label!r}, expected KEY.cls with 0 to {n_classes - 1}"
            )
        labels.append(int(label))
    return vectors(table.column("embedding"), "embedding"), torch.tensor(labels)


def classification_metrics(images: Tensor, labels: Tensor, classes: Tensor) -> dict[str, float]:
    """Accuracies of the nearest class embedding.

    Args:
        images: [images, embedding] of unit norm.
        labels: [images] class numbers.
        classes: [classes, embedding] of unit norm.

    Returns:
        acc1, acc5 and mean_per_class_recall in percent; acc5 where there are more than five classes.
    """
    logits = images @ classes.T
    own = logits.gather(1, labels[:, None])
    later = torch.arange(logits.shape[1]) < labels[:, None]
    ranks = (logits > own).sum(dim=1) + ((logits == own) & later).sum(dim=1)
    right = (ranks == 0).double()
    present = sorted(set(labels.tolist()))
    per_class = torch.stack([right[labels == label].mean() for label in present])
    metrics = {"acc1": 100 * right.mean().item(), "mean_per_class_recall": 100 * per_class.mean().item()}
    if logits.shape[1] > 5:
        metrics["acc5"] = 100 * (ranks < 5).double().mean().item()
    return metrics
