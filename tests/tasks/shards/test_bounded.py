"""Files that took a reader for minutes, or that two readers understood differently: a stated outcome within seconds."""

import gzip
import io
import json
import random
import struct
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from data_specs.errors import DataError, MachineError
from data_specs.schemas import pair_id
from tasks.reporting.members import read_members
from tasks.shards import elsewhere as elsewhere_module
from tasks.shards.census import take_census
from tasks.shards.images import BadImage, decode_rgb
from tests.cases.shard_files import (
    END,
    caption_tensor,
    image_bytes,
    inspected,
    member,
    pair,
    pairs,
    picture,
    read_all,
    tar_bytes,
    write_tar,
)

# Of this process's own: other programs take none of it.
SECONDS = 60


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def checked(path):
    """The account of one shard, taken in bounded time."""
    start = time.process_time()
    (census,) = take_census([str(path)], path.parent)
    assert time.process_time() - start < SECONDS
    return census


def bad_of(tmp_path, **changed):
    census = checked(write_tar(tmp_path / "x.tar", pair("a", **changed) + pair("b")))
    assert (census.error, census.n_samples) == (None, 2)
    return [(item.key, item.reason, item.detail) for item in census.bad]


def test_a_png_of_millions_of_chunks_is_a_bad_image(tmp_path):
    png = image_bytes(1)
    data = png[:33] + chunk(b"teSt") * 4_000_000 + png[33:]
    assert bad_of(tmp_path, safe_png=data) == [("a", "undecodable image", "safe.png: more than 100000 chunks")]


@pytest.mark.slow
@pytest.mark.parametrize("filler", [b"\xff" * 60_000_000, b"\xff\xfe\x00\x02" * 5_000_000])
def test_a_jpeg_of_filler_is_a_bad_image(tmp_path, filler):
    data = b"\xff\xd8" + filler + image_bytes(1, "JPEG")[2:]
    ((key, reason, detail),) = bad_of(tmp_path, safe_png=data)
    assert (key, reason) == ("a", "undecodable image")
    assert "more than 100000 segments and bytes between them" in detail


def test_a_jpeg_of_many_scans_is_a_bad_image():
    buffer = io.BytesIO()
    picture(1, (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    assert decode_rgb(data).size == (64, 64)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(BadImage, match="more than 64 scans"):
        decode_rgb(data[:last] + data[last:-2] * 100 + b"\xff\xd9")


def test_colours_beyond_the_palette_are_a_bad_image():
    def png(*values):
        rows = zlib.compress(b"".join(b"\0" + bytes(values) for _ in range(2)))
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", len(values), 2, 8, 3, 0, 0, 0))
        palette = chunk(b"PLTE", b"\x01\x02\x03\x04\x05\x06")
        return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", rows) + chunk(b"IEND")

    assert np.asarray(decode_rgb(png(0, 1))).tolist() == [[[1, 2, 3], [4, 5, 6]]] * 2
    with pytest.raises(BadImage, match="a pixel has colour 2 of a palette of 2"):
        decode_rgb(png(0, 2))


def sparse_map(n_blocks):
    """An old GNU sparse member whose map goes on for as many blocks."""
    header = bytearray(member("a.safe.txt", b"", type=tarfile.GNUTYPE_SPARSE)[:512])
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = (b"%011o\0" % 1 + b"%011o\0" % 1) * 21
    return bytes(header) + (block + b"\1" + bytes(7)) * (n_blocks - 1) + block + bytes(8)


def sparse_pax(n_lines):
    records = b"".join(
        b"%d %s" % (len(text) + 3, text)
        for text in (b"GNU.sparse.major=1\n", b"GNU.sparse.minor=0\n", b"GNU.sparse.name=a.safe.txt\n")
    )
    lines = b"%d\n" % (n_lines // 2) + b"1\n" * n_lines
    return member("pax", records, type=tarfile.XHDTYPE) + member("GNUSparseFile.0/a.safe.txt", lines)


@pytest.mark.slow
@pytest.mark.parametrize("hostile", [sparse_map(100_000), sparse_pax(10_000_000)], ids=["old GNU", "pax 1.0"])
def test_a_sparse_map_is_passed_over(tmp_path, hostile):
    rest = b"".join(member(name, data) for name, data in pair("a", safe_txt=None) + pair("b"))
    (tmp_path / "x.tar").write_bytes(hostile + rest + END)
    census = checked(tmp_path / "x.tar")
    assert census.error is None
    assert {(item.key, item.reason) for item in census.bad} == {("a", "sparse member")}


def test_a_name_of_slashes_is_an_invalid_name(tmp_path):
    name = member("L", b"/" * 200_000 + b"\0", type=tarfile.GNUTYPE_LONGNAME) + member("x")
    (tmp_path / "x.tar").write_bytes(name + b"".join(member(*item) for item in pair("b")) + END)
    census = checked(tmp_path / "x.tar")
    assert (census.error, [item.reason for item in census.bad]) == (None, ["invalid member name"])


def test_a_tar_in_two_gzip_members_is_read_whole(tmp_path):
    data, path = tar_bytes(pairs(["a", "b", "c"])), tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(data[:3000]) + gzip.compress(data[3000:]))
    shard = inspected(path)
    batches, bad = read_all([shard], "text", caption_tensor)
    assert ([key for batch in batches for key in batch.keys], bad) == (["a", "b", "c"], [])
    wanted = (pair_id(shard.sha256, "c"), "text", "safe")
    assert dict(read_members([shard], [wanted])) == {wanted: b"a safe caption of c"}


def test_a_global_header_that_renames_every_member_is_refused_and_another_one_is_not(tmp_path):
    whole = b"".join(member(*item) for item in pair("a")) + END
    for record, error in ((b"19 path=b.safe.txt\n", "has a global header that names"), (b"14 comment=12\n", None)):
        (tmp_path / "x.tar").write_bytes(member("g", record, type=tarfile.XGLTYPE) + whole)
        census = checked(tmp_path / "x.tar")
        assert census.bad == []
        assert census.error is None if error is None else error in census.error


def test_a_tag_is_a_label(tmp_path):
    tag = json.dumps({"tag": "x" * 1001}).encode()
    assert bad_of(tmp_path, json=tag) == [
        ("a", "member too large", "the tag has 1001 characters, expected at most 1000")
    ]
    assert bad_of(tmp_path, json=json.dumps({"tag": "x" * 1000}).encode()) == []


def test_an_endless_word_is_a_bad_caption_and_a_text_without_spaces_is_not(tmp_path):
    letters = random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=9999)
    word = "".join(letters).encode()
    assert bad_of(tmp_path, safe_txt=word) == [("a", "member too large", "safe.txt has a word of over 1000 letters")]
    for text in ("ก" * 3000, "的一是不了人我在有他" * 300, "a " * 4000, "w" * 1000):
        assert bad_of(tmp_path, safe_txt=text.encode()) == []


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x")
    return buffer.getvalue()


OTHERS = {
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(2000),
    "a zip archive that holds 'a.txt'": zipped(),
    "a zstd archive": b"\x28\xb5\x2f\xfd" + bytes(2000),
    "an HTML page": b"<!DOCTYPE html><html>404" + b" " * 2000,
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n",
}


@pytest.mark.parametrize("words", OTHERS)
def test_another_file_named_tar_is_named_for_what_it_is(tmp_path, words):
    (tmp_path / "x.tar").write_bytes(OTHERS[words])
    with pytest.raises(DataError, match=rf"x\.tar is {words}.*; expected a tar file, plain or compressed"):
        inspected(tmp_path / "x.tar")


def no_memory(*_given):
    raise MemoryError


def no_memory_for_captions(caption):
    # The reader asks for the size of a batch with one letter.
    return caption_tensor(caption) if len(caption) == 1 else no_memory()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_decoder_without_memory_names_its_shard_and_sample(tmp_path, workers):
    shard = inspected(write_tar(tmp_path / "x.tar", pairs(["a", "b"])))
    with pytest.raises(MachineError, match=r"memory ran out at sample 'a' of shard .*x\.tar; use fewer --workers"):
        read_all([shard], "text", no_memory_for_captions, workers=workers)


def test_a_picture_without_memory_is_not_counted_as_bad(monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", no_memory)
    with pytest.raises(MemoryError):
        decode_rgb(image_bytes(1))


def test_whatever_opening_one_shard_meets_the_others_are_checked(tmp_path, monkeypatch):
    paths = [str(write_tar(tmp_path / f"{name}.tar", pair(name))) for name in "ab"]
    open_shard = elsewhere_module.inspect_shard

    def inspect(location, content, path):
        if location == paths[0]:
            raise RecursionError("too deep\nsecond line")
        return open_shard(location, content, path)

    monkeypatch.setattr(elsewhere_module, "inspect_shard", inspect)
    first, second = take_census(paths, tmp_path)
    assert first.error == f"shard {paths[0]} cannot be checked: RecursionError: too deep"
    assert (second.error, second.n_samples) == (None, 1)
