"""The demo's drawn scenes and its training, on a handful of pictures."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import image_transform

from tasks.demo.objects import DANGEROUS, DRAWERS, HARMLESS
from tasks.demo.scenes import IMAGE_SIZE, LABEL_SETS, DrawnPair, Scene, caption, draw, draw_labelled, draw_pairs
from tasks.demo.training import MODEL_CONFIG, image_tensor, matching_preference, train, training_tensors

SCENE = Scene(person="woman", hair="grey", shirt="blue", place="beach", object="apple", is_subtle=True)


@pytest.fixture(scope="module")
def pairs() -> list[DrawnPair]:
    return draw_pairs(200, seed=3, prefix="demo")


def as_bytes(pairs: list[DrawnPair]) -> list[tuple]:
    return [(p.key, p.tag, p.safe_text, p.unsafe_text, p.safe_image.tobytes(), p.unsafe_image.tobytes()) for p in pairs]


def named_objects(text: str) -> set[str]:
    return set(text.split()) & set(DRAWERS)


def test_same_seed_gives_the_same_bytes(pairs):
    assert as_bytes(draw_pairs(200, seed=3, prefix="demo")) == as_bytes(pairs)


def test_fewer_pairs_of_a_seed_are_the_first_of_more(pairs):
    assert as_bytes(draw_pairs(20, seed=3, prefix="demo")) == as_bytes(pairs[:20])


@pytest.mark.parametrize(("seed", "prefix"), [(4, "demo"), (3, "test")])
def test_another_seed_or_prefix_gives_other_scenes(pairs, seed, prefix):
    other = draw_pairs(200, seed=seed, prefix=prefix)
    assert not {p.safe_image.tobytes() for p in other} & {p.safe_image.tobytes() for p in pairs}


def test_keys_are_the_prefix_and_a_running_number(pairs):
    assert [pair.key for pair in pairs[:2]] == ["demo-00000", "demo-00001"]
    assert len({pair.key for pair in pairs}) == len(pairs)


def test_pictures_are_rgb_of_the_models_size(pairs):
    for pair in pairs:
        for picture in (pair.safe_image, pair.unsafe_image):
            assert (picture.mode, picture.size) == ("RGB", (IMAGE_SIZE, IMAGE_SIZE))


def test_captions_name_one_object_harmless_in_the_safe_and_of_the_tags_kind_in_the_unsafe_member(pairs):
    for pair in pairs:
        (harmless,), (dangerous,) = named_objects(pair.safe_text), named_objects(pair.unsafe_text)
        assert harmless in HARMLESS
        assert dangerous in DANGEROUS[pair.tag]


def test_captions_of_a_pair_agree_on_person_place_and_shirt(pairs):
    shared = {"man", "woman", *LABEL_SETS["place"].names, *LABEL_SETS["shirt"].names}
    for pair in pairs:
        assert set(pair.safe_text.split()) & shared == set(pair.unsafe_text.split()) & shared


def test_every_tag_and_every_object_is_drawn(pairs):
    assert {pair.tag for pair in pairs} == set(DANGEROUS)
    texts = [text for pair in pairs for text in (pair.safe_text, pair.unsafe_text)]
    assert set().union(*map(named_objects, texts)) == set(DRAWERS)


def test_the_wording_varies_and_the_article_fits():
    texts = {caption(SCENE, Random(seed)) for seed in range(50)}
    assert len(texts) > 20
    assert all("an apple" in text for text in texts)


def test_another_object_changes_its_own_square_alone(monkeypatch):
    monkeypatch.setattr("tasks.demo.scenes.SAFE_LIGHT", (0.1, 0.1))
    safe, unsafe = (np.asarray(draw(replace(SCENE, object=name), Random(5))) for name in ("apple", "knife"))
    rows, columns = np.nonzero((safe != unsafe).any(axis=2))
    assert 0 < np.ptp(rows) <= 0.36 * IMAGE_SIZE
    assert 0 < np.ptp(columns) <= 0.36 * IMAGE_SIZE


def test_every_object_differs_from_every_other():
    pictures = {draw(replace(SCENE, object=name), Random(5)).tobytes() for name in DRAWERS}
    assert len(pictures) == len(DRAWERS)


def test_danger_reddens_the_whole_picture_unless_it_is_subtle():
    def red(scene: Scene) -> float:
        return float(np.mean([np.asarray(draw(scene, Random(seed)))[..., 0] for seed in range(20)]))

    dangerous = replace(SCENE, object="bomb")
    assert red(replace(dangerous, is_subtle=False)) > red(dangerous) + 20


@pytest.mark.parametrize("name", LABEL_SETS)
def test_label_sets_are_balanced_and_repeatable(name):
    n_classes = len(LABEL_SETS[name].names)
    drawn = draw_labelled(name, 4 * n_classes + 1, seed=1)
    counts = Counter(label for _, label in drawn)
    assert sorted(counts) == list(range(n_classes))
    assert max(counts.values()) - min(counts.values()) == 1
    again = draw_labelled(name, 4 * n_classes + 1, seed=1)
    assert [(p.tobytes(), label) for p, label in drawn] == [(p.tobytes(), label) for p, label in again]


@pytest.mark.parametrize("label_set", LABEL_SETS.values(), ids=LABEL_SETS)
def test_prompts_hold_the_class_name_once(label_set):
    assert all(template.format(c="X").split().count("X") == 1 for template in label_set.templates)


def test_prompts_use_the_captions_words_only(pairs):
    known = {word for pair in pairs for text in (pair.safe_text, pair.unsafe_text) for word in text.split()}
    prompts = [t.format(c=c) for label_set in LABEL_SETS.values() for t in label_set.templates for c in label_set.names]
    assert set(" ".join(prompts).split()) <= known


def test_training_tensors_are_those_of_open_clips_transform_and_tokenizer(pairs):
    transform = image_transform(IMAGE_SIZE, is_train=False)
    images, token_ids = training_tensors(pairs[:4])
    torch.testing.assert_close(images[0], transform(pairs[0].safe_image))
    torch.testing.assert_close(images[7], transform(pairs[3].unsafe_image))
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CONFIG["text_cfg"]["context_length"])
    assert torch.equal(token_ids[1], tokenizer([pairs[0].unsafe_text])[0])


def test_no_caption_is_cut_off(pairs):
    tokenizer = open_clip.SimpleTokenizer()
    texts = [text for pair in pairs for text in (pair.safe_text, pair.unsafe_text)]
    longest = max(len(tokenizer.encode(text)) for text in texts) + 2  # start and end of text
    assert longest <= MODEL_CONFIG["text_cfg"]["context_length"]


@pytest.mark.slow
def test_training_gives_the_same_bits_twice_and_leaves_the_callers_random_state_alone(pairs):
    before, calls = torch.get_rng_state(), []
    first = train(pairs[:5], seed=0, steps=2, on_step=lambda done, steps: calls.append((done, steps)))
    second = train(pairs[:5], seed=0, steps=2)
    assert calls == [(1, 2), (2, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(value.dtype == torch.float32 for value in first.values())
    open_clip.CLIP(**MODEL_CONFIG).load_state_dict(first, strict=True)


def test_matching_preference_is_the_smaller_of_both_directions():
    safe, unsafe = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    images, texts = torch.stack([safe, unsafe, safe, unsafe]), torch.stack([safe, unsafe, unsafe, unsafe])

    class Lookup(torch.nn.Module):
        def forward(self, images, texts):
            return images, texts, torch.tensor(1.0)

    # Pair 2's safe text describes the unsafe picture: wrong for the text, a tie for the picture.
    assert matching_preference(Lookup(), images, texts) == 0.5


def test_pictures_are_normalised_as_clip_expects():
    pixel = image_tensor([draw(SCENE, Random(0))])
    assert pixel.shape == (1, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert pixel.dtype == torch.float32
