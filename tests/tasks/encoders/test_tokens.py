import copy
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from tasks.encoders.architecture import Architecture, build_model
from tasks.encoders.tokens import valid_text_tokens
from tests.cases.models import TINY_CLIP, TINY_COCA, TINY_SIGLIP, tiny_model, write_toy_tokenizer

END = 63
CLIP, SIGLIP, COCA = (tiny_model(cfg) for cfg in (TINY_CLIP, TINY_SIGLIP, TINY_COCA))
EOS = tiny_model({**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "pool_type": "eos", "eos_id": 40}})

captions = st.lists(st.lists(st.integers(2, 39), min_size=0, max_size=14), min_size=1, max_size=4)


def padded(texts, end, padding, length=16):
    rows = []
    for text in texts:
        row = [*text, *end]
        rows.append(row + [padding] * (length - len(row)))
    return torch.tensor(rows)


@settings(max_examples=50, deadline=None)
@given(captions)
def test_clips_valid_tokens_end_with_the_end_of_text(texts):
    expected = [[position <= len(text) for position in range(16)] for text in texts]
    assert valid_text_tokens(CLIP, padded(texts, [END], 0)).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(captions)
def test_what_follows_the_end_of_text_never_counts(texts):
    ids = padded(texts, [END], 0)
    noise = padded(texts, [END], 17)
    assert torch.equal(valid_text_tokens(CLIP, ids), valid_text_tokens(CLIP, noise))


def test_a_caption_as_long_as_the_context_is_valid_throughout():
    ids = torch.full((1, 16), 7)
    ids[0, -1] = END
    assert valid_text_tokens(CLIP, ids).all()


def test_of_two_end_tokens_the_first_ends_the_text_as_in_the_models_own_pooling():
    ids = padded([[5, 6, END, 8]], [END], 0)
    assert valid_text_tokens(CLIP, ids).sum() == 3
    spoilt = ids.clone()
    spoilt[0, 3:] = 9
    with torch.inference_mode():
        assert torch.equal(CLIP.encode_text(ids), CLIP.encode_text(spoilt))


@settings(max_examples=50, deadline=None)
@given(captions)
def test_a_model_that_pools_at_an_end_token_of_its_own_counts_up_to_it(texts):
    expected = [[position <= len(text) for position in range(16)] for text in texts]
    # 63 is the largest id, but 40 ends the text.
    assert valid_text_tokens(EOS, padded(texts, [40, END], 0)).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(captions)
def test_siglip_without_an_end_token_counts_all_but_padding(texts):
    expected = [[position < len(text) for position in range(16)] for text in texts]
    assert valid_text_tokens(SIGLIP, padded(texts, [], 1)).tolist() == expected


def test_siglips_padding_is_its_tokenizers_whatever_the_tower_says():
    assert SIGLIP.text.pad_id == 0
    texts = ["a safe picture", "a", "a cat of number 14 15 16 17 18 19 20 21 22 23 24 25 26 27"]
    with tempfile.TemporaryDirectory() as folder:
        # SigLIP pads with its end token, 1, which is therefore no valid token; SigLIP 2 pads with 0 after its end token.
        for padding, counts in (("</s>", [3, 1, 15]), ("<pad>", [4, 2, 16])):
            tokenizer = write_toy_tokenizer(Path(folder), padding=padding)
            model, _, tokenize = build_model(Architecture(TINY_SIGLIP, {}, None, tokenizer))
            ids = tokenize(texts)
            assert ids.shape == (3, 16)
            assert valid_text_tokens(model, ids).sum(dim=1).tolist() == counts
            assert not valid_text_tokens(model, ids)[0, counts[0] :].any()


def test_a_model_that_was_built_elsewhere_falls_back_to_its_towers_padding():
    model = copy.deepcopy(SIGLIP)
    del model.padding_id
    model.text.pad_id = 7
    assert valid_text_tokens(model, padded([[5, 6]], [], 7)).sum() == 2


@settings(max_examples=50, deadline=None)
@given(captions)
def test_cocas_appended_class_token_counts_and_its_padding_does_not(texts):
    expected = [[position <= len(text) or position == 16 for position in range(17)] for text in texts]
    assert valid_text_tokens(COCA, padded(texts, [END], 0)).tolist() == expected


def test_a_hugging_face_tower_counts_all_but_its_own_padding():
    class Tower(nn.Module):
        """What open_clip's HFTextEncoder shows of itself."""

        def __init__(self):
            super().__init__()
            self.config = SimpleNamespace(pad_token_id=1)

    model = nn.Module()
    model.text = Tower()
    ids = padded([[0, 59, 5, 6, 2], [0, 7, 2]], [], 1)
    assert valid_text_tokens(model, ids).sum(dim=1).tolist() == [5, 3]


def test_the_mask_is_as_long_as_what_the_text_layers_see():
    for model in (CLIP, SIGLIP, COCA, EOS):
        ids = padded([[5, 6, 7], [8]], [40, END], 0)
        text = getattr(model, "text", model)
        seen = []
        handle = text.transformer.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].shape[:2]))
        with torch.inference_mode():
            model.encode_text(ids)
        handle.remove()
        assert seen == [valid_text_tokens(model, ids).shape]


def test_clips_embedding_depends_on_valid_tokens_alone():
    ids = padded([[5, 6, 7, 8], [9]], [END], 0)
    noise = torch.where(valid_text_tokens(CLIP, ids), ids, 11)
    with torch.inference_mode():
        assert_close(CLIP.encode_text(noise), CLIP.encode_text(ids), rtol=1e-6, atol=1e-7)
        changed = ids.clone()
        changed[0, 2] = 20
        assert not torch.allclose(CLIP.encode_text(changed)[0], CLIP.encode_text(ids)[0], rtol=1e-3)
