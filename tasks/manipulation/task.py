"""Edits, their controls and the edited model as artifacts."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from data_specs.errors import NotSelectable
from data_specs.manifest import ArtifactRef, Recipe
from data_specs.run_config import ENCODERS, RunConfig
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
from tasks.selection.rules import select
from tasks.selection.scores_table import layer_files, read_scores
from tasks.selection.sign import SLOPES_FILE, kept_by_sign, read_slopes, select_kept

MODEL_FILE = "model.safetensors"


@task(name="select-weights")
def select_weights(
    scores: ArtifactRef, loaded: LoadedModel, config: RunConfig, store: Store, context: RunContext
) -> Made:
    """Select weights by their scores; returns the `edit` artifact."""
    encoders = config.edited
    recipe = Recipe(
        kind="edit",
        settings={
            name: {"rule": chosen.rule, "tau": chosen.tau, "alpha": chosen.alpha} for name, chosen in encoders.items()
        },
        inputs={"scores": scores, "model": loaded.digest},
        **coded(select_weights),
    )

    def write(build: Build) -> None:
        weights = _weights(loaded)
        layers = {}
        for layer, (encoder, path) in layer_files(store.path(scores)).items():
            chosen = encoders[encoder]
            try:
                selection = select(read_scores(path), chosen.rule, chosen.tau)
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

    with stage("edit", None, "layers"):
        return store.materialise(recipe, write, context)


@task(name="select-signed-weights")
def select_signed_weights(
    scores: ArtifactRef, loaded: LoadedModel, config: RunConfig, store: Store, context: RunContext
) -> Made:
    """Select weights by their scores of those that sign filters leave; returns the `edit` artifact.

    Which filters, the scores' recipe says, and they hold the slopes.
    """
    encoders = config.edited
    recipe = Recipe(
        kind="edit",
        settings={
            name: {"rule": chosen.rule, "tau": chosen.tau, "alpha": chosen.alpha} for name, chosen in encoders.items()
        },
        inputs={"scores": scores, "model": loaded.digest},
        **coded(select_signed_weights),
    )

    def write(build: Build) -> None:
        weights, kept = _weights(loaded), _kept(scores, loaded, store)
        layers = {}
        for layer, (encoder, path) in layer_files(store.path(scores)).items():
            chosen = encoders[encoder]
            try:
                selection = select_kept(read_scores(path), chosen.rule, chosen.tau, kept(layer))
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

    with stage("edit", None, "layers"):
        return store.materialise(recipe, write, context)


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
        return kept_by_sign(weight, read_slopes(path.with_name(SLOPES_FILE)), signs[encoder])

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
