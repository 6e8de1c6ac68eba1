"""Re-verify an audit bundle with Python's standard library alone: `python verify.py` beside what was unpacked, or `python verify.py BUNDLE.zip`.

Checked are: every file of the bundle against `index.json`; every manifest against its own digest and, by the digest of
its recipe, against its version; that all inputs of all manifests are there and are those that were used, as far as the
manifests record it; files of artifacts against their manifests; the log, entry by entry, and that it holds these
manifests; that signatures are of these manifests. With --store, the files of the artifacts in a store are hashed, too.
What a key has signed is for `uwm verify-signature`, or model-signing, to say. Ends with 0, or with 4 and all that is wrong.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUNDLE_INDEX, MANIFEST_NAME, DROPPED = "index.json", "manifest.json", "pruned.json"
STORE_FOLDER, LOG_FILE, SIGNATURES = "store/", "store/.log/log.jsonl", "store/.signatures/"
_SEAL = re.compile(rb'^ "digest": "([^"\n]*)",\n', re.MULTILINE)
_WRONG = 4
_BLOCK = 1 << 20


class Bundle:
    """A zip file, or the folder that it was unpacked into."""

    def __init__(self, place: Path) -> None:
        """Open it; an OSError or BadZipFile where there is none."""
        self._folder = place if place.is_dir() else None
        self._zip = None if self._folder else zipfile.ZipFile(place)

    def names(self) -> list[str]:
        """All files, sorted."""
        if self._zip is not None:
            return sorted(name for name in self._zip.namelist() if not name.endswith("/"))
        folder = Path(self._folder or ".")
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def read(self, name: str) -> bytes:
        """A file's content; an OSError where it cannot be had."""
        if self._zip is None:
            return (Path(self._folder or ".") / name).read_bytes()
        try:
            return self._zip.read(name)
        except (KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
            raise OSError(str(error)) from error


def hex_sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text of a value, of which versions and hashes of entries are taken."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of_manifest(data: bytes) -> str:
    """What a manifest's `digest` must be: that of its file without the line that holds it; of format 1, of the whole file."""
    return hex_sha256(_SEAL.sub(b"", data))


def index_bytes(index: dict[str, Any]) -> bytes:
    """The file of an index, which holds the digest of all else in it."""
    content = {name: value for name, value in index.items() if name != "digest"}
    whole = {**content, "digest": hex_sha256(canonical(content))}
    return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()


def check_bundle(
    bundle: Bundle, store: Path | None = None, artifact: str = "", head: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Everything that is wrong with a bundle.

    Args:
        bundle: to be checked.
        store: folder of a store whose files are hashed, too.
        artifact: digest that the artifact's manifest must have, as it was written down elsewhere.
        head: hash of an entry that the log must hold.

    Returns:
        The index, and a sentence for each fault.
    """
    try:
        data = bundle.read(BUNDLE_INDEX)
        index = json.loads(data)
        listed = dict(index["files"])
        if index_bytes(index) != data:
            return {}, [f"{BUNDLE_INDEX} was changed: it is not as it was written"]
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        return {}, [f"{BUNDLE_INDEX} is missing or damaged: {error}"]
    wrong = [*_check_files(bundle, listed)]
    if wrong:
        return index, wrong
    manifests: dict[str, dict[str, Any]] = {}
    for name in sorted(listed):
        if name.startswith(STORE_FOLDER) and name.endswith("/" + MANIFEST_NAME):
            try:
                manifests[name[len(STORE_FOLDER) : -len(MANIFEST_NAME) - 1]] = json.loads(bundle.read(name))
            except (KeyError, OSError, ValueError) as error:
                wrong.append(f"{name} cannot be read: {error}")
    digests = {place: digest_of_manifest(bundle.read(f"{STORE_FOLDER}{place}/{MANIFEST_NAME}")) for place in manifests}
    for place, manifest in manifests.items():
        try:
            wrong += _check_manifest(place, manifest, digests, set(index.get("absent", [])))
            wrong += _check_contained(bundle, place, manifest, listed)
            if store is not None:
                wrong += _check_stored(store / place, place, manifest)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            wrong.append(f"{place}: its manifest is none: {type(error).__name__} {error}")
    wrong += _check_artifact(index, digests, artifact)
    wrong += _check_log(bundle, listed, manifests, index, head)
    wrong += _check_signatures(bundle, listed)
    return index, wrong


def _check_files(bundle: Bundle, listed: dict[str, Any]) -> Iterator[str]:
    there = set(bundle.names())
    for name in sorted(there - set(listed) - {BUNDLE_INDEX}):
        yield f"{name} is not listed in {BUNDLE_INDEX}"
    for name in sorted(listed):
        try:
            found = hex_sha256(bundle.read(name)) if name in there else ""
        except OSError as error:
            yield f"{name} cannot be read: {error}"
            continue
        if not found:
            yield f"{name} is missing"
        elif found != listed[name]:
            yield f"{name} changed: sha256 {found[:12]}, expected {str(listed[name])[:12]}"


def _check_manifest(place: str, manifest: dict[str, Any], digests: dict[str, str], absent: set[str]) -> Iterator[str]:
    kind, _, version = place.partition("/")
    if (manifest["recipe"]["kind"], manifest["version"]) != (kind, version):
        yield f"{place}: its manifest is of {manifest['recipe']['kind']} {manifest['version']}"
    if hex_sha256(canonical(manifest["recipe"])) != version:
        yield f"{place}: its recipe has another digest, {hex_sha256(canonical(manifest['recipe']))[:12]}"
    if manifest.get("format") != 1 and manifest.get("digest") != digests[place]:
        yield f"{place}: its manifest changed: digest {digests[place][:12]}, expected {str(manifest.get('digest'))[:12]}"
    for role, given in manifest["recipe"]["inputs"].items():
        for item in given if isinstance(given, list) else [given]:
            if isinstance(item, dict) and "{kind}/{version}".format(**item) not in {*digests, *absent}:
                yield f"{place}: its input {role}, {item['kind']} {item['version'][:12]}, is not in the bundle"
    for role, several in manifest.get("inputs", {}).items():
        for item in several:
            found = digests.get("{kind}/{version}".format(**item))
            if item.get("manifest") and found and item["manifest"] != found:
                yield (
                    f"{place}: its input {role}, {item['kind']} {item['version'][:12]}, has another manifest now: digest"
                    f" {found[:12]}, expected {item['manifest'][:12]}"
                )


def _check_contained(bundle: Bundle, place: str, manifest: dict[str, Any], listed: dict[str, Any]) -> Iterator[str]:
    entries = {entry["path"]: entry for entry in manifest["files"]}
    before = f"{STORE_FOLDER}{place}/"
    for name in sorted(listed):
        inner = name[len(before) :]
        if not name.startswith(before) or inner in (MANIFEST_NAME, DROPPED):
            continue
        if inner not in entries:
            yield f"{name} is not a file of its artifact"
        elif hex_sha256(bundle.read(name)) != entries[inner]["sha256"]:
            yield f"{name} is not as its artifact's manifest says"


def _check_stored(folder: Path, place: str, manifest: dict[str, Any]) -> Iterator[str]:
    """Files that were dropped to make room are none that are missing."""
    if not folder.is_dir():
        yield f"{place} is not in the store"
        return
    try:
        stored = (folder / MANIFEST_NAME).read_bytes()
    except OSError as error:
        yield f"{place}: its manifest in the store cannot be read: {error}"
        return
    digest = digest_of_manifest(stored)
    if digest != manifest.get("digest", digest) or json.loads(stored) != manifest:
        yield f"{place}: its manifest in the store is another"
    dropped = (folder / DROPPED).is_file()
    entries = {entry["path"]: entry for entry in manifest["files"]}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    for name in sorted(there - set(entries) - {MANIFEST_NAME, DROPPED}):
        yield f"{place}: {name} in the store is not in its manifest"
    for name, entry in sorted(entries.items()):
        path = folder / name
        if path.is_symlink():
            yield f"{place}: {name} in the store is a link"
        elif not path.is_file():
            if not dropped:
                yield f"{place}: {name} is missing from the store"
        elif _hex_sha256_of(path) != entry["sha256"]:
            yield f"{place}: {name} in the store changed"


def _hex_sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _check_artifact(index: dict[str, Any], digests: dict[str, str], expected: str) -> Iterator[str]:
    own = index.get("artifact", {})
    found = digests.get(f"{own.get('kind')}/{own.get('version')}")
    if found is None:
        yield "the artifact that the bundle is about is not in it"
    elif own.get("manifest") != found:
        yield f"the artifact's manifest has digest {found[:12]}, the index says {str(own.get('manifest'))[:12]}"
    if expected and (found is None or not found.startswith(expected)):
        yield f"the artifact's manifest has digest {str(found)[:12]}, expected {expected[:12]}"


def _check_log(
    bundle: Bundle, listed: dict[str, Any], manifests: dict[str, Any], index: dict[str, Any], head: str
) -> Iterator[str]:
    if LOG_FILE not in listed:
        if head:
            yield "the bundle holds no log"
        return
    previous, hashes, last = "0" * 64, set(), {}
    for number, line in enumerate(bundle.read(LOG_FILE).splitlines(), 1):
        try:
            entry = json.loads(line)
            stated = entry.pop("hash")
            sound = (entry["previous"], entry["number"], stated) == (previous, number, hex_sha256(canonical(entry)))
        except (AttributeError, KeyError, TypeError, ValueError):
            yield f"the log's line {number} is damaged"
            return
        if not sound:
            yield f"the log was changed: line {number} does not follow from the one before it"
        previous = stated
        hashes.add(stated)
        if entry.get("manifest"):
            last[f"{entry['kind']}/{entry['version']}"] = entry["manifest"]
    if index.get("log_head") != previous:
        yield f"the log ends with {previous[:12]}, the index says {str(index.get('log_head'))[:12]}"
    if head and head not in hashes:
        yield f"the log does not hold the entry {head[:12]}"
    for place in sorted(manifests):
        found = hex_sha256(bundle.read(f"{STORE_FOLDER}{place}/{MANIFEST_NAME}"))
        if place not in last:
            yield f"{place}: the log does not tell of it"
        elif last[place] != found:
            yield f"{place}: its manifest is not the one that the log tells of"


def _check_signatures(bundle: Bundle, listed: dict[str, Any]) -> Iterator[str]:
    """Whether each signature is of the manifest beside which it lies; not whose it is."""
    for name in sorted(listed):
        if not name.startswith(SIGNATURES):
            continue
        place = name[len(SIGNATURES) :].rpartition("/")[0]
        try:
            envelope = json.loads(bundle.read(name))["dsseEnvelope"]
            payload = json.loads(base64.b64decode(envelope["payload"]))
            # Of a single file, model signing calls the resource by a dot.
            signed = [item["digest"] for item in payload["predicate"]["resources"]]
            found = hex_sha256(bundle.read(f"{STORE_FOLDER}{place}/{MANIFEST_NAME}"))
        except (KeyError, OSError, TypeError, ValueError) as error:
            yield f"{name} cannot be read: {type(error).__name__} {error}"
            continue
        if signed != [found]:
            yield f"{name} is of another manifest"


def from_command_line() -> int:
    """Check the bundle that the command line names; 0 where nothing is wrong."""
    parser = argparse.ArgumentParser(description="Re-verify an audit bundle; nothing but Python is needed.")
    parser.add_argument("bundle", nargs="?", default=str(Path(__file__).resolve().parent), help="zip file or folder")
    parser.add_argument("--store", help="folder of a store whose files are to be hashed, too")
    parser.add_argument("--artifact", default="", help="digest that its manifest must have")
    parser.add_argument("--head", default="", help="hash that was once the log's newest")
    given = parser.parse_args()
    try:
        bundle = Bundle(Path(given.bundle))
    except (OSError, zipfile.BadZipFile) as error:
        sys.stderr.write(f"{given.bundle} is no bundle: {error}\n")
        return _WRONG
    index, wrong = check_bundle(bundle, Path(given.store) if given.store else None, given.artifact, given.head)
    sys.stderr.write("".join(f"wrong: {sentence}\n" for sentence in wrong))
    own = index.get("artifact", {})
    told = f"{own.get('kind')} {own.get('version')}\nmanifest {own.get('manifest')}\nlog head {index.get('log_head')}\n"
    sys.stdout.write(told + (f"{len(wrong)} wrong\n" if wrong else f"{len(index['files'])} files as recorded\n"))
    return _WRONG if wrong else 0


if __name__ == "__main__":
    sys.exit(from_command_line())
