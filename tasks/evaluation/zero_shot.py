"""Zero-shot classification on data sets in CLIP_benchmark's WebDataset layout."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from data_specs.choosing import ALL, Span, too_few, within
from data_specs.data_sets import ZeroShotConfig
from data_specs.errors import DataError, SpecError
from data_specs.wording import shown
from data_specs.zero_shot_presets import CLASS_PLACE, find_preset, zero_shot_presets
from tasks.embeddings.observer import FOLDER
from tasks.embeddings.pairs import Places, gathered
from tasks.encoders.forward import encode
from tasks.encoders.tokenizer import Tokenizer
from tasks.extraction.ahead import one_ahead
from tasks.shards.location import fetched_bytes, is_elsewhere, shown_location

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
N_SHARDS = "nshards.txt"
# A data set may have 80 templates for 1000 classes: one forward pass for each class is slow, one for all too large.
PROMPTS_AT_ONCE = 256

_IMAGES_AT_ONCE = 4096
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_CLASS_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class DataSet:
    """One data set: class names, prompt templates that hold `{c}`, and its shards in order."""

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    shards: tuple[str, ...]


def open_data_set(config: ZeroShotConfig) -> DataSet:
    """Read a data set's description and make sure that all its shards are there.

    Args:
        config: its name, folder and split, and whose templates are used.

    Returns:
        The description; what is inside the shards is checked when they are opened.

    Raises:
        SpecError: the paper's template is asked for, and the paper has no data set of that name.
        DataError: the folder or a file in it is missing, empty or makes no sense; it is named.
    """
    paper = _paper_templates(config) if config.templates == "paper" else None
    folder = Path(config.path)
    if not (is_elsewhere(config.path) or folder.is_dir()):
        what = "is no folder" if folder.exists() else "does not exist"
        raise DataError(f"zero-shot data set {config.name}: {folder} {what}; {_expected(config)}")
    class_names = _class_names(config, _inside(config, CLASS_NAMES))
    templates = paper or _templates(config, _inside(config, TEMPLATES))
    return DataSet(config.name, class_names, templates, _shards(config))


def _inside(config: ZeroShotConfig, name: str) -> str:
    """The path or URL of a file of the data set."""
    if not is_elsewhere(config.path):
        return str(Path(config.path) / name)
    # Behind the path of a URL may stand what gives access to all below it.
    address, mark, access = config.path.partition("?")
    return f"{address.rstrip('/')}/{name}{mark}{access}"


def _paper_templates(config: ZeroShotConfig) -> tuple[str, ...]:
    preset = find_preset(config.name)
    if preset is None:
        known = ", ".join(preset.key for preset in zero_shot_presets())
        raise SpecError(
            f"zero-shot data set {config.name}: templates is paper, but the paper has no data set of this name, only"
            f" {known}; name it so, or set templates: data_set"
        )
    return (preset.template,)


def _class_names(config: ZeroShotConfig, path: str) -> tuple[str, ...]:
    names = _lines(config, path)
    if "" in names:
        # Left out, it would shift the numbers of all classes behind it.
        raise DataError(
            f"zero-shot data set {config.name}: line {names.index('') + 1} of {shown_location(path)} is blank, but a class's number is its"
            " line; name the class or remove the line"
        )
    return tuple(names)


def _templates(config: ZeroShotConfig, path: str) -> tuple[str, ...]:
    templates = tuple(line for line in _lines(config, path) if line)
    for template in templates:
        if CLASS_PLACE not in template:
            raise DataError(
                f"zero-shot data set {config.name}: template {shown(template)} in {shown_location(path)} lacks {CLASS_PLACE}"
            )
    return templates


def _shards(config: ZeroShotConfig) -> tuple[str, ...]:
    said = _inside(config, f"{config.split}/{N_SHARDS}")
    counted = " ".join(_lines(config, said))
    if not _COUNT.fullmatch(counted):
        raise DataError(
            f"zero-shot data set {config.name}: {shown_location(said)} says {shown(counted)}, expected a count of shards, 1 or more"
        )
    shards = []
    for index in range(int(counted)):
        path = _inside(config, f"{config.split}/{index}.tar")
        if not (is_elsewhere(path) or Path(path).is_file()):
            raise DataError(
                f"zero-shot data set {config.name}: shard {path} is missing; {N_SHARDS} beside it says {counted}, so"
                f" 0.tar to {int(counted) - 1}.tar are expected; fetch the data set again"
            )
        shards.append(path)
    return tuple(shards)


def _lines(config: ZeroShotConfig, path: str) -> list[str]:
    """Lines without surrounding white space; blank ones at the end do not count."""
    try:
        text = (fetched_bytes(path) if is_elsewhere(path) else Path(path).read_bytes()).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise DataError(
            f"zero-shot data set {config.name}: cannot read {shown_location(path)}: {error}; {_expected(config)}"
        ) from error
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines:
        raise DataError(f"zero-shot data set {config.name}: {shown_location(path)} is empty; {_expected(config)}")
    return lines


def _expected(config: ZeroShotConfig) -> str:
    files = [CLASS_NAMES, *([TEMPLATES] if config.templates == "data_set" else [])]
    files += [f"{config.split}/{N_SHARDS}", f"{config.split}/0.tar and so on"]
    return f"expected a folder with {', '.join(files)}"


def class_embeddings(
    model: nn.Module,
    tokenizer: Tokenizer,
    data_set: DataSet,
    device: torch.device,
    *,
    prompts_at_once: int = PROMPTS_AT_ONCE,
) -> Tensor:
    """One embedding a class: the mean over its prompts' unit-norm embeddings, of unit norm itself.

    Source: Radford et al. 2021, prompt ensembling, as CLIP_benchmark computes it.

    Args:
        model: an open_clip model on `device`.
        tokenizer: takes a list of texts.
        data_set: class names and templates; each class's name stands in each template.
        device: where prompts are encoded.
        prompts_at_once: prompts in one forward pass, of one class or of several.

    Returns:
        [classes, embedding] float32 on the CPU.

    Raises:
        DataError: a class's embedding is NaN or infinite.
    """
    sums: Tensor | None = None
    # Tokenised by a thread: it takes as long as a GPU does to encode.
    for of_class, tokens in one_ahead(_tokenised(tokenizer, data_set, prompts_at_once)):
        # On the CPU, where rows are added in order; in double precision, so that it matters little where batches end.
        embedded = encode(model, "text", tokens.to(device)).cpu().double()
        if sums is None:
            sums = embedded.new_zeros(len(data_set.class_names), embedded.shape[1])
        sums.index_add_(0, of_class, embedded)
    if sums is None:
        raise DataError(f"zero-shot data set {data_set.name} has no class or no template")
    finite = torch.isfinite(sums).all(dim=1)
    if not bool(finite.all()):
        first = data_set.class_names[int((~finite).nonzero()[0, 0])]
        raise DataError(
            f"zero-shot data set {data_set.name}: the embedding of class {shown(first)} is NaN or infinite; look at the precision"
        )
    return nn.functional.normalize(sums, dim=1).float()


def _tokenised(tokenizer: Tokenizer, data_set: DataSet, prompts_at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All prompts, class by class: the class [n] of each and its token ids [n, context]."""
    n_templates = len(data_set.templates)
    n_prompts = len(data_set.class_names) * n_templates
    for start in range(0, n_prompts, prompts_at_once):
        numbers = torch.arange(start, min(start + prompts_at_once, n_prompts))
        of_class = numbers // n_templates
        prompts = [
            data_set.templates[template].replace(CLASS_PLACE, data_set.class_names[index])
            for index, template in zip(of_class.tolist(), (numbers % n_templates).tolist(), strict=True)
        ]
        yield of_class, tokenizer(prompts)


def read_labelled(artifact: Path, n_classes: int, name: str, counted: Span = ALL) -> tuple[list[str], Tensor, Tensor]:
    """Sample ids, image embeddings [images, embedding] and class numbers [images] from an embeddings artifact.

    Args:
        artifact: its folder.
        n_classes: of the data set.
        name: of the data set, for errors.
        counted: the span of ids that are read.

    Raises:
        DataError: there is no image, or an image's class is missing or not below `n_classes`.
    """
    files = sorted((artifact / FOLDER).glob("*.parquet"))
    tables = [pq.read_table(path, columns=["pair_id", "tag"]) for path in files]
    if not any(table.num_rows for table in tables):
        raise DataError(f"zero-shot data set {name}: no image could be read; look at the shards")
    table = pa.concat_tables(tables)
    rows: Places = np.arange(table.num_rows)
    if counted != ALL:
        kept = np.array(within(table.column("pair_id").to_pylist(), counted))
        table, rows = table.filter(pa.array(kept)), rows[kept]
        if not table.num_rows:
            raise DataError(f"zero-shot data set {name}: {too_few(counted)}")
    sample_ids: list[str] = table.column("pair_id").to_pylist()
    labels = []
    for sample_id, label in zip(sample_ids, table.column("tag").to_pylist(), strict=True):
        if label is None or not _CLASS_NUMBER.fullmatch(label) or int(label) >= n_classes:
            raise DataError(
                f"zero-shot data set {name}: sample {sample_id} has class {shown(label)}, expected KEY.cls with 0 to {n_classes - 1}"
            )
        labels.append(int(label))
    return sample_ids, gathered(files, {name: rows})[name], torch.tensor(labels)


def classification_ranks(images: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """How many classes come before each image's own, by falling similarity.

    Args:
        images: [images, embedding] of unit norm.
        labels: [images] int64, class numbers.
        classes: [classes, embedding] of unit norm.

    Returns:
        [images] int64, 0 where the right class is first. Among equal similarities the earlier class comes first.

    Raises:
        DataError: an embedding is NaN or infinite.
    """
    if not bool(torch.isfinite(images).all() and torch.isfinite(classes).all()):
        raise DataError("an embedding is NaN or infinite; its similarities cannot be ranked")
    # Classes that look the same share one column of the product: at its edges another kernel may round
    # differently, and they would no longer be equal.
    distinct, column = torch.unique(classes, dim=0, return_inverse=True)
    numbers = torch.arange(len(classes))
    ranks = torch.empty(len(images), dtype=torch.int64)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        rows = slice(start, start + _IMAGES_AT_ONCE)
        label = labels[rows, None]
        similarity = (images[rows] @ distinct.T)[:, column]
        own = similarity.gather(1, label)
        ranks[rows] = ((similarity > own) | ((similarity == own) & (numbers < label))).sum(dim=1)
    return ranks
