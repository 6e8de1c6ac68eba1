"""Tokenizers: open_clip's own, the hub's, or a local folder in place of the hub's."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from data_specs.errors import SpecError
from data_specs.run_config import HUB
from tasks.encoders.foreign_code import nothing_runs_or_asks
from tasks.encoders.hub import download_files, said_by_library
from tasks.encoders.model_json import read_json
from tasks.lineage.digest import digest_of, file_sha256

Tokenizer = Callable[[list[str]], torch.Tensor]

_VOCABULARIES = (
    "tokenizer.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
_FILES = (
    *_VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    # Names the tokenizer's class where tokenizer_config.json does not.
    "config.json",
)
# Of them, those that transformers takes settings from.
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "config.json")
_CLASS = re.compile(r"\w+(?:Tokenizer(?:Fast)?|Backend)")
_WANTED = "tokenizer.json and tokenizer_config.json (or, with the package protobuf, spiece.model in place of the first)"


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that make its tokenizer what it is."""
    return [folder / name for name in _FILES if (folder / name).is_file()]


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the vocabulary of a Hugging Face tokenizer."""
    return any((folder / name).is_file() for name in _VOCABULARIES)


def tokenizer_digest(folder: Path) -> str:
    """`sha256:` and the digest of a tokenizer folder's files, wherever the folder lies.

    Raises:
        SpecError: there is no such folder, or no vocabulary in it that can be read.
    """
    if not folder.is_dir():
        raise SpecError(f"model.tokenizer {folder} is no folder; give one with {_WANTED}")
    if not has_tokenizer(folder):
        raise SpecError(f"model.tokenizer {folder} holds no vocabulary, expected {_WANTED}")
    converted = not (folder / _VOCABULARIES[0]).is_file() and any(folder.glob("*.model"))
    if converted and not (find_spec("google") and find_spec("google.protobuf")):
        raise SpecError(
            f"model.tokenizer {folder} holds a sentencepiece vocabulary without tokenizer.json, which transformers reads"
            " only with the package protobuf; install protobuf, or add the tokenizer.json that `save_pretrained` writes"
        )
    return "sha256:" + digest_of({path.name: file_sha256(path) for path in tokenizer_files(folder)})


def build_tokenizer(text_cfg: dict[str, Any], name: str, folder: Path | None) -> Tokenizer:
    """The tokenizer of a text tower, with the cleaning and context length of its config.

    Args:
        text_cfg: the tower's part of an `open_clip_config.json`.
        name: what `open_clip.get_tokenizer` takes, for a tower whose config names no tokenizer.
        folder: a local tokenizer, in place of the one that the config names; None for that one.

    Returns:
        Texts to [n, context] int64.

    Raises:
        SpecError: the hub is out of reach, or the folder's tokenizer does not fit the tower.
    """
    import open_clip

    hub_name = text_cfg.get("hf_tokenizer_name")
    if folder is None and not hub_name:
        own: Tokenizer = open_clip.get_tokenizer(name)
        return own
    # Captions come one at a time; its threads would only warn in every worker that is forked.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    place = _from_hub(str(hub_name)) if folder is None else folder
    try:
        tokenizer = _from_folder(place, text_cfg)
    except SpecError:
        raise
    except Exception as error:  # whatever transformers meets in the files
        raise SpecError(
            f"model.tokenizer {folder or hub_name} cannot be loaded: {said_by_library(error)}; expected {_WANTED}"
        ) from error
    _require_fit(tokenizer, text_cfg, str(folder or hub_name))
    hub_like: Tokenizer = tokenizer
    return hub_like


def _from_hub(name: str) -> Path:
    try:
        return download_files(HUB + name, list(_FILES), "model.tokenizer")
    except SpecError as error:
        raise SpecError(
            f"model.tokenizer is not set and the architecture's tokenizer {name} cannot be had from the hub:"
            f" {said_by_library(error)}; put its {_WANTED} into a folder and set model.tokenizer to that folder"
        ) from error


def _from_folder(folder: Path, text_cfg: dict[str, Any]) -> Any:
    # A copy of what was digested, so that nothing else of the folder can have a say: no Python, no pickles.
    with tempfile.TemporaryDirectory() as private:
        for path in tokenizer_files(folder):
            if path.name in _SETTINGS:
                settings = _harmless_settings(path)
                (Path(private) / path.name).write_text(json.dumps(settings), encoding="utf-8")
            else:
                shutil.copyfile(path, Path(private) / path.name)
        with nothing_runs_or_asks():
            return _wrapped(private, text_cfg)


def _harmless_settings(path: Path) -> dict[str, Any]:
    import transformers

    content = read_json(path, "model.tokenizer")
    name = content.get("tokenizer_class")
    if name is not None:
        known = getattr(transformers, name, None) if isinstance(name, str) and _CLASS.fullmatch(name) else object
        # Without a package that it needs, a class is there as a stand-in that names the package.
        stand_in = hasattr(known, "_backends")
        is_tokenizer = isinstance(known, type) and issubclass(known, transformers.PreTrainedTokenizerBase)
        if known is not None and not is_tokenizer and not stand_in:
            raise SpecError(
                f"model.tokenizer: {path} names tokenizer_class {str(name)[:60]!r}, which is no tokenizer of transformers'"
            )
    # Places of files on the machine where it was saved; read from here, they could be any file.
    return {key: value for key, value in content.items() if not key.endswith("_file")}


def _wrapped(source: str, text_cfg: dict[str, Any]) -> Any:
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    return HFTokenizer(
        source,
        context_length=text_cfg.get("context_length", DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text_cfg.get("tokenizer_mode"),
        **(text_cfg.get("tokenizer_kwargs") or {}),
    )


def _require_fit(tokenizer: Any, text_cfg: dict[str, Any], source: str) -> None:
    inner = tokenizer.tokenizer
    if inner.pad_token_id is None:
        raise SpecError(f"model.tokenizer {source} has no padding token; name one in its tokenizer_config.json")
    if inner.padding_side != "right":
        raise SpecError(
            f"model.tokenizer {source} pads on the {inner.padding_side}, but text towers are trained with padding on the"
            ' right; set "padding_side": "right" in its tokenizer_config.json'
        )
    n_tokens = int(text_cfg.get("vocab_size") or 0)
    largest = max(int(tokenizer(["a photo of a cat"]).max()), inner.pad_token_id)
    if n_tokens and not text_cfg.get("hf_model_name") and largest >= n_tokens:
        raise SpecError(
            f"model.tokenizer {source} gives token {largest}, but the text tower knows {n_tokens}; it is the tokenizer"
            " of another model"
        )


def padding_id(tokenizer: Any) -> int:
    """The token id that a tokenizer fills short texts up with."""
    inner = getattr(tokenizer, "tokenizer", None)
    padding = getattr(inner, "pad_token_id", None)
    return 0 if padding is None else int(padding)
