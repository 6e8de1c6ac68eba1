"""A store filled by hand with what a run leaves behind an edited model."""

import json

import torch
from safetensors.torch import save_file

from data_specs.manifest import Recipe, Source
from tasks.encoders.architecture import Architecture
from tasks.exporting.card import model_card
from tasks.exporting.record import describe_edited
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import text_sha256
from tasks.lineage.store import Store
from tests.cases.models import TINY_CLIP, tiny_model

BASE = text_sha256("base model")
LAYERS = {
    "transformer.resblocks.0.attn.out_proj": {"n_weights": 1024, "n_selected": 100},
    "transformer.resblocks.1.attn.out_proj": {"n_weights": 1024, "n_selected": 28},
    "visual.transformer.resblocks.1.mlp.c_proj": {"n_weights": 4096, "n_selected": 1},
}
EDITS = {
    "text": {"rule": "score_mass", "tau": 0.98, "alpha": -1.0},
    "vision": {"rule": "top_share", "tau": 0.75, "alpha": 0.0},
}


class Bench:
    """An edited model, its edit, scores and activations; evaluations are added by `evaluate`."""

    def __init__(self, root, model_cfg=TINY_CLIP, preprocess_cfg=None, tokenizer=None):
        self.store = Store(root)
        self.state = tiny_model(model_cfg).state_dict()
        self.tokenizer = tokenizer
        layer_scores = {
            f"layer_scores.{encoder}": self.layer_scores(encoder, scorer)
            for encoder, scorer in (("text", "uwm"), ("vision", "difference"))
        }
        scores = self.make("scores", inputs=layer_scores)
        counts = {"layers": LAYERS, "base_model": "/secret/home/ViT.safetensors"}
        self.edit = self.make("edit", EDITS, {"scores": scores, "model": BASE}, counts=counts)
        config = Architecture(model_cfg, preprocess_cfg or {}, None).config_json()
        self.model = self.add_model(self.edit, config)

    def make(self, kind, settings=None, inputs=None, files=None, sources=(), counts=None):
        recipe = Recipe(kind=kind, settings=settings or {}, inputs=inputs or {}, code="code")

        def write(build):
            for name, content in (files or {}).items():
                (build.folder / name).write_text(json.dumps(content))
            if kind == "edit":
                index = {f"{layer}.index": torch.arange(item["n_selected"]) for layer, item in LAYERS.items()}
                save_file(index, build.folder / "edit.safetensors")
            build.sources.extend(sources)
            build.counts.update(counts or {})

        return self.store.materialise(recipe, write, RunContext()).ref

    def shards(self, kind, *names, **settings):
        sources = [Source(location=name, sha256=text_sha256(name), size_bytes=1) for name in names]
        inputs = {"shards": [source.sha256 for source in sources], "encoder": text_sha256(kind)}
        return self.make(kind, settings, inputs, sources=sources)

    def layer_scores(self, encoder, scorer):
        settings = {"scorer": scorer, "aggregation": "mean_of_ratios", "weight_by_magnitude": encoder == "text"}
        settings |= {"tags": ["violence", "<b>|hate"], "layers": ["not shown"], "samples": [7, 7]}
        activations = self.shards(
            f"activations.{encoder}", "s3://key:secret@bucket/data/cal-0.tar?sig=secret", "cal-1.tar"
        )
        return self.make(f"layer_scores.{encoder}", settings, {"activations": activations})

    def add_model(self, edit, config):
        def write(build):
            save_file(self.state, build.folder / "model.safetensors")
            (build.folder / "open_clip_config.json").write_text(config)

        settings = {"tokenizer": self.tokenizer}
        recipe = Recipe(kind="model", settings=settings, inputs={"edit": edit, "model": BASE}, code="code")
        return self.store.materialise(recipe, write, RunContext()).ref

    def evaluate(self, model, metrics, shard="test-0.tar", code=0, **files):
        inputs = {"model": model}
        for encoder in ("text", "vision"):
            inputs[f"embeddings.{encoder}"] = self.shards(
                f"embeddings.{encoder}", shard, samples=[9], made_of=str(model)
            )
        files = {f"{name}.json": content for name, content in files.items()}
        return self.make("evaluation", {"code": code}, inputs, {"metrics.json": metrics, **files})

    def card(self, ref=None):
        return model_card(describe_edited(self.store, ref or self.model), "open_clip", tokenizer_included=False)
