import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from data_specs.errors import DataError
from data_specs.schemas import pair_id
from tasks.reporting.members import read_members
from tasks.reporting.thumbnails import thumbnail
from tasks.shards.images import BadImage
from tasks.shards.tar import Tar
from tests.cases.report_files import drawn_shards
from tests.cases.shard_files import image_bytes, inspected, pair, picture, write_tar

SIZES = [(1, 2), (48, 48), (100, 128), (129, 4), (500, 300), (3, 900)]


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("content", ["safe", "unsafe"])
def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(size, content):
    small = opened(thumbnail(image_bytes(3, size=size), content))
    assert (small.format, small.mode) == ("JPEG", "RGB")
    assert max(small.size) <= 128
    assert all(new <= old for new, old in zip(small.size, size, strict=True))
    scale = max(small.size) / max(size)
    assert all(abs(new - old * scale) <= 1 for new, old in zip(small.size, size, strict=True))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_unsafe_thumbnail_is_never_of_full_size(size):
    small = opened(thumbnail(image_bytes(4, size=size), "unsafe"))
    assert max(small.size) <= max(1, 0.75 * max(size))


def test_a_thumbnail_shows_the_picture():
    large = Image.new("RGB", (400, 200), (250, 10, 10))
    large.paste((10, 10, 250), (200, 0, 400, 200))
    buffer = io.BytesIO()
    large.save(buffer, format="PNG")
    small = np.asarray(opened(thumbnail(buffer.getvalue(), "unsafe")), dtype=float)
    assert small.shape == (64, 128, 3)
    assert np.abs(small[:, :56] - (250, 10, 10)).max() < 20
    assert np.abs(small[:, 72:] - (10, 10, 250)).max() < 20


def test_nothing_but_pixels_is_kept_of_a_picture():
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "SECRET-DESCRIPTION"
    picture(5, (300, 200)).save(buffer, format="JPEG", comment=b"SECRET-COMMENT", exif=exif, icc_profile=b"SECRET-ICC")
    assert buffer.getvalue().count(b"SECRET") == 3
    small = thumbnail(buffer.getvalue(), "safe")
    assert b"SECRET" not in small
    assert small == thumbnail(buffer.getvalue(), "safe")


def test_a_damaged_picture_is_refused():
    with pytest.raises(BadImage):
        thumbnail(image_bytes(1, size=(40, 40))[:-30], "safe")


def test_members_are_read_as_the_shards_hold_them(tmp_path):
    shards = drawn_shards(tmp_path, (4, 3, 2))
    wanted = {
        (pair_id(shards[0].sha256, shards[0].samples[2].key), "vision", "unsafe"): (0, "report-00002.unsafe.png"),
        (pair_id(shards[0].sha256, shards[0].samples[0].key), "text", "safe"): (0, "report-00000.safe.txt"),
        (pair_id(shards[2].sha256, shards[2].samples[1].key), "vision", "safe"): (2, "report-00001.safe.png"),
        (pair_id(shards[2].sha256, shards[2].samples[1].key), "text", "unsafe"): (2, "report-00001.unsafe.txt"),
    }
    found = dict(read_members(shards, wanted))
    assert found.keys() == wanted.keys()
    for key, (number, name) in wanted.items():
        with tarfile.open(shards[number].path) as tar:
            assert found[key] == tar.extractfile(name).read()


def test_only_wanted_members_are_read(tmp_path, monkeypatch):
    shards = drawn_shards(tmp_path, (5, 5))
    read, opened_tars = [], []
    extract, open_tar = Tar.read, Tar.__init__
    monkeypatch.setattr(Tar, "read", lambda tar, item: read.append(item.name) or extract(tar, item))
    monkeypatch.setattr(Tar, "__init__", lambda tar, path: opened_tars.append(path) or open_tar(tar, path))
    assert len(list(read_members(shards, [(pair_id(shards[1].sha256, "report-00003"), "vision", "safe")]))) == 1
    assert read == ["report-00003.safe.png"]
    assert opened_tars == [shards[1].path]


def test_the_best_of_several_endings_is_read_in_upper_case_too(tmp_path):
    members = [(name.replace(".safe.png", ".safe.PNG"), data) for name, data in pair("a", seed=1)]
    jpeg = image_bytes(9, "JPEG")
    shard = inspected(write_tar(tmp_path / "a.tar", [*members, ("a.unsafe.jpg", jpeg)]))
    identity = pair_id(shard.sha256, "a")
    found = dict(read_members([shard], [(identity, "vision", "safe"), (identity, "vision", "unsafe")]))
    assert found == {(identity, "vision", "safe"): image_bytes(1), (identity, "vision", "unsafe"): jpeg}


def test_a_pair_of_another_shard_is_refused(tmp_path):
    shards = drawn_shards(tmp_path, (2,))
    with pytest.raises(DataError, match=r"1 members of pairs are in none of the 1 shards.*'0000000000000000/x'"):
        list(read_members(shards, [("0000000000000000/x", "text", "safe")]))


def test_a_shard_that_changed_since_it_was_checked_is_refused(tmp_path):
    shards = drawn_shards(tmp_path, (2,))
    wanted = [(pair_id(shards[0].sha256, "report-00001"), "text", "safe")]
    write_tar(shards[0].path, pair("report-00000"))
    with pytest.raises(DataError, match=r"changed since it was checked: member 'report-00001.safe.txt' is gone"):
        list(read_members(shards, wanted))
    shards[0].path.write_bytes(b"no tar at all")
    with pytest.raises(DataError, match="changed since it was checked: ReadError"):
        list(read_members(shards, wanted))
