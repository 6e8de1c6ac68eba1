"""Tables of pairs to be packed."""

import csv
import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.shards.tables import COLUMNS
from tests.cases.shard_files import image_bytes


def make_rows(folder, n=5, format="PNG"):
    rows = []
    for number in range(n):
        row = {"key": f"{number:04d}", "tag": ["hate", "violence"][number % 2]}
        for side, seed in (("safe", number), ("unsafe", number + 1000)):
            name = f"images/{side}-{number}.{format.lower()}"
            (folder / "images").mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(image_bytes(seed, format))
            row |= {f"{side}_text": f"the {side} side of {number}", f"{side}_image": name}
        rows.append(row)
    return rows


def row_of(**changed):
    return dict.fromkeys(COLUMNS) | {"key": "a", "safe_text": "text"} | changed


def write_table(path, rows):
    columns = list(rows[0])
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")}
