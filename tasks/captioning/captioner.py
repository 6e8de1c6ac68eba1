"""A LLaVA that captions pictures greedily: loaded once, and whole."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from data_specs.captioning import CaptioningConfig
from data_specs.errors import DataError, SpecError
from data_specs.run_config import HUB
from data_specs.wording import first_line, one_line, shown
from tasks.captioning.quiet import without_bars
from tasks.captioning.text_metrics import one_blank
from tasks.encoders.foreign_code import nothing_runs_or_asks
from tasks.encoders.hub import download_files
from tasks.encoders.model_json import CONFIG, read_json
from tasks.lineage.base_weights import digest_of_large_file
from tasks.lineage.digest import digest_of

_SETTING = "captioning.model"
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_OWN = {"local_files_only": True, "trust_remote_code": False}
_KINDS = ("llava", "vipllava")  # one picture becomes one input of fixed size
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_TOWER = re.compile(r"^(?:model\.)?vision_tower\.(?:vision_model\.)?(.+)$")


@dataclass(frozen=True)
class Captioned:
    """A caption, how many tokens it took, and why it ended: `stop`, or `length` where the limit cut it."""

    caption: str
    n_tokens: int
    finish: str


@dataclass(frozen=True)
class PictureFit:
    """What becomes of a picture before the model sees it, by the checkpoint's own processor; can be sent to workers."""

    processor: Any

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """[3, height, width] float32."""
        pixels: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels


class Captioner:
    """A language model with its vision tower, and the one question that it is asked."""

    def __init__(self, model: Any, processor: Any, config: CaptioningConfig, digest: str) -> None:
        """Prepare the question.

        Args:
            model: of transformers.
            processor: the model's.
            config: prompt and limit.
            digest: of the files that both were read from.

        Raises:
            SpecError: the checkpoint has no chat template, or one that cannot hold the question.
        """
        self.model, self.digest = model, digest
        self.fit = PictureFit(processor.image_processor)
        self._tokenizer = processor.tokenizer
        self._max_new_tokens = config.max_new_tokens
        self.prompt, self._question = question_of(processor, config)
        self._ends = _ends(model)

    @property
    def tower(self) -> nn.Module:
        """The vision encoder."""
        return _tower(self.model)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> list[Captioned]:
        """Caption pictures, always by the likeliest next token.

        Args:
            pixels: [pictures, 3, height, width], as `fit` gives them.

        Returns:
            What is said of each.

        Raises:
            DataError: a probability is no number.
        """
        device, n = self.model.device, len(pixels)
        question = self._question.to(device).expand(n, -1)
        found = self.model.generate(
            input_ids=question,
            attention_mask=torch.ones_like(question),
            pixel_values=pixels.to(device, self.model.dtype),
            generation_config=self._greedy(),
            logits_processor=[_require_numbers],
        )
        return [self._said(row) for row in found[:, question.shape[1] :].tolist()]

    def _greedy(self) -> Any:
        import transformers

        library: Any = transformers
        own = self.model.generation_config
        pad = own.pad_token_id if own.pad_token_id is not None else self._ends[0]
        return library.GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=self._max_new_tokens,
            eos_token_id=list(self._ends),
            pad_token_id=pad,
            bos_token_id=own.bos_token_id,
        )

    def _said(self, tokens: list[int]) -> Captioned:
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        text = self._tokenizer.decode(tokens[:end], skip_special_tokens=True)
        return Captioned(one_blank(text), len(tokens[:end]), "length" if end is None else "stop")


def load_captioner(config: CaptioningConfig, device: torch.device) -> Captioner:
    """Read a captioner from its folder, or from the hub.

    Raises:
        SpecError: there is none, it is of another kind, brings code of its own, or its files do not hold all of it.
    """
    folder = captioner_folder(config)
    with _reading(config):
        import transformers

        library: Any = transformers
        model, info = library.AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, dtype=held_as(config), output_loading_info=True, **_OWN
        )
    _require_whole(model, folder, [*info["missing_keys"], *map(str, info["mismatched_keys"])])
    return Captioner(model.to(device).eval(), read_processor(config), config, captioner_digest(folder))


def read_processor(config: CaptioningConfig) -> Any:
    """What a captioner's pictures and words go through; no weight is read.

    Raises:
        SpecError: there is none, or it brings code of its own.
    """
    folder = captioner_folder(config)
    with _reading(config):
        import transformers

        library: Any = transformers
        return library.AutoProcessor.from_pretrained(folder, **_OWN)


def read_tower_settings(config: CaptioningConfig) -> dict[str, Any]:
    """The `vision_config` of a captioner with all that it leaves to transformers; no weight is read.

    Raises:
        SpecError: there is none, or it brings code of its own.
    """
    folder = captioner_folder(config)
    with _reading(config):
        import transformers

        library: Any = transformers
        found: dict[str, Any] = library.AutoConfig.from_pretrained(folder, **_OWN).vision_config.to_dict()
    return found


@contextmanager
def _reading(config: CaptioningConfig) -> Iterator[None]:
    try:
        with nothing_runs_or_asks(), without_bars():
            yield
    except SpecError:
        raise
    except Exception as error:  # transformers raises what it happens to meet
        raise SpecError(
            f"{_SETTING} {config.model} cannot be loaded: {one_line(first_line(error), 200)}; give a whole folder in"
            " transformers' format"
        ) from error


def question_of(processor: Any, config: CaptioningConfig) -> tuple[str, Tensor]:
    """The question as text with its template applied, and as token ids [1, tokens] with the places of a picture.

    Raises:
        SpecError: the checkpoint has no chat template, or one that cannot hold the question.
    """
    try:
        prompt = str(processor.apply_chat_template(config.messages(), add_generation_prompt=True))
        asked = processor(images=Image.new("RGB", (32, 32)), text=prompt, return_tensors="pt")
    except Exception as error:  # templates and processors raise what they happen to meet
        raise SpecError(
            f"{_SETTING}: its chat template and processor cannot hold the question: {one_line(first_line(error), 160)};"
            " take a checkpoint with both"
        ) from error
    ids: Tensor = asked["input_ids"]
    return prompt, ids


def held_as(config: CaptioningConfig) -> torch.dtype:
    """The type that a captioner's weights have in memory."""
    return _DTYPES[config.precision]


def captioner_folder(config: CaptioningConfig) -> Path:
    """Where a captioner's files lie, downloaded where they are on the hub.

    Raises:
        SpecError: they are not there, or are of another kind of model.
    """
    folder = download_files(config.model, _FILES, _SETTING) if config.model.startswith(HUB) else Path(config.model)
    if not (folder / CONFIG).is_file():
        raise SpecError(
            f"{_SETTING} {config.model} has no {CONFIG}; give the folder of a LLaVA in transformers' format"
        )
    kind = read_json(folder / CONFIG, _SETTING).get("model_type")
    if kind not in _KINDS:
        raise SpecError(f"{_SETTING} {config.model}: its model_type is {shown(kind)}, expected {' or '.join(_KINDS)}")
    return folder


def captioner_digest(folder: Path) -> str:
    """Digest of all files that a captioner is read from: weights, settings, tokens, template and picture fit."""
    files = sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})
    found = {path: path.stat() for path in files}
    return digest_of({path.name: digest_of_large_file(path, at.st_mtime_ns, at.st_size) for path, at in found.items()})


def _require_whole(model: Any, folder: Path, absent: Sequence[str]) -> None:
    """A tensor under a name that this version does not know is random, and transformers but warns of it."""
    if absent:
        raise SpecError(
            f"{_SETTING} {folder} lacks {len(absent)} tensors such as {shown(min(absent))}, which would be random; give the"
            " folder as its authors made it"
        )
    held = dict(_tower(model).state_dict())
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                match = _TOWER.match(name)
                if (
                    match
                    and match[1] in held
                    and not torch.equal(held.pop(match[1]), file.get_tensor(name).to(model.dtype))
                ):
                    raise SpecError(f"{_SETTING} {folder}: {shown(name)} was not loaded as it is in {path.name}")
    left = [name for name in held if "position_ids" not in name]
    if left:
        raise SpecError(f"{_SETTING} {folder} holds no tensor for {shown(min(left))} of its vision tower")


def _tower(model: Any) -> nn.Module:
    tower = getattr(model, "model", model).vision_tower
    inner: nn.Module = getattr(tower, "vision_model", tower)
    return inner


def _ends(model: Any) -> tuple[int, ...]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = model.config.get_text_config().eos_token_id
    if ends is None:
        raise SpecError(f"{_SETTING}: nothing says which token ends a caption; complete generation_config.json")
    return tuple(ends) if isinstance(ends, list) else (ends,)


def _require_numbers(_tokens: Tensor, scores: Tensor) -> Tensor:
    if bool(scores.isnan().any()):
        raise DataError("the captioner gives no number for a next token; use captioning.precision: bf16 or fp32")
    return scores
