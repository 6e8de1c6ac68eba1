import json
import tarfile

import pytest

from data_specs.errors import DataError, SpecError
from tasks.shards.visu import import_visu, read_visu
from tests.cases.shard_files import caption_of, caption_tensor, image_bytes, inspected, picture, pixels, read_all

TAGS = ("hate", "violence", "nudity")


def entry(number, **changed):
    return {
        "incremental_id": number,
        "coco_id": 1000 + number,
        "safe": f"a safe caption of {number}",
        "nsfw": f"an unsafe caption of {number}",
        "tag": TAGS[number % 3],
    } | changed


def write_texts(folder, entries, split="train"):
    path = folder / f"ViSU-Text_{split}.json"
    path.write_text(json.dumps(entries))
    return path


def put(path, seed, format="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(seed, format))
    return path


@pytest.fixture
def visu(tmp_path):
    """Six pairs; COCO images in two folders, unsafe images of two splits with the same ids."""
    for number in range(6):
        place = ("train2017", "deep/er/val2017")[number % 2]
        put(tmp_path / "coco" / place / f"{1000 + number:012d}.jpg", number)
        for split, first_seed in (("train", 100), ("test", 200)):
            put(tmp_path / "unsafe" / split / "model" / TAGS[number % 3] / str(number) / "0.jpg", first_seed + number)
            put(tmp_path / "unsafe" / split / "model" / TAGS[number % 3] / str(number) / "1.jpg", 999)
    put(tmp_path / "coco" / "train2017" / f"COCO_train2014_{1000:012d}.jpg", 999)
    return tmp_path


def run(folder, texts, out="x-%d.tar", **options):
    options = {"coco": folder / "coco", "unsafe_images": folder / "unsafe"} | options
    return import_visu(texts, f"{folder}/out/{out}", **options)


@pytest.mark.parametrize(("split", "first_seed"), [("train", 100), ("test", 200)])
def test_every_pair_comes_back_with_the_images_of_its_split(visu, split, first_seed):
    imported = run(visu, write_texts(visu, [entry(number) for number in range(6)], split), max_count=4)

    assert (imported.packed.n_pairs, imported.left_out) == (6, {})
    assert imported.packed.tags == dict.fromkeys(sorted(TAGS), 2)
    shards = [inspected(path) for path in imported.packed.shards]
    texts, bad = read_all(shards, "text", caption_tensor, batch_size=20)
    assert bad == []
    assert [key for batch in texts for key in batch.keys] == list("012345")
    assert [tag for batch in texts for tag in batch.tags] == [TAGS[number % 3] for number in range(6)]
    assert [caption_of(row) for batch in texts for row in batch.inputs["unsafe"]] == [
        f"an unsafe caption of {number}" for number in range(6)
    ]
    images, _ = read_all(shards, "vision", pixels, batch_size=20)
    for side, seed in (("safe", 0), ("unsafe", first_seed)):
        rows = [row for batch in images for row in batch.inputs[side]]
        assert all((row == pixels(picture(seed + number))).all() for number, row in enumerate(rows))


def test_the_folder_of_one_split_may_be_given_itself(visu):
    texts = write_texts(visu, [entry(3)], "validation")
    imported = run(visu, texts, unsafe_images=visu / "unsafe" / "test")
    images, _ = read_all([inspected(path) for path in imported.packed.shards], "vision", pixels)
    assert (images[0].inputs["unsafe"][0] == pixels(picture(203))).all()


def test_empty_captions_are_left_out_and_counted(visu):
    entries = [entry(0), entry(1, nsfw=""), entry(2, safe=" \n"), entry(3, nsfw="  ", safe=""), entry(4)]
    imported = run(visu, write_texts(visu, entries))
    assert imported.packed.n_pairs == 2
    assert imported.left_out == {
        "empty unsafe caption": 1,
        "empty safe caption": 1,
        "empty safe and unsafe caption": 1,
    }


def test_missing_images_are_refused_with_their_number_and_the_first_names(visu):
    entries = [entry(number) for number in range(9)]
    (visu / "coco/train2017/000000001002.jpg").unlink()
    with pytest.raises(DataError) as caught:
        run(visu, write_texts(visu, entries))
    assert str(caught.value) == (
        f"4 of 9 pairs lack an image (4 safe, 3 unsafe); first: 000000001002.jpg below {visu}/coco, 000000001006.jpg below"
        f" {visu}/coco, 6/0.jpg below {visu}/unsafe, 000000001007.jpg below {visu}/coco, 7/0.jpg below {visu}/unsafe;"
        " complete the folders, or give --skip-missing to leave such pairs out, or --texts-only to pack captions alone"
    )
    assert not (visu / "out").exists()


def test_pairs_without_images_may_be_left_out_and_are_counted_by_what_is_missing(visu):
    (visu / "coco/train2017/000000001002.jpg").unlink()
    (visu / "unsafe/train/model/violence/4/0.jpg").unlink()
    imported = run(visu, write_texts(visu, [entry(number) for number in range(8)]), skip_missing=True)
    assert imported.packed.n_pairs == 4
    assert imported.left_out == {
        "missing safe image": 1,
        "missing unsafe image": 1,
        "missing safe and unsafe image": 2,
    }


def test_texts_alone_need_no_image(tmp_path):
    texts = write_texts(tmp_path, [entry(109551, nsfw=""), entry(2, safe='a "quote"\n$(id)'), entry(3, tag=None)])
    imported = import_visu(texts, f"{tmp_path}/x-%d.tar", coco=None, unsafe_images=None, texts_only=True)
    assert (imported.packed.n_pairs, imported.left_out) == (2, {"empty unsafe caption": 1})
    assert (imported.packed.tags, imported.packed.n_untagged) == ({TAGS[2]: 1}, 1)
    with tarfile.open(imported.packed.shards[0]) as tar:
        assert tar.getnames() == ["2.json", "2.safe.txt", "2.unsafe.txt", "3.safe.txt", "3.unsafe.txt"]
        assert tar.extractfile("2.safe.txt").read() == b'a "quote"\n$(id)'


def test_nothing_left_to_pack_is_refused(tmp_path):
    texts = write_texts(tmp_path, [entry(1, nsfw="")])
    with pytest.raises(DataError, match=r"none of the 1 pairs of .* is left to pack: {'empty unsafe caption': 1}"):
        import_visu(texts, f"{tmp_path}/x-%d.tar", coco=None, unsafe_images=None, texts_only=True)


def test_image_folders_are_needed_and_must_exist(visu):
    texts = write_texts(visu, [entry(1)])
    with pytest.raises(SpecError, match="--coco and --unsafe-images are both needed; or give --texts-only"):
        run(visu, texts, coco=None)
    with pytest.raises(DataError, match=r"--coco .*nowhere is no folder"):
        run(visu, texts, coco=visu / "nowhere")
    with pytest.raises(DataError, match=r"--unsafe-images .*nowhere is no folder"):
        run(visu, texts, unsafe_images=visu / "nowhere")


def test_a_file_name_without_split_beside_several_splits_is_refused(visu):
    texts = write_texts(visu, [entry(1)]).rename(visu / "texts.json")
    with pytest.raises(
        SpecError, match=r"holds the splits test, train, but the name of .*texts\.json does not end in one"
    ):
        run(visu, texts)


def test_two_unsafe_images_for_one_pair_are_refused(visu):
    put(visu / "unsafe/train/other-model/1/0.jpg", 5)
    with pytest.raises(
        DataError, match=r"incremental_id 1 has two unsafe images: .*model/violence/1/0\.jpg and .*other-m"
    ):
        run(visu, write_texts(visu, [entry(1)]))


def test_the_same_coco_image_in_two_folders_is_one_and_links_in_a_circle_end(visu):
    put(visu / "coco/a-copy" / f"{1001:012d}.jpg", 1)
    (visu / "coco/circle").symlink_to(visu / "coco")
    (visu / "linked").symlink_to(visu / "coco")
    first = run(visu, write_texts(visu, [entry(1)]), out="a-%d.tar")
    second = run(visu, write_texts(visu, [entry(1)]), out="b-%d.tar", coco=visu / "linked")
    assert first.packed.shards[0].read_bytes() == second.packed.shards[0].read_bytes()


def test_the_folders_are_walked_only_once_existing_shards_are_ruled_out(visu):
    texts = write_texts(visu, [entry(1)])
    run(visu, texts)
    with pytest.raises(SpecError, match="--out would mix with 1 existing shards"):
        run(visu, texts, coco=visu / "nowhere")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "cannot read .*json: "),
        ("[]", "holds list, expected a list of pairs"),
        ('{"incremental_id": 1}', "holds dict, expected a list of pairs"),
        ("[3]", "entry 1 of .* is int, expected an object"),
        (json.dumps([entry(1), entry(2, nsfw=None)]), "entry 2 of .*: nsfw is None, expected text"),
        (
            json.dumps([entry(1, incremental_id="../../etc")]),
            r"entry 1 of .*: incremental_id is '\.\./\.\./etc', expected a whole number",
        ),
        (json.dumps([entry(-1)]), "incremental_id is -1, expected a whole number of at most 12 digits"),
        (json.dumps([entry(1, coco_id=10**12)]), "coco_id is 1000000000000, expected a whole number"),
        (json.dumps([entry(1, coco_id=True)]), "coco_id is True, expected a whole number"),
        (json.dumps([entry(1, tag=4)]), "tag is 4, expected text"),
        (json.dumps([entry(1), entry(1, incremental_id="01")]), "incremental_id 1 comes more than once"),
    ],
)
def test_texts_that_make_no_sense_are_refused_by_entry(tmp_path, content, text):
    path = tmp_path / "ViSU-Text_train.json"
    path.write_text(content)
    with pytest.raises(DataError, match=text):
        read_visu(path)


def test_numbers_may_be_given_as_text(tmp_path):
    pair = read_visu(write_texts(tmp_path, [entry(7) | {"incremental_id": "7", "coco_id": "1007"}]))[0]
    assert (pair.pair_id, pair.coco_name) == ("7", "000000001007.jpg")
