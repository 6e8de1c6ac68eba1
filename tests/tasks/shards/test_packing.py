import hashlib
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data_specs.errors import DataError, SpecError
from tasks.shards.packing import pack_table
from tasks.shards.tables import COLUMNS
from tests.cases.pair_tables import digests, make_rows, row_of, write_table
from tests.cases.shard_files import caption_of, caption_tensor, image_bytes, inspected, picture, pixels, read_all

NASTY = (
    'two\nlines, a "quote", and a comma',
    "$(touch /tmp/pwned) `id` ; rm -rf / | cat",
    "%s %d %06d {braces} {0} \\n \\",
    "naïve café 日本語 🙂 \u202e right to left",
    "'; DROP TABLE pairs; --",
    "\ttabs\t and \r carriage returns \r\n",
    "trailing spaces   ",
    "x" * 300,
)


def names_in(path):
    with tarfile.open(path) as tar:
        return tar.getnames()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_caption_and_image_comes_back_in_order(tmp_path, suffix):
    rows = make_rows(tmp_path)
    packed = pack_table(write_table(tmp_path / f"t{suffix}", rows), f"{tmp_path}/out/x-%06d.tar", max_count=2)

    assert [path.name for path in packed.shards] == ["x-000000.tar", "x-000001.tar", "x-000002.tar"]
    assert (packed.n_pairs, packed.tags, packed.n_untagged) == (5, {"hate": 3, "violence": 2}, 0)
    assert packed.members == {"safe_text": 5, "unsafe_text": 5, "safe_image": 5, "unsafe_image": 5}
    shards = [inspected(path) for path in packed.shards]
    assert [len(shard.samples) for shard in shards] == [2, 2, 1]
    texts, bad = read_all(shards, "text", caption_tensor)
    images, bad_images = read_all(shards, "vision", pixels)
    assert bad == bad_images == []
    assert [key for batch in texts for key in batch.keys] == [row["key"] for row in rows]
    assert [tag for batch in texts for tag in batch.tags] == [row["tag"] for row in rows]
    for side, first_seed in (("safe", 0), ("unsafe", 1000)):
        captions = [caption_of(row) for batch in texts for row in batch.inputs[side]]
        assert captions == [row[f"{side}_text"] for row in rows]
        decoded = torch.cat([batch.inputs[side] for batch in images])
        assert torch.equal(decoded, torch.stack([pixels(picture(first_seed + number)) for number in range(5)]))


def test_the_same_rows_give_the_same_bytes_from_any_kind_of_table(tmp_path):
    rows = make_rows(tmp_path)
    seen = []
    for number, suffix in enumerate((".csv", ".jsonl", ".parquet", ".csv")):
        out = tmp_path / f"out-{number}"
        pack_table(write_table(tmp_path / f"t{suffix}", rows), f"{out}/x-%d.tar", max_count=3)
        seen.append(digests(out))
    assert len(seen[0]) == 2
    assert seen == [seen[0]] * 4


def test_image_bytes_are_copied_and_named_by_their_content(tmp_path):
    rows = make_rows(tmp_path, n=3)
    for row, format in zip(rows, ("JPEG", "WEBP", "PNG"), strict=True):
        (tmp_path / row["safe_image"]).write_bytes(image_bytes(7, format))
    shard = pack_table(write_table(tmp_path / "t.csv", rows), f"{tmp_path}/x-%d.tar").shards[0]
    with tarfile.open(shard) as tar:
        for name, format in (("0000.safe.jpg", "JPEG"), ("0001.safe.webp", "WEBP"), ("0002.safe.png", "PNG")):
            assert tar.extractfile(name).read() == image_bytes(7, format)
        assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in tar} == {(0, 0, 0, "uwm", 0o644)}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_captions_survive_untouched(tmp_path, suffix):
    rows = [
        dict.fromkeys(COLUMNS, "") | {"key": str(i), "tag": text, "safe_text": text} for i, text in enumerate(NASTY)
    ]
    shard = pack_table(write_table(tmp_path / f"t{suffix}", rows), f"{tmp_path}/x-%d.tar").shards[0]
    with tarfile.open(shard) as tar:
        assert [tar.extractfile(f"{i}.safe.txt").read().decode() for i in range(len(NASTY))] == list(NASTY)
        assert [json.load(tar.extractfile(f"{i}.json"))["tag"] for i in range(len(NASTY))] == list(NASTY)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
@example(text="\x85\u2028 a line of its own \x1c")
def test_any_caption_survives_in_json_lines(tmp_path, text):
    folder = tmp_path / hashlib.sha256(text.encode()).hexdigest()
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.tar"):
        old.unlink()
    table = folder / "t.jsonl"
    row = dict.fromkeys(COLUMNS) | {"key": 1, "unsafe_text": text}
    table.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    with tarfile.open(pack_table(table, f"{folder}/x-%d.tar").shards[0]) as tar:
        assert tar.extractfile("1.unsafe.txt").read().decode() == text


def test_empty_values_are_absent_members(tmp_path):
    rows = [
        {"key": "a", "tag": None, "safe_text": "one", "unsafe_text": None, "safe_image": None, "unsafe_image": None},
        {"key": "b", "tag": " ", "safe_text": "two", "unsafe_text": "  ", "safe_image": "", "unsafe_image": ""},
    ]
    packed = pack_table(write_table(tmp_path / "t.jsonl", rows), f"{tmp_path}/x-%d.tar")
    assert names_in(packed.shards[0]) == ["a.safe.txt", "b.safe.txt"]
    assert (packed.tags, packed.n_untagged) == ({}, 2)
    assert packed.members == {"safe_text": 2, "unsafe_text": 0, "safe_image": 0, "unsafe_image": 0}


def test_columns_may_come_in_any_order_beside_others_and_after_a_byte_order_mark(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "\ufeffunsafe_image,note,safe_image,unsafe_text,safe_text,tag,key\n,hello,,bad,good,hate,k1\n\n",
        encoding="utf-8",
    )
    packed = pack_table(table, f"{tmp_path}/x-%d.tar")
    assert names_in(packed.shards[0]) == ["k1.json", "k1.safe.txt", "k1.unsafe.txt"]


REFUSED_ROWS = {
    "duplicate key": (
        [row_of(), row_of(key="b"), row_of()],
        r"row 3 of .*t.jsonl, column key: 'a' is also .* row 1 of",
    ),
    "dot": ([row_of(key="a.b")], r"row 1 .*column key: 'a\.b' holds a dot, a slash or a control character"),
    "slash": ([row_of(key="../a")], r"row 1 .*column key: '\.\./a' holds a dot"),
    "folder": ([row_of(key="a/b")], r"column key: 'a/b' holds a dot, a slash"),
    "newline": ([row_of(key="ab\n")], r"column key: 'ab\\n' holds a dot, a slash or a control character"),
    "long key": ([row_of(key="k" * 201)], "is longer than 200 bytes; expected a plain name"),
    "no key": ([row_of(), row_of(key=None)], "row 2 .*column key: it is empty, expected a name"),
    "yes as key": ([row_of(key=True)], r"column key: got True \(bool\), expected text or nothing"),
    "number as text": ([row_of(safe_text=3.5)], r"column safe_text: got 3\.5 \(float\), expected text"),
    "missing image": (
        [row_of(), row_of(key="b", unsafe_image="no.png")],
        "row 2 .*column unsafe_image: .*no.png' does not",
    ),
    "folder as image": (
        [row_of(safe_image=".")],
        "column safe_image: image .* does not exist; paths start at the table's",
    ),
    "NUL in a path": ([row_of(safe_image="a\0b")], "column safe_image: image .* does not exist"),
    "long path": ([row_of(safe_image="p" * 5000)], "column safe_image: image .* cannot be read"),
    "nothing": (
        [row_of(), row_of(key="b", safe_text="  ")],
        "row 2 of .* holds nothing: columns safe_text, .* all empty",
    ),
    "half a character": ([row_of(unsafe_text="\ud800")], r"column unsafe_text: '\\ud800' is not valid Unicode text"),
    "half a character in a tag": ([row_of(tag="\udfff")], "column tag: .* is not valid Unicode text"),
    "half a character in a key": ([row_of(key="\udfff")], "column key: .* is not valid Unicode text"),
}


@pytest.mark.parametrize(("rows", "text"), REFUSED_ROWS.values(), ids=REFUSED_ROWS)
def test_a_row_that_cannot_be_packed_is_named_and_nothing_is_left(tmp_path, rows, text):
    table = write_table(tmp_path / "t.jsonl", rows)
    with pytest.raises(DataError, match=text):
        pack_table(table, f"{tmp_path}/out/x-%d.tar", max_count=1)
    assert list((tmp_path / "out").rglob("*")) == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "0 bytes, expected a JPEG, PNG or WebP file"),
        (b"not an image", "no image, expected a JPEG"),
        (image_bytes(1, "BMP"), "a BMP file, expected a JPEG, PNG or WebP file"),
        (image_bytes(1, "GIF"), "a GIF file, expected"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "expected a JPEG, PNG or WebP file"),
    ],
)
def test_a_file_of_another_kind_is_no_image_whatever_its_name(tmp_path, data, text):
    (tmp_path / "x.jpg").write_bytes(data)
    table = write_table(tmp_path / "t.jsonl", [row_of(safe_image="x.jpg")])
    with pytest.raises(DataError, match=rf"row 1 of .*column safe_image: image '.*x\.jpg' cannot be packed: .*{text}"):
        pack_table(table, f"{tmp_path}/x-%d.tar")


HEADER = ",".join(COLUMNS)
REFUSED_TABLES = {
    "no column": (
        "t.csv",
        "key,tag,safe_text,unsafe_text,safe_image\n",
        "header of .* lacks column unsafe_image; got key,",
    ),
    "empty csv": ("t.csv", "", "lacks column key, tag, .*; got nothing; expected key"),
    "two columns": ("t.csv", HEADER + ",tag\n", "has column tag twice"),
    "short row": ("t.csv", HEADER + "\na,,x,,,\nb,,x\n", r"row 2 of .*\(line 3\) has 3 values, but the header names 6"),
    "open quote": ("t.csv", HEADER + '\na,,"x,,,\n', "row 1 of .* is not valid csv"),
    "no rows": ("t.csv", HEADER + "\n", "there are no rows to pack"),
    "other encoding": ("t.csv", (HEADER + "\na,,caf\xe9,,,\n").encode("latin-1"), "is not UTF-8"),
    "not JSON": ("t.jsonl", "{'key': 1}\n", "row 1 of .* is not valid JSON"),
    "list": ("t.jsonl", "[1]\n", "row 1 of .* is list, expected an object a line"),
    "no key in a line": ("t.jsonl", '{"key": "a"}\n', "row 1 of .* lacks column tag, safe_text"),
    "not parquet": ("t.parquet", "PAR1 no", "cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "text"), REFUSED_TABLES.values(), ids=REFUSED_TABLES)
def test_a_table_that_cannot_be_read_is_refused_by_name(tmp_path, name, content, text):
    table = tmp_path / name
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=text):
        pack_table(table, f"{tmp_path}/x-%d.tar")


def test_a_parquet_file_without_a_column_is_refused(tmp_path):
    pq.write_table(pa.table({"key": ["a"], "tag": ["b"]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="lacks column safe_text, unsafe_text, safe_image, unsafe_image; got key, tag"):
        pack_table(tmp_path / "t.parquet", f"{tmp_path}/x-%d.tar")


def test_a_missing_table_and_one_of_another_kind_are_told_apart(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        pack_table(tmp_path / "none.csv", f"{tmp_path}/x-%d.tar")
    with pytest.raises(SpecError, match=r"ends in '\.xlsx'; expected one of \.csv, \.jsonl, \.parquet"):
        pack_table(tmp_path / "t.xlsx", f"{tmp_path}/x-%d.tar")


def test_a_phone_s_jpeg_with_a_second_picture_is_a_jpeg(tmp_path):
    picture(1).save(tmp_path / "x", "MPO", save_all=True, append_images=[picture(2)])
    shard = pack_table(
        write_table(tmp_path / "t.jsonl", [row_of(safe_image="x", unsafe_image="x")]), f"{tmp_path}/x-%d.tar"
    ).shards[0]
    assert names_in(shard) == ["a.safe.jpg", "a.safe.txt", "a.unsafe.jpg"]
    batches, bad = read_all([inspected(shard)], "vision", pixels)
    assert ([batch.keys for batch in batches], bad) == ([["a"]], [])
