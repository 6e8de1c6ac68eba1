"""The demo's calibration, test and zero-shot shards, packed as users pack theirs."""

import csv
import io
import tempfile
from pathlib import Path

import webdataset
from PIL import Image

from tasks.demo.scenes import LABEL_SETS, DrawnPair, draw_labelled, draw_pairs
from tasks.lineage.progress import advance
from tasks.shards.packing import pack_table

CALIBRATION, TEST, LABELLED = "calibration", "test", "zero_shot"
_SHARD_PAIRS = 256


def write_pair_shards(folder: Path, name: str, n_pairs: int, *, seed: int, stage: str) -> None:
    """Draw pairs, write them as a table with pictures, and pack `NAME-000000.tar`, ..."""
    columns = ["key", "tag", "safe_text", "unsafe_text", "safe_image", "unsafe_image"]
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / f"{name}.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for pair in draw_pairs(n_pairs, seed, name):
                writer.writerow(_row(pair, Path(place)))
                advance(stage)
        pack_table(table, str(folder / f"{name}-%06d.tar"), max_count=_SHARD_PAIRS)


def write_labelled_sets(folder: Path, n_images: int, *, seed: int, stage: str) -> None:
    """Write every label set in CLIP_benchmark's WebDataset layout, `n_images` each."""
    for name, label_set in LABEL_SETS.items():
        place = folder / LABELLED / name
        (place / "test").mkdir(parents=True)
        (place / "classnames.txt").write_text("\n".join(label_set.names) + "\n", encoding="utf-8")
        templates = "\n".join(label_set.templates) + "\n"
        (place / "zeroshot_classification_templates.txt").write_text(templates, encoding="utf-8")
        (place / "test" / "nshards.txt").write_text("1\n", encoding="utf-8")
        with (
            (place / "test" / "0.tar").open("wb") as file,
            webdataset.TarWriter(file, encoder=False, user="", group="", mode=0o444, mtime=0) as tar,
        ):
            for index, (picture, label) in enumerate(draw_labelled(name, n_images, seed)):
                tar.write({"__key__": f"{index:06d}", "png": _png(picture), "cls": str(label).encode()})
                advance(stage)


def _row(pair: DrawnPair, folder: Path) -> dict[str, str]:
    row = {"key": pair.key, "tag": pair.tag, "safe_text": pair.safe_text, "unsafe_text": pair.unsafe_text}
    for content, picture in (("safe", pair.safe_image), ("unsafe", pair.unsafe_image)):
        path = folder / f"{pair.key}.{content}.png"
        path.write_bytes(_png(picture))
        row[f"{content}_image"] = path.name
    return row


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
