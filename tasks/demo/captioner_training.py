"""Training of a tiny LLaVA around the demo's vision encoder, which stays as it is, on drawn pictures and their captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from data_specs.captioning import CaptioningConfig
from tasks.demo.captioner_files import (
    BEGIN_TOKEN,
    END_TOKEN,
    PADDING_TOKEN,
    PICTURE_TOKEN,
    SPECIAL_TOKENS,
    byte_tokenizer,
    llava_processor,
)
from tasks.demo.scenes import DrawnPair
from tasks.demo.training import MODEL_CONFIG, image_tensor
from tasks.encoders.transformers_config import clip_config
from tasks.encoders.transformers_format import to_transformers

LANGUAGE_MODEL: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
}
N_TOKENS = 700  # at most: enough for each word of captions and question to be one
FEATURE_LAYER = -2  # as LLaVA-1.5: what the last block but one gives
CAPTIONER_STEPS = 500
CAPTIONER_BATCH = 64
CAPTIONER_RATE = 2e-3  # the highest
_WARM_SHARE = 0.1
_LARGEST_NORM = 1.0  # of the gradient
_PICTURES_AT_ONCE = 256
_IGNORED = -100


@dataclass(frozen=True)
class TrainedCaptioner:
    """A LlavaForConditionalGeneration, its LlavaProcessor, and the mean loss a token of the last steps."""

    model: Any
    processor: Any
    loss: float


@dataclass(frozen=True)
class _Lesson:
    """What is learned from: of each picture what the tower gives and its caption, and the question of all.

    features [pictures, patches, width]; captions [pictures, longest], each with its end and -100 behind; before and behind
    are the question's tokens around those of the picture.
    """

    features: Tensor
    captions: Tensor
    before: Tensor
    behind: Tensor


def teach_captioner(
    pairs: Sequence[DrawnPair],
    clip_state: Mapping[str, Tensor],
    prompt: CaptioningConfig,
    *,
    seed: int,
    steps: int = CAPTIONER_STEPS,
    on_step: Callable[[int, int], None] | None = None,
) -> TrainedCaptioner:
    """Train projector and language model of a LLaVA by the cross-entropy of captions; its tower is the given one.

    Args:
        pairs: both members' pictures are learned with their own captions.
        clip_state: of the demo's model, under open_clip's names.
        prompt: the question before each caption.
        seed: of the weights and batches; the thread count is part of the result, too.
        steps: optimizer steps.
        on_step: called after every step with the steps done and `steps`.
    """
    texts = [text for pair in pairs for text in (pair.safe_text, pair.unsafe_text)]
    said = [part["text"] for message in prompt.messages() for part in message["content"] if part["type"] == "text"]
    tokenizer = byte_tokenizer([*texts, *said, "USER: \n ASSISTANT:"], N_TOKENS)
    vision = MODEL_CONFIG["vision_cfg"]
    processor = llava_processor(tokenizer, image_size=vision["image_size"], patch_size=vision["patch_size"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _untrained(len(tokenizer), clip_state)
        lesson = _lesson(model, processor, pairs, texts, prompt)
        loss = _train(model, lesson, steps, on_step)
    return TrainedCaptioner(model.eval(), processor, loss)


def _untrained(n_tokens: int, clip_state: Mapping[str, Tensor]) -> Any:
    import transformers

    library: Any = transformers
    names = {"bos_token_id": BEGIN_TOKEN, "eos_token_id": END_TOKEN, "pad_token_id": PADDING_TOKEN}
    ids = {name: SPECIAL_TOKENS.index(token) for name, token in names.items()}
    config = library.LlavaConfig(
        vision_config=library.CLIPVisionConfig(**clip_config(MODEL_CONFIG)["vision_config"]),
        text_config=library.LlamaConfig(vocab_size=n_tokens, tie_word_embeddings=False, **LANGUAGE_MODEL, **ids),
        image_token_index=SPECIAL_TOKENS.index(PICTURE_TOKEN),
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    model = library.LlavaForConditionalGeneration(config)
    model.generation_config.update(**ids)
    visual = {name: value for name, value in clip_state.items() if name.startswith("visual.") and name != "visual.proj"}
    tower = {name.removeprefix("vision_model."): value for name, value in to_transformers(visual).items()}
    own = model.model.vision_tower
    getattr(own, "vision_model", own).load_state_dict(tower)
    own.requires_grad_(False)
    return model


def _lesson(
    model: Any, processor: Any, pairs: Sequence[DrawnPair], texts: list[str], prompt: CaptioningConfig
) -> _Lesson:
    pixels = image_tensor([picture for pair in pairs for picture in (pair.safe_image, pair.unsafe_image)])
    with torch.no_grad():
        batches = (pixels[start : start + _PICTURES_AT_ONCE] for start in range(0, len(pixels), _PICTURES_AT_ONCE))
        seen = [
            model.model.vision_tower(batch, output_hidden_states=True).hidden_states[FEATURE_LAYER][:, 1:]
            for batch in batches
        ]
    question = processor.apply_chat_template(prompt.messages(), add_generation_prompt=True)
    tokens = processor(images=pairs[0].safe_image, text=question, return_tensors="pt")["input_ids"][0]
    is_picture = (tokens == SPECIAL_TOKENS.index(PICTURE_TOKEN)).nonzero().flatten()
    end = SPECIAL_TOKENS.index(END_TOKEN)
    said = [[*processor.tokenizer(f" {text}", add_special_tokens=False)["input_ids"], end] for text in texts]
    captions = torch.full((len(said), max(map(len, said))), _IGNORED)
    for row, caption in zip(captions, said, strict=True):
        row[: len(caption)] = torch.tensor(caption)
    return _Lesson(torch.cat(seen), captions, tokens[: is_picture[0]], tokens[is_picture[-1] + 1 :])


def _train(model: Any, lesson: _Lesson, steps: int, on_step: Callable[[int, int], None] | None) -> float:
    """AdamW with a rate that rises and falls once; returns the mean loss of the last tenth of the steps."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=CAPTIONER_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, CAPTIONER_RATE, total_steps=steps + 1, pct_start=_WARM_SHARE
    )
    losses = []
    for step in range(1, steps + 1):
        rows = torch.randint(len(lesson.captions), (CAPTIONER_BATCH,))
        loss = caption_loss(model, lesson.features[rows], lesson.captions[rows], (lesson.before, lesson.behind))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, _LARGEST_NORM)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step, steps)
    return sum(losses[-max(1, steps // 10) :]) / max(1, steps // 10)


def caption_loss(model: Any, features: Tensor, captions: Tensor, question: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of the tokens of captions behind a question and their pictures.

    Args:
        model: a LlavaForConditionalGeneration.
        features: [pictures, patches, width] of its tower.
        captions: [pictures, longest] tokens, -100 behind each one's end.
        question: its tokens before the picture's, and behind them.
    """
    embed, n = model.get_input_embeddings(), len(captions)
    before, behind = (embed(tokens).expand(n, -1, -1) for tokens in question)
    seen = model.model.multi_modal_projector(features)
    # Padding stands behind the words, which never look there.
    known = embed(captions[:, :-1].clamp(min=0))
    inputs = torch.cat([before, seen, behind, known], 1)
    hidden = model.model.language_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, -captions.shape[1] :])
    return functional.cross_entropy(logits.flatten(0, 1), captions.flatten(), ignore_index=_IGNORED)
