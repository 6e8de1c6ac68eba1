"""`uwm sign` and `uwm verify-signature`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, SigningKey, StoreOption

if TYPE_CHECKING:
    from data_specs.manifest import ArtifactRef
    from tasks.lineage.store import Store

Reference = Annotated[str, typer.Argument(metavar="REF", help=f"{REFERENCE_HELP} Or the folder of an exported model.")]
WithInputs = Annotated[bool, typer.Option("--with-inputs", help="Also all that it was made of, parts too.")]


def sign(
    ref: Reference, key: SigningKey = None, with_inputs: WithInputs = False, store: StoreOption = DEFAULT_STORE
) -> None:
    """Sign an artifact, after comparing it with its manifest, or a folder."""
    from tasks.lineage.trust.signatures import Signer

    if key is None:
        raise SpecError("--key is missing: which private key shall sign (or UWM_SIGNING_KEY)?")
    signer = Signer(key)
    if _is_folder(ref):
        typer.echo(printable(f"signed {ref}: {signer.sign_folder(Path(ref))}"))
        return
    opened = _opened(store)
    for each in _checked(opened, ref, with_inputs):
        path = signer.sign_manifest(opened.root, each, opened.path(each))
        typer.echo(printable(f"signed {each.kind} {each.version[:16]}: {path}"))


def verify_signature(
    ref: Reference,
    key: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            metavar="KEY.pub",
            help="Public key, or a folder of them, PEM; may be given several times. Default: UWM_TRUSTED_KEYS.",
        ),
    ] = None,
    with_inputs: WithInputs = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Make sure that one of the keys has signed an artifact, or a folder, as it is now."""
    from tasks.lineage.trust.keys import public_keys, trusted_key_paths
    from tasks.lineage.trust.signatures import TrustedKeys

    paths = key or trusted_key_paths()
    if not paths:
        raise SpecError("--key is missing: which public keys are trusted (or UWM_TRUSTED_KEYS)?")
    trusted = TrustedKeys(public_keys(paths))
    if _is_folder(ref):
        typer.echo(printable(f"{ref}: signed by {trusted.keys[trusted.require_folder_signed(Path(ref))]}"))
        return
    opened = _opened(store)
    for each in _checked(opened, ref, with_inputs):
        key_id = trusted.require_signed(opened.root, each, opened.path(each))
        typer.echo(printable(f"{each.kind} {each.version[:16]}: signed by {trusted.keys[key_id]}"))


def _is_folder(ref: str) -> bool:
    """Whether a folder is meant: names of runs and versions hold no slash."""
    from tasks.lineage.trust.signatures import FOLDER_SIGNATURE

    path = Path(ref)
    return path.is_dir() and ("/" in ref or ref in (".", "..") or (path / FOLDER_SIGNATURE).is_file())


def _opened(store: str) -> "Store":
    from tasks.lineage.store import Store

    # What the environment trusts is not asked: that is what these commands are for.
    return Store(store, listeners=[])


def _checked(store: "Store", named: str, with_inputs: bool) -> "Iterator[ArtifactRef]":
    """Artifacts, each after it was found as its manifest says."""
    from flows.references import find_reference
    from tasks.lineage.trace import verify_lineage

    ref = find_reference(store, named)
    if with_inputs:
        for each, _ in verify_lineage(store, ref):
            yield each
    else:
        store.check(ref)
        yield ref
