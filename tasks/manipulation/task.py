"""Edits, their controls and the edited model as artifacts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import NotSelectable
from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import ENCODERS, EncoderConfig, RunConfig
from data_specs.sign_filter import Sign
from tasks.encoders.architecture import OPEN_CLIP_CONFIG
from tasks.encoders.checkpoint import encoder_digest, tensor_digests, write_state_dict
from tasks.encoders.loading import LoadedModel
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.manipulation.control import random_control, random_sign_control
from tasks.manipulation.edit import Edit, apply_edit, positions
from tasks.manipulation.edit_file import EDIT_FILE, write_edit
from tasks.manipulation.stored_edit import stored_edit
from tasks.selection.rules import Selection, select, select_above
from tasks.selection.scores_table import SLOPES_FILE, layer_files, read_layer, tabulated_selections
from tasks.selection.sign import kept_by_sign, select_kept

MODEL_FILE = "model.safetensors"


# From a layer's name, its scores and its encoder's settings to what is edited.
Pick = Callable[[str, NDArray[np.float32], EncoderConfig], Selection]


@task(name="select-weights")
def select_weights(
    scores: ArtifactRef, loaded: LoadedModel, config: RunConfig, store: Store, context: RunContext
) -> Made:
    """Select weights by their scores; returns the `edit` artifact."""
    recipe = _edit_recipe(scores, loaded, config, coded(select_weights))

    def write(build: Build) -> None:
        known = tabulated_selections(store.path(scores))

        def pick(layer: str, values: NDArray[np.float32], chosen: EncoderConfig) -> Selection:
            found = known.get((layer, chosen.rule, chosen.tau))
            return select(values, chosen.rule, chosen.tau) if found is None else select_above(values, *found)

        _write_edit(build, store.path(scores), loaded, config, pick)

    with stage("edit", None, "layers"):
        return store.materialise(recipe, write, context)


@task(name="select-signed-weights")
def select_signed_weights(
    scores: ArtifactRef, loaded: LoadedModel, config: RunConfig, store: Store, context: RunContext
) -> Made:
    """Select weights by their scores of those that sign filters leave; returns the `edit` artifact.

    Which filters, the scores' recipe says, and they hold the slopes.
    """
    recipe = _edit_recipe(scores, loaded, config, coded(select_signed_weights))

    def write(build: Build) -> None:
        kept = _kept(scores, loaded, store)

        def pick(layer: str, values: NDArray[np.float32], chosen: EncoderConfig) -> Selection:
            return select_kept(values, chosen.rule, chosen.tau, kept(layer))

        _write_edit(build, store.path(scores), loaded, config, pick)

    with stage("edit", None, "layers"):
        return store.materialise(recipe, write, context)


def _edit_recipe(scores: ArtifactRef, loaded: LoadedModel, config: RunConfig, code: Mapping[str, Any]) -> Recipe:
    return Recipe(
        kind="edit",
        settings={
            name: {"rule": chosen.rule, "tau": chosen.tau, "alpha": chosen.alpha}
            for name, chosen in config.edited.items()
        },
        inputs={"scores": scores, "model": loaded.digest},
        **code,
    )


def _write_edit(build: Build, scores: Path, loaded: LoadedModel, config: RunConfig, pick: Pick) -> None:
    encoders, weights, layers = config.edited, _weights(loaded), {}
    for layer, (encoder, path) in layer_files(scores).items():
        try:
            selection = pick(layer, read_layer(path, "score"), encoders[encoder])
        except NotSelectable as error:
            raise NotSelectable(f"layer {layer}: {error}") from error
        layers[layer] = positions(selection.index, weights[layer], encoder)
    edit = Edit(
        loaded.digest,
        layers,
        {name: chosen.alpha for name, chosen in encoders.items()},
        {name: chosen.rule for name, chosen in encoders.items()},
        {name: chosen.tau for name, chosen in encoders.items()},
    )
    _finish(build, edit, weights)
    build.counts["base_model"] = loaded.source


@task(name="draw-sign-control")
def draw_sign_control(
    edit: ArtifactRef, scores: ArtifactRef, seed: int, loaded: LoadedModel, store: Store, context: RunContext
) -> Made:
    """Draw as many weights of the same layers from those that the edit's sign filters leave; returns an `edit` artifact."""
    recipe = Recipe(
        kind="edit",
        settings={"control": "random + sign", "seed": seed},
        inputs={"edit": edit, "scores": scores, "model": loaded.digest},
        **coded(draw_sign_control),
    )

    def write(build: Build) -> None:
        weights = _weights(loaded)
        drawn = random_sign_control(stored_edit(store, edit), weights, _kept(scores, loaded, store), seed=seed)
        _finish(build, drawn, weights)

    return store.materialise(recipe, write, context)


def _kept(scores: ArtifactRef, loaded: LoadedModel, store: Store) -> Callable[[str], NDArray[np.bool_]]:
    """By a layer's name, which of its weights the sign filters of a `scores` artifact leave."""
    signs = cast(dict[str, Sign], store.manifest(scores).recipe.settings["sign"])
    files, weights = layer_files(store.path(scores)), _weights(loaded)

    def kept(layer: str) -> NDArray[np.bool_]:
        encoder, path = files[layer]
        weight = weights[layer].float().numpy()
        if encoder not in signs:
            return kept_by_sign(weight, weight, "none")
        return kept_by_sign(weight, read_layer(path.with_name(SLOPES_FILE), "slope"), signs[encoder])

    return kept


@task(name="draw-control")
def draw_control(edit: ArtifactRef, seed: int, loaded: LoadedModel, store: Store, context: RunContext) -> Made:
    """Draw as many weights of the same layers at random; returns an `edit` artifact."""
    recipe = Recipe(
        kind="edit",
        settings={"control": "random", "seed": seed},
        inputs={"edit": edit, "model": loaded.digest},
        **coded(draw_control),
    )

    def write(build: Build) -> None:
        weights = _weights(loaded)
        _finish(build, random_control(stored_edit(store, edit), weights, seed=seed), weights)

    return store.materialise(recipe, write, context)


@task(name="edit-model")
def edit_model(edit: ArtifactRef, loaded: LoadedModel, store: Store, context: RunContext) -> Made:
    """Apply an edit; returns the `model` artifact, a complete open_clip checkpoint."""
    recipe = Recipe(
        kind="model",
        settings={
            "model_cfg": loaded.architecture.model_cfg,
            "preprocess_cfg": loaded.architecture.preprocess_cfg,
            # No file holds it, but an export must name the one that the model was made with.
            "tokenizer": loaded.architecture.tokenizer_name,
        },
        inputs={"edit": edit, "model": loaded.digest},
        **coded(edit_model),
    )

    def write(build: Build) -> None:
        state = {name: tensor.cpu() for name, tensor in loaded.model.state_dict().items()}
        edited = apply_edit(stored_edit(store, edit), state)
        write_state_dict(edited, build.folder / MODEL_FILE, {"format": "pt"})
        (build.folder / OPEN_CLIP_CONFIG).write_text(loaded.architecture.config_json(), encoding="utf-8")
        digests = tensor_digests(edited)
        build.counts["encoder_digests"] = {name: encoder_digest(digests, name) for name in ENCODERS}

    with stage("model", None, "tensors"):
        return store.materialise(recipe, write, context)


def _weights(loaded: LoadedModel) -> dict[str, Any]:
    suffix = ".weight"
    state = loaded.model.state_dict()
    return {name.removesuffix(suffix): tensor.cpu() for name, tensor in state.items() if name.endswith(suffix)}


def _finish(build: Build, edit: Edit, weights: dict[str, Any]) -> None:
    write_edit(edit, build.folder / EDIT_FILE)
    build.counts["layers"] = {
        layer: {"n_weights": weights[layer].numel(), "n_selected": len(change.index)}
        for layer, change in edit.layers.items()
    }
