"""A LLaVA with an edited tower, written as a folder; and what is to be said of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tasks.encoders.llava.folder import LlavaFolder
from tasks.manipulation.edit import Edit
from tasks.manipulation.llava.changes import largest_rounding, require_base_tower, tower_changes, without_effect
from tasks.manipulation.llava.writing import WrittenFiles, write_changed

_SHOWN = 3


@dataclass(frozen=True)
class EditedLlava:
    """What was done to a checkpoint.

    `rounding` is the largest relative difference between written weights and those of the model that was measured;
    `compared_all` says whether the whole tower was compared with the edit's base, or the edit's positions only.
    """

    files: WrittenFiles
    layers: list[str]
    n_weights: int
    text_layers: list[str]
    without_effect: list[str]
    n_seen: int
    n_blocks: int
    rounding: float
    compared_all: bool


def write_edited_llava(
    edit: Edit,
    llava: LlavaFolder,
    draft: Path,
    *,
    base: Mapping[str, Tensor] | None = None,
    undo: bool = False,
    without: Collection[str] = (),
) -> EditedLlava:
    """Put an edit into a LLaVA's tower, or take it out, in a folder of its own.

    Args:
        edit: of the CLIP that the tower is, or of the tower.
        llava: the checkpoint, which stays as it is.
        draft: an empty folder.
        base: tensors of the edit's base model where they are at hand, so that the whole tower is compared with them.
        undo: put the original values back, bit for bit.
        without: names of files that do not come along.

    Returns:
        What was done.

    Raises:
        ArtifactError: see `tower_changes` and `require_base_tower`.
        SpecError: the tower is quantised, or the disk is full.
    """
    changes = tower_changes(edit, llava, undo=undo)
    if base is not None:
        require_base_tower(llava, changes, base)
    files = write_changed(llava, changes, draft, without)
    return EditedLlava(
        files,
        [item.layer for item in changes],
        sum(len(item.index) for item in changes),
        [layer for layer, change in edit.layers.items() if change.encoder != "vision"],
        without_effect(changes, llava),
        llava.n_seen,
        llava.n_blocks,
        0.0 if undo else largest_rounding(edit, changes),
        base is not None,
    )


def notices_of(done: EditedLlava) -> list[str]:
    """What a person should know of an edited LLaVA, in sentences."""
    told = []
    if done.without_effect:
        told.append(
            f"the language model reads what block {done.n_seen} of {done.n_blocks} of its tower gives, so that"
            f" {len(done.without_effect)} of {len(done.layers)} edited layers change no caption:"
            f" {_some(done.without_effect)}"
        )
    if done.text_layers:
        told.append(
            f"{len(done.text_layers)} layers of the text encoder are left out, which a LLaVA does not have:"
            f" {_some(done.text_layers)}"
        )
    if done.rounding:
        told.append(
            f"the tower is in half precision, so its edited weights differ by up to {done.rounding:.2g} of their size from"
            " those that were measured in float32"
        )
    if not done.compared_all:
        told.append(
            f"the {done.n_weights:,} values at the edit's positions are those of its base model; the rest of the tower was"
            " not compared with it, since neither its file nor the edited model is at hand"
        )
    if done.files.copied:
        told.append(f"{len(done.files.copied)} files are copies, since --out lies where they cannot be linked")
    if done.files.left_out:
        told.append(f"left out, since the edit is not in them: {_some(done.files.left_out)}")
    return told


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
