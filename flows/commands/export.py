"""`uwm export`."""

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable, shown
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, SigningKey, StoreOption, grouped

if TYPE_CHECKING:
    from data_specs.manifest import ArtifactRef
    from tasks.exporting.card import Stated
    from tasks.lineage.store import Store
    from tasks.lineage.trust.signatures import Signer


class Format(StrEnum):
    """Whose folder is written."""

    open_clip = "open_clip"
    transformers = "transformers"
    llava = "llava"


@dataclass(frozen=True)
class Publishing:
    """What others are told of the model, and where they find it."""

    license: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="License of the model, such as mit, for its card.")
    ] = None
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model", metavar="ORG/NAME", help="The original on the hub, for the card of a model from a file."
        ),
    ] = None
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="ORG/NAME", help="Put the folder on the Hugging Face hub, too (HF_TOKEN)."),
    ] = None
    public: Annotated[bool, typer.Option("--public", help="Let everybody read the repository that --push makes.")] = (
        False
    )
    key: SigningKey = None
    provenance: Annotated[
        Path | None,
        typer.Option(
            "--provenance",
            metavar="FILE.json",
            help="Write where the model comes from, as an in-toto statement with SLSA provenance.",
        ),
    ] = None


@grouped
def export(
    edited: Annotated[
        str,
        typer.Argument(metavar="EDITED", help=f"The model artifact: {REFERENCE_HELP[0].lower()}{REFERENCE_HELP[1:]}"),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The folder to make.")],
    format: Annotated[Format, typer.Option("--format", help="The library that shall load it.")] = Format.open_clip,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", metavar="DIR", help="Tokenizer of the model, to be put beside it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="DIR|hf-hub:ORG/NAME", help="Of --format llava: the LLaVA whose tower the original is."
        ),
    ] = None,
    publishing: Publishing = Publishing(),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write an edited model as a folder with a model card."""
    _require_model(format, model, tokenizer)
    _require_stated(publishing.license, publishing.base_model, publishing.push)
    _require_outside(publishing.provenance, Path(out))
    if publishing.push is not None:
        _choose_transfer()
    from flows.commands.display import progress_shown
    from flows.references import find_reference
    from tasks.exporting.card import Stated
    from tasks.lineage.store import Store
    from tasks.lineage.trust.signatures import Signer

    signer = Signer(publishing.key) if publishing.key is not None else None
    opened = Store(store)
    ref = find_reference(opened, edited, ("model",))
    stated = Stated(publishing.license, publishing.base_model)
    with progress_shown():
        _ensure_files(opened, ref)
        if model is not None:
            folder = _write_llava(opened, ref, model, out, stated, signer)
        else:
            folder = _write_clip(opened, ref, format, out, tokenizer, stated, signer)
    _publish(opened, ref, folder, format, publishing, signer)


def _write_clip(
    store: "Store",
    ref: "ArtifactRef",
    format: Format,
    out: str,
    tokenizer: Path | None,
    stated: "Stated",
    signer: "Signer | None",
) -> Path:
    from tasks.exporting.folder import export_model

    folder = export_model(store, ref.version, format.value, out, tokenizer, stated, signer)
    typer.echo(printable(f"wrote {folder}"))
    return folder


def _write_llava(
    store: "Store", ref: "ArtifactRef", model: str, out: str, stated: "Stated", signer: "Signer | None"
) -> Path:
    from flows.commands.llava import tell_llava
    from flows.llava_folders import export_llava

    made = export_llava(store, ref.version, model, out, stated, signer)
    tell_llava(made)
    return made.folder


def _publish(
    store: "Store", ref: "ArtifactRef", folder: Path, format: Format, publishing: Publishing, signer: "Signer | None"
) -> None:
    """Write where a folder comes from, and put it on the hub, where that is asked for."""
    from tasks.exporting.provenance import provenance_of, write_provenance

    if publishing.provenance is not None:
        write_provenance(publishing.provenance, provenance_of(store, ref, folder, format.value))
        typer.echo(printable(f"wrote {publishing.provenance}"))
        if signer is not None:
            typer.echo(printable(f"wrote {signer.sign_file(publishing.provenance)}"))
    if publishing.push is not None:
        from tasks.exporting.hub import push_folder
        from tasks.lineage.exports import record_export

        typer.echo(printable(f"pushed {push_folder(folder, publishing.push, public=publishing.public)}"))
        record_export(store.root, ref, folder, pushed=publishing.push)


def _ensure_files(store: "Store", ref: "ArtifactRef") -> None:
    from tasks.lineage.contents import is_pruned

    if is_pruned(store.folder(ref)):
        from flows.reproducing.remaking import make_again

        make_again(store, ref)


def _require_model(format: Format, model: str | None, tokenizer: Path | None) -> None:
    if format is Format.llava and model is None:
        raise SpecError(
            "--format llava needs --model: the folder of the LLaVA that was built around the original model, or its name"
            " as hf-hub:ORG/NAME"
        )
    if format is not Format.llava and model is not None:
        raise SpecError(f"--model is of --format llava, which is {format.value}; leave it out")
    if format is Format.llava and tokenizer is not None:
        raise SpecError("--tokenizer is of CLIP's formats; a LLaVA keeps its own, so leave it out")


def _require_stated(license: str | None, base_model: str | None, push: str | None) -> None:
    from tasks.exporting.hub import require_hub_name

    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", license):
        raise SpecError(
            f"--license {shown(license)} is no license of the hub; expected such as mit, apache-2.0 or other"
        )
    for name, option in ((base_model, "--base-model"), (push, "--push")):
        if name is not None:
            require_hub_name(name, option)


def _require_outside(provenance: Path | None, out: Path) -> None:
    if provenance is None:
        return
    path = provenance.absolute()
    if path.is_relative_to(out.absolute()):
        raise SpecError(f"--provenance {provenance} lies in --out, whose files it tells of; choose another place")
    if path.is_dir() or not path.parent.is_dir():
        raise SpecError(f"--provenance {provenance} is no file in a folder that is there")


def _choose_transfer() -> None:
    """Large files go to a server of one's own as Git LFS, which all of them speak; Xet is huggingface.co's."""
    if urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname not in (None, "huggingface.co"):
        # Read when huggingface_hub is imported.
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
