"""Keys of signatures: PEM files with elliptic curve keys, as OpenSSF model signing takes them."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_specs.errors import SpecError
from data_specs.wording import first_line, shown_path

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNING_KEY, PASSWORD, TRUSTED_KEYS = "UWM_SIGNING_KEY", "UWM_SIGNING_PASSWORD", "UWM_TRUSTED_KEYS"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_HOW = "openssl ecparam -name prime256v1 -genkey -noout -out KEY, and openssl ec -in KEY -pubout -out KEY.pub"
_ENDINGS = ("*.pub", "*.pem")


def password() -> bytes | None:
    """What opens an encrypted private key, as the environment says."""
    given = os.environ.get(PASSWORD)
    return given.encode() if given else None


def private_key_id(path: Path) -> str:
    """The identifier of a private key, which is that of its public one.

    Raises:
        SpecError: it is no private key of a curve that model signing knows, or its password is wrong.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    try:
        key = load_pem_private_key(data, password())
    except (ValueError, TypeError) as error:
        raise SpecError(
            f"{shown_path(path)} is no private key that can be opened ({first_line(error)}); expected PEM, of an encrypted"
            f" one the password in {PASSWORD}; to make one: {_HOW}"
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise SpecError(f"{shown_path(path)} is no key of an elliptic curve; to make one: {_HOW}")
    return _key_id(key.public_key(), path)


def public_key_id(path: Path) -> str:
    """The identifier of a public key: SHA-256 of its PEM, as signatures name it.

    Raises:
        SpecError: it is no public key of a curve that model signing knows.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except ValueError as error:
        raise SpecError(
            f"{shown_path(path)} is no public key in PEM ({first_line(error)}); to make one: {_HOW}"
        ) from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise SpecError(f"{shown_path(path)} is no key of an elliptic curve; to make one: {_HOW}")
    return _key_id(key, path)


def public_keys(given: Sequence[Path]) -> dict[str, Path]:
    """Public keys by their identifiers.

    Args:
        given: files, and folders of files that end in .pub or .pem.

    Raises:
        SpecError: one is no public key, or there is none.
    """
    files = []
    for path in given:
        files += sorted(file for ending in _ENDINGS for file in path.glob(ending)) if path.is_dir() else [path]
    if not files:
        raise SpecError(f"there is no public key in {', '.join(map(shown_path, given))}; expected files *.pub or *.pem")
    return {public_key_id(file): file for file in files}


def trusted_key_paths() -> list[Path]:
    """The files and folders that the environment names, divided by colons; none where it names none."""
    return [Path(part) for part in os.environ.get(TRUSTED_KEYS, "").split(os.pathsep) if part]


def _key_id(key: "EllipticCurvePublicKey", path: Path) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if key.curve.name not in _CURVES:
        raise SpecError(f"{shown_path(path)} is of the curve {key.curve.name}, expected {' or '.join(_CURVES)}")
    pem = key.public_bytes(encoding=Encoding.PEM, format=PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read the key {shown_path(path)}: {error.strerror or error}") from error
