"""The sign filter beside UWM and its controls, over training seeds of the demo: `python -m tests.benchmarks.sign_filter`.

Each method has a grid of budgets for both encoders. The point with the best GS that keeps PS and zero-shot accuracy
within limits is chosen on some pairs, and its figures are of others. Takes minutes a seed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_specs.run_config import ENCODERS, TEXT_DEFAULTS, VISION_DEFAULTS, Encoder, ModelConfig
from tasks.activations.statistics import channel_statistics
from tasks.demo.scenes import LABEL_SETS, SAFE_MOODS, draw_labelled, draw_pairs
from tasks.demo.training import MODEL_CONFIG, train
from tasks.encoders.checkpoint import write_state_dict
from tasks.encoders.forward import encode
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import LoadedModel, load_model
from tasks.encoders.tokens import valid_text_tokens
from tasks.scoring.saliency import ChannelStats
from tasks.scoring.scorer import ActivationScorer, BatchMembers
from tasks.scoring.scorers.registry import find_scorer
from tasks.scoring.slopes.margins import margin_loss
from tasks.selection.sign import kept_by_sign, select_kept
from tests.benchmarks.sign_filter_table import SeedOutcomes, markdown, summary

N_TRAINING, N_CALIBRATION, N_CHOOSE, N_REPORT, N_LABELLED = 2_500, 768, 400, 800, 400
SHARES = {"text": (0.0, 0.01, 0.02, 0.035, 0.06, 0.1), "vision": (0.0, 0.007, 0.03)}
MASSES = {"text": (0.0, 0.04, 0.08, 0.12, 0.14, 0.18), "vision": (0.0, 0.02, 0.08)}
LIMITS = {"PS": -5.0, "zero_shot": -2.0}
SETTINGS = {"text": TEXT_DEFAULTS, "vision": VISION_DEFAULTS}
PARTS = ("choose", "report")
# Name: whose ranking, the rule and the filter. The first two are the paper's.
METHODS = {
    "UWM, score_mass": ("uwm", "score_mass", "none"),
    "UWM, top_share": ("uwm", "top_share", "none"),
    "random": ("random", "top_share", "none"),
    "UWM + sign": ("uwm", "top_share", "loss"),
    "magnitude + sign": ("magnitude", "top_share", "loss"),
    "random + sign": ("random", "top_share", "loss"),
    "UWM + opposite sign": ("uwm", "top_share", "against"),
}
# Whose ranking and filter, with the budgets that another method has chosen.
OF_EQUAL_SIZE = {"random + sign, as many as UWM + sign": ("random + sign", "UWM + sign")}

Members = dict[Encoder, tuple[Tensor, Tensor]]
Embedded = dict[str, Any]


@dataclass
class World:
    """One trained model, the pairs that it is edited by, chosen by and reported on, and all that is ranked by."""

    loaded: LoadedModel
    sets: dict[str, Members]
    labelled: dict[str, tuple[Tensor, Tensor]]
    subtle: np.ndarray  # of the pairs to report on
    scores: dict[tuple[str, Encoder], dict[str, np.ndarray]] = field(default_factory=dict)
    slopes: dict[Encoder, dict[str, np.ndarray]] = field(default_factory=dict)
    unedited: dict[tuple[Encoder, str], Embedded] = field(default_factory=dict)

    def weights(self, encoder: Encoder) -> dict[str, Tensor]:
        return self.loaded.target_weights(encoder, SETTINGS[encoder].layers)


def world_of(seed: int) -> World:
    """Train and draw everything, rank and take slopes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_state_dict(train(draw_pairs(N_TRAINING, seed, "training"), seed=seed), place / "w.safetensors", {})
        (place / "model.json").write_text(json.dumps(MODEL_CONFIG))
        loaded = load_model(ModelConfig(architecture=str(place / "model.json"), weights=str(place / "w.safetensors")))
    sets = {}
    for name, n in (("calibration", N_CALIBRATION), ("choose", N_CHOOSE), ("report", N_REPORT)):
        pairs = draw_pairs(n, seed, f"{name} of the sign filter")
        texts = [loaded.tokenizer([getattr(pair, f"{side}_text") for pair in pairs]) for side in ("safe", "unsafe")]
        images = [
            torch.stack([loaded.preprocess(getattr(pair, f"{side}_image")) for pair in pairs])
            for side in ("safe", "unsafe")
        ]
        sets[name] = {"text": tuple(texts), "vision": tuple(images)}
    # The mood of the last pairs, those to report on.
    subtle = np.array([pair.unsafe_text.startswith(SAFE_MOODS) for pair in pairs])
    labelled = {}
    for name in LABEL_SETS:
        drawn = draw_labelled(name, 2 * N_LABELLED, seed + 100)
        labelled[name] = (
            torch.stack([loaded.preprocess(picture) for picture, _ in drawn]),
            torch.tensor([label for _, label in drawn]),
        )
    made = World(loaded, sets, labelled, subtle)
    for encoder in ENCODERS:
        made.scores |= {(name, encoder): found for name, found in _rankings(made, encoder, seed).items()}
        made.slopes[encoder] = _slopes(made, encoder)
        made.unedited |= {(encoder, part): _embed(made, encoder, part) for part in PARTS}
    return made


def _rankings(world: World, encoder: Encoder, seed: int) -> dict[str, dict[str, np.ndarray]]:
    weights, settings = world.weights(encoder), SETTINGS[encoder]
    safe, unsafe = (_statistics(world, encoder, side) for side in world.sets["calibration"][encoder])
    rng, found = np.random.default_rng(seed), {"uwm": {}, "random": {}, "magnitude": {}}
    for layer, weight in weights.items():
        scorer = find_scorer("uwm", ActivationScorer).start(weight, settings)
        scorer.add(safe[layer], unsafe[layer])
        scores = scorer.scores() * (weight.abs() if settings.weight_by_magnitude else 1)
        found["uwm"][layer], found["magnitude"][layer] = scores.numpy(), weight.abs().numpy()
        found["random"][layer] = rng.random(tuple(weight.shape), dtype=np.float32)
    return found


@torch.inference_mode()
def _statistics(world: World, encoder: Encoder, inputs: Tensor) -> dict[str, ChannelStats]:
    model, caught = world.loaded.model, {}
    layers, mask = target_layers(model, encoder, SETTINGS[encoder].layers), []

    def catch(name: str) -> Callable[..., None]:
        def hook(_layer: Any, given: tuple[Tensor, ...]) -> None:
            caught.setdefault(name, []).append(channel_statistics(given[0], mask[-1]))

        return hook

    hooks = [layer.register_forward_pre_hook(catch(name)) for name, layer in layers.items()]
    for batch in inputs.split(256):
        mask.append(valid_text_tokens(model, batch) if encoder == "text" else None)
        encode(model, encoder, batch)
    for hook in hooks:
        hook.remove()
    return {name: ChannelStats(*map(torch.cat, zip(*parts, strict=True))) for name, parts in caught.items()}


def _slopes(world: World, encoder: Encoder) -> dict[str, np.ndarray]:
    model, calibration = world.loaded.model, world.sets["calibration"]
    other: Encoder = "vision" if encoder == "text" else "text"
    with torch.inference_mode():
        others = [torch.cat([encode(model, other, part) for part in side.split(256)]) for side in calibration[other]]
    layers = target_layers(model, encoder, SETTINGS[encoder].layers)
    model.requires_grad_(False)
    totals = {name: torch.zeros_like(layer.weight.requires_grad_()) for name, layer in layers.items()}
    for rows in torch.arange(N_CALIBRATION).split(128):
        own = [encode(model, encoder, side[rows]) for side in calibration[encoder]]
        loss = margin_loss(BatchMembers(*own, *(side[rows].clone() for side in others)))
        found = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
        totals = {name: totals[name] + slope for name, slope in zip(layers, found, strict=True)}
    model.requires_grad_(False)
    return {name: total.detach().numpy() for name, total in totals.items()}


@contextmanager
def _edited(world: World, encoder: Encoder, positions: Mapping[str, np.ndarray]) -> Iterator[None]:
    weights = world.weights(encoder)
    for layer, index in positions.items():
        weights[layer].view(-1)[torch.from_numpy(index)] *= -1
    yield
    for layer, index in positions.items():
        weights[layer].view(-1)[torch.from_numpy(index)] *= -1


@torch.inference_mode()
def _embed(world: World, encoder: Encoder, part: str) -> Embedded:
    def through(inputs: Tensor) -> Tensor:
        return torch.cat([encode(world.loaded.model, encoder, piece) for piece in inputs.split(500)])

    found: Embedded = {"pairs": tuple(map(through, world.sets[part][encoder]))}
    if encoder == "vision":
        return found | {
            "labelled": {name: through(images[_half(part)]) for name, (images, _) in world.labelled.items()}
        }
    classes = {}
    for name, label_set in LABEL_SETS.items():
        prompts = [[template.format(c=c) for template in label_set.templates] for c in label_set.names]
        means = [through(world.loaded.tokenizer(texts)).mean(dim=0) for texts in prompts]
        classes[name] = torch.nn.functional.normalize(torch.stack(means), dim=1)
    return found | {"classes": classes}


def _half(part: str) -> slice:
    return slice(0, N_LABELLED) if part == "choose" else slice(N_LABELLED, None)


def _outcomes(world: World, text: Embedded, vision: Embedded, part: str) -> dict[str, np.ndarray]:
    """GS and PS a pair; zero-shot a labelled image, of the half that belongs to the part."""
    ss, su, us, uu = ((text["pairs"][t] * vision["pairs"][v]).sum(dim=1) for t in (0, 1) for v in (0, 1))
    ps = (ss > su) & (ss > us)
    gs = ps & (us > uu) & (su > uu)
    hits = [
        (vision["labelled"][name] @ text["classes"][name].T).argmax(dim=1) == labels[_half(part)]
        for name, (_, labels) in world.labelled.items()
    ]
    return {"GS": gs.numpy(), "PS": ps.numpy(), "zero_shot": torch.stack(hits, dim=1).float().mean(dim=1).numpy()}


def _percent(outcomes: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: 100 * float(values.mean()) for name, values in outcomes.items()}


def chosen_point(world: World, method: str) -> tuple[float, float]:
    """The budgets of best GS within the limits, for text and vision."""
    budgets = MASSES if METHODS[method][1] == "score_mass" else SHARES
    embedded: dict[Encoder, list[Embedded]] = {
        encoder: [_edited_embeddings(world, method, encoder, budget, "choose") for budget in budgets[encoder]]
        for encoder in ENCODERS
    }
    before = _percent(_outcomes(world, *(world.unedited[encoder, "choose"] for encoder in ENCODERS), "choose"))
    best: tuple[float, int, int] = (-1.0, 0, 0)
    for i, text in enumerate(embedded["text"]):
        for j, vision in enumerate(embedded["vision"]):
            after = _percent(_outcomes(world, text, vision, "choose"))
            if all(after[name] - before[name] >= limit for name, limit in LIMITS.items()) and after["GS"] > best[0]:
                best = after["GS"], i, j
    return budgets["text"][best[1]], budgets["vision"][best[2]]


def reported(world: World, method: str, point: tuple[float, float]) -> dict[str, np.ndarray]:
    """The outcomes of a point on the pairs that take no part in choosing."""
    embedded = (
        _edited_embeddings(world, method, encoder, budget, "report")
        for encoder, budget in zip(ENCODERS, point, strict=True)
    )
    return _outcomes(world, *embedded, "report")


def _edited_embeddings(world: World, method: str, encoder: Encoder, budget: float, part: str) -> Embedded:
    if not budget:
        return world.unedited[encoder, part]
    scorer, rule, sign = METHODS[method]
    scores, found = world.scores[scorer, encoder], {}
    for name, weight in world.weights(encoder).items():
        kept = kept_by_sign(weight.numpy(), world.slopes[encoder][name], sign)
        found[name] = select_kept(scores[name], rule, 1 - budget, kept).index
    with _edited(world, encoder, found):
        return _embed(world, encoder, part)


def outcomes_of(seed: int) -> SeedOutcomes:
    """What every method came to with the model of one seed."""
    started = perf_counter()
    world = world_of(seed)
    sys.stderr.write(f"seed {seed}: trained, ranked and embedded after {perf_counter() - started:.0f} s\n")
    points, found = {}, {}
    for name in (*METHODS, *OF_EQUAL_SIZE):
        method, sized_as = OF_EQUAL_SIZE.get(name, (name, None))
        points[name] = points[sized_as] if sized_as else chosen_point(world, method)
        found[name] = reported(world, method, points[name])
        sys.stderr.write(f"seed {seed}: {name} after {perf_counter() - started:.0f} s\n")
    original = _outcomes(world, *(world.unedited[encoder, "report"] for encoder in ENCODERS), "report")
    return SeedOutcomes(seed, world.subtle, original, found, points)


def main() -> None:
    """Write `sign_filter.md` and `sign_filter.json`, anew after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds of the model")
    parser.add_argument("--out", type=Path, default=Path("store/sign_filter"), help="folder of both tables")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    # How many threads add is part of what training gives.
    torch.set_num_threads(1)
    found: list[SeedOutcomes] = []
    for seed in asked.seeds:
        found.append(outcomes_of(seed))
        told = {"grids": {"top_share": SHARES, "score_mass": MASSES}, "limits": LIMITS, **summary(found)}
        (asked.out / "sign_filter.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (asked.out / "sign_filter.md").write_text(markdown(told), encoding="utf-8")
    sys.stdout.write(markdown(told))


if __name__ == "__main__":
    main()
