"""CLIP's own tokenizer as files that transformers reads."""

import json
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY_SIZE = 49_408


def write_clip_tokenizer(folder: Path, context_length: int) -> None:
    """Write the byte-pair encoding that open_clip carries, so that transformers gives texts the same ids.

    Args:
        folder: takes vocab.json, merges.txt and tokenizer_config.json.
        context_length: tokens of the longest text, with start and end.
    """
    from open_clip import SimpleTokenizer

    ours = SimpleTokenizer(context_length=context_length)
    names = {ours.sot_token_id: START, ours.eot_token_id: END}
    vocabulary = {names.get(number, token): number for token, number in ours.encoder.items()}
    merges = [" ".join(pair) for pair, _ in sorted(ours.bpe_ranks.items(), key=lambda item: item[1])]
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context_length,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "do_lower_case": True,
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
