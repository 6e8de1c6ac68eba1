import gzip
import io
import tarfile

import pytest

from data_specs.errors import DataError
from tasks.shards.inspection import open_shards
from tasks.shards.plan import BadSample
from tests.cases.shard_files import (
    caption_tensor,
    image_bytes,
    inspected,
    pair,
    pairs,
    pixels,
    read_all,
    tar_bytes,
    write_tar,
)


def offsets(path):
    with tarfile.open(path) as tar:
        return [(info.offset, info.offset_data, info.size) for info in tar]


def test_a_sound_shard_gives_its_keys_and_members_in_tar_order(tmp_path):
    shard = inspected(write_tar(tmp_path / "x.tar", pairs(["b", "a"])))
    assert [sample.key for sample in shard.samples] == ["b", "a"]
    assert shard.samples[0].members == ("json", "safe.png", "safe.txt", "unsafe.png", "unsafe.txt")
    assert [sample.fault for sample in shard.samples] == [None, None]
    assert shard.paired


def cut_header(data, offsets):
    return data[: offsets[7][0] + 100]


def cut_inside_a_member(data, offsets):
    return data[: offsets[6][1] + 5]


def cut_in_the_padding_of_a_member(data, offsets):
    return data[: offsets[6][1] + offsets[6][2]]


def cut_between_samples(data, offsets):
    return data[: offsets[5][0]]


def cut_before_the_end_mark(data, offsets):
    return data[: offsets[-1][1] + 512]


def spoiled_header(data, offsets):
    return data[: offsets[5][0]] + b"\xff" * 40 + data[offsets[5][0] + 40 :]


def wiped_header(data, offsets):
    return data[: offsets[5][0]] + bytes(512) + data[offsets[5][0] + 512 :]


BROKEN = {
    "header": (
        cut_header,
        r"is cut short: it ends at byte \d+ without the end-of-archive mark, so samples may be missing",
    ),
    "inside": (cut_inside_a_member, "is damaged or no tar file: unexpected end of data; pack or fetch it again"),
    "padding": (cut_in_the_padding_of_a_member, "is damaged or no tar file: unexpected end of data"),
    "between": (cut_between_samples, r"is cut short: it ends at byte \d+ without the end-of-archive mark"),
    "end mark": (cut_before_the_end_mark, r"is cut short: it ends at byte \d+ without the end-of-archive mark"),
    "empty": (lambda data, offsets: b"", "is empty: 0 bytes; expected a tar file"),
    "garbage": (lambda data, offsets: b"garbage" * 999, "is damaged or no tar file: file could not be opened"),
    "short garbage": (lambda data, offsets: b"garbage", "is damaged or no tar file"),
    "zeros": (lambda data, offsets: bytes(10240), "holds no samples; expected members such as KEY.safe.jpg"),
    "spoiled header": (spoiled_header, r"has a damaged member header at byte \d+; pack or fetch it again"),
    "spoiled first header": (lambda data, offsets: b"\xff" + data[1:], "is damaged or no tar file"),
    "wiped header": (
        wiped_header,
        "goes on after an end-of-archive mark at byte .*: a header was wiped out, or tars were",
    ),
    "joined": (
        lambda data, offsets: data + data,
        "goes on after .* or tars were joined end to end; pack or fetch it again",
    ),
    "cut gzip": (lambda data, offsets: gzip.compress(data)[:-300], "is damaged or no tar file"),
}


@pytest.mark.parametrize(("damage", "text"), BROKEN.values(), ids=BROKEN)
def test_a_broken_shard_is_refused_with_what_is_wrong(tmp_path, damage, text):
    path = write_tar(tmp_path / "x.tar", pairs(["a", "b", "c"]))
    path.write_bytes(damage(path.read_bytes(), offsets(path)))
    with pytest.raises(DataError, match=rf"shard .*x\.tar {text}"):
        inspected(path)


def test_a_compressed_shard_reads_like_a_plain_one(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(pairs(["a", "b"]))))
    batches, bad = read_all([inspected(path)], "text", caption_tensor)
    assert ([batch.keys for batch in batches], bad) == ([["a", "b"]], [])


def test_a_tar_that_lacks_only_the_second_zero_block_is_whole(tmp_path):
    path = write_tar(tmp_path / "x.tar", pair("a"))
    last = offsets(path)[-1]
    path.write_bytes(path.read_bytes()[: last[1] + 1024])
    assert len(inspected(path).samples) == 1


def test_what_is_no_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"shard .*none\.tar does not exist; expected a tar file"):
        open_shards([str(tmp_path / "none.tar")], None, tmp_path)
    with pytest.raises(DataError, match=r"shard .* is a folder; expected a tar file"):
        open_shards([str(tmp_path)], None, tmp_path)


def test_two_shards_with_the_same_bytes_are_refused(tmp_path):
    paths = [str(write_tar(tmp_path / f"{name}.tar", pair("a"))) for name in "xyz"]
    write_tar(tmp_path / "y.tar", pair("b"))
    with pytest.raises(DataError, match=r"shards .*x\.tar and .*z\.tar are the same bytes, so their pairs would count"):
        open_shards(paths, None, tmp_path)


def bad_in(tmp_path, members, encoder):
    shard = inspected(write_tar(tmp_path / "x.tar", members))
    batches, bad = read_all([shard], encoder, caption_tensor if encoder == "text" else pixels)
    return [key for batch in batches for key in batch.keys], bad


def cut(data, share):
    return data[: int(len(data) * share)]


JPEG = image_bytes(1, "JPEG", (12, 8))
BAD = {
    "no unsafe image": ("vision", {"unsafe_png": None}, "missing member", "no unsafe.jpg or unsafe.jpeg or"),
    "no safe text": ("text", {"safe_txt": None}, "missing member", "no safe.txt"),
    "empty caption": ("text", {"safe_txt": b""}, "empty caption", "safe.txt"),
    "blank caption": ("text", {"unsafe_txt": b" \n\t"}, "empty caption", "unsafe.txt"),
    "latin-1 caption": ("text", {"unsafe_txt": b"caf\xe9"}, "undecodable caption", "unsafe.txt: 'utf-8' codec can't"),
    "garbage image": ("vision", {"safe_png": b"garbage"}, "undecodable image", "safe.png: no image, expected a JPEG"),
    "empty image": ("vision", {"safe_png": b""}, "undecodable image", "safe.png: 0 bytes, expected a JPEG"),
    "bitmap": ("vision", {"safe_png": image_bytes(1, "BMP")}, "undecodable image", "safe.png: a BMP file, expected"),
    "cut jpeg": ("vision", {"unsafe_png": cut(JPEG, 0.9)}, "undecodable image", "unsafe.png: image file is truncated"),
    "cut png": ("vision", {"unsafe_png": cut(image_bytes(1), 0.6)}, "undecodable image", "unsafe.png: "),
    "tag is no JSON": ("text", {"json": b"{tag"}, "undecodable tag", "Expecting property name"),
    "tag is a number": ("vision", {"json": b'{"tag": 3}'}, "undecodable tag", "tag is int, not a string"),
    "tag in a list": ("text", {"json": b"[1]"}, "undecodable tag", "list indices"),
    "half a character": ("text", {"json": b'{"tag": "\\ud800"}'}, "undecodable tag", "surrogates not allowed"),
    "webdataset's own flag": ("text", {"__bad__": b"1"}, "invalid member name", ""),
}


@pytest.mark.parametrize(("encoder", "changed", "reason", "detail"), BAD.values(), ids=BAD)
def test_a_bad_sample_is_skipped_with_its_reason_and_the_others_are_read(tmp_path, encoder, changed, reason, detail):
    members = pair("a") + pair("b", 1, **changed) + pair("c", 2)
    keys, bad = bad_in(tmp_path, members, encoder)
    assert keys == ["a", "c"]
    assert [(item.key, item.reason) for item in bad] == [("b", reason)]
    assert detail in bad[0].detail


def test_a_fault_reads_the_same_each_time(tmp_path):
    members = pair("a", safe_png=b"garbage") + pair("b", safe_png=cut(JPEG, 0.5))
    first = bad_in(tmp_path, members, "vision")
    assert first == bad_in(tmp_path, members, "vision")
    assert "0x" not in str(first)


def test_two_samples_with_one_key_are_one_bad_sample(tmp_path):
    keys, bad = bad_in(tmp_path, pair("a") + pair("b") + pair("b", 1) + pair("c"), "text")
    assert (keys, bad) == (["a", "c"], [BadSample("b", "duplicate key")])
    keys, bad = bad_in(tmp_path, pair("a") + pair("b") + pair("a", 1) + pair("c"), "text")
    assert (keys, bad) == (["b", "c"], [BadSample("a", "duplicate key")])


def test_members_that_do_not_stand_together_are_a_bad_sample(tmp_path):
    members = pairs(["a", "b", "c"])
    members.append(members.pop(1))
    assert bad_in(tmp_path, members, "vision") == (["b", "c"], [BadSample("a", "members not adjacent")])


def test_a_file_that_belongs_to_no_sample_is_counted(tmp_path):
    members = [("README", b"hello"), *pair("a"), (".jpg", b"no key"), ("bad\x07key.safe.txt", b"x"), *pair("b")]
    keys, bad = bad_in(tmp_path, members, "text")
    assert keys == ["a", "b"]
    assert [(item.key, item.reason) for item in bad] == [
        (name, "invalid member name") for name in ("README", ".jpg", "bad\x07key")
    ]


def test_a_key_that_is_not_unicode_is_counted_under_a_name_that_can_be_written(tmp_path):
    keys, bad = bad_in(tmp_path, [*pair("a"), ("caf\udce9.safe.txt", b"x")], "text")
    assert (keys, bad) == (["a"], [BadSample("caf\\udce9", "invalid member name")])


def test_what_systems_and_webdataset_leave_in_a_tar_is_passed_over(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("d/._a.safe.txt", tarfile.REGTYPE),
            ("d/.DS_Store", tarfile.REGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
        for name, data in [("__meta__/a.safe.txt", b"x"), *pair("./d/a")]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    batches, bad = read_all([inspected(path)], "text", caption_tensor)
    assert ([batch.keys for batch in batches], bad) == ([["./d/a"]], [])


def test_a_link_in_place_of_a_member_is_a_missing_member(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in pair("a") + pair("b", safe_txt=None):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("b.safe.txt")
        link.type, link.linkname = tarfile.LNKTYPE, "a.safe.txt"
        tar.addfile(link)
    batches, bad = read_all([inspected(path)], "text", caption_tensor)
    assert [batch.keys for batch in batches] == [["a"]]
    assert bad == [BadSample("b", "missing member", "safe.txt is a hard link; pack the file itself")]
