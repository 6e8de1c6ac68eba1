import json
import shutil

import open_clip
import pytest

from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig
from tasks.encoders.architecture import Architecture, build_model, describe_architecture
from tests.cases.models import TINY_CLIP, TINY_SIGLIP, write_toy_tokenizer


@pytest.mark.parametrize(
    ("name", "tag", "quick_gelu"),
    [
        ("ViT-B-32", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
        ("ViT-B-32", "laion400m_e32", True),
        ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-L-14", "openai", True),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k", False),
        ("ViT-B-32", "some/file.safetensors", False),
        ("ViT-B-32-quickgelu", "some/file.safetensors", True),
    ],
)
def test_the_activation_is_the_one_the_weights_were_trained_with(name, tag, quick_gelu):
    before = json.dumps(open_clip.get_model_config(name), sort_keys=True)
    architecture = describe_architecture(ModelConfig(architecture=name, weights=tag))
    assert bool(architecture.model_cfg.get("quick_gelu", False)) == quick_gelu
    assert architecture.tokenizer_name == name
    assert json.dumps(open_clip.get_model_config(name), sort_keys=True) == before


def test_preprocessing_is_the_one_published_with_the_weights():
    openai = describe_architecture(ModelConfig(architecture="ViT-B-32", weights="openai"))
    assert openai.preprocess_cfg["mean"] == list(open_clip.OPENAI_DATASET_MEAN)
    siglip = describe_architecture(ModelConfig(architecture="ViT-B-16-SigLIP", weights="webli"))
    assert siglip.preprocess_cfg["mean"] == [0.5, 0.5, 0.5]
    json.loads(siglip.config_json())


def test_a_config_file_builds_what_it_describes_bare_or_with_preprocessing(tmp_path):
    path = tmp_path / "model.json"
    preprocessing = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    for content, expected in (
        (TINY_CLIP, {}),
        ({"model_cfg": TINY_CLIP, "preprocess_cfg": preprocessing}, preprocessing),
    ):
        path.write_text(json.dumps(content))
        architecture = describe_architecture(ModelConfig(architecture=str(path), weights="w.pt"))
        assert (architecture.model_cfg, architecture.preprocess_cfg) == (TINY_CLIP, expected)
        path.write_text(architecture.config_json())
        assert describe_architecture(ModelConfig(architecture=str(path), weights="w.pt")) == architecture


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read"),
        (b"{", "cannot read"),
        (b"\xff", "cannot read"),
        (b"[1]", "holds list, expected a JSON object"),
        (b'{"embed_dim": 3}', "is no open_clip model config, it lacks text_cfg, vision_cfg"),
    ],
)
def test_a_file_that_is_no_model_config_is_refused(tmp_path, content, expected):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=rf"model\.architecture: .*{expected}"):
        describe_architecture(ModelConfig(architecture=str(path), weights="w.pt"))


def test_an_unknown_architecture_is_refused_with_similar_names():
    with pytest.raises(
        SpecError, match=r"model\.architecture 'ViT-B-33' is no open_clip model.*similar names are ViT-B-32"
    ):
        describe_architecture(ModelConfig(architecture="ViT-B-33", weights="openai"))


def test_a_config_that_open_clip_cannot_build_is_refused_in_one_line():
    broken = {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "heads": 5}}
    with pytest.raises(SpecError, match=r"^model\.architecture: open_clip cannot build it: .+$") as caught:
        build_model(Architecture(broken, {}, None))
    assert "\n" not in str(caught.value)


def siglip(folder, tokenizer=None, **changes):
    folder.mkdir(exist_ok=True)
    cfg = {**TINY_SIGLIP, "text_cfg": {**TINY_SIGLIP["text_cfg"], **changes}}
    (folder / "model.json").write_text(json.dumps(cfg))
    return ModelConfig(architecture=str(folder / "model.json"), weights="w.pt", tokenizer=tokenizer)


def test_a_local_tokenizer_cleans_cuts_and_pads_as_the_config_says(tmp_path):
    tokenizer = write_toy_tokenizer(tmp_path / "tokenizer")
    architecture = describe_architecture(siglip(tmp_path, str(tokenizer)))
    model, _, tokenize = build_model(architecture)
    # Words of the vocabulary: <pad> 0, </s> 1, <unk> 2, a 3, safe 4, unsafe 5, picture 6.
    assert tokenize(["A  SAFE, picture!"]).tolist() == [[3, 4, 6] + [1] * 13]
    assert tokenize(["a " * 40]).tolist() == [[3] * 15 + [1]]
    assert model.padding_id == 1
    plain = describe_architecture(siglip(tmp_path, str(tokenizer), context_length=9, tokenizer_kwargs={}))
    assert build_model(plain)[2](["A  SAFE, picture"]).tolist() == [[2, 2, 6] + [1] * 6]


def test_the_tokenizers_content_is_part_of_the_architecture_and_its_place_is_not(tmp_path):
    tokenizer = write_toy_tokenizer(tmp_path / "here")
    first = describe_architecture(siglip(tmp_path, str(tokenizer)))
    assert first.tokenizer_name.startswith("sha256:")
    shutil.copytree(tokenizer, tmp_path / "there")
    (tmp_path / "there" / "model.safetensors").write_bytes(b"no part of a tokenizer")
    second = describe_architecture(siglip(tmp_path, str(tmp_path / "there")))
    assert second == first
    assert second.tokenizer_folder != first.tokenizer_folder
    write_toy_tokenizer(tokenizer, padding="<pad>")
    assert describe_architecture(siglip(tmp_path, str(tokenizer))).tokenizer_name != first.tokenizer_name


def test_a_tokenizer_beside_a_config_file_is_used_as_open_clip_does(tmp_path):
    write_toy_tokenizer(tmp_path)
    architecture = describe_architecture(siglip(tmp_path))
    assert architecture.tokenizer_folder == tmp_path
    assert build_model(architecture)[2](["a safe"]).tolist() == [[3, 4] + [1] * 14]


def write_sentencepiece(folder):
    import sentencepiece

    sentences = [f"a safe picture of cat number {i}" for i in range(60)]
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "vocab_size": 30, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(folder / "spiece"), **ids
    )
    settings = {"tokenizer_class": "T5Tokenizer", "pad_token": "</s>", "eos_token": "</s>", "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


def test_a_sentencepiece_vocabulary_is_a_tokenizer_too(tmp_path):
    pytest.importorskip("google.protobuf")
    model, _, tokenize = build_model(describe_architecture(siglip(tmp_path / "model", write_sentencepiece(tmp_path))))
    ids = tokenize(["a safe picture", "a"])
    assert model.padding_id == 1
    assert ids.shape == (2, 16)
    assert (ids[:, -1] == 1).all()
    assert 1 <= int((ids[1] != 1).sum()) < int((ids[0] != 1).sum())


def test_a_sentencepiece_vocabulary_without_the_package_that_reads_it_is_refused_by_name(tmp_path, monkeypatch):
    from tasks.encoders import tokenizer

    monkeypatch.setattr(tokenizer, "find_spec", lambda _name: None)
    with pytest.raises(
        SpecError, match=r"^model\.tokenizer .* only with the package protobuf; install protobuf, or add"
    ):
        describe_architecture(siglip(tmp_path / "model", write_sentencepiece(tmp_path)))


@pytest.mark.parametrize(
    ("config", "changes", "expected"),
    [
        ({"padding_side": "left"}, {}, "pads on the left, but text towers are trained with padding on the right"),
        ({"padding": None}, {}, "has no padding token"),
        ({}, {"vocab_size": 3}, "gives token 11, but the text tower knows 3; it is the tokenizer of another model"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path, config, changes, expected):
    tokenizer = write_toy_tokenizer(tmp_path / "tokenizer", **config)
    with pytest.raises(SpecError, match=rf"^model\.tokenizer .*{expected}"):
        build_model(describe_architecture(siglip(tmp_path, str(tokenizer), **changes)))


def test_a_folder_that_is_no_tokenizer_is_refused_with_the_files_it_lacks(tmp_path):
    with pytest.raises(
        SpecError, match=r"^model\.tokenizer .* is no folder; give one with tokenizer.json and tokenizer_con"
    ):
        describe_architecture(siglip(tmp_path, str(tmp_path / "nowhere")))
    with pytest.raises(
        SpecError, match=r"^model\.tokenizer .* holds no vocabulary, expected tokenizer.json and tokenizer_con"
    ):
        describe_architecture(siglip(tmp_path / "model", str(tmp_path)))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(SpecError, match=r"^model\.tokenizer .* cannot be loaded: .*; expected tokenizer.json and"):
        build_model(describe_architecture(siglip(tmp_path / "model", str(tmp_path))))


def test_a_hub_tokenizer_out_of_reach_is_refused_soon_with_the_files_and_the_setting_to_use(tmp_path, monkeypatch):
    import huggingface_hub
    import huggingface_hub.constants

    from tasks.encoders import hub

    def unreachable(*_arguments, **_options):
        raise OSError("no route to the hub")

    asked = []
    session = type("Session", (), {"head": lambda _self, url, timeout: asked.append(timeout) or unreachable()})
    monkeypatch.setattr(huggingface_hub, "get_session", session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub._hub_answers.cache_clear()
    expected = (
        r"^model\.tokenizer is not set and the architecture's tokenizer nowhere/toy cannot be had from the hub: .*; put its"
        r" tokenizer.json and tokenizer_config.json \(or, with the package protobuf, spiece.model in place of the first\) into a folder and set"
        r" model.tokenizer to that folder$"
    )
    for _ in range(2):
        with pytest.raises(SpecError, match=expected):
            build_model(describe_architecture(siglip(tmp_path)))
    hub._hub_answers.cache_clear()
    assert asked == [5]
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
