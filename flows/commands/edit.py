"""`uwm edit apply` and `uwm edit undo`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable, reason
from flows.commands.options import DEFAULT_STORE, ConfigArgument, RunOptions, SetOption, StoreOption, grouped

if TYPE_CHECKING:
    from torch import Tensor

    from data_specs.run_result import RunResult
    from tasks.encoders.weights_file import WeightsFile

app = typer.Typer(help="Make an edit, apply it to a checkpoint, or undo it.", no_args_is_help=True)

EditArgument = Annotated[
    Path,
    typer.Argument(
        metavar="EDIT", help="edit.safetensors of an edit artifact, the artifact's folder, or its REF in the store."
    ),
]
OutOption = Annotated[
    Path,
    typer.Option("--out", help="The .safetensors file to write, of a LLaVA the folder; never one that is read."),
]


@app.command("make")
@grouped
def make(config: ConfigArgument, options: RunOptions = RunOptions()) -> None:  # noqa: B008  (frozen)
    """Score a model's weights and make the edit, without measuring it; also of a LLaVA's tower (`model.llava`)."""
    from data_specs.config_file import load_config
    from flows.commands.start import finish, in_prefect

    settings = load_config(config, options.changed)

    def start() -> "RunResult":
        from flows.edit import edit

        result: RunResult = edit(settings, options.place, options.placement, options.workers)
        return result

    finish(in_prefect(start, options.store, [settings], measures=False), options.json)


@app.command("apply")
def apply(
    edit: EditArgument,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Checkpoint, its folder, a run's CONFIG.yaml for its model, or the folder of a LLaVA around it.",
        ),
    ],
    out: OutOption,
    changes: SetOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the edited model; refused for any model but the edit's own."""
    from flows.references import path_or_reference
    from tasks.manipulation.edit import apply_edit, rounding
    from tasks.manipulation.stored_edit import edit_at

    with _readable():
        edit = path_or_reference(edit, store, "edit")
        if llava := _llava_at(model, changes):
            _edit_llava(edit, llava, out, Path(store))
            return
        _require_free(out, edit, model)
        change, base = edit_at(edit), _read_model(model, out, changes or ())
    _write(apply_edit(change, base.state), base.quick_gelu, out)
    _record(edit, out, Path(store))
    if difference := rounding(change, base.state):
        typer.echo(
            printable(
                f"notice: the checkpoint is in half precision, so {out} is rounded: its edited weights differ by up to"
                f" {difference:.2g} of their size from those that were measured in float32"
            ),
            err=True,
        )


@app.command("undo")
def undo(
    edit: EditArgument,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Checkpoint of the edited model, its folder, a LLaVA's folder, or its REF in the store.",
        ),
    ],
    out: OutOption,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the original weights, bit for bit."""
    from flows.references import path_or_reference
    from tasks.manipulation.edit import undo_edit
    from tasks.manipulation.stored_edit import edit_at

    with _readable():
        edit, model = path_or_reference(edit, store, "edit"), path_or_reference(model, store, "model")
        if llava := _llava_at(model):
            _edit_llava(edit, llava, out, undo=True)
            return
        _require_free(out, edit, model)
        change, edited = edit_at(edit), _read_model(model, out)
    _write(undo_edit(change, edited.state), edited.quick_gelu, out)


def _llava_at(model: Path, changes: Sequence[str] | None = None) -> Path | None:
    from flows.llava_folders import llava_at

    llava = llava_at(str(model))
    if llava is not None and changes:
        raise SpecError(f"--set changes the settings of a CONFIG.yaml, but MODEL is {model}; leave it out")
    return llava


def _edit_llava(edit: Path, folder: Path, out: Path, store: Path | None = None, *, undo: bool = False) -> None:
    """Write a LLaVA with an edit in its tower, or without it; of a store's edit the store keeps a record."""
    from flows.commands.llava import tell_llava
    from flows.llava_folders import edit_llava

    made = edit_llava(edit, folder, out, undo=undo)
    tell_llava(made)
    if store is not None:
        _record(edit, made.folder, store, form="llava", names=made.done.files.rewritten)


def _record(
    edit: Path, out: Path, store: Path, *, form: str = "checkpoint", names: Sequence[str] | None = None
) -> None:
    """Put down in the store of an edit that a checkpoint was made with it."""
    from data_specs.manifest import ArtifactRef
    from tasks.lineage.contents import is_stored
    from tasks.lineage.exports import record_export

    folder = edit.resolve() if edit.is_dir() else edit.resolve().parent
    if is_stored(folder) and folder.parents[1] == store.resolve():
        ref = ArtifactRef(kind=folder.parent.name, version=folder.name)
        record_export(store.resolve(), ref, out.resolve(), names=names, form=form)


@contextmanager
def _readable() -> Iterator[None]:
    """A path that the system refuses (no permission, too long) is a wrong setting."""
    try:
        yield
    except OSError as error:
        raise SpecError(
            f"cannot read {error.filename}: {reason(error)}; give EDIT, MODEL and --out as paths"
        ) from error


def _read_model(path: Path, out: Path, changes: Sequence[str] = ()) -> "WeightsFile":
    from tasks.encoders.model_json import CONFIG
    from tasks.encoders.transformers_format import WEIGHTS, read_checkpoint
    from tasks.encoders.weights_file import WeightsFile, read_weights

    if path.suffix in (".yaml", ".yml"):
        return _model_of(path, out, changes)
    if changes:
        raise SpecError(f"--set changes the settings of a CONFIG.yaml, but MODEL is {path}; leave it out")
    if not path.is_dir():
        return read_weights(path)
    if (path / CONFIG).is_file():
        return WeightsFile(read_checkpoint(path), None)
    if not (path / WEIGHTS).is_file():
        raise SpecError(
            f"MODEL {path} is a folder without {WEIGHTS}; name the checkpoint's file, or a run's CONFIG.yaml"
        )
    return read_weights(path / WEIGHTS)


def _model_of(path: Path, out: Path, changes: Sequence[str]) -> "WeightsFile":
    from data_specs.config_file import load_config
    from tasks.encoders.loading import load_model, stated_quick_gelu
    from tasks.encoders.weights_file import WeightsFile

    config = load_config(path, changes).model
    if config.llava is not None:
        raise SpecError(f"the model of {path} is the tower of a LLaVA; give its folder, {config.llava}, as MODEL")
    _require_free(out, Path(config.weights or config.architecture))
    loaded = load_model(config)
    return WeightsFile(dict(loaded.model.state_dict()), stated_quick_gelu(config, loaded.architecture))


def _require_free(out: Path, *read: Path) -> None:
    """Refuse an output in the place of what is read, before the only copy is lost."""
    from tasks.encoders.checkpoint import SAFETENSORS
    from tasks.lineage.contents import is_stored

    if out.suffix != SAFETENSORS:
        raise SpecError(f"--out {out} must end in {SAFETENSORS}, the one format that is written")
    if out.is_dir():
        raise SpecError(f"--out {out} is a folder; name a file in it")
    if any(is_stored(folder) for folder in out.resolve().parents):
        raise SpecError(f"--out {out} would change the artifact that lies there; choose another folder")
    if out.exists() and any(_is_of(out, path) for path in read):
        raise SpecError(f"--out {out} is a file that is read, and would be lost; choose another")


def _is_of(file: Path, read: Path) -> bool:
    return any(path.samefile(file) for path in ([read, *read.iterdir()] if read.is_dir() else [read]) if path.exists())


def _write(state: "dict[str, Tensor]", quick_gelu: bool | None, out: Path) -> None:
    from safetensors import SafetensorError

    from tasks.encoders.checkpoint import write_state_dict

    # What a weights file is asked for when it is read, and what a CONFIG.yaml knows.
    said = {} if quick_gelu is None else {"quick_gelu": str(quick_gelu).lower()}
    draft = out.with_name(f".uwm-{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_state_dict(state, draft, {"format": "pt"} | said)
        os.replace(draft, out)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        raise SpecError(f"cannot write --out {out}: {error}") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    typer.echo(printable(f"wrote {out}"))
