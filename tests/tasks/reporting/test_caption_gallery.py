"""Which captioned pictures are shown."""

import random

import pyarrow as pa
import pytest

from data_specs.caption_figures import judges_of
from data_specs.errors import DataError
from data_specs.gallery import WRITTEN_CHARS, CaptionGallery
from tasks.lineage.store import Store
from tasks.reporting.caption_gallery import pick_pictures, pictures_written_about
from tasks.reporting.task import write_caption_gallery
from tests.cases.captioned import JUDGES, SAID, judged, reported, written
from tests.cases.report_files import CONTEXT, drawn_shards

DISPUTED = [{"a": "safe", "b": "unsafe"}, {"a": "safe", "b": "unsafe"}]
BROKEN = [{"a": "safe", "b": "safe"}, {"a": "unsafe", "b": "unsafe"}]
MENDED = [{"a": "unsafe", "b": "refused"}, {"a": "safe", "b": "refused"}]
NEITHER = [{"a": "safe", "b": "empty"}, {"a": "refused", "b": "unsafe"}]


def test_disputed_broken_and_mended_pictures_come_by_turns_and_before_the_others():
    said = [NEITHER, MENDED, DISPUTED, BROKEN, NEITHER, MENDED, BROKEN, DISPUTED, NEITHER]
    picked = pick_pictures(said, 0, 100)
    assert sorted(picked) == [*range(9)]
    assert [said[place] for place in picked] == [DISPUTED, BROKEN, MENDED] * 2 + [NEITHER] * 3


def test_a_quarter_of_what_is_shown_is_drawn_from_the_others():
    said = [MENDED] * 50 + [NEITHER] * 50
    picked = pick_pictures(said, 3, 20)
    assert [said[place] for place in picked] == [MENDED] * 15 + [NEITHER] * 5
    # Where there are fewer others their places go to the first.
    assert len(pick_pictures([MENDED] * 50 + [NEITHER], 3, 20)) == 20
    assert pick_pictures([], 3, 20) == []


def test_a_picture_is_shown_once_whatever_is_true_of_it():
    both = [{"a": "safe", "b": "unsafe"}, {"a": "unsafe", "b": "safe"}]
    said = [random.Random(7).choice([both, NEITHER]) for _ in range(30)]
    picked = pick_pictures(said, 1, 30)
    assert sorted(picked) == [*range(30)]


def test_each_picture_is_as_likely_as_another():
    first = [pick_pictures([MENDED] * 10, seed, 1)[0] for seed in range(500)]
    assert all(20 < first.count(place) < 80 for place in range(10))  # 50 expected, standard deviation 6.7


def outcomes(*rows):
    names = ("pair_id", "content", "tag", "caption", "judge.a", "judge.b")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_captions_of_all_models_are_brought_together_by_picture():
    first = outcomes(
        ("s/0", "safe", None, "x" * 700, "safe", "safe"),
        ("s/0", "unsafe", None, "two", "unsafe", "cut"),
        ("s/1", "safe", "hate", "three", "safe", "safe"),
    )
    second = outcomes(
        ("s/0", "unsafe", None, "deux", "safe", "cut"), ("s/0", "safe", None, "un", "safe", "safe"), ("s/9", "safe", None, "", "empty", "empty")
    )  # fmt: skip
    assert judges_of(first) == ["a", "b"]
    safe, unsafe = pictures_written_about([first, second], ["a", "b"])
    assert (safe.key, unsafe.key) == (("s/0", "vision", "safe"), ("s/0", "vision", "unsafe"))
    assert safe.captions == ["x" * WRITTEN_CHARS + "…", "un"]
    assert unsafe.captions == ["two", "deux"]
    assert unsafe.said == [{"a": "unsafe", "b": "cut"}, {"a": "safe", "b": "cut"}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("captions") / "store")


@pytest.mark.slow
def test_the_gallery_counts_all_pictures_and_shows_each_with_its_captions(tmp_path, store):
    captions = reported(store, tmp_path)
    made = store.path(captions.gallery)
    found = CaptionGallery.model_validate_json((made / "captions.json").read_bytes())
    assert (found.models, found.judges) == (["original", "edited", "random"], ["words", "knives"])
    # An angry woman is unsafe to one judge, and without a knife safe to the other.
    assert (found.n_pictures, found.n_disputed, found.n_turned) == (16, 1, {"broken": 1, "mended": 5})
    assert len(found.pictures) == 16
    by_key = {(item.member.pair_id, item.member.content): item for item in found.pictures}
    pairs = [*dict.fromkeys(pair for pair, _ in sorted(by_key))]
    assert len(pairs) == 8
    said = {name: sorted(both) for name, both in SAID.items()}
    for place, name in enumerate(found.models):
        told = [tuple(by_key[pair, side].captions[place].caption for side in ("safe", "unsafe")) for pair in pairs]
        assert sorted(told) == said[name]
    assert all((made / item.member.thumbnail).is_file() for item in found.pictures)


def test_models_without_a_picture_in_common_are_refused(tmp_path, store):
    shards = drawn_shards(tmp_path)
    whole = judged(store, written(store, shards, SAID["original"], "whole"), tmp_path, JUDGES[:1])
    none = judged(store, written(store, shards[1:], SAID["original"][5:], "others"), tmp_path, JUDGES[:1])
    only = judged(store, written(store, shards[:1], SAID["original"][:5], "some"), tmp_path, JUDGES[:1])
    assert write_caption_gallery.fn({"a": whole, "b": none}, shards, 0, store, CONTEXT).path.is_dir()
    with pytest.raises(DataError, match="no picture has a caption of every model"):
        write_caption_gallery.fn({"a": only, "b": none}, shards, 0, store, CONTEXT)
