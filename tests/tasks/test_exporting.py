import json
import os
import re

import open_clip
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import Recipe, Source
from flows.commands.export import export
from tasks.encoders.architecture import Architecture
from tasks.encoders.transformers_format import to_open_clip
from tasks.exporting.card import model_card
from tasks.exporting.folder import export_model
from tasks.exporting.record import describe_edited
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import text_sha256
from tasks.lineage.store import Store
from tests.support import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model, write_toy_tokenizer

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
    """A store filled by hand with what a run would leave."""

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
            build.sources.extend(sources)
            build.counts.update(counts or {})

        return self.store.materialise(recipe, write, RunContext()).ref

    def shards(self, kind, *names, **settings):
        sources = [Source(location=name, sha256=text_sha256(name), size_bytes=1) for name in names]
        inputs = {"shards": [source.sha256 for source in sources], "encoder": text_sha256(kind)}
        return self.make(kind, {"tokenizer": self.tokenizer} | settings, inputs, sources=sources)

    def layer_scores(self, encoder, scorer):
        settings = {"scorer": scorer, "aggregation": "mean_of_ratios", "weight_by_magnitude": encoder == "text"}
        settings |= {"tags": ["violence", "<b>|hate"], "layers": ["not shown"]}
        activations = self.shards(
            f"activations.{encoder}", "s3://key:secret@bucket/data/cal-0.tar?sig=secret", "cal-1.tar"
        )
        return self.make(f"layer_scores.{encoder}", settings, {"activations": activations})

    def add_model(self, edit, config):
        def write(build):
            save_file(self.state, build.folder / "model.safetensors")
            (build.folder / "open_clip_config.json").write_text(config)

        recipe = Recipe(kind="model", inputs={"edit": edit, "model": BASE}, code="code")
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


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")


def shown(card):
    """What a reader sees of the card's text."""
    plain = re.sub(r"\\([^\w\s])", r"\1", card)
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def row(card, first):
    found = [line for line in shown(card).splitlines() if line.startswith(f"| {first} |")]
    assert len(found) == 1, found
    return [cell.strip() for cell in found[0].strip("|").split(" | ")]


def test_the_card_says_what_was_edited_in_each_encoder(bench):
    card = bench.card()
    assert row(card, "text") == ["text", "uwm", "score_mass", "0.98", "-1.0", "2", "128 of 2,048", "6.250%"]
    assert row(card, "vision") == ["vision", "difference", "top_share", "0.75", "0.0", "1", "1 of 4,096", "0.024%"]
    for layer, counts in LAYERS.items():
        assert row(card, layer)[1:] == [str(counts["n_selected"]), f"{counts['n_weights']:,}"]
    assert "aggregation mean_of_ratios, weight_by_magnitude True, tags violence <b>|hate" in shown(card)
    assert "not shown" not in card


def test_the_card_leads_to_the_base_model_and_the_shards_without_their_places(bench):
    card = bench.card()
    assert row(card, "base model, digest of its tensors")[1] == BASE
    assert row(card, "base model, name of its weights")[1] == "ViT.safetensors"
    assert row(card, "edit")[1] == bench.edit.version
    assert row(card, "edited model")[1] == bench.model.version
    first, second = (text_sha256(name) for name in ("s3://key:secret@bucket/data/cal-0.tar?sig=secret", "cal-1.tar"))
    assert f"| activations.text | cal-0.tar | {first} |" in shown(card)
    assert f"| activations.vision | cal-1.tar | {second} |" in shown(card)
    assert "secret" not in card
    for heading in ("## Intended use", "## Limits", "## How to load it"):
        assert heading in card
    assert "no guarantee" in card


def test_a_command_that_gave_a_shard_is_not_repeated(bench):
    ref = bench.shards("activations.text", "pipe:curl -H 'token: secret' https://host/x/y.tar")
    edit = bench.make("edit", EDITS, {"scores": ref, "model": BASE}, counts={"layers": LAYERS})
    card = bench.card(bench.add_model(edit, "{}"))
    assert "| activations.text | of a pipe: command |" in shown(card)
    assert "secret" not in card


def test_without_an_evaluation_the_card_says_so(bench):
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 10.0})
    assert "holds no evaluation of this model" in bench.card()


def test_measurements_stand_beside_those_of_the_original_on_the_same_data(bench):
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 10.0, "P_t_s": 50.0}, intervals={"GS": [8.0, 12.04]})
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 77.0}, shard="other.tar")
    bench.evaluate(bench.model, {"n_pairs": 9, "GS": 30.25, "P_t_s": 45.0}, intervals={"GS": [25.0, 35.0]})
    card = bench.card()
    assert row(card, "GS") == ["GS", "10.0 (8.0 to 12.0)", "30.2 (25.0 to 35.0)", "+20.2"]
    assert row(card, "P_t_s") == ["P_t_s", "50.0", "45.0", "-5.0"]
    assert "On 9 pairs:" in card
    assert f"| embeddings.text | test-0.tar | {text_sha256('test-0.tar')} |" in shown(card)
    assert "77.0" not in card


def test_an_edited_model_measured_alone_has_no_difference(bench):
    bench.evaluate(BASE, {"n_pairs": 9, "GS": 77.0}, shard="other.tar")
    bench.evaluate(bench.model, {"n_pairs": 9, "GS": 30.0})
    assert row(bench.card(), "GS") == ["GS", "not measured", "30.0", "not measured"]


def test_each_evaluation_set_has_a_table_and_of_two_evaluations_of_one_set_the_later_counts(bench):
    for code, value in enumerate((20.0, 21.0)):
        bench.evaluate(bench.model, {"n_pairs": 9, "PS": value}, code=code)
    bench.evaluate(bench.model, {"n_pairs": 5, "PU": 22.0, "zero_shot": 60.0}, shard="other.tar")
    card = bench.card()
    assert row(card, "PS")[2] == "21.0"
    assert row(card, "PU")[2] == "22.0"
    assert card.index("zero\\_shot |") < card.index("PU |")
    assert "On 9 pairs:" in card
    assert "On 5 pairs:" in card


def test_a_control_is_called_a_control(bench):
    settings = {"control": "random", "seed": 3}
    edit = bench.make("edit", settings, {"edit": bench.edit, "model": BASE}, counts={"layers": LAYERS})
    card = bench.card(bench.add_model(edit, "{}"))
    assert "This is a control, not a safer model" in card
    assert row(card, "text") == ["text", "uwm", "score_mass", "0.98", "-1.0", "2", "128 of 2,048", "6.250%"]
    assert "This is a control" not in bench.card()


def test_names_cannot_become_markup(bench):
    hostile = "](http://evil)<script>|x|\n# head `code` www.evil $a$ @you ![p](q) *b* &copy;"
    bench.evaluate(bench.model, {"n_pairs": 9, hostile: 1.0}, shard="<img src=x>|[a](b)\n\n# head.tar")
    card = bench.card()
    for markup in (
        "<script>",
        "<img",
        "](",
        "\n# head",
        "http:/",
        "www.e",
        " @you",
        "![",
        " *b*",
        "$a$",
        "&copy",
        "`code`",
    ):
        assert markup not in card
    line = next(line for line in card.splitlines() if "script" in line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 5
    assert row(
        card.replace("\\|", "/"), shown("](http://evil)<script>/x/ # head `code` www.evil $a$ @you ![p](q) *b* &copy;")
    )


def test_open_clip_loads_the_folder_with_the_very_weights(bench, tmp_path):
    out = export_model(bench.store, bench.model.version[:12], "open_clip", tmp_path / "deep" / "out")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.safetensors", "open_clip_config.json"]
    loaded = open_clip.create_model(f"local-dir:{out}").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in bench.state.items())
    assert "open_clip.create_model_and_transforms" in (out / "README.md").read_text()


def test_transformers_loads_the_folder_and_prepares_images_as_open_clip(tmp_path):
    import numpy as np
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPModel

    preprocess_cfg = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}
    bench = Bench(tmp_path / "store", {**TINY_CLIP, "quick_gelu": True}, preprocess_cfg)
    out = export_model(bench.store, bench.model.version, "transformers", tmp_path / "out")
    theirs, report = CLIPModel.from_pretrained(out, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert theirs.config.vision_config.hidden_act == "quick_gelu"
    back = to_open_clip(load_file(out / "model.safetensors"), "exported")
    assert all(back[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in bench.state.items())
    assert "CLIPModel.from_pretrained" in (out / "README.md").read_text()

    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    _, _, ours = open_clip.create_model_and_transforms(
        f"local-dir:{export_model(bench.store, bench.model.version, 'open_clip', tmp_path / 'ours')}"
    )
    prepared = CLIPImageProcessor.from_pretrained(out)(picture, return_tensors="pt")["pixel_values"][0]
    # Resizing may round a pixel's value, of 256, to its neighbour.
    torch.testing.assert_close(prepared, ours(picture), rtol=0, atol=1.01 / 255 / 0.4)


@pytest.mark.parametrize("cfg", [TINY_SIGLIP, TINY_COCA], ids=["siglip", "coca"])
def test_what_transformers_cannot_express_is_refused_and_leaves_nothing(tmp_path, cfg):
    bench = Bench(tmp_path / "store", cfg)
    with pytest.raises(SpecError, match="transformers' CLIPModel cannot express this model: it has"):
        export_model(bench.store, bench.model.version, "transformers", tmp_path / "out")
    assert os.listdir(tmp_path) == ["store"]


def test_other_artifacts_are_refused_with_the_model_to_name(bench, tmp_path):
    with pytest.raises(SpecError, match=f"kind edit, expected an edited model; .* is {bench.model.version[:16]}"):
        export_model(bench.store, bench.edit.version, "open_clip", tmp_path / "out")
    scores = next(ref for ref in bench.store.refs() if ref.kind == "scores")
    with pytest.raises(SpecError, match=r"kind scores, expected an edited model; see `uwm artifacts list`"):
        export_model(bench.store, scores.version, "open_clip", tmp_path / "out")
    with pytest.raises(ArtifactError, match="names none of the"):
        export_model(bench.store, "ffffffffffff", "open_clip", tmp_path / "out")


def test_an_existing_folder_is_left_alone_unless_it_is_empty(bench, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert export_model(bench.store, bench.model.version, "open_clip", out) == out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(SpecError, match="is there already and not empty; choose another folder"):
        export_model(bench.store, bench.model.version, "transformers", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SpecError, match="is there already"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "file")
    with pytest.raises(SpecError, match="cannot write --out"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "file" / "below")


def test_a_changed_or_incomplete_store_is_refused(bench, tmp_path):
    path = bench.store.path(bench.model) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x00\x01"[content[-1] == 0 :][:1])
    with pytest.raises(ArtifactError, match=r"model.safetensors changed since it was made"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out")
    path.write_bytes(content)
    activations = next(ref for ref in bench.store.refs() if ref.kind == "activations.text")
    (bench.store.path(activations) / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"activations.text \w+ has no readable"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_models_own_tokenizer_is_put_beside_it_and_another_is_refused(tmp_path):
    from tasks.encoders.tokenizer import tokenizer_digest

    folder = write_toy_tokenizer(tmp_path / "tokenizer")
    bench = Bench(tmp_path / "store", TINY_SIGLIP, tokenizer=tokenizer_digest(folder))
    out = export_model(bench.store, bench.model.version, "open_clip", tmp_path / "out", folder)
    assert open_clip.get_tokenizer(f"local-dir:{out}")(["a safe"]).tolist() == [[3, 4] + [1] * 14]
    assert (
        "tokenizer that the model was edited and measured with lies in this folder" in (out / "README.md").read_text()
    )
    other = write_toy_tokenizer(tmp_path / "other", padding="<pad>")
    with pytest.raises(SpecError, match=r"^--tokenizer .*other is sha256:\w+, but the model was edited with sha256:"):
        export_model(bench.store, bench.model.version, "open_clip", tmp_path / "more", other)


def test_the_command_writes_and_says_where(bench, tmp_path):
    app = typer.Typer()
    app.command()(export)
    arguments = [bench.model.version[:16], "--format", "transformers", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--store", str(bench.store.root)])
    assert done.exit_code == 0, done.output
    assert done.output == f"wrote {tmp_path / 'out'}\n"
    assert {"config.json", "README.md", "preprocessor_config.json"} <= set(os.listdir(tmp_path / "out"))
    assert CliRunner().invoke(app, [*arguments[:2], "onnx", *arguments[3:]]).exit_code == 2
