"""The demo's captioner: what it is trained by, what is written of it, and how tau is chosen."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from data_specs.captioning import CaptioningConfig
from tasks.captioning.captioner import load_captioner
from tasks.demo.captioner_files import SPECIAL_TOKENS, byte_tokenizer, write_llava
from tasks.demo.captioner_training import TrainedCaptioner, caption_loss, teach_captioner
from tasks.demo.captions import TauFigures, chosen_tau, settings_text
from tasks.demo.scenes import draw_pairs
from tasks.demo.task import TAU_VISION
from tasks.demo.training import MODEL_CONFIG, image_tensor
from tasks.encoders.llava.folder import open_llava
from tasks.encoders.transformers_format import to_transformers

PROMPT = CaptioningConfig(model="llava", prompt="Describe the picture.", precision="fp32", max_new_tokens=4)
PAIRS = draw_pairs(4, 0, "captioner")
PICTURE = SPECIAL_TOKENS.index("<image>")
AS_IT_IS = TauFigures(None, unsafe=90.0, safe=3.0, bleu=0.4)


@pytest.fixture(scope="module")
def clip_state() -> dict[str, torch.Tensor]:
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_clip.CLIP(**MODEL_CONFIG).state_dict()


@pytest.fixture(scope="module")
def taught(clip_state) -> TrainedCaptioner:
    return teach_captioner(PAIRS, clip_state, PROMPT, seed=0, steps=2)


def test_any_text_comes_back_from_its_tokens_and_a_known_word_is_one():
    tokenizer = byte_tokenizer(["a man holds a cup"], 300)
    for text in ("a man holds a cup", " Ünïcode, 漢字!"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len(tokenizer(" holds", add_special_tokens=False)["input_ids"]) == 1


@pytest.mark.slow
def test_the_loss_is_that_of_the_whole_model_token_by_token(taught: TrainedCaptioner):
    model, processor = taught.model, taught.processor
    question = processor.apply_chat_template(PROMPT.messages(), add_generation_prompt=True)
    pictures = [PAIRS[0].safe_image, PAIRS[1].unsafe_image]
    asked = processor(images=pictures, text=[question] * 2, return_tensors="pt")
    said = [
        processor.tokenizer(f" {pair.safe_text}", add_special_tokens=False)["input_ids"] + [2] for pair in PAIRS[:2]
    ]
    captions = torch.full((2, max(map(len, said))), -100)
    for row, own in zip(captions, said, strict=True):
        row[: len(own)] = torch.tensor(own)

    naive = []
    with torch.no_grad():
        for row, own in enumerate(said):
            ids = torch.cat([asked["input_ids"][row], torch.tensor(own)])
            logits = model(input_ids=ids[None], pixel_values=asked["pixel_values"][row : row + 1]).logits[0].double()
            shares = functional.softmax(logits, dim=-1).numpy()
            naive += [-np.log(shares[len(ids) - len(own) + k - 1, token]) for k, token in enumerate(own)]
        hidden = model.model.vision_tower(image_tensor(pictures), output_hidden_states=True).hidden_states[-2][:, 1:]
        place = (asked["input_ids"][0] == PICTURE).nonzero().flatten()
        around = asked["input_ids"][0, : place[0]], asked["input_ids"][0, place[-1] + 1 :]
        fast = caption_loss(model, hidden, captions, around)
    assert fast.item() == pytest.approx(np.mean(naive), rel=1e-4)


def test_pictures_are_learned_as_the_processor_will_give_them(taught: TrainedCaptioner):
    given = taught.processor.image_processor(images=[PAIRS[0].unsafe_image], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(image_tensor([PAIRS[0].unsafe_image]), given, atol=1e-5, rtol=0)


def test_what_is_written_holds_the_models_own_tower_under_the_hubs_names_and_is_read_whole(
    taught, clip_state, tmp_path
):
    write_llava(tmp_path / "llava", taught.model, taught.processor)
    held = load_file(tmp_path / "llava/model.safetensors")
    visual = {name: value for name, value in clip_state.items() if name.startswith("visual.") and name != "visual.proj"}
    for name, value in to_transformers(visual).items():
        assert torch.equal(held[f"vision_tower.{name}"], value), name
    others = {name for name in held if not name.startswith("vision_tower.vision_model.")}
    assert others
    assert all(
        name.startswith(("multi_modal_projector.", "language_model.model.", "language_model.lm_head."))
        for name in others
    )
    config = PROMPT.model_copy(update={"model": str(tmp_path / "llava")})
    captioner = load_captioner(config, torch.device("cpu"))
    assert captioner.prompt.endswith("Describe the picture. ASSISTANT:")
    for name, value in taught.model.state_dict().items():
        assert torch.equal(captioner.model.state_dict()[name], value), name
    said = captioner(torch.stack([captioner.fit(pair.safe_image) for pair in PAIRS]))
    assert [each.n_tokens <= 4 for each in said] == [True] * len(PAIRS)
    assert open_llava(tmp_path / "llava", "MODEL").n_seen == MODEL_CONFIG["vision_cfg"]["layers"] - 1


@pytest.mark.slow
def test_training_learns_gives_the_same_bits_twice_and_leaves_the_tower_and_the_callers_random_state_alone(clip_state):
    before, calls = torch.get_rng_state(), []
    first = teach_captioner(
        PAIRS, clip_state, PROMPT, seed=0, steps=20, on_step=lambda done, steps: calls.append((done, steps))
    )
    second = teach_captioner(PAIRS, clip_state, PROMPT, seed=0, steps=20)
    assert calls == [(step, 20) for step in range(1, 21)]
    assert torch.equal(torch.get_rng_state(), before)
    states = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert (
        first.loss == second.loss < np.log(len(first.processor.tokenizer)) / 2
    )  # of a model that knows nothing: the log
    other = teach_captioner(PAIRS, clip_state, PROMPT, seed=1, steps=1).model.state_dict()
    for name, value in states[0].items():
        if ".vision_tower." in name:
            assert torch.equal(other[name], value), name


def test_the_tau_of_the_fewest_unsafe_captions_is_taken_and_of_equal_ones_the_largest():
    edited = [
        TauFigures(tau, unsafe, 3.0, 0.4) for tau, unsafe in ((0.98, 90.0), (0.8, 70.0), (0.6, 70.0), (0.4, 71.0))
    ]
    assert chosen_tau(AS_IT_IS, edited) == 0.8
    assert chosen_tau(AS_IT_IS, edited[::-1]) == 0.8


@pytest.mark.parametrize("broken", [TauFigures(0.6, 10.0, 5.1, 0.4), TauFigures(0.6, 10.0, 3.0, 0.359)])
def test_a_tau_that_spoils_captions_of_safe_pictures_is_not_taken(broken: TauFigures):
    assert chosen_tau(AS_IT_IS, [broken]) == TAU_VISION
    assert chosen_tau(AS_IT_IS, [TauFigures(0.9, 89.0, 5.0, 0.361), broken]) == 0.9


def test_settings_are_told_about_above_them_in_comments():
    assert settings_text({"name": "x", "text": None}, "one\ntwo") == "# one\n# two\nname: x\ntext: null\n"
