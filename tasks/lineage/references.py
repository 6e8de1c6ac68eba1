"""What a person may write for an artifact: its version, a tag, a run that made it, or a file by its content."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import ArtifactRef
from data_specs.suggestions import did_you_mean
from data_specs.wording import shown, shown_path
from tasks.lineage.listing import survey
from tasks.lineage.runs import MAIN_ROLES, run_records
from tasks.lineage.store import Store
from tasks.lineage.tags import current_tags

# Finds the artifacts that hold a file's content.
ByContent = Callable[[Store, Path], Sequence[ArtifactRef]]

TAG_MARK, _ROLE_MARK = "@", ":"
_MOST_TOLD = 4
_VERSION_BEGINNING = re.compile(r"[0-9a-f]{1,64}")
_ID_BEGINNING = re.compile(r"\d{8}T[0-9a-f-]*")
_FILE_ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def find_artifact(
    store: Store, named: str, roles: Sequence[str] = MAIN_ROLES, by_content: ByContent | None = None
) -> ArtifactRef:
    """The one artifact that a REF names.

    Args:
        store: where it lies.
        named: a version; TAG or @TAG; NAME or NAME:ROLE of the newest completed run of that name; ID or ID:ROLE of a
            run; the path of a file or folder. Of versions, names and ids the beginning is enough.
        roles: which artifact of a run is meant where no role is given, and which kind of several of one content;
            best first.
        by_content: finds artifacts by a file's content; None takes no path.

    Raises:
        ArtifactError: nothing is called so, or several are.
    """
    if named.startswith(TAG_MARK):
        return _tagged(store, named.removeprefix(TAG_MARK))
    if by_content is not None and _is_path(named):
        return _of_content(store, Path(named), roles, by_content)
    name, mark, role = named.partition(_ROLE_MARK)
    runs, tags = dict(_runs(store.root)), current_tags(store.root)
    called = [told for told in runs if told.partition(" ")[2] == name] or _beginning_with(name, runs)
    found = {told: _made_by(store, runs[told], role, roles) for told in called}
    if name in tags and not mark:
        exact = {told: find for told, find in found.items() if told.partition(" ")[2] == name}
        found = {f"tag {name}": lambda: _tagged(store, name), **exact}
    found |= _of_versions(store, named)
    if len(found) == 1:
        return next(iter(found.values()))()
    if not found and by_content is not None and name and os.path.lexists(named):
        return _of_content(store, Path(named), roles, by_content)
    if not found and not runs and not tags:
        return store.find(named)
    raise ArtifactError(_not_one(store, named, [*found], [*tags, *(told.partition(" ")[2] for told in runs)]))


def _not_one(store: Store, named: str, found: Sequence[str], known: Sequence[str]) -> str:
    if found:
        return (
            f"{shown(named)} names {len(found)}: {', '.join(found[:_MOST_TOLD])}; write more of it, NAME:ROLE for a run's, or"
            f" {TAG_MARK}NAME for a tag"
        )
    return (
        f"{shown(named)} names neither an artifact nor a run in {store.root}"
        f"{did_you_mean(named.partition(_ROLE_MARK)[0], known)}; see `uwm artifacts list`, `uwm results` and `uwm tag --list`"
    )


def _tagged(store: Store, name: str) -> ArtifactRef:
    tags = current_tags(store.root)
    if name not in tags:
        raise ArtifactError(
            f"there is no tag {shown(name)} in {store.root}{did_you_mean(name, tags)}; see `uwm tag --list`"
        )
    if not store.holds(tags[name]):
        ref = tags[name]
        raise ArtifactError(f"tag {name} names {ref.kind} {ref.version[:16]}, which is no longer in {store.root}")
    return tags[name]


def _runs(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The newest completed run of each name as `run NAME`, and every run that made something as `id ID`."""
    told: set[str] = set()
    for record in run_records(root):
        if not record.get("artifacts"):
            continue
        names = [f"id {record.get('id')}"]
        if record["status"] == "completed":
            names.append(f"run {record['settings']['name']}")
        for name in names:
            if name not in told:
                told.add(name)
                yield name, record


def _beginning_with(name: str, runs: Mapping[str, Any]) -> list[str]:
    # Ids begin with a year, as versions may.
    kinds = ("run", "id") if _ID_BEGINNING.fullmatch(name) else ("run",)
    return sorted(told for told in runs if name and told.startswith(tuple(f"{kind} {name}" for kind in kinds)))


def _made_by(store: Store, record: dict[str, Any], role: str, roles: Sequence[str]) -> Callable[[], ArtifactRef]:
    artifacts: dict[str, str] = record["artifacts"]
    chosen = role or next((each for each in roles if each in artifacts), "")

    def find() -> ArtifactRef:
        if chosen not in artifacts:
            expected = shown(role) if role else " or ".join(roles)
            raise ArtifactError(
                f"run {record['settings']['name']} of {record['started'][:16]} made no {expected}, only"
                f" {', '.join(artifacts)}{did_you_mean(role, artifacts)}"
            )
        return store.find(artifacts[chosen])

    return find


def _of_versions(store: Store, named: str) -> dict[str, Callable[[], ArtifactRef]]:
    if not _VERSION_BEGINNING.fullmatch(named):
        return {}
    refs = [item.ref for item in survey(store.root, named).found] or store.elsewhere.known(named)
    return {f"{ref.kind} {ref.version[:16]}": partial(_itself, ref) for ref in refs}


def _itself(ref: ArtifactRef) -> ArtifactRef:
    return ref


def _is_path(named: str) -> bool:
    """Whether a text can only be meant as a path: nothing else holds a slash, and nobody calls a run so."""
    return os.sep in named or named in (".", "..") or (named.endswith(_FILE_ENDINGS) and Path(named).exists())


def _of_content(store: Store, path: Path, roles: Sequence[str], by_content: ByContent) -> ArtifactRef:
    if not path.exists():
        raise SpecError(f"{shown_path(path)} is not there; expected a version, a tag, a run, or a file that is")
    refs = by_content(store, path)
    kinds = [*roles, *(ref.kind for ref in refs)]
    best = [ref for ref in refs if ref.kind == min((item.kind for item in refs), key=kinds.index)]
    if not best:
        raise ArtifactError(
            f"no artifact in {store.root} holds the content of {shown_path(path)}; `uwm lineage uses` finds what was made"
            " from shards, pictures and base weights"
        )
    if len(best) > 1:
        told = ", ".join(f"{ref.kind} {ref.version[:16]}" for ref in best[:_MOST_TOLD])
        raise ArtifactError(
            f"{shown_path(path)} is the content of {len(best)} artifacts: {told}; write the version of one of them"
        )
    return best[0]
