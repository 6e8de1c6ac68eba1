"""The demo's captioner as a folder in transformers' format: settings, tokens, chat template, and weights under the hub's names."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from tasks.encoders.checkpoint import write_state_dict
from tasks.encoders.transformers_format import WEIGHTS

UNKNOWN_TOKEN, BEGIN_TOKEN, END_TOKEN, PADDING_TOKEN, PICTURE_TOKEN = SPECIAL_TOKENS = (
    "<unk>",
    "<s>",
    "</s>",
    "<pad>",
    "<image>",
)
# LLaVA-1.5's conversation: system text, then "USER: <image>\n... ASSISTANT:".
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'][0]['text'] + ' ' }}"
    "{% else %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# Of what is installed -> of every checkpoint on the hub, which all versions of transformers read.
_HUB_NAMES = (
    ("model.vision_tower.vision_model.", "vision_tower.vision_model."),
    ("model.vision_tower.", "vision_tower.vision_model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


def byte_tokenizer(texts: Iterable[str], n_tokens: int) -> Any:
    """A byte-level BPE learned on the spot: it loses nothing of any text, pads on the left and knows the chat template.

    Args:
        texts: from which it takes its words; the order does not matter.
        n_tokens: that it has at most; at least 261, of bytes and special tokens.

    Returns:
        transformers' PreTrainedTokenizerFast; the special tokens are its first ones.
    """
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    library: Any = transformers
    own = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN))
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens, special_tokens=[*SPECIAL_TOKENS], show_progress=False, initial_alphabet=alphabet
    )
    own.train_from_iterator(sorted(texts), trainer)
    own.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_TOKEN} $A", special_tokens=[(BEGIN_TOKEN, SPECIAL_TOKENS.index(BEGIN_TOKEN))]
    )
    tokens = {"bos_token": BEGIN_TOKEN, "eos_token": END_TOKEN, "unk_token": UNKNOWN_TOKEN, "pad_token": PADDING_TOKEN}
    tokenizer = library.PreTrainedTokenizerFast(
        tokenizer_object=own, **tokens, extra_special_tokens={"image_token": PICTURE_TOKEN}, padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def llava_processor(tokenizer: Any, *, image_size: int, patch_size: int) -> Any:
    """A LLaVA's processor: shortest edge and centre crop with CLIP's normalisation, and a token a patch."""
    import transformers

    library: Any = transformers
    side = {"height": image_size, "width": image_size}
    images = library.CLIPImageProcessor(
        size={"shortest_edge": image_size},
        crop_size=side,
        image_mean=[*OPENAI_DATASET_MEAN],
        image_std=[*OPENAI_DATASET_STD],
    )
    return library.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )


def write_llava(folder: Path, model: Any, processor: Any) -> None:
    """Write a LLaVA as the hub holds one. `save_pretrained` would give the tower names that transformers 4 does not know."""
    folder.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)
    state = {_hub_name(name): value for name, value in model.state_dict().items() if not name.endswith("position_ids")}
    write_state_dict(state, folder / WEIGHTS, {"format": "pt"})


def _hub_name(name: str) -> str:
    here, there = next(names for names in _HUB_NAMES if name.startswith(names[0]))
    return there + name.removeprefix(here)
