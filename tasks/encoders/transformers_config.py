"""What a `CLIPModel` of transformers says of itself, against the open_clip architecture that it is loaded into."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from data_specs.errors import SpecError

_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_NORM_EPS = 1e-5
# transformers leaves out what equals its defaults; these are CLIPTextConfig's and CLIPVisionConfig's.
_TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": _NORM_EPS,
}
_VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": _NORM_EPS,
}
# What may differ from open_clip's defaults in a tower that CLIPModel can express.
_EXPRESSIBLE = {
    "vision_cfg": ("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout"),
    "text_cfg": ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "pad_id", "eos_id"),
}
# Beside them, what says how a tower is built, run or fed, and `norm_kwargs`, of which only eps may be set.
_WITHOUT_EFFECT = ("block_type", "norm_kwargs", "output_tokens", "timm_model_pretrained", "hf_model_pretrained")
_OF_THE_TOKENIZER = ("hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs")
_LEGACY_END = 2


def fitted_architecture(model_cfg: dict[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The open_clip config under which a CLIPModel's weights give what transformers gives.

    Args:
        model_cfg: of the architecture asked for.
        config: the CLIPModel's `config.json`.
        source: where the weights lie, for errors.

    Returns:
        A copy of `model_cfg` with the activation that the weights were trained with.

    Raises:
        SpecError: it is no CLIPModel, or its sizes are not the architecture's.
    """
    if config.get("model_type") != "clip":
        raise SpecError(
            f"model.weights {source}: its config.json is of model_type {config.get('model_type')!r}, expected 'clip'"
        )
    fitted = deepcopy(model_cfg)
    # Set before anything is compared: open_clip's plain names use GELU, and many checkpoints quick GELU.
    fitted["quick_gelu"] = _quick_gelu(config, source)
    try:
        expected, got = clip_config(fitted), _with_defaults(config)
    except SpecError as error:
        raise SpecError(f"model.weights {source} are a CLIPModel's and do not fit the architecture: {error}") from error
    problems = [
        f"{where}{name} is {got[part].get(name)}, the architecture's {value}"
        for part, where in (("", ""), ("text_config", "text_config."), ("vision_config", "vision_config."))
        for name, value in _compared(expected, part).items()
        if square(got[part].get(name)) != value
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise SpecError(
            f"model.weights {source} do not fit the architecture: {'; '.join(problems[:3])}{more}; choose the"
            " architecture that the checkpoint was made from"
        )
    end, last = got["text_config"].get("eos_token_id"), expected["text_config"]["vocab_size"] - 1
    if end not in (None, _LEGACY_END, last):
        raise SpecError(
            f"model.weights {source}: text_config.eos_token_id is {end}, but open_clip's text tower pools at the largest"
            f" token, {last}"
        )
    return fitted


def clip_config(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` of the CLIPModel that computes what an open_clip model computes.

    Args:
        model_cfg: of an `open_clip_config.json`.

    Returns:
        The content; `CLIPModel.from_pretrained` takes it.

    Raises:
        SpecError: CLIPModel has no such towers.
    """
    vision, text = _tower(model_cfg, "vision_cfg"), _tower(model_cfg, "text_cfg")
    other = [name for name in ("multimodal_cfg", "init_logit_bias") if model_cfg.get(name) is not None]
    if other:
        raise SpecError(f"transformers' CLIPModel cannot express this model: it has {', '.join(other)}")
    activation = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    shared = {"hidden_act": activation, "projection_dim": model_cfg["embed_dim"]}
    end = text["vocab_size"] - 1
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model_cfg["embed_dim"],
        "text_config": shared
        | {
            "model_type": "clip_text_model",
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text["mlp_ratio"]),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "layer_norm_eps": _norm_eps(text),
            "bos_token_id": end - 1,
            "eos_token_id": end,
        },
        "vision_config": shared
        | {
            "model_type": "clip_vision_model",
            "hidden_size": vision["width"],
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision["head_width"],
            "num_channels": 3,
            "image_size": square(vision["image_size"]),
            "patch_size": square(vision["patch_size"]),
            "layer_norm_eps": _norm_eps(vision),
        },
    }


def _tower(model_cfg: Mapping[str, Any], part: str) -> dict[str, Any]:
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    defaults = asdict(CLIPVisionCfg() if part == "vision_cfg" else CLIPTextCfg())
    tower = defaults | dict(model_cfg[part])
    free = (*_EXPRESSIBLE[part], *_WITHOUT_EFFECT, *_OF_THE_TOKENIZER)
    strange = [
        f"{part}.{name} {value!r}" for name, value in tower.items() if name not in free and value != defaults.get(name)
    ]
    if not isinstance(tower["layers"], int):
        strange.append(f"{part}.layers {tower['layers']!r}")
    strange += [
        f"{part}.{name} {tower[name]!r}"
        for name in ("image_size", "patch_size")
        if name in tower and not isinstance(square(tower[name]), int)
    ]
    if set(tower.get("norm_kwargs") or {}) - {"eps"}:
        strange.append(f"{part}.norm_kwargs {tower['norm_kwargs']!r}")
    if strange:
        raise SpecError(
            f"transformers' CLIPModel cannot express this model: it has {', '.join(strange[:3])}; only open_clip's own"
            " plain CLIP towers can be written or read in that format"
        )
    return tower


def _norm_eps(tower: Mapping[str, Any]) -> float:
    return float((tower.get("norm_kwargs") or {}).get("eps", _NORM_EPS))


def square(value: Any) -> Any:
    """One number for two equal sides, and anything else as it is."""
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        return value[0]
    return value


def _compared(expected: dict[str, Any], part: str) -> dict[str, Any]:
    if not part:
        return {"projection_dim": expected["projection_dim"]}
    ignored = ("model_type", "hidden_act", "projection_dim", "bos_token_id", "eos_token_id")
    return {name: value for name, value in expected[part].items() if name not in ignored}


def _with_defaults(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    # Old files repeat a tower's settings as `text_config_dict`, which transformers lets win.
    def tower(name: str, defaults: dict[str, Any]) -> dict[str, Any]:
        return defaults | dict(config.get(f"{name}_dict") or config.get(name) or {})

    return {
        "": {"projection_dim": config.get("projection_dim", 512)},
        "text_config": tower("text_config", _TEXT_DEFAULTS),
        "vision_config": tower("vision_config", _VISION_DEFAULTS),
    }


def _quick_gelu(config: Mapping[str, Any], source: str) -> bool:
    towers = _with_defaults(config)
    text, vision = towers["text_config"]["hidden_act"], towers["vision_config"]["hidden_act"]
    if text != vision or text not in _ACTIVATIONS:
        raise SpecError(
            f"model.weights {source}: hidden_act is {text!r} in the text and {vision!r} in the vision tower; open_clip"
            f" has one of {', '.join(_ACTIVATIONS)} for both"
        )
    return _ACTIVATIONS[text]
