"""What was made from a shard, a pair, a picture, weights or an artifact; what cannot be looked through is told."""

import re

import pytest

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import Recipe
from data_specs.schemas import pair_id
from tasks.lineage.circumstances import RunContext
from tasks.lineage.tags import set_tag
from tasks.tracing import members as members_module
from tasks.tracing.uses import find_uses
from tests.cases.file_server import files_served
from tests.cases.large_store import manifests
from tests.cases.used_store import BASE, UsedStore

AFTER_VISION = {"layer_scores.vision", "scores", "edit", "model"}


@pytest.fixture
def used(tmp_path):
    return UsedStore(tmp_path)


def touched(found):
    return {item.ref.version for item in found.touched}


def downstream(store, versions):
    """All that names one of some versions or digests, and what names that, naively."""
    told, found = [*manifests(store.root)], set(versions)
    while True:
        more = {
            item["version"] for item in told if any(name in str(item["recipe"]["inputs"]) for name in found)
        } - found
        if not more:
            return found & {item["version"] for item in told}
        found |= more


def kinds(found, certain=True):
    return {item.ref.kind for item in found.touched if item.certain is certain}


def test_all_that_was_made_of_a_shard_is_found_by_file_digest_beginning_and_location(used):
    expected = downstream(used.store, [used.digests[0]])
    for asked in (str(used.shards[0]), used.digests[0], used.digests[0][:10]):
        found = find_uses(used.store, asked)
        assert touched(found) == expected
        assert found.what == [f"shard {used.digests[0][:16]} {used.shards[0]}"]
        assert (found.unread, kinds(found, certain=False)) == ([], set())
    used.shards[0].unlink()
    assert touched(find_uses(used.store, str(used.shards[0]))) == expected
    assert used.refs["other"].version not in expected
    assert [record["version"] for record in find_uses(used.store, used.digests[0]).exports] == [
        used.refs["model"].version
    ]


def test_a_pair_touches_the_parts_that_hold_it_and_sums_only_perhaps(used):
    for key, shard, was_read in (
        ("a00", 0, True),
        ("a20", 0, False),
        ("a11", 1, False),
        ("a01", 1, True),
        ("b", 1, False),
    ):
        found = find_uses(used.store, pair_id(used.digests[shard], key))
        rows = {f"activations.{encoder}{part}" for encoder in ("text", "vision") for part in ("", ".part")}
        assert kinds(found) == (rows | AFTER_VISION if was_read else set()), key
        assert kinds(found, certain=False) == {"slopes.vision"}
        parts = [item.ref for item in found.touched if item.ref.kind.endswith(".part")]
        inputs = [used.store.manifest(ref).recipe.inputs["shard"] for ref in parts]
        assert inputs == [used.digests[shard]] * (2 if was_read else 0)
    with pytest.raises(ArtifactError, match="was made from a shard whose digest begins with 0000000000000000"):
        find_uses(used.store, "0000000000000000/a")


def test_a_picture_is_found_in_the_shards_and_touches_what_reads_pictures(used, tmp_path):
    picture = used.file(tmp_path, 0, "a00.unsafe.png")
    found = find_uses(used.store, str(picture))
    assert found.what == [f"{picture}: a00.unsafe.png of shard {used.shards[0]}"]
    assert kinds(found) == {"activations.vision", "activations.vision.part"} | AFTER_VISION
    caption = used.file(tmp_path, 1, "a01.safe.txt")
    assert kinds(find_uses(used.store, str(caption))) == {"activations.text", "activations.text.part"}
    beyond = find_uses(used.store, str(used.file(tmp_path, 0, "a20.safe.png")))
    assert (kinds(beyond), kinds(beyond, certain=False)) == (set(), {"slopes.vision"})
    (tmp_path / "strange").write_bytes(b"no picture")
    nothing = find_uses(used.store, str(tmp_path / "strange"))
    assert (nothing.touched, nothing.unread) == ([], [])
    assert "in none of the 2 shards" in nothing.what[0]


def test_what_was_read_of_a_shard_once_answers_when_it_is_gone(used, tmp_path, monkeypatch):
    picture = used.file(tmp_path, 0, "a00.unsafe.png")
    before = touched(find_uses(used.store, str(picture)))
    used.shards[0].unlink()
    used.shards[1].unlink()
    monkeypatch.setattr(members_module, "Tar", None)
    found = find_uses(used.store, str(picture))
    assert (touched(found), found.unread) == (before, [])


def test_shards_that_cannot_be_looked_through_are_told_and_found_where_they_lie_now(used, tmp_path):
    picture = used.file(tmp_path, 0, "a00.unsafe.png")
    moved = used.shards[0].rename(tmp_path / "moved.tar")
    used.shards[1].write_bytes(used.shards[1].read_bytes()[:-1] + b"x")
    found = find_uses(used.store, str(picture))
    assert found.touched == []
    assert [(item.location, item.reason.split(";")[0]) for item in found.unread] == [
        (str(used.shards[0]), "it is no longer there"),
        (str(used.shards[1]), "another file lies there now"),
    ]
    found = find_uses(used.store, str(picture), [moved])
    assert "activations.vision.part" in kinds(found)
    assert [item.location for item in found.unread] == [str(used.shards[1])]


def test_weights_artifacts_and_files_of_artifacts_are_followed_too(used, tmp_path):
    assert touched(find_uses(used.store, BASE)) == downstream(used.store, [BASE])
    set_tag(used.store, "prod", used.refs["edit"], "x")
    found = find_uses(used.store, "prod")
    assert [(item.ref, item.tags) for item in found.touched] == [
        (used.refs["edit"], ["prod"]),
        (used.refs["model"], []),
    ]
    copied = tmp_path / "copied"
    copied.write_bytes((used.store.path(used.refs["scores"]) / "content.txt").read_bytes())
    assert touched(find_uses(used.store, str(copied))) == downstream(used.store, [used.refs["scores"].version])
    with pytest.raises(ArtifactError, match="names n"):
        find_uses(used.store, "nowhere")
    with pytest.raises(SpecError, match="is a folder of no artifact and no model"):
        find_uses(used.store, str(tmp_path))
    unknown = find_uses(used.store, "0" * 64)
    assert (unknown.touched, re.match("sha256 0{16}: in none of the 2 shards", unknown.what[0]) is None) == ([], False)


def test_a_gallery_is_touched_by_the_pairs_that_it_shows(used):
    pair = pair_id(used.digests[0], "a20")

    def write(build):
        (build.folder / "gallery.json").write_text(f'{{"pair_id": "{pair}"}}')

    recipe = Recipe(kind="gallery", inputs={"shards": used.digests}, code="c")
    gallery = used.store.materialise(recipe, write, RunContext()).ref
    assert gallery.version in touched(find_uses(used.store, pair))
    assert gallery.version not in touched(find_uses(used.store, pair_id(used.digests[0], "a00")))


def test_shards_of_urls_are_fetched_when_asked_for_or_taken_from_what_was_kept_and_commands_never_run(tmp_path):
    body = UsedStore(tmp_path / "first").shards[0].read_bytes()
    with files_served(first=body) as server:
        command = f"pipe:touch {tmp_path / 'was-run'}; cat {tmp_path / '1.tar'}"
        used = UsedStore(tmp_path, {0: f"{server.url}/first.tar", 1: command})
        picture = used.file(tmp_path, 0, "a00.unsafe.png")
        found = find_uses(used.store, str(picture))
        assert [item.reason.split(";")[0] for item in found.unread] == ["it lies on no local disk"] * 2
        assert server.asked == []
        found = find_uses(used.store, str(picture), fetch=True)
        assert "edit" in kinds(found)
        (left,) = found.unread
        assert left.reason == "it is given by a command, which is not run; name a copy with --shards"
        assert not (tmp_path / "was-run").exists()
    kept = used.store.root / ".fetched" / f"{used.digests[1]}.tar"
    kept.parent.mkdir()
    kept.write_bytes(used.shards[1].read_bytes())
    assert find_uses(used.store, str(picture)).unread == []


def test_artifacts_that_are_broken_are_told_since_what_they_were_made_of_is_not_known(used):
    (used.store.path(used.refs["edit"]) / "manifest.json").write_text("{")
    found = find_uses(used.store, used.digests[0])
    assert [problem.split(":")[0].endswith("manifest.json is not a manifest") for problem in found.broken] == [True]
    assert used.refs["model"].version not in touched(found)
