"""`uwm edit apply` and `uwm edit undo`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable

if TYPE_CHECKING:
    from torch import Tensor

app = typer.Typer(help="Apply an edit to a checkpoint, or undo it.", no_args_is_help=True)

EditArgument = Annotated[
    Path, typer.Argument(metavar="EDIT", help="edit.safetensors of an edit artifact, or the artifact's folder.")
]
OutOption = Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")]


@app.command("apply")
def apply(
    edit: EditArgument,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint, or a run's CONFIG.yaml for its model.")],
    out: OutOption,
) -> None:
    """Write the edited model; refused for any model but the edit's own."""
    from tasks.manipulation.edit import apply_edit, rounding
    from tasks.manipulation.edit_file import read_edit

    _require_other_file(out, _edit_file(edit), model)
    change, state = read_edit(_edit_file(edit)), _read_model(model)
    _write(apply_edit(change, state), out)
    if difference := rounding(change, state):
        typer.echo(
            f"notice: the checkpoint is in half precision, so {out} is rounded: its edited weights differ by up to"
            f" {difference:.2g} of their size from those that were measured in float32",
            err=True,
        )


@app.command("undo")
def undo(
    edit: EditArgument,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint of the edited model.")],
    out: OutOption,
) -> None:
    """Write the original weights, bit for bit."""
    from tasks.manipulation.edit import undo_edit
    from tasks.manipulation.edit_file import read_edit

    _require_other_file(out, _edit_file(edit), model)
    change = read_edit(_edit_file(edit))
    _write(undo_edit(change, _read_model(model)), out)


def _edit_file(path: Path) -> Path:
    return path / "edit.safetensors" if path.is_dir() else path


def _require_other_file(out: Path, *read: Path) -> None:
    if out.resolve() in [path.resolve() for path in read]:
        raise SpecError(f"--out {out} is a file that is read, and would be lost; choose another")


def _read_model(path: Path) -> "dict[str, Tensor]":
    from tasks.encoders.checkpoint import read_state_dict

    if path.suffix in (".yaml", ".yml"):
        from data_specs.config_file import load_config
        from tasks.encoders.loading import load_model

        return dict(load_model(load_config(path).model).model.state_dict())
    if path.is_dir():
        raise SpecError(f"MODEL {path} is a folder, expected a checkpoint file, or a run's CONFIG.yaml for its model")
    return dict(read_state_dict(path))


def _write(state: "dict[str, Tensor]", out: Path) -> None:
    from safetensors import SafetensorError

    from tasks.encoders.checkpoint import SAFETENSORS, write_state_dict

    if out.suffix != SAFETENSORS:
        raise SpecError(f"--out {out} must end in {SAFETENSORS}, the one format that is written")
    draft = out.with_name(out.name + ".part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_state_dict(state, draft, {"format": "pt"})
        os.replace(draft, out)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        raise SpecError(f"cannot write --out {out}: {error}") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    typer.echo(printable(f"wrote {out}"))
