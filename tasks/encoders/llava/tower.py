"""The vision tower of a LLaVA as a model by itself: what runs into the language model, and nothing else."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from data_specs.errors import SpecError
from data_specs.wording import shown
from tasks.encoders.architecture import Architecture, Preprocess, build_model
from tasks.encoders.checkpoint import tensor_digests
from tasks.encoders.llava.folder import LlavaFolder, locate_llava, open_llava
from tasks.encoders.llava.names import THEIR_TOWER, block_of, is_used
from tasks.encoders.loading import LoadedModel, require_weights
from tasks.encoders.model_json import read_json
from tasks.encoders.tokenizer import Tokenizer
from tasks.encoders.transformers_format import to_open_clip
from tasks.encoders.transformers_images import PREPROCESSOR, preprocessing, preprocessing_asked
from tasks.lineage.progress import notice

_SETTING = "model.llava"
_PROCESSOR, _IMAGES = "processor_config.json", "image_processor"  # where transformers 5 puts what is done to pictures
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
# transformers leaves out what equals CLIPVisionConfig's defaults; without any vision_config it is ViT-L/14 at 336 pixels.
_HEADS, _HEADS_OF_LARGE = 12, 16
_NORM_EPS = 1e-5
# Never run: open_clip builds a text encoder around every vision encoder.
_NO_TEXT = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


def load_tower(given: str) -> LoadedModel:
    """The tower of a LLaVA as a model, without the blocks behind the last hidden state that its language model reads.

    Its embeddings are the first token of that hidden state and of no use; it has no text encoder. Two LLaVAs with one
    tower give the same model, in whatever precision they hold its values, and whatever they are fed with.

    Args:
        given: a folder, or `hf-hub:ORG/NAME`.

    Returns:
        The model on the CPU in float32, under open_clip's names.

    Raises:
        SpecError: there is no LLaVA, its tower is no CLIP's, or is quantised.
    """
    llava = open_llava(locate_llava(given, _SETTING), _SETTING)
    architecture, state = _described(llava), tower_state(llava)
    model, preprocess, tokenizer = _built(architecture)
    require_weights(model, state, f"{_SETTING} {given}")
    model.load_state_dict(state)
    unseen = llava.n_blocks - llava.n_seen
    if unseen:
        notice(
            f"{_SETTING}: the language model reads what block {llava.n_seen} of {llava.n_blocks} gives; the last {unseen}"
            " of them are neither scored nor edited"
        )
    return LoadedModel(model, preprocess, tokenizer, architecture, tensor_digests(model.state_dict()), given)


def tower_state(llava: LlavaFolder) -> dict[str, Tensor]:
    """The tensors of a tower that captions depend on, under open_clip's names, as they are stored.

    Raises:
        SpecError: the tower is no CLIP's, or is quantised.
    """
    used = {
        THEIR_TOWER + inner: tensor.read()
        for inner, tensor in llava.tower.items()
        if is_used(inner) and (block_of(inner) or 0) < llava.n_seen
    }
    return to_open_clip(used, str(llava.folder))


def _described(llava: LlavaFolder) -> Architecture:
    """The architecture of the blocks that are seen, its sizes from the tensors themselves."""
    told = llava.config.get("vision_config")
    config: Mapping[str, Any] = told if isinstance(told, Mapping) else {"num_attention_heads": _HEADS_OF_LARGE}
    if config.get("model_type", "clip_vision_model") != "clip_vision_model":
        raise SpecError(
            f"{_SETTING} {llava.folder}: its tower is a {shown(config.get('model_type'))}; scores are taken of CLIP's towers"
            " only, so score the SigLIP model by itself and apply that edit"
        )
    activation, heads = config.get("hidden_act", "quick_gelu"), config.get("num_attention_heads", _HEADS)
    patch, inner = (
        llava.tower["embeddings.patch_embedding.weight"].shape,
        llava.tower["encoder.layers.0.mlp.fc1.weight"],
    )
    width, side = patch[0], patch[-1]
    if activation not in _ACTIVATIONS or not isinstance(heads, int) or heads < 1 or width % heads:
        raise SpecError(
            f"{_SETTING} {llava.folder}: vision_config has hidden_act {shown(activation)} and {shown(heads)} heads for a width"
            f" of {width}, expected {' or '.join(_ACTIVATIONS)} and a divisor of the width"
        )
    image_size = side * isqrt(llava.tower["embeddings.position_embedding.weight"].shape[0] - 1)
    vision: dict[str, Any] = {
        "image_size": image_size,
        "patch_size": side,
        "width": width,
        "head_width": width // heads,
    }
    vision |= {"layers": llava.n_seen, "mlp_ratio": inner.shape[0] / width}
    if (eps := config.get("layer_norm_eps", _NORM_EPS)) != _NORM_EPS:
        vision["norm_kwargs"] = {"eps": eps}
    cfg = {"embed_dim": width, "quick_gelu": _ACTIVATIONS[activation], "vision_cfg": vision, "text_cfg": _NO_TEXT}
    return Architecture(cfg, _pictures(llava.folder, image_size), None)


def _pictures(folder: Path, image_size: int) -> dict[str, Any]:
    processor = folder / _PROCESSOR
    if not (folder / PREPROCESSOR).is_file() and processor.is_file():
        asked = read_json(processor, _SETTING).get(_IMAGES)
        if isinstance(asked, Mapping):
            return preprocessing_asked(asked, image_size, f"{_SETTING}: {processor}")
    return preprocessing(folder, image_size)


def _built(architecture: Architecture) -> tuple[nn.Module, Preprocess, Tokenizer]:
    """An open_clip model with random weights that ends where the last block does."""
    model, preprocess, tokenizer = build_model(architecture)
    visual: Any = model.visual
    visual.proj, visual.ln_post = None, nn.Identity()
    for name in [name for name, _ in model.named_children() if name != "visual"]:
        delattr(model, name)
    for name in [name for name, _ in model.named_parameters(recurse=False)]:
        delattr(model, name)
    return model, preprocess, tokenizer
