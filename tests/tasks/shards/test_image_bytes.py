"""Tables that hold pictures themselves, as Hugging Face's data sets do."""

import base64
import json
import subprocess
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_specs.errors import DataError
from tasks.shards.packing import pack_table
from tasks.shards.tables import COLUMNS
from tests.cases.pair_tables import digests, make_rows, row_of, write_table
from tests.cases.places import ROOT
from tests.cases.shard_files import image_bytes

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TYPES = {
    "struct": STRUCT,
    "struct of large binary": pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]),
    "binary": pa.binary(),
    "large binary": pa.large_binary(),
    "list of uint8": pa.list_(pa.uint8()),
    "large list of uint8": pa.large_list(pa.uint8()),
    "list of int64": pa.list_(pa.int64()),
    "base64": pa.string(),
    "data URI": pa.large_string(),
    "dictionary": pa.dictionary(pa.int32(), pa.binary()),
}


def cell(kind, data):
    if kind.startswith("struct"):
        return {"bytes": data, "path": "elsewhere/a.png"}
    if "list" in kind:
        return list(data)
    text = base64.b64encode(data).decode()
    return {"base64": text, "data URI": f"data:image/png;base64,{text}"}.get(kind, data)


def table_of(rows, **types):
    return pa.table({name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]})


def with_images(rows, folder, change):
    return [row | {name: change((folder / row[name]).read_bytes()) for name in COLUMNS[4:]} for row in rows]


@pytest.mark.parametrize("kind", TYPES)
def test_bytes_in_a_table_give_the_same_shards_as_files_beside_it(tmp_path, kind):
    rows = make_rows(tmp_path, n=4)
    pack_table(write_table(tmp_path / "paths.csv", rows), f"{tmp_path}/paths/x-%d.tar")
    inside = with_images(rows, tmp_path, lambda data: cell(kind, data))
    types = dict.fromkeys(COLUMNS[4:], TYPES[kind])
    pq.write_table(table_of(inside, **types), tmp_path / "bytes.parquet", row_group_size=3)
    pack_table(tmp_path / "bytes.parquet", f"{tmp_path}/bytes/x-%d.tar")
    assert digests(tmp_path / "bytes") == digests(tmp_path / "paths")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "DATA:image/png;charset=utf-8;base64,"])
def test_base64_is_taken_from_text_tables_too(tmp_path, suffix, head):
    rows = make_rows(tmp_path, n=2)
    (tmp_path / rows[0]["safe_image"]).write_bytes(image_bytes(5, "JPEG", size=(300, 300)))
    (tmp_path / rows[1]["safe_image"]).write_bytes(image_bytes(6, "PNG", size=(300, 300)))  # over csv's usual 128 kB
    pack_table(write_table(tmp_path / "paths.csv", rows), f"{tmp_path}/paths/x-%d.tar")
    inside = with_images(rows, tmp_path, lambda data: head + base64.encodebytes(data).decode())
    pack_table(write_table(tmp_path / f"t{suffix}", inside), f"{tmp_path}/bytes/x-%d.tar")
    assert digests(tmp_path / "bytes") == digests(tmp_path / "paths")


def test_a_struct_without_bytes_gives_its_path_and_one_without_both_is_absent(tmp_path):
    make_rows(tmp_path, n=1)
    rows = [
        row_of(safe_image={"bytes": None, "path": "images/safe-0.png"}, unsafe_image={"bytes": None, "path": None}),
        row_of(key="b", safe_image=None, unsafe_image={"bytes": image_bytes(3), "path": None}),
    ]
    pq.write_table(table_of(rows, safe_image=STRUCT, unsafe_image=STRUCT), tmp_path / "t.parquet")
    with tarfile.open(pack_table(tmp_path / "t.parquet", f"{tmp_path}/x-%d.tar").shards[0]) as tar:
        assert tar.getnames() == ["a.safe.png", "a.safe.txt", "b.safe.txt", "b.unsafe.png"]
        assert tar.extractfile("a.safe.png").read() == (tmp_path / "images/safe-0.png").read_bytes()
        assert tar.extractfile("b.unsafe.png").read() == image_bytes(3)


def test_texts_as_categories_and_keys_as_numbers_are_taken(tmp_path):
    rows = [row_of(key=number, tag="hate", safe_text="text") for number in range(3)]
    types = dict.fromkeys(("tag", "safe_text"), pa.dictionary(pa.int8(), pa.large_string()))
    pq.write_table(table_of(rows, key=pa.int16(), **types), tmp_path / "t.parquet")
    packed = pack_table(tmp_path / "t.parquet", f"{tmp_path}/x-%d.tar")
    assert (packed.n_pairs, packed.tags, packed.members["safe_text"]) == (3, {"hate": 3}, 3)


PICTURE = image_bytes(1, size=(200, 200))
REFUSED = {
    "no picture": (b"\x00" * 10**6, "image of 1000000 bytes cannot be packed: no image, expected a JPEG"),
    "no bytes": (b"", "image of 0 bytes cannot be packed: 0 bytes, expected"),
    "other struct": (
        {"height": 3, "data": PICTURE},
        r"got a struct of \['height', 'data'\], expected a path, the bytes",
    ),
    "pixels": (
        [[[1, 2, 3]] * 200] * 200,
        r"got a list of 200, such as \[\[1, 2, 3\], .*, which are not the bytes of a file",
    ),
    "beyond a byte": ([1, 256], "got a list of 2, such as 1, which are not the bytes of a file"),
    "number": (7, r"got 7 \(int\), expected a path, the bytes"),
    "number in a struct": ({"bytes": 7, "path": "a"}, r"got 7 \(int\), expected a path"),
    "other data URI": ("data:image/svg+xml;utf8,<svg/>", "a data: URI that is not base64"),
    "no base64": ("data:image/png;base64,$$$" + "A" * 10**5, "which is not valid base64"),
    "empty list": ([], r"got \[\] \(list\), expected a path"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_thing_than_a_picture_is_named_in_a_short_line(tmp_path, case):
    value, words = REFUSED[case]
    pq.write_table(pa.Table.from_pylist([row_of(safe_image=value)]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=f"^row 1 of .*, column safe_image: .*{words}") as caught:
        pack_table(tmp_path / "t.parquet", f"{tmp_path}/x-%d.tar")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("column", ["key", "tag", "safe_text"])
def test_a_struct_where_a_text_belongs_is_named_in_a_short_line(tmp_path, column):
    pq.write_table(pa.Table.from_pylist([row_of(**{column: {"bytes": PICTURE, "path": None}})]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=rf"column {column}: got \{{'bytes': b.*… \(dict\), expected text") as caught:
        pack_table(tmp_path / "t.parquet", f"{tmp_path}/x-%d.tar")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"key": "a", "key": "b"}', "is not valid JSON: key 'key' is given twice"),
        ('{"key": ' + "9" * 5000 + "}", "is not valid JSON: a whole number has 5000 digits"),
        ("[" * 100_000, "is not valid JSON: it is nested too deep"),
        (json.dumps(row_of(key=float("nan"))), r"column key: got nan \(float\), expected text"),
        (json.dumps(row_of(key="x" * 10**6)), "x…' is longer than 200 bytes|x… is longer than 200 bytes"),
        (json.dumps(row_of(safe_image="p" * 10**6)), "image '.*ppp…ppp.*' cannot be read: File name too long"),
    ],
)
def test_a_line_of_json_that_makes_no_sense_is_refused_in_a_short_line(tmp_path, line, words):
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=words) as caught:
        pack_table(tmp_path / "t.jsonl", f"{tmp_path}/x-%d.tar")
    assert len(str(caught.value)) < 700 + len(str(tmp_path))


def test_paths_start_at_the_folder_of_a_linked_table(tmp_path):
    rows = make_rows(tmp_path / "linked", n=1)
    (tmp_path / "real").mkdir()
    write_table(tmp_path / "real/t.csv", rows)
    (tmp_path / "linked/t.csv").symlink_to("../real/t.csv")
    assert pack_table(tmp_path / "linked/t.csv", f"{tmp_path}/x-%d.tar").n_pairs == 1


MEASURE = """
import resource, sys
from tasks.shards.packing import pack_table
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
pack_table(__import__("pathlib").Path(sys.argv[1]), sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
def test_a_table_of_large_pictures_does_not_lie_in_memory(tmp_path):
    noise = np.random.default_rng(0)
    schema = pa.schema([(name, pa.binary() if "image" in name else pa.string()) for name in COLUMNS])
    rows = [
        row_of(key=str(number), safe_image=PICTURE + noise.bytes(2_000_000), unsafe_image=None) for number in range(80)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "t.parquet")
    del rows
    command = [sys.executable, "-c", MEASURE, tmp_path / "t.parquet", f"{tmp_path}/x-%d.tar"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert int(done.stdout) < 110, "160 MB of pictures"
