"""Signatures by OpenSSF model signing, with local keys and without the network.

Of an artifact its manifest is signed, which names all its files by digest; the signatures lie beside the artifacts, in
`STORE/.signatures/KIND/VERSION/KEY.sig`. Of a folder all files are, and the signature lies in it.
"""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import ArtifactRef, Manifest, Recipe
from data_specs.wording import first_line, one_line, shown_path
from tasks.lineage.circumstances import RunContext
from tasks.lineage.contents import MANIFEST, label_of
from tasks.lineage.disk import refusal, sync
from tasks.lineage.listeners import Listener
from tasks.lineage.progress import notice
from tasks.lineage.trust.keys import (
    SIGNING_KEY,
    TRUSTED_KEYS,
    password,
    private_key_id,
    public_keys,
    trusted_key_paths,
)

FOLDER_SIGNATURE = "model.sig"  # as model signing calls it
SIGNATURES_FOLDER, SIGNATURE_ENDING = ".signatures", ".sig"
_SHOWN = 16


class Signer:
    """Signs with one private key."""

    def __init__(self, key: Path) -> None:
        """Use the key in a file.

        Raises:
            SpecError: it is none, or model signing is not installed.
        """
        self.key_id = private_key_id(key)
        with _installed():
            from model_signing.hashing import Config as Hashing
            from model_signing.signing import Config as Signing
        self._hashing: Any = Hashing
        # The password goes to a function that takes bytes.
        self._config = Signing().use_elliptic_key_signer(private_key=key, password=password())  # type: ignore[arg-type]

    def sign_manifest(self, root: Path, ref: ArtifactRef, folder: Path) -> Path:
        """Sign the manifest in an artifact's folder; returns the signature's file.

        Raises:
            ArtifactError: the signature cannot be written into the store at `root`.
        """
        target = signatures_of(root, ref) / f"{self.key_id[:_SHOWN]}{SIGNATURE_ENDING}"
        draft = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._config.sign(folder / MANIFEST, draft)
            sync(draft)
            draft.replace(target)
        except OSError as error:
            raise ArtifactError(refusal(root, error.errno or errno.EIO, f"a signature of {label_of(ref)}")) from error
        return target

    def sign_folder(self, folder: Path) -> Path:
        """Sign all files in a folder; returns the signature's file, which lies in it."""
        target = folder / FOLDER_SIGNATURE
        hashing = self._hashing().set_ignored_paths(paths=[FOLDER_SIGNATURE])
        self._config.set_hashing_config(hashing).sign(folder, target)
        return target

    def sign_file(self, path: Path) -> Path:
        """Sign one file; returns the signature's file, which lies beside it."""
        target = path.with_name(path.name + SIGNATURE_ENDING)
        self._config.sign(path, target)
        return target


class TrustedKeys:
    """Public keys, and what they have signed."""

    def __init__(self, keys: Mapping[str, Path]) -> None:
        """Trust public keys, by identifier.

        Raises:
            SpecError: model signing is not installed.
        """
        with _installed():
            from model_signing.verifying import Config as Verifying
        self._verifying: Any = Verifying
        self.keys = dict(keys)

    def require_signed(self, root: Path, ref: ArtifactRef, folder: Path) -> str:
        """Make sure that a trusted key has signed the manifest in an artifact's folder.

        Returns:
            The key's identifier.

        Raises:
            ArtifactError: none has, or the manifest is another than was signed.
        """
        found = sorted(signatures_of(root, ref).glob(f"*{SIGNATURE_ENDING}"))
        if not found:
            raise ArtifactError(f"{label_of(ref)} is not signed; {self._remedy()}")
        return self._require_one(found, folder / MANIFEST, label_of(ref))

    def require_folder_signed(self, folder: Path) -> str:
        """As `require_signed`, of all files in a folder; the signature lies in it."""
        return self._require_one([folder / FOLDER_SIGNATURE], folder, shown_path(folder))

    def require_file_signed(self, path: Path, signature: Path) -> str:
        """As `require_signed`, of one file, whose signature lies somewhere."""
        return self._require_one([signature], path, shown_path(path))

    def _require_one(self, signatures: list[Path], signed: Path, label: str) -> str:
        wrong = ""
        for path in signatures:
            key_id = _signed_by(path)
            if key_id not in self.keys:
                continue
            try:
                self._verifying().use_elliptic_key_verifier(public_key=self.keys[key_id]).verify(signed, path)
            except Exception as error:  # whatever model signing meets in a file that anybody may have written
                wrong = f"{label} is not what key {key_id[:_SHOWN]} has signed ({path.name}): {_told(error)}"
            else:
                return key_id
        raise ArtifactError(f"{wrong or f'{label} is signed by none of the keys that are trusted'}; {self._remedy()}")

    def _remedy(self) -> str:
        names = ", ".join(path.name for path in [*self.keys.values()][:4])
        return f"trusted are {names}; have it made anew, or look at it and sign it (`uwm sign`)"


class SignedStore(Listener):
    """Signs each artifact as it is made, and lets none be used that no trusted key has signed; as the environment says."""

    def __init__(self, root: Path) -> None:
        """Work for the store at `root`; keys are read when they are first needed."""
        self._root = root
        self._told = False

    def started(self, recipe: Recipe, context: RunContext) -> None:
        """Read the keys before anything is computed."""
        del recipe, context
        signer, trusted = self._signer, self._trusted
        if trusted is not None and (signer is None or signer.key_id not in trusted.keys) and not self._told:
            self._told = True
            key = f"the key in {SIGNING_KEY} is none of" if signer else f"{SIGNING_KEY} names no key, but"
            notice(f"{key} {TRUSTED_KEYS}: what this run makes will be refused where they are asked for")

    def publishing(self, manifest: Manifest, folder: Path) -> None:
        """Sign what is about to be there."""
        if self._signer is not None:
            self._signer.sign_manifest(self._root, manifest.ref, folder)

    def used(self, manifest: Manifest, folder: Path) -> None:
        """Refuse what is not signed."""
        if self._trusted is not None:
            self._trusted.require_signed(self._root, manifest.ref, folder)

    def arriving(self, manifest: Manifest, folder: Path, source: str) -> None:
        """Refuse what comes from a remote and is not signed."""
        del source
        self.used(manifest, folder)

    def discarding(self, ref: ArtifactRef) -> None:
        """Remove the signatures of what is about to be removed."""
        shutil.rmtree(signatures_of(self._root, ref), ignore_errors=True)

    @cached_property
    def _signer(self) -> Signer | None:
        key = os.environ.get(SIGNING_KEY)
        return Signer(Path(key)) if key else None

    @cached_property
    def _trusted(self) -> TrustedKeys | None:
        paths = trusted_key_paths()
        return TrustedKeys(public_keys(paths)) if paths else None


def is_signing_asked() -> bool:
    """Whether the environment names keys."""
    return bool(os.environ.get(SIGNING_KEY) or trusted_key_paths())


def signatures_of(root: Path, ref: ArtifactRef) -> Path:
    """The folder with the signatures of an artifact of the store at `root`."""
    return root / SIGNATURES_FOLDER / ref.kind / ref.version


def _signed_by(path: Path) -> str:
    """The identifier of the key that a signature names; empty where it names none."""
    try:
        content: Any = json.loads(path.read_bytes())
        return str(content["verificationMaterial"]["publicKey"]["hint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _told(error: Exception) -> str:
    text = one_line(first_line(error), 300)
    return text if str(error).strip() else f"its signature does not fit ({text})"


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise SpecError(
            f"OpenSSF model signing is not installed ({first_line(error)}); add it with `uv sync --extra signing`"
        ) from error
