import io

import pytest
import torch
from PIL import Image

from data_specs.errors import DataError, SpecError
from data_specs.gallery import CAPTION_CHARS, Gallery
from data_specs.schemas import pair_id
from tasks.embeddings.pairs import read_pairs
from tasks.lineage.store import Store
from tasks.reporting.task import write_gallery
from tests.cases.report_files import CONTEXT, HOSTILE, drawn_shards, put_model_embeddings

TAGS = ["hate", None, HOSTILE[0]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def make(store, shards, *, seed=0, n_queries=3, models=("original", "edited")):
    embeddings = {name: put_model_embeddings(store, shards, 10 * at, TAGS) for at, name in enumerate(models)}
    return embeddings, write_gallery.fn(embeddings, shards, seed, store, CONTEXT, n_queries)


def contents(made):
    paths = [path for path in made.path.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(made.path).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_gallery_shows_what_a_full_sort_of_the_embeddings_finds(tmp_path, store):
    shards = drawn_shards(tmp_path)
    embeddings, made = make(store, shards)
    found = Gallery.model_validate_json((made.path / "gallery.json").read_bytes())
    assert (found.models, found.n_pairs, len(found.kinds)) == (["original", "edited"], 8, 4)
    for name in found.models:
        pairs = read_pairs(*(store.path(embeddings[name][encoder]) for encoder in ("text", "vision")))
        for kind in found.kinds:
            other = "vision" if kind.encoder == "text" else "text"
            candidates = torch.cat([getattr(pairs, f"{other}_{side}") for side in ("safe", "unsafe")]).double()
            queries = getattr(pairs, f"{kind.encoder}_{kind.content}").double()
            assert len(kind.queries) == 3
            for query in kind.queries:
                cosines = candidates @ queries[pairs.pair_ids.index(query.member.pair_id)]
                best = cosines.sort(descending=True).indices[:5].tolist()
                expected = [(pairs.pair_ids[at % 8], "safe" if at < 8 else "unsafe") for at in best]
                answers = query.answers[name]
                assert [(item.member.pair_id, item.member.content) for item in answers] == expected
                assert [item.similarity for item in answers] == pytest.approx(cosines[best].tolist(), abs=1e-6)


def test_members_are_shown_with_their_own_caption_picture_and_tag(tmp_path, store):
    captions = [(f"the safe words {row}", f"the unsafe words {row}") for row in range(8)]
    shards = drawn_shards(tmp_path, captions=captions, picture_size=(50, 30))
    _, made = make(store, shards, n_queries=8)
    found = Gallery.model_validate_json((made.path / "gallery.json").read_bytes())
    ids = [pair_id(shard.sha256, sample.key) for shard in shards for sample in shard.samples]
    shown = [query.member for kind in found.kinds for query in kind.queries]
    assert len(shown) == 32
    for member in shown:
        row = ids.index(member.pair_id)
        assert member.tag == (TAGS[row] if row < 3 else "hate")
        if member.caption is not None:
            assert member.caption == f"the {member.content} words {row}"
        else:
            with Image.open(made.path / member.thumbnail) as image:
                assert image.size == ((50, 30) if member.content == "safe" else (37, 22))
    pictures = {member.thumbnail for member in shown if member.thumbnail}
    assert pictures == {name for name in contents(made) if name.startswith("thumbnails/")}
    assert len(pictures) == 16


@pytest.mark.slow
def test_no_thumbnail_is_larger_than_128_pixels(tmp_path, store):
    _, made = make(store, drawn_shards(tmp_path, picture_size=(640, 400)))
    pictures = [data for name, data in contents(made).items() if name.endswith(".jpg")]
    assert len(pictures) > 5
    for data in pictures:
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == ("JPEG", (128, 80))


@pytest.mark.slow
def test_a_gallery_is_made_once_and_has_the_same_bytes_elsewhere(tmp_path, store):
    shards = drawn_shards(tmp_path)
    embeddings, made = make(store, shards, seed=3)
    assert write_gallery.fn(embeddings, shards, 3, store, CONTEXT, 3).reused
    _, again = make(Store(tmp_path / "elsewhere"), shards, seed=3)
    assert not again.reused
    assert (made.ref, contents(made)) == (again.ref, contents(again))
    _, other = make(store, shards, seed=4)
    assert other.ref.version != made.ref.version
    assert contents(other) != contents(made)
    assert [source.sha256 for source in store.manifest(made.ref).sources] == [shard.sha256 for shard in shards]


def test_a_long_caption_is_cut(tmp_path, store):
    shards = drawn_shards(tmp_path, (1,), captions=[("y" * CAPTION_CHARS, "x" * 10_000)])
    _, made = make(store, shards)
    shown = {kind.label: kind.queries[0].member.caption for kind in
             Gallery.model_validate_json((made.path / "gallery.json").read_bytes()).kinds}  # fmt: skip
    assert shown["safe text"] == "y" * CAPTION_CHARS
    assert shown["unsafe text"] == "x" * CAPTION_CHARS + "…"


def test_a_gallery_of_other_shards_is_refused_and_leaves_nothing(tmp_path, store):
    shards = drawn_shards(tmp_path)
    embeddings = {"original": put_model_embeddings(store, shards, 0)}
    with pytest.raises(DataError, match="give the shards that were embedded"):
        write_gallery.fn(embeddings, shards[:1], 0, store, CONTEXT)
    assert not (store.root / "gallery").exists()
    with pytest.raises(SpecError, match="n_queries is 0; expected at least 1"):
        write_gallery.fn(embeddings, shards, 0, store, CONTEXT, 0)
