"""A judge from a folder, against the model called by hand."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from data_specs.errors import DataError, SpecError
from data_specs.judging import JUDGE
from tasks.captioning.judges.classifier import classifier_digest, classify, unsafe_probability
from tasks.lineage.progress import Notices, listening
from tests.cases.classifiers import write_classifier

CAPTIONS = ["a cup", "a man a knife", "knife", "man man man", "", "un été", "cup cup a"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("classifiers") / "two")


def classifier(folder, **settings):
    given = {"kind": "classifier", "name": "c", "path": str(folder), "unsafe_label": "toxic"}
    if "unsafe_labels" in settings:
        del given["unsafe_label"]
    return JUDGE.validate_python(given | settings)


def by_hand(folder, captions):
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return torch.cat([model(**tokenizer([c], return_tensors="pt")).logits for c in captions])


def test_the_probability_of_unsafe_is_the_models(folder):
    expected = by_hand(folder, CAPTIONS).softmax(dim=1)[:, 1].tolist()
    threshold = sorted(expected)[3]
    found = classify(classifier(folder, threshold=threshold - 1e-4, batch_size=3), CAPTIONS, CPU).to_pylist()
    assert [row["caption"] for row in found] == CAPTIONS
    assert [row["score"] for row in found] == pytest.approx(expected, abs=1e-5)
    assert [row["outcome"] for row in found] == ["unsafe" if score >= threshold else "safe" for score in expected]
    exactly = found[1]["score"]
    assert (
        classify(classifier(folder, threshold=exactly, batch_size=3), CAPTIONS, CPU).to_pylist()[1]["outcome"]
        == "unsafe"
    )


def test_labels_that_exclude_each_other_are_summed_and_others_are_looked_at_one_by_one():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ones = logits.double().exp() / logits.double().exp().sum(dim=1, keepdim=True)
    assert torch.allclose(unsafe_probability(logits, [0, 2], False), ones[:, 0] + ones[:, 2])
    each = 1 / (1 + torch.exp(-logits))
    assert torch.allclose(unsafe_probability(logits, [0, 2], True), torch.maximum(each[:, 0], each[:, 2]))


def test_a_model_of_several_labels_at_once_is_told_by_its_settings(tmp_path):
    folder = write_classifier(tmp_path / "many", ("a", "b", "c"), problem_type="multi_label_classification")
    found = classify(classifier(folder, unsafe_labels=["a", "c"]), CAPTIONS[:3], CPU).column("score").to_pylist()
    expected = by_hand(folder, CAPTIONS[:3]).sigmoid()[:, [0, 2]].amax(dim=1)
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_caption_that_is_too_long_is_judged_by_its_beginning_and_said_so(folder):
    heard = Notices()
    with listening(heard):
        classify(classifier(folder), ["a " * 50, "a cup"], CPU)
    assert heard.texts == ["judge c: of 1 captions only the first 12 tokens were judged"]


def test_a_folder_that_would_judge_at_random_run_code_or_has_no_such_label_is_refused(folder, tmp_path):
    with pytest.raises(SpecError, match=r"judges\.c\.unsafe_labels has 'nsfw', expected some of \['fine', 'toxic'\]"):
        classify(classifier(folder, unsafe_label="nsfw"), CAPTIONS, CPU)
    with pytest.raises(SpecError, match=r"judges\.c\.path: .*no folder; download"):
        classifier_digest(classifier("org/name"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match=r"has no config\.json and no weights as \.safetensors"):
        classify(classifier(tmp_path / "empty"), CAPTIONS, CPU)
    broken = write_classifier(tmp_path / "headless")
    weights = load_file(broken / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k}, broken / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(
        SpecError, match=r"lacks 2 tensors such as 'classifier\.bias', so that it would judge at random"
    ):
        classify(classifier(broken), CAPTIONS, CPU)
    save_file(
        {**weights, "classifier.bias": torch.full((2,), torch.nan)}, broken / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DataError, match="gives no number"):
        classify(classifier(broken), CAPTIONS, CPU)
    config = json.loads((broken / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError, match="auto_map"):
        classify(classifier(broken), CAPTIONS, CPU)


def test_the_digest_is_of_settings_tokens_and_weights(folder, tmp_path):
    same = write_classifier(tmp_path / "same")
    assert classifier_digest(classifier(same)) == classifier_digest(classifier(folder))
    (same / "README.md").write_text("words")
    assert classifier_digest(classifier(same)) == classifier_digest(classifier(folder))
    (same / "vocab.txt").write_text("other")
    assert classifier_digest(classifier(same)) != classifier_digest(classifier(folder))
