"""ViSU -> shards: its texts, the COCO images they describe, and the unsafe images that users made themselves."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_specs.errors import DataError, SpecError
from data_specs.json_text import parse_json
from data_specs.run_config import CONTENTS, Content
from data_specs.wording import shown
from tasks.lineage.progress import notice, stage
from tasks.shards.packing import DEFAULT_MAX_COUNT, Packed, check_output, pack_rows
from tasks.shards.tables import PairRow

_SPLITS = frozenset({"train", "validation", "test"})
_SPLIT_OF_NAME = re.compile(r"(?:^|[^a-z])(train|validation|test)$")
_UNSAFE_FILE = "0.jpg"
_N_NAMED = 3


@dataclass(frozen=True, slots=True)
class VisuPair:
    """One entry of a ViSU text file."""

    pair_id: str
    coco_name: str
    texts: dict[Content, str]
    tag: str | None


@dataclass(frozen=True)
class Imported:
    """What was packed, and how many pairs were left out for which reason."""

    packed: Packed
    left_out: dict[str, int]


def import_visu(
    texts: Path,
    out: str,
    *,
    coco: Path | None,
    unsafe_images: Path | None,
    texts_only: bool = False,
    skip_missing: bool = False,
    max_count: int = DEFAULT_MAX_COUNT,
) -> Imported:
    """Pack ViSU; the key of a pair is its incremental_id.

    Args:
        texts: ViSU-Text_SPLIT.json.
        out: pattern of the shards' paths.
        coco: folder with COCO's images, at any depth.
        unsafe_images: folder with {split}/.../{incremental_id}/0.jpg; other splits' folders are passed over.
        texts_only: pack captions and tags alone; the image folders are not looked at.
        skip_missing: leave out pairs without both images instead of refusing.
        max_count: pairs in one shard.

    Returns:
        What was packed and left out; pairs with an empty caption are always left out.

    Raises:
        SpecError: a folder is not given, the split is unclear, or `out` or `max_count` cannot be used.
        DataError: a file makes no sense, images are missing, or nothing is left to pack.
    """
    check_output(out, max_count)
    pairs = read_visu(texts)
    left_out: Counter[str] = Counter()
    images: dict[str, dict[Content, Path]] = {}
    kept = [pair for pair in pairs if not _counted(_empty_caption(pair), left_out)]
    if not texts_only:
        if coco is None or unsafe_images is None:
            raise SpecError("--coco and --unsafe-images are both needed; or give --texts-only to pack captions alone")
        images = _find_images(kept, coco, unsafe_images, _split_of(texts, unsafe_images))
        if not skip_missing:
            _require_images(kept, images, coco, unsafe_images)
        kept = [pair for pair in kept if not _counted(_missing_images(images[pair.pair_id]), left_out)]
    if left_out:
        notice(f"left out of {len(pairs)} pairs: " + ", ".join(f"{reason} {n}" for reason, n in left_out.items()))
    if not kept:
        raise DataError(f"none of the {len(pairs)} pairs of {texts} is left to pack: {dict(left_out)}")
    rows = (
        PairRow(f"pair {pair.pair_id} of {texts}", pair.pair_id, pair.tag, pair.texts, images.get(pair.pair_id, {}))
        for pair in kept
    )
    return Imported(pack_rows(rows, out, max_count=max_count), dict(left_out))


def read_visu(texts: Path) -> list[VisuPair]:
    """The entries of a ViSU text file, in order.

    Raises:
        DataError: it cannot be read, is no list, or an entry lacks a field; the entry is numbered from 1.
    """
    try:
        entries = parse_json(texts.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {texts}: {error}; expected ViSU-Text_train.json or the like") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{texts} holds {type(entries).__name__}, expected a list of pairs with incremental_id")
    pairs = [_pair(entry, f"entry {number} of {texts}") for number, entry in enumerate(entries, start=1)]
    repeated = [pair_id for pair_id, n in Counter(pair.pair_id for pair in pairs).items() if n > 1]
    if repeated:
        raise DataError(f"{texts}: incremental_id {repeated[0]} comes more than once; expected each id once")
    return pairs


def _pair(entry: Any, place: str) -> VisuPair:
    if not isinstance(entry, dict):
        raise DataError(f"{place} is {type(entry).__name__}, expected an object with incremental_id, coco_id, ...")
    tag = entry.get("tag")
    if tag is not None and not isinstance(tag, str):
        raise DataError(f"{place}: tag is {shown(tag)}, expected text")
    return VisuPair(
        pair_id=str(_number(entry, "incremental_id", place)),
        coco_name=f"{_number(entry, 'coco_id', place):012d}.jpg",
        texts={"safe": _caption(entry, "safe", place), "unsafe": _caption(entry, "nsfw", place)},
        tag=tag or None,
    )


def _number(entry: dict[str, Any], name: str, place: str) -> int:
    value = entry.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise DataError(f"{place}: {name} is {shown(value)}, expected a whole number of at most 12 digits")
    return value


def _caption(entry: dict[str, Any], name: str, place: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise DataError(f"{place}: {name} is {shown(value)}, expected text")
    return value


def _counted(reason: str | None, left_out: Counter[str]) -> bool:
    if reason is not None:
        left_out[reason] += 1
    return reason is not None


def _empty_caption(pair: VisuPair) -> str | None:
    empty = [content for content in CONTENTS if not pair.texts[content].strip()]
    return f"empty {' and '.join(empty)} caption" if empty else None


def _missing_images(found: dict[Content, Path]) -> str | None:
    missing = [content for content in CONTENTS if content not in found]
    return f"missing {' and '.join(missing)} image" if missing else None


def _require_images(
    pairs: Sequence[VisuPair], images: dict[str, dict[Content, Path]], coco: Path, unsafe_images: Path
) -> None:
    n_missing = {content: sum(content not in images[pair.pair_id] for pair in pairs) for content in CONTENTS}
    if not any(n_missing.values()):
        return
    lacking = [pair for pair in pairs if _missing_images(images[pair.pair_id])]
    names = []
    for pair in lacking[:_N_NAMED]:
        if "safe" not in images[pair.pair_id]:
            names.append(f"{pair.coco_name} below {coco}")
        if "unsafe" not in images[pair.pair_id]:
            names.append(f"{pair.pair_id}/{_UNSAFE_FILE} below {unsafe_images}")
    raise DataError(
        f"{len(lacking)} of {len(pairs)} pairs lack an image ({n_missing['safe']} safe, {n_missing['unsafe']} unsafe);"
        f" first: {', '.join(names)}; complete the folders, or give --skip-missing to leave such pairs out, or"
        " --texts-only to pack captions alone"
    )


def _split_of(texts: Path, unsafe_images: Path) -> str | None:
    match = _SPLIT_OF_NAME.search(texts.stem.lower())
    present = sorted(split for split in _SPLITS if (unsafe_images / split).is_dir())
    if match is None and len(present) > 1:
        raise SpecError(
            f"{unsafe_images} holds the splits {', '.join(present)}, but the name of {texts} does not end in one of them;"
            " give the folder of one split as --unsafe-images"
        )
    return match.group(1) if match else None


def _find_images(
    pairs: Sequence[VisuPair], coco: Path, unsafe_images: Path, split: str | None
) -> dict[str, dict[Content, Path]]:
    with stage("find images", None, "images"):
        safe = _index_coco(coco, {pair.coco_name for pair in pairs})
        unsafe = _index_unsafe(unsafe_images, {pair.pair_id for pair in pairs}, split)
    images: dict[str, dict[Content, Path]] = {}
    for pair in pairs:
        found = images.setdefault(pair.pair_id, {})
        if pair.coco_name in safe:
            found["safe"] = safe[pair.coco_name]
        if pair.pair_id in unsafe:
            found["unsafe"] = unsafe[pair.pair_id]
    return images


def _index_coco(root: Path, wanted: set[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder, files in _folders(root, "--coco", frozenset()):
        for name in files:
            # A COCO image may lie in several folders; it is the same picture everywhere.
            if name in wanted and name not in found:
                found[name] = folder / name
    return found


def _index_unsafe(root: Path, wanted: set[str], split: str | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    other_splits = _SPLITS - {split} if split else frozenset()
    for folder, files in _folders(root, "--unsafe-images", frozenset(other_splits)):
        if folder.name not in wanted or _UNSAFE_FILE not in files:
            continue
        if folder.name in found:
            raise DataError(
                f"incremental_id {folder.name} has two unsafe images: {found[folder.name]} and {folder / _UNSAFE_FILE};"
                " expected one; give the folder of one set as --unsafe-images"
            )
        found[folder.name] = folder / _UNSAFE_FILE
    return found


def _folders(root: Path, option: str, passed_over: frozenset[str]) -> Iterator[tuple[Path, list[str]]]:
    if not root.is_dir():
        raise DataError(f"{option} {root} is no folder; expected the folder that holds the images")
    seen: set[tuple[int, int]] = set()
    for name, subfolders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(subfolder for subfolder in subfolders if subfolder not in passed_over)
        yield folder, files
