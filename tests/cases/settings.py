"""Settings that are complete, and the presets there are."""

from pathlib import Path

from data_specs.config_file import parse_config

BASE = Path("/base")
MINIMAL = {
    "name": "run",
    "model": {"architecture": "ViT-B-32", "weights": "openai"},
    "calibration": {"shards": ["a.tar"]},
    "evaluation": {"shards": ["b.tar"]},
}
PRESETS = {
    "vit-b16": ("ViT-B-16-quickgelu", "openai"),
    "vit-b32": ("ViT-B-32-quickgelu", "openai"),
    "vit-l14": ("ViT-L-14-quickgelu", "openai"),
    "coca-vit-l14": ("coca_ViT-L-14", "mscoco_finetuned_laion2b_s13b_b90k"),
    "siglip-so400m": ("ViT-SO400M-14-SigLIP-384", "webli"),
    "safe-clip-vit-l14": ("ViT-L-14-quickgelu", "hf-hub:aimagelab/safeclip_vit-l_14"),
}


def changed(**changes):
    return {**MINIMAL, **changes}


def parse(data):
    return parse_config(data, base=BASE, source="run.yaml")
