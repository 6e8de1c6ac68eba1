"""A tiny LLaVA, a CLIP tower, a projector and a Llama, with a real tokenizer and chat template, made on the spot."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.demo.captioner_files import CHAT_TEMPLATE, PICTURE_TOKEN, SPECIAL_TOKENS, byte_tokenizer
from tasks.encoders.transformers_format import to_transformers
from tests.cases.models import TINY_CLIP

INDEX = "model.safetensors.index.json"
QUESTION = "Please, provide a caption for the image."
_CORPUS = ["a man holds a cup", "a woman in a green shirt shows a knife", "a chat between a curious human", QUESTION]
# How versions of transformers, and LLaVA's own code, call the tower in a file; 5 is what is installed.
TOWER_NAMES = {
    "transformers 5": "vision_tower.",
    "transformers 4": "vision_tower.vision_model.",
    "transformers 4, in memory": "model.vision_tower.vision_model.",
    "LLaVA": "model.vision_tower.vision_tower.vision_model.",
}


def tiny_llava_tokenizer() -> Any:
    """A byte-level BPE of some hundred tokens, which loses nothing of any text; it pads on the left."""
    return byte_tokenizer(_CORPUS, 320)


def tiny_llava(tower: Mapping[str, Tensor] | None = None, *, seed: int = 0, **settings: Any) -> Any:
    """A random LlavaForConditionalGeneration around a tower of TINY_CLIP's sizes, float32.

    `tower` gives the tower its weights, under open_clip's names, of a whole CLIP or of its vision encoder alone;
    `settings` are LlavaConfig's, such as `vision_feature_layer`.
    """
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    cfg = TINY_CLIP["vision_cfg"]
    sizes = {"hidden_size": cfg["width"], "intermediate_size": 4 * cfg["width"], "num_hidden_layers": cfg["layers"]}
    sizes |= {"num_attention_heads": cfg["width"] // cfg["head_width"], "image_size": cfg["image_size"]}
    words = {"vocab_size": 320, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "max_position_embeddings": 256}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, patch_size=cfg["patch_size"], hidden_act="gelu", projection_dim=16),
        text_config=LlamaConfig(hidden_size=32, intermediate_size=64, **heads, **words),
        image_token_index=SPECIAL_TOKENS.index(PICTURE_TOKEN),
        **{"vision_feature_layer": -2, "vision_feature_select_strategy": "default"} | settings,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    if tower is not None:
        visual = {name: value for name, value in tower.items() if name.startswith("visual.") and name != "visual.proj"}
        given = {name.removeprefix("vision_model."): value for name, value in to_transformers(visual).items()}
        model.model.vision_tower.load_state_dict(given)
    model.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=3)
    return model


def write_tiny_llava(
    folder: Path,
    tower: Mapping[str, Tensor] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    shard_size: str = "60KB",
    names: str = "transformers 4",
    **settings: Any,
) -> Path:
    """A tiny LLaVA as the hub holds one: settings, processor, and weights in several files with an index.

    `names` is a key of TOWER_NAMES; a `shard_size` over a megabyte makes one file of all weights.
    """
    from transformers import CLIPImageProcessor, LlavaProcessor

    cfg = TINY_CLIP["vision_cfg"]
    tiny_llava(tower, **settings).to(dtype).save_pretrained(folder, max_shard_size=shard_size)
    rename_tower(folder, TOWER_NAMES[names])
    side = {"height": cfg["image_size"], "width": cfg["image_size"]}
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": cfg["image_size"]}, crop_size=side),
        tokenizer=tiny_llava_tokenizer(),
        patch_size=cfg["patch_size"],
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def rename_tower(folder: Path, prefix: str) -> None:
    """Put the tower's tensors under other names, in each file and in the index; `prefix` is of TOWER_NAMES."""
    known = sorted(TOWER_NAMES.values(), key=len, reverse=True)

    def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
        own = {key: next((name for name in known if key.startswith(name)), None) for key in values}
        return {prefix + key[len(own[key] or "") :] if own[key] else key: value for key, value in values.items()}

    for path in folder.glob("*.safetensors"):
        save_file(renamed(load_file(path)), path, {"format": "pt"})
    if (folder / INDEX).exists():
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        content["weight_map"] = renamed(content["weight_map"])
        (folder / INDEX).write_text(json.dumps(content), encoding="utf-8")


def tower_state(model: Any) -> dict[str, Tensor]:
    """The tensors of a loaded LLaVA's tower under the names of a CLIPModel of transformers."""
    tower = model.model.vision_tower
    inner = getattr(tower, "vision_model", tower)
    return {f"vision_model.{name}": value for name, value in inner.state_dict().items() if "position_ids" not in name}
