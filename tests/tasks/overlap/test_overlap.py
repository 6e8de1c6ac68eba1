"""Overlap against counting by hand, on random shards."""

import random
import tarfile
from collections import Counter

import pytest

from tasks.overlap.task import compare_contents
from tests.cases.shard_files import image_bytes, inspected, write_tar

PICTURES = [image_bytes(i) for i in range(6)]
CAPTIONS = [f"words {i}".encode() for i in range(6)]


def random_set(folder, name, rng, n_shards=2, n_pairs=5):
    shards, images, captions = [], [], []
    for number in range(n_shards):
        members = {}
        for pair in range(n_pairs):
            for side in ("safe", "unsafe"):
                picture, words = rng.choice(PICTURES), rng.choice(CAPTIONS)
                members[f"{name}{number}-{pair}.{side}.png"] = picture
                members[f"{name}{number}-{pair}.{side}.txt"] = (
                    rng.choice((b"", b" ", b"\n")) + words + rng.choice((b"", b"\n"))
                )
                images.append(picture)
                captions.append(words)
        path = folder / f"{name}{number}.tar"
        write_tar(path, [*members.items()])
        shards.append(inspected(path))
    return shards, images, captions


@pytest.mark.parametrize("seed", range(4))
def test_shared_and_repeated_members_are_those_counted_by_hand(tmp_path, seed):
    rng = random.Random(seed)
    calibration, images, captions = random_set(tmp_path, "c", rng)
    evaluation, other_images, other_captions = random_set(tmp_path, "e", rng)
    found = compare_contents(calibration, evaluation)
    assert found.shared_shards == 0
    assert found.shared_images == sum(item in images for item in other_images)
    assert found.shared_captions == sum(item in captions for item in other_captions)
    assert found.evaluation.n_images == len(other_images)
    assert found.evaluation.repeated_images == sum(n - 1 for n in Counter(other_images).values())
    assert found.calibration.repeated_captions == sum(n - 1 for n in Counter(captions).values())
    assert found.sentences[0].startswith("Calibration and evaluation share ")


def test_a_shard_of_both_sets_is_named(tmp_path):
    shards, images, _ = random_set(tmp_path, "c", random.Random(9), n_shards=1)
    found = compare_contents(shards, shards)
    assert (found.shared_shards, found.shared_images) == (1, len(images))
    assert "share 1 shards, 10 pictures, 10 captions" in found.sentences[0]


def test_sets_that_share_nothing_and_hold_nothing_twice_need_no_words(tmp_path):
    for name, at in (("a", 0), ("b", 2)):
        members = {}
        for offset, side in enumerate(("safe", "unsafe")):
            members[f"{name}.{side}.png"] = PICTURES[at + offset]
            members[f"{name}.{side}.txt"] = CAPTIONS[at + offset]
        write_tar(tmp_path / f"{name}.tar", [*members.items()])
    found = compare_contents([inspected(tmp_path / "a.tar")], [inspected(tmp_path / "b.tar")])
    assert found.sentences == []
    assert (found.shared_images, found.shared_captions, found.evaluation.n_images) == (0, 0, 2)


def test_tags_and_members_that_no_encoder_reads_do_not_count(tmp_path):
    members = {"k.safe.png": PICTURES[0], "k.unsafe.png": PICTURES[1], "k.safe.txt": b"a", "k.unsafe.txt": b"b"}
    more = {"k.json": b'{"tag": "x"}', "k.mask.png": PICTURES[0]}
    write_tar(tmp_path / "a.tar", [*(members | more).items()])
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert len(tar.getnames()) == 6
    held = compare_contents([], [inspected(tmp_path / "a.tar")]).evaluation
    assert (held.n_images, held.n_captions, held.repeated_images) == (2, 2, 0)
