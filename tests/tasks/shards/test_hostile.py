"""Tars made to hurt: every reader ends, with a counted bad sample or an error, and the other shards are read."""

import gzip
import io
import random
import struct
import tarfile
import time

import pytest

from data_specs.errors import DataError
from tasks.shards.census import take_census
from tests.cases.shard_files import (
    END,
    caption_tensor,
    inspected,
    member,
    pair,
    pairs,
    pixels,
    read_all,
    tar_bytes,
    write_tar,
)


def negative_size(name):
    header = bytearray(member(name)[:512])
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base 256: -512
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def sparse(name, claimed):
    header = bytearray(member(name, b"", type=tarfile.GNUTYPE_SPARSE)[:512])
    header[483:495] = b"\x80" + bytes(3) + struct.pack(">Q", claimed)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def pax(record):
    return member("pax", record, type=tarfile.XHDTYPE)


HOSTILE = {
    "a negative size": (negative_size("a.safe.txt") + END, "claims -512 bytes"),
    "a negative size in a pax record": (pax(b"11 size=-9\n") + member("a.safe.txt") + END, "damaged"),
    "hundreds of pax records": (pax(b"12 comment=\n") * 2000 + member("a.safe.txt") + END, "chain without a member"),
    "hundreds of long names": (
        member("x", b"n\0", type=tarfile.GNUTYPE_LONGNAME) * 2000 + member("a.safe.txt") + END,
        "chain without a member",
    ),
    "a pax record of 2 MB": (pax(b"2097152 comment=" + b"x" * 2097135 + b"\n") + END, "claims 2097152 bytes"),
    "a member of 80 GB": (member("a.safe.txt", b"x", size=(1 << 36) - 1)[:512] + END, "damaged"),
    "a chain of links": (member("a.safe.txt", b"", type=tarfile.SYMTYPE, linkname="a.safe.txt") + END, None),
    "a sparse member of 40 GB": (sparse("a.safe.txt", 40_000_000_000) + END, None),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_check_ends_says_why_and_goes_on_to_the_next_shard(tmp_path, kind):
    data, text = HOSTILE[kind]
    (tmp_path / "hostile.tar").write_bytes(data)
    sound = write_tar(tmp_path / "sound.tar", pairs(["a", "b"]))
    start = time.process_time()
    first, second = take_census([str(tmp_path / "hostile.tar"), str(sound)], tmp_path)
    assert time.process_time() - start < 60
    assert (second.error, second.n_samples, second.bad) == (None, 2, [])
    if text is None:
        assert first.bad[0].reason in ("missing member", "sparse member")
    else:
        assert text in first.error


def test_links_are_named_as_links(tmp_path):
    links = member("a.safe.txt", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    links += member("b.safe.txt", b"", type=tarfile.LNKTYPE, linkname="c.safe.txt")
    data = b"".join(member(name, content) for name, content in pair("a", safe_txt=None))
    (tmp_path / "x.tar").write_bytes(data + links + END)
    (census,) = take_census([str(tmp_path / "x.tar")], tmp_path)
    details = {item.key: item.detail for item in census.bad if item.reason == "missing member"}
    assert details["b"].startswith("safe.txt is a hard link") or "hard link" in str(census.bad)
    assert "symbolic link" in str([item.detail for item in census.bad])


def test_members_over_their_size_are_bad_for_the_encoder_that_would_read_them(tmp_path):
    members = (
        pair("a", safe_txt=b"x" * 70_000)
        + pair("b", json=b"[" * 2_000_000)
        + pair("c")
        + pair("d", safe_txt=b"y" * 10_001)
    )
    shard = inspected(write_tar(tmp_path / "x.tar", members))
    batches, bad = read_all([shard], "text", caption_tensor)
    assert [key for batch in batches for key in batch.keys] == ["c"]
    assert [(item.key, item.reason) for item in bad] == [(key, "member too large") for key in "abd"]
    batches, bad = read_all([shard], "vision", pixels)
    assert [key for batch in batches for key in batch.keys] == ["a", "c", "d"]
    assert [(item.key, item.reason) for item in bad] == [("b", "member too large")]


def test_a_compressed_shard_that_expands_beyond_all_use_is_refused_before_it_is_expanded(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member("a.safe.txt", b"x", size=1 << 33)[:512] + bytes(10_000)))
    with pytest.raises(DataError, match="claims 8589934592 bytes"):
        inspected(path)


def test_an_endless_key_is_an_invalid_name(tmp_path):
    shard = inspected(write_tar(tmp_path / "x.tar", [("k" * 5000 + ".safe.txt", b"x"), *pair("a")]))
    assert [sample.fault for sample in shard.samples] == ["invalid member name", None]


def test_an_exception_of_a_transform_names_the_sample(tmp_path):
    def transform(caption):
        raise ZeroDivisionError("tokenizer of a third party")

    shard = inspected(write_tar(tmp_path / "x.tar", pairs(["a"])))
    _, bad = read_all([shard], "text", transform)
    assert [(item.key, item.detail) for item in bad] == [("a", "ZeroDivisionError: tokenizer of a third party")]


def spoil(data, offsets, generator):
    """A few bytes changed anywhere, or one in a header whose checksum is then made right again."""
    if generator.random() < 0.5:
        for _ in range(generator.choice((1, 3, 20))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        return
    header = generator.choice(offsets)
    data[header + generator.randrange(512)] = generator.choice((0, 0xFF, 0x80, 0x37, generator.randrange(256)))
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])


def test_whatever_the_bytes_are_reading_ends_in_samples_bad_samples_or_one_error(tmp_path):
    generator, whole = random.Random(0), tar_bytes(pairs(["a", "b", "c"]))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        offsets = [info.offset for info in tar]
    path = tmp_path / "x.tar"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(whole)
        spoil(data, offsets, generator)
        path.write_bytes(data)
        try:
            read_all([inspected(path)], "text", caption_tensor)
            outcomes["read"] += 1
        except DataError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes
