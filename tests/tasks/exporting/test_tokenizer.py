"""CLIP's tokenizer in an exported folder, as transformers reads it."""

import pytest
from open_clip import SimpleTokenizer

from tasks.exporting.folder import export_model
from tests.cases.exporting_bench import Bench
from tests.cases.models import TINY_CLIP

TEXTS = ["a red circle", "It's a DOG's 3 balls!! (2021)", "naive café", "a  lot of\tspace", "long " * 60, "日本語"]


@pytest.mark.slow
def test_transformers_gives_texts_the_ids_that_open_clip_gives_them(tmp_path):
    from transformers import AutoTokenizer

    bench = Bench(tmp_path / "store", {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "vocab_size": 49_408}})
    out = export_model(bench.store, bench.model.version, "transformers", tmp_path / "out")
    assert "lies in this folder" in (out / "README.md").read_text()
    ours = SimpleTokenizer(context_length=16)(TEXTS)
    theirs = AutoTokenizer.from_pretrained(out)(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    for own, ids, mask in zip(ours, theirs["input_ids"], theirs["attention_mask"], strict=True):
        n_valid = int(own.argmax()) + 1
        assert int(mask.sum()) == n_valid
        assert own[:n_valid].tolist() == ids[:n_valid].tolist()


def test_a_model_of_another_vocabulary_is_not_given_clips_tokenizer(tmp_path):
    bench = Bench(tmp_path / "store")
    out = export_model(bench.store, bench.model.version, "transformers", tmp_path / "out")
    assert not (out / "vocab.json").exists()
    assert "lies in this folder" not in (out / "README.md").read_text()
