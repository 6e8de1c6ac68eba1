"""LLaVAs with an edited tower, as folders: an edit put in or taken out, and an edited model exported into one."""

from dataclasses import dataclass
from pathlib import Path

from data_specs.errors import SpecError
from data_specs.manifest import ArtifactRef
from data_specs.run_config import HUB
from tasks.encoders.checkpoint import SAFETENSORS, read_state_dict
from tasks.encoders.llava.folder import is_llava, locate_llava, open_llava
from tasks.encoders.transformers_format import WEIGHTS
from tasks.exporting.card import Stated, is_own_card, model_card
from tasks.exporting.folder import CARD, edited_model_ref
from tasks.exporting.places import hub_name
from tasks.exporting.record import describe_edited
from tasks.lineage.appearing import appearing, require_new_folder
from tasks.lineage.contents import is_stored
from tasks.lineage.exports import record_export
from tasks.lineage.place import require_local
from tasks.lineage.store import Store
from tasks.lineage.trust.signatures import FOLDER_SIGNATURE, Signer
from tasks.manipulation.edit import undo_edit
from tasks.manipulation.llava.base import base_at_hand
from tasks.manipulation.llava.edited_folder import EditedLlava, notices_of, write_edited_llava
from tasks.manipulation.stored_edit import edit_at, stored_edit


@dataclass(frozen=True)
class LlavaMade:
    """A folder that was written, and what was done."""

    folder: Path
    done: EditedLlava


def llava_at(model: str) -> Path | None:
    """The folder of a model that writes text, downloaded where it is named on the hub; None for any other model.

    Raises:
        SpecError: the hub does not have it, or its `config.json` cannot be read.
    """
    if model.startswith(HUB):
        return locate_llava(model, "MODEL")
    return Path(model) if is_llava(Path(model)) else None


def edit_llava(edit: Path, folder: Path, out: Path, *, undo: bool = False) -> LlavaMade:
    """Put the edit of a file or artifact's folder into a LLaVA, or take it out.

    Args:
        edit: `edit.safetensors`, or the folder of an `edit` artifact.
        folder: the LLaVA's.
        out: the folder to make; it appears when it is complete.
        undo: put the original values back.

    Raises:
        SpecError: `out` cannot be made, the folder holds no LLaVA with a tower, or that is quantised.
        ArtifactError: the edit is damaged, or the tower is not what it must be.
    """
    out = _new_folder(out, folder)
    change, llava = edit_at(edit), open_llava(folder, "MODEL")
    without = {FOLDER_SIGNATURE} | ({CARD} if undo and is_own_card(folder / CARD) else set())
    with appearing(out) as draft:
        base = base_at_hand(edit, change, llava)
        done = write_edited_llava(change, llava, draft, base=base, undo=undo, without=without)
    return LlavaMade(out, done)


def export_llava(
    store: Store, version: str, model: str, out: Path | str, stated: Stated, signer: Signer | None = None
) -> LlavaMade:
    """Write the LLaVA that was built around a model's original, its tower edited as that model is, with a card.

    Args:
        store: holds the edited model.
        version: of a `model` artifact, or the beginning of one.
        model: folder of the LLaVA, or `hf-hub:ORG/NAME`.
        out: the folder to make; it must be empty or not there yet.
        stated: license and base model, for the card.
        signer: signs the folder, if given.

    Raises:
        SpecError: no model has the version, `out` cannot be made, or `model` is no LLaVA whose tower could be edited.
        ArtifactError: the edited model, or what it was made of, is missing or has changed, or the LLaVA has another tower.
    """
    require_local(out, "--out")
    ref = edited_model_ref(store, version)
    folder = locate_llava(model, "--model")
    place = _new_folder(Path(out), folder)
    store.check(ref)
    record, llava = describe_edited(store, ref), open_llava(folder, "--model")
    edit = stored_edit(store, ArtifactRef(kind="edit", version=record.edit_version))
    base = undo_edit(edit, read_state_dict(store.path(ref) / WEIGHTS))
    with appearing(place) as draft:
        done = write_edited_llava(edit, llava, draft, base=base, without={CARD, FOLDER_SIGNATURE})
        known = stated.base_model or hub_name(model if model.startswith(HUB) else str(folder.resolve()))
        about = [f"{sentence[:1].upper()}{sentence[1:]}." for sentence in notices_of(done)]
        card = model_card(record, "llava", True, Stated(stated.license, known), about)
        (draft / CARD).write_text(card, encoding="utf-8")
        if signer is not None:
            signer.sign_folder(draft)
    record_export(store.root, ref, place, names=[CARD, *done.files.rewritten], form="llava")
    return LlavaMade(place, done)


def _new_folder(out: Path, read: Path) -> Path:
    require_local(out, "--out")
    if out.suffix == SAFETENSORS:
        raise SpecError(f"--out {out} is named like a file, but a LLaVA is a folder; name one that is not there yet")
    out = out.resolve()
    if any(is_stored(folder) for folder in (out, *out.parents)):
        raise SpecError(f"--out {out} would change the artifact that lies there; choose another folder")
    if out.is_relative_to(read.resolve()):
        raise SpecError(f"--out {out} lies in the folder that is read; choose another")
    require_new_folder(out)
    return out
