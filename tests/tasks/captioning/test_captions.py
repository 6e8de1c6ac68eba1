"""Captions of a tiny LLaVA against transformers called by hand, and what becomes of them in a store."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from data_specs.caption_files import read_captions
from data_specs.captioning import CaptioningConfig
from data_specs.errors import DataError, SpecError
from tasks.captioning.captioner import Captioner, captioner_digest, load_captioner
from tasks.captioning.captioner_files import CaptionerFiles, describe_captioner
from tasks.captioning.captions import Captioning, caption_pictures
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.shards.images import decode_rgb
from tasks.shards.plan import plan_reading
from tests.cases.captions import let_it_speak_words
from tests.cases.shard_files import image_bytes, inspected, pair, pairs, write_tar
from tests.cases.tiny_llava import write_tiny_llava

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    folder = write_tiny_llava(tmp_path_factory.mktemp("llava") / "tiny")
    let_it_speak_words(folder)
    shards = tmp_path_factory.mktemp("shards")
    made = [
        write_tar(shards / "a.tar", [*pairs(["a0", "a1", "a2"]), *pair("a3", 7, safe_txt=b"\xff")]),
        write_tar(shards / "b.tar", pairs(["b0", "b1"], seed=50)),
    ]
    return SimpleNamespace(folder=folder, shards=made)


def config(llava, **settings):
    return CaptioningConfig.model_validate(
        {"model": str(llava.folder), "precision": "fp32", "max_new_tokens": 6, "batch_size": 4, **settings}
    )


@pytest.fixture(scope="module")
def captioner(llava):
    return load_captioner(config(llava), CPU)


def captioned(llava, store, *, shards=None, limit=None, bad=0.0, **settings):
    plans = plan_reading([inspected(path) for path in shards or llava.shards], "vision", limit)
    what, captioner = Captioning(plans, "pillow", bad), describe_captioner(config(llava, **settings))
    return caption_pictures.fn(captioner, what, None, store, RunContext(), "original")


def by_hand(llava, images, prompt):
    import transformers

    model = transformers.LlavaForConditionalGeneration.from_pretrained(llava.folder, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(llava.folder)
    said = []
    for image in images:
        inputs = processor(images=image, text=prompt, return_tensors="pt")
        with torch.inference_mode():
            found = model.generate(**inputs, do_sample=False, max_new_tokens=6)[
                0, inputs["input_ids"].shape[1] :
            ].tolist()
        found = found[: found.index(2)] if 2 in found else found
        said.append(" ".join(processor.tokenizer.decode(found, skip_special_tokens=True).split()))
    return said


@pytest.mark.slow
def test_captions_are_the_likeliest_tokens_whatever_the_batch(llava, captioner, tmp_path):
    rows = read_captions(captioned(llava, Store(tmp_path / "one"), batch_size=2).path).to_pylist()
    seeds = {f"a{k}": k for k in range(3)} | {"a3": 7, "b0": 50, "b1": 51}
    images = [
        decode_rgb(image_bytes(seeds[row["pair_id"].partition("/")[2]] + 1000 * (row["content"] == "unsafe")))
        for row in rows
    ]
    assert [row["caption"] for row in rows] == by_hand(llava, images, captioner.prompt)
    assert {row["finish"] for row in rows} <= {"stop", "length"}
    assert all(row["n_tokens"] <= 6 for row in rows)
    assert len({row["caption"] for row in rows}) > 1
    others = read_captions(captioned(llava, Store(tmp_path / "two"), batch_size=8).path).to_pylist()
    key = ("pair_id", "content")
    assert {tuple(row[k] for k in key): row for row in others} == {tuple(row[k] for k in key): row for row in rows}


def test_each_picture_has_its_pairs_captions_beside_it(llava, tmp_path):
    rows = read_captions(captioned(llava, Store(tmp_path), limit=4).path).to_pylist()
    assert len(rows) == 8
    of = {(row["pair_id"].partition("/")[2], row["content"]): row for row in rows}
    assert of["a1", "unsafe"]["reference_safe"] == of["a1", "safe"]["reference_safe"] == "a safe caption of a1"
    assert of["a1", "safe"]["reference_unsafe"] == "an unsafe caption of a1"
    assert of["a3", "safe"]["reference_safe"] is None  # no text, so no reference; the picture is captioned
    assert of["a3", "safe"]["tag"] == "hate"


def test_a_shard_more_captions_that_shard_alone(llava, tmp_path):
    store = Store(tmp_path)
    first = captioned(llava, store, shards=llava.shards[:1])
    store.published.clear()
    both = captioned(llava, store)
    assert sorted(ref.kind for ref in store.published) == ["captions", "captions.part"]
    assert read_captions(both.path).slice(0, 8).equals(read_captions(first.path))
    assert captioned(llava, store, shards=llava.shards[::-1]).manifest.recipe.inputs["parts"][0].kind
    assert captioned(llava, store).reused


class Interrupted:
    """Captioners, interrupted when they are asked for the fifth time."""

    def __init__(self, patch):
        self.n, asked = 0, Captioner.__call__

        def call(captioner, pixels):
            self.n += 1
            if self.n == 5:
                raise KeyboardInterrupt
            return asked(captioner, pixels)

        patch.setattr(Captioner, "__call__", call)


@pytest.mark.slow
def test_what_an_interrupted_run_has_finished_is_not_captioned_again(llava, tmp_path):
    store = Store(tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        Interrupted(patch)
        with pytest.raises(KeyboardInterrupt):
            captioned(llava, store)  # four batches of the first shard, then one of the second
    with pytest.MonkeyPatch.context() as patch:
        second = Interrupted(patch)
        made = captioned(llava, store)
    assert second.n == 2
    assert read_captions(made.path).equals(read_captions(captioned(llava, Store(tmp_path / "two")).path))


def test_where_all_captions_are_there_no_weight_is_read(llava, tmp_path, monkeypatch):
    store = Store(tmp_path)
    captioned(llava, store)
    monkeypatch.setattr(CaptionerFiles, "on", None)
    assert captioned(llava, store).reused


def test_prompt_decoding_precision_and_pictures_are_in_the_version(llava, captioner, tmp_path):
    store = Store(tmp_path)
    recipe = captioned(llava, store, limit=1).manifest.recipe
    assert recipe.settings["prompt"] == captioner.prompt
    assert recipe.settings["decoding"] == {"greedy": True, "max_new_tokens": 6}
    assert (recipe.settings["precision"], recipe.settings["batch_size"]) == ("fp32", 4)
    assert recipe.inputs["captioner"] == captioner_digest(llava.folder) == captioner.digest


def test_the_papers_prompt_is_llava_v1s_conversation(llava, captioner):
    assert captioner.prompt == (
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and"
        " polite answers to the human's questions. USER: <image>\nQuestion: Please, provide a caption for the image. Answer:"
        " ASSISTANT:"
    )
    own = load_captioner(config(llava, prompt="What is it?"), CPU)
    assert own.prompt == "USER: <image>\nWhat is it? ASSISTANT:"
    assert load_captioner(config(llava, prompt="?", system="Be brief."), CPU).prompt.startswith("Be brief. USER:")


def test_bad_pictures_are_counted_and_too_many_of_them_end_it(llava, tmp_path):
    broken = write_tar(tmp_path / "c.tar", [*pairs(["c0", "c1"]), *pair("c2", unsafe_png=b"no picture")])
    with pytest.raises(DataError, match="1 of 3 samples are bad"):
        captioned(llava, Store(tmp_path / "strict"), shards=[broken])
    made = captioned(llava, Store(tmp_path / "lenient"), shards=[broken], bad=0.5)
    assert (made.manifest.counts["samples_used"], made.manifest.counts["samples_skipped"]) == (
        2,
        {"undecodable image": 1},
    )
    assert read_captions(made.path).num_rows == 4


def test_a_checkpoint_that_is_not_all_there_or_of_another_kind_is_refused(llava, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(llava.folder, copy)
    with pytest.raises(SpecError, match=r"captioning\.model nowhere has no config\.json"):
        load_captioner(CaptioningConfig(model="nowhere"), CPU)
    changed = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(changed | {"model_type": "llava_next"}))
    with pytest.raises(SpecError, match="its model_type is 'llava_next', expected llava or vipllava"):
        load_captioner(config(SimpleNamespace(folder=copy)), CPU)
    (copy / "config.json").write_text(json.dumps(changed))
    for path in copy.glob("*.safetensors"):
        state = {name.replace("vision_tower", "visual"): value for name, value in load_file(path).items()}
        save_file(state, path, {"format": "pt"})
    with pytest.raises(SpecError, match=r"tensors such as '.*vision_tower.*', which would be random"):
        load_captioner(config(SimpleNamespace(folder=copy)), CPU)


def test_a_captioner_that_gives_no_number_ends_it(llava, tmp_path):
    captioner = load_captioner(config(llava), CPU)
    with torch.no_grad():
        captioner.model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(DataError, match=r"gives no number for a next token; use captioning\.precision"):
        captioner(captioner.fit(Image.new("RGB", (40, 30)))[None])
