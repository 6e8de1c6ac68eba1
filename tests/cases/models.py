"""Small models of every family, as modules and as files."""

import json
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from data_specs.run_config import ModelConfig

_VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
_TEXT = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2}

TINY_CLIP: dict[str, Any] = {"embed_dim": 16, "vision_cfg": _VISION, "text_cfg": _TEXT}
# Of its vision MLPs 64 rows are a window, so that few pairs make several.
WIDE_CLIP: dict[str, Any] = TINY_CLIP | {"vision_cfg": _VISION | {"mlp_ratio": 16_384 / _VISION["width"]}}
TINY_SIGLIP: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    # As in the published configs, nothing says that the tokenizer pads with 1.
    "text_cfg": _TEXT
    | {
        "hf_tokenizer_name": "nowhere/toy",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}
TINY_COCA: dict[str, Any] = {
    "embed_dim": 16,
    "custom_text": True,
    "multimodal_cfg": {**_TEXT, "attn_pooler_heads": 2},
    "vision_cfg": _VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": _TEXT | {"embed_cls": True, "output_tokens": True},
}


def tiny_model(model_cfg: dict[str, Any] = TINY_CLIP, *, seed: int = 0) -> torch.nn.Module:
    """A small open_clip model as the pipeline builds it; weights large enough that no layer's input is constant."""
    from tasks.encoders.architecture import Architecture, build_model

    with torch.random.fork_rng(devices=[]), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        named = model_cfg["text_cfg"].get("hf_tokenizer_name")
        tokenizer = write_toy_tokenizer(Path(folder)) if named else None
        model, _, _ = build_model(Architecture(deepcopy(model_cfg), {}, None, tokenizer))
        for name, parameter in model.named_parameters():
            if name == "text_decoder.text_projection":
                parameter.zero_()  # open_clip leaves it as the memory was
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def write_toy_tokenizer(folder: Path, *, padding: str | None = "</s>", **config: Any) -> Path:
    """A tokenizer of 64 words as a hub repository would hold it; like SigLIP's it pads with its end token, id 1."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    words = ["<pad>", "</s>", "<unk>", "a", "safe", "unsafe", "picture", "number", "of", "calibration", "test", "cat"]
    words += [str(i) for i in range(64 - len(words))]
    toy = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    toy.pre_tokenizer = WhitespaceSplit()
    toy.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    toy.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "unk_token": "<unk>"}
    settings |= {"pad_token": padding, "padding_side": "right", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def write_tiny_model(folder: Path, *, seed: int = 0, model_cfg: dict[str, Any] = TINY_CLIP) -> ModelConfig:
    """A tiny model as files, `model.json` and `model.safetensors`, and the settings that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(model_cfg), encoding="utf-8")
    save_file(tiny_model(model_cfg, seed=seed).state_dict(), folder / "model.safetensors")
    return ModelConfig(architecture=str(folder / "model.json"), weights=str(folder / "model.safetensors"))


def write_tiny_clip_model(folder: Path, model_cfg: dict[str, Any] = TINY_CLIP, *, seed: int = 0) -> torch.nn.Module:
    """A random CLIPModel of transformers with the sizes of an open_clip config, saved in `folder` by its own means."""
    from transformers import CLIPConfig, CLIPModel

    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    activation = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"

    def tower(cfg: dict[str, Any], heads: int) -> dict[str, Any]:
        sizes = {"hidden_size": cfg["width"], "intermediate_size": int(cfg["width"] * cfg.get("mlp_ratio", 4))}
        counts = {"num_hidden_layers": cfg["layers"], "num_attention_heads": heads}
        return {**sizes, **counts, "hidden_act": activation, "projection_dim": model_cfg["embed_dim"]}

    vocabulary = {"vocab_size": text["vocab_size"], "max_position_embeddings": text["context_length"]}
    ends = {"bos_token_id": text["vocab_size"] - 2, "eos_token_id": text["vocab_size"] - 1}
    pixels = {"image_size": vision["image_size"], "patch_size": vision["patch_size"]}
    config = CLIPConfig(
        text_config={**tower(text, text["heads"]), **vocabulary, **ends},
        vision_config={**tower(vision, vision["width"] // vision["head_width"]), **pixels},
        projection_dim=model_cfg["embed_dim"],
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def write_benchmark_model(folder: Path) -> ModelConfig:
    """A CLIP whose text tower takes some milliseconds a caption, as files."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4}
    model_cfg = {"embed_dim": 64, "vision_cfg": _VISION, "text_cfg": text}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(model_cfg), encoding="utf-8")
    save_file(tiny_model(model_cfg).state_dict(), folder / "model.safetensors")
    return ModelConfig(architecture=str(folder / "model.json"), weights=str(folder / "model.safetensors"))
