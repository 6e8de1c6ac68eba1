"""Contrastive training of a tiny open_clip model on drawn pairs, in less than a minute on two CPU cores."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from open_clip import CLIP, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, SimpleTokenizer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tasks.demo.scenes import IMAGE_SIZE, DrawnPair

MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": False,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 12},
    "text_cfg": {"context_length": 18, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
STEPS = 240  # at most
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1
WARMUP_STEPS = 20
WEIGHT_AVERAGING = 0.9  # share of the running mean kept at each step; the last steps alone waver
MAX_LOGIT_SCALE = 4.6052  # ln 100, as in CLIP

# Captions of the web are noisy, which keeps a model's margin between a pair's members small. Without
# noise the tiny model's margin is so wide that no edit of a few weights changes a preference.
SWAPPED_SHARE = 0.38

# A real CLIP prefers the matching member of a pair most of the time, not always. Training stops there;
# a fixed number of steps would stop some seeds before and some far beyond, where nothing is left to show.
TARGET_PREFERENCE = 0.65
N_HELD_OUT = 256
CHECK_EVERY = 5
FIRST_CHECK = 100  # the light is learned at once, and forgotten while the model learns places and shirts


def train(
    pairs: Sequence[DrawnPair],
    *,
    seed: int,
    steps: int = STEPS,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Train a model from scratch with CLIP's symmetric contrastive loss until it tells a pair's members apart.

    Args:
        pairs: both members are samples of their own; the first pairs are held out to tell when to stop.
        seed: of the weights, the swapped captions and the batches; the thread count is part of the result too.
        steps: optimizer steps at most.
        on_step: called after every step with the steps done and `steps`; training may end before they are equal.

    Returns:
        The state dict of `open_clip.CLIP(**MODEL_CONFIG)`, float32.
    """
    images, token_ids = training_tensors(pairs)
    vocabulary, token_ids = torch.unique(token_ids, return_inverse=True)
    n_held_out = 2 * min(N_HELD_OUT, len(pairs) // 5)
    held_out = images[:n_held_out], token_ids[:n_held_out]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(**MODEL_CONFIG)
        full = _shrink_embedding(model, vocabulary)
        average = copy.deepcopy(model)
        batches = _batches(images[n_held_out:], _with_swapped_captions(token_ids[n_held_out:]))
        for step in _optimise(model, average, batches, steps):
            if on_step is not None:
                on_step(step, steps)
            is_due = step >= FIRST_CHECK and step % CHECK_EVERY == 0
            if is_due and matching_preference(average, *held_out) >= TARGET_PREFERENCE:
                break
    with torch.no_grad():
        full.weight[vocabulary] = average.token_embedding.weight
    average.token_embedding = full
    return {name: value.detach().clone() for name, value in average.state_dict().items()}


def training_tensors(pairs: Sequence[DrawnPair]) -> tuple[Tensor, Tensor]:
    """Both members of every pair, safe then unsafe, as open_clip's own transform and tokenizer give them.

    Returns:
        images [2 * pairs, 3, size, size] float32, normalised; token_ids [2 * pairs, context] int64, 0 is padding.
    """
    pictures = [picture for pair in pairs for picture in (pair.safe_image, pair.unsafe_image)]
    texts = [text for pair in pairs for text in (pair.safe_text, pair.unsafe_text)]
    tokenizer = SimpleTokenizer(context_length=MODEL_CONFIG["text_cfg"]["context_length"])
    return image_tensor(pictures), tokenizer(texts)


def image_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of the model's own size as [pictures, 3, size, size] float32, with CLIP's normalisation."""
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    mean, std = torch.tensor(OPENAI_DATASET_MEAN), torch.tensor(OPENAI_DATASET_STD)
    return ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def contrastive_loss(model: CLIP, images: Tensor, token_ids: Tensor) -> Tensor:
    """CLIP's loss: the mean of both directions' cross-entropy within the batch."""
    image_features, text_features, scale = model(images, token_ids)
    logits = scale * image_features @ text_features.T
    target = torch.arange(len(logits))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def matching_preference(model: nn.Module, images: Tensor, token_ids: Tensor) -> float:
    """SafeGround's P_t_s or P_v_s, whichever is smaller, as a share of the pairs given safe, unsafe, safe, ..."""
    image_features, text_features, _ = model(images, token_ids)
    shape = (len(images) // 2, 2, -1)
    similarity = torch.einsum("ptd,pvd->ptv", text_features.reshape(shape), image_features.reshape(shape))
    prefers_image = similarity[:, 0, 0] > similarity[:, 0, 1]
    prefers_text = similarity[:, 0, 0] > similarity[:, 1, 0]
    return min(prefers_image.float().mean().item(), prefers_text.float().mean().item())


def _with_swapped_captions(token_ids: Tensor) -> Tensor:
    members = token_ids.reshape(-1, 2, token_ids.shape[1])
    is_swapped = torch.rand(len(members), 1, 1) < SWAPPED_SHARE
    return torch.where(is_swapped, members.flip(1), members).flatten(0, 1)


def _shrink_embedding(model: CLIP, vocabulary: Tensor) -> nn.Embedding:
    # AdamW would walk over 49,408 rows a step, of which the captions use about fifty. Row order is
    # kept, so the end-of-text id stays the largest, which is how CLIP finds it.
    full: nn.Embedding = model.token_embedding
    model.token_embedding = nn.Embedding(len(vocabulary), full.embedding_dim)
    model.token_embedding.weight.data = full.weight.detach()[vocabulary]
    return full


def _batches(images: Tensor, token_ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = min(BATCH_SIZE, len(images))
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(images) - size + 1, size):
            rows = order[start : start + size]
            yield images[rows], token_ids[rows]


def _optimise(model: CLIP, average: CLIP, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> Iterator[int]:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS))
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        torch.autograd.backward(contrastive_loss(model, *next(batches)))
        optimizer.step()
        warmup.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
            for mean, latest in zip(average.parameters(), model.parameters(), strict=True):
                mean.lerp_(latest, 1 - WEIGHT_AVERAGING)
        yield step
