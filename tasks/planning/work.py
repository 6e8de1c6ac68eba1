"""How much it takes to make an artifact: samples through the model, and bytes on the disk."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from data_specs.manifest import ArtifactRef
from tasks.encoders.loading import LoadedModel
from tasks.lineage.planned import Planned
from tasks.planning.statistics import FILE_BYTES, FLOAT_BYTES, ROW_BYTES, rows_by_shard, rows_bytes, statistics_bytes

_EVALUATED_PAIR = 110
_SELECTED_WEIGHT = 12  # its place and its value
# Sizes that hardly depend on the run, as they are in the tests' small one.
_MANIFEST = 4_000
_SIZES = {
    "overlap": 500,
    "scores": 5_000,
    "evaluation": 9_000,
    "differences": 4_000,
    "flips": 20_000,
    "gallery": 80_000,
    "report": 240_000,
    "caption_differences": 6_000,
}
# Bytes a caption: its words and those of both references, scores, verdict; of files that name no caption nothing.
_A_CAPTION = {"captions": 160, "caption_scores": 100, "judgements": 60, "caption_evaluation": 160}
_FIGURES = 8_000  # of captions
_TABLES = 20_000  # of an experiment


@dataclass(frozen=True)
class Work:
    """What is left to do for some artifacts.

    `images` and `texts` go forward through an encoder, `gradients` are samples that go forward and
    backward; `captions` are pictures that a captioner writes about, at most `tokens` tokens in all; `judgements` are captions
    that a judge must be asked about, at most; `size_bytes` is about what will be written.
    """

    images: int = 0
    texts: int = 0
    gradients: int = 0
    captions: int = 0
    tokens: int = 0
    judgements: int = 0
    size_bytes: int = 0

    @property
    def samples(self) -> int:
        """All that goes through a model."""
        return self.images + self.texts + self.gradients + self.captions + self.judgements


def work_of(planned: Planned, known: Mapping[ArtifactRef, Planned], loaded: LoadedModel) -> Work:
    """What making an artifact takes where what it is made of is there.

    Args:
        planned: the artifact; nothing is left to do where it is there.
        known: all artifacts of the plan, through which an edit leads back to its layers.
        loaded: the model.

    Returns:
        Exact numbers of samples where none is bad; bytes as they are before compression, about.
    """
    if planned.there:
        return Work()
    work = _without_manifest(planned, known, loaded)
    return replace(work, size_bytes=work.size_bytes + _MANIFEST)


def _without_manifest(planned: Planned, known: Mapping[ArtifactRef, Planned], loaded: LoadedModel) -> Work:
    kind, settings = planned.recipe.kind, planned.recipe.settings
    stage, _, encoder = kind.partition(".")
    state = loaded.model.state_dict()
    if stage in _A_CAPTION:
        return _captions(stage, planned, known)
    if planned.n_parts is not None:
        return _extraction(planned, known, loaded, state)
    if stage == "class_embeddings":
        n_classes = len(_list(settings["class_names"]))
        texts = n_classes * len(_list(settings["templates"]))
        return Work(texts=texts, size_bytes=FILE_BYTES + n_classes * (_width(loaded) * FLOAT_BYTES + ROW_BYTES))
    if stage == "layer_scores":
        layers = [str(name) for name in _list(settings["layers"])]
        size = sum(FILE_BYTES + _weight(state, name).numel() * FLOAT_BYTES for name in layers)
        of_shards = settings["samples"] if "batch_pairs" in settings else None
        n_samples = sum(of_shards[encoder].values()) if isinstance(of_shards, dict) else 0  # type: ignore[union-attr, arg-type]
        return Work(gradients=int(n_samples), size_bytes=size)
    if stage == "slopes":
        layers = [str(name) for name in _list(settings["layers"])]
        size = sum(FILE_BYTES + _weight(state, name).numel() * FLOAT_BYTES for name in layers)
        # Both members of each pair.
        return Work(gradients=2 * sum(settings["samples"][encoder].values()), size_bytes=size)  # type: ignore[index, call-overload, union-attr, arg-type]
    return Work(size_bytes=_size(stage, planned, known, state))


def _captions(stage: str, planned: Planned, known: Mapping[ArtifactRef, Planned]) -> Work:
    if stage == "captions":
        rows = rows_by_shard(planned.recipe.settings)
        n = sum(rows[place] for place in planned.missing)
        decoding: Any = planned.recipe.settings["decoding"]
        size = len(planned.missing) * (_MANIFEST + FILE_BYTES) + n * _A_CAPTION[stage]
        return Work(captions=n, tokens=n * int(decoding["max_new_tokens"]), size_bytes=size)
    of = planned.recipe.inputs["captions"]
    n = sum(rows_by_shard(known[of].recipe.settings)) if isinstance(of, ArtifactRef) and of in known else 0
    asked = n if planned.n_left is None else planned.n_left
    return Work(judgements=asked if stage == "judgements" else 0, size_bytes=_FIGURES + n * _A_CAPTION[stage])


def _extraction(
    planned: Planned, known: Mapping[ArtifactRef, Planned], loaded: LoadedModel, state: Mapping[str, Tensor]
) -> Work:
    settings = planned.recipe.settings
    stage, _, encoder = planned.recipe.kind.partition(".")
    of_shards = rows_by_shard(settings)
    rows = [of_shards[place] for place in planned.missing]
    n_rows = sum(rows)
    if stage != "activations":
        size = len(rows) * _MANIFEST + n_rows * (_width(loaded) * FLOAT_BYTES + ROW_BYTES) + len(rows) * FILE_BYTES
    elif settings.get("statistics") == "folded":
        # What is joined again where a set grows is of no less size.
        compared = statistics_bytes(planned, known, state)
        size = compared.folded if compared is not None else 0
    else:
        size = rows_bytes(settings, rows, state)
    return Work(images=n_rows if encoder == "vision" else 0, texts=n_rows if encoder == "text" else 0, size_bytes=size)


def _size(stage: str, planned: Planned, known: Mapping[ArtifactRef, Planned], state: Mapping[str, Tensor]) -> int:
    if stage == "model":
        return sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if stage == "edit":
        return int(_selected(planned, known, state) * _SELECTED_WEIGHT)
    of_pairs = _pairs(planned, known) * _EVALUATED_PAIR if stage == "evaluation" else 0
    return _SIZES.get(stage, _TABLES) + of_pairs


def _selected(planned: Planned, known: Mapping[ArtifactRef, Planned], state: Mapping[str, Tensor]) -> float:
    """Weights that an edit changes: the share 1 - tau, where the rule is not by shares at most about that."""
    inputs, settings = planned.recipe.inputs, planned.recipe.settings
    copied = inputs.get("edit")
    if isinstance(copied, ArtifactRef):
        return _selected(known[copied], known, state) if copied in known else 0.0
    scores = inputs.get("scores")
    if not (isinstance(scores, ArtifactRef) and scores in known):
        return 0.0
    found = 0.0
    for role, ref in known[scores].recipe.inputs.items():
        chosen = settings.get(role.removeprefix("layer_scores."))
        if isinstance(ref, ArtifactRef) and ref in known and isinstance(chosen, dict):
            layers = _list(known[ref].recipe.settings["layers"])
            found += sum(_weight(state, str(name)).numel() for name in layers) * (1 - float(str(chosen["tau"])))
    return found


def _pairs(planned: Planned, known: Mapping[ArtifactRef, Planned]) -> int:
    embedded = planned.recipe.inputs["embeddings.text"]
    if not (isinstance(embedded, ArtifactRef) and embedded in known):
        return 0
    return sum(int(str(n)) for n in _list(known[embedded].recipe.settings["samples"]))


def _weight(state: Mapping[str, Tensor], layer: str) -> Tensor:
    return state[f"{layer}.weight"]


def _width(loaded: LoadedModel) -> int:
    return int(loaded.architecture.model_cfg["embed_dim"])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
