import gc
import io
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_specs.errors import DataError
from data_specs.samples import IMAGE_SUFFIXES
from tasks.shards.plan import BadSample, Tally, plan_reading, planned_samples
from tasks.shards.reading import BatchStream
from tests.cases.shard_files import (
    caption_of,
    caption_tensor,
    image_bytes,
    inspected,
    pair,
    pairs,
    picture,
    pixels,
    read_all,
    write_tar,
)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_images_of_every_kind_and_colour_become_rgb(tmp_path, suffix):
    format = {"jpg": "JPEG", "jpeg": "JPEG"}.get(suffix, suffix.upper())
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "L", "RGBA", "P", "1", "I;16"), "WEBP": ("RGB", "RGBA")}[
        format
    ]
    members = []
    for mode in modes:
        buffer = io.BytesIO()
        image = Image.new("I;16", (12, 8)) if mode == "I;16" else picture(3).convert(mode)
        image.save(buffer, format)
        members.append((f"{mode.replace(';', '')}.{suffix.upper()}", buffer.getvalue()))
    batches, bad = read_all([inspected(write_tar(tmp_path / "x.tar", members), "unsafe")], "vision", pixels)
    assert bad == []
    rows = torch.cat([batch.inputs["unsafe"] for batch in batches])
    assert rows.shape == (len(modes), 8, 12, 3)
    if format == "PNG":
        assert torch.equal(rows[0], pixels(picture(3)))


def test_captions_are_read_as_written_but_for_white_space_around_them(tmp_path):
    caption = '  a "quoted"\nline $(id) `id` 日本語 %s {x}\n'
    path = write_tar(tmp_path / "x.tar", pair("a", safe_txt=caption.encode()))
    batches, _ = read_all([inspected(path)], "text", caption_tensor)
    assert caption_of(batches[0].inputs["safe"][0]) == caption.strip()


def test_tags_come_from_json_or_from_the_class_or_are_absent(tmp_path):
    members = [("a.txt", b"x"), ("a.cls", b"7\n"), ("b.txt", b"x"), ("b.json", b"{}"), ("c.txt", b"x")]
    members += [("d.txt", b"x"), ("d.json", b'{"tag": "hate"}'), ("e.txt", b"x"), ("e.json", b'{"tag": null}')]
    batches, _ = read_all(
        [inspected(write_tar(tmp_path / "x.tar", members), "safe")], "text", caption_tensor, batch_size=9
    )
    assert batches[0].tags == ["7", None, None, "hate", None]


def shards_of_sizes(tmp_path, sizes):
    paths = []
    for number, size in enumerate(sizes):
        keys = [f"s{number}-{index}" for index in range(size)]
        paths.append(write_tar(tmp_path / f"{number}.tar", pairs(keys, 100 * number)))
    return [inspected(path) for path in paths]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("sizes", [(7, 1, 12), (2, 1)], ids=str)
def test_batches_are_the_same_for_any_number_of_workers(tmp_path, sizes):
    shards = shards_of_sizes(tmp_path, sizes)
    alone, _ = read_all(shards, "vision", pixels)
    assert [key for batch in alone for key in batch.keys] == [s.key for shard in shards for s in shard.samples]
    for workers in (1, 2, 4):
        batches, _ = read_all(shards, "vision", pixels, workers=workers)
        assert [(b.plan_index, b.number, b.keys, b.tags) for b in batches] == [
            (b.plan_index, b.number, b.keys, b.tags) for b in alone
        ]
        for batch, expected in zip(batches, alone, strict=True):
            assert all(torch.equal(batch.inputs[side], expected.inputs[side]) for side in ("safe", "unsafe"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    batch_size=st.integers(1, 11),
    limit=st.none() | st.integers(1, 30),
)
def test_every_sample_is_read_once_in_order_up_to_the_limit(tmp_path, sizes, batch_size, limit):
    shards = shards_of_sizes(tmp_path, sizes)
    batches, bad = read_all(shards, "text", caption_tensor, limit=limit, batch_size=batch_size)
    keys = [sample.key for shard in shards for sample in shard.samples][:limit]
    assert [key for batch in batches for key in batch.keys] == keys
    assert [caption_of(row) for batch in batches for row in batch.inputs["safe"]] == [
        f"a safe caption of {k}" for k in keys
    ]
    assert all(1 <= len(batch.keys) <= max(1, batch_size // 2) for batch in batches)
    assert bad == []


def test_the_limit_counts_usable_samples_across_shards_and_each_side_by_itself(tmp_path):
    first = inspected(write_tar(tmp_path / "0.tar", pair("a") + pair("b", safe_txt=None) + pair("c")))
    second = inspected(write_tar(tmp_path / "1.tar", pairs(["d", "e"])))
    plans = plan_reading([first, second], "text", 3)
    assert [plan.keys for plan in plans] == [("a", "c"), ("d",)]
    assert [item.key for plan in plans for item in plan.bad] == ["b"]
    assert planned_samples(plans) == 4
    assert [plan.keys for plan in plan_reading([first, second], "text", 2)] == [("a", "c")]

    sides = [
        inspected(write_tar(tmp_path / f"{side}.tar", [(f"{side}{i}.txt", b"x") for i in range(3)]), side)
        for side in ("safe", "unsafe")
    ]
    plans = plan_reading(sides, "text", 2)
    assert [(plan.shard.content, plan.keys) for plan in plans] == [
        ("safe", ("safe0", "safe1")),
        ("unsafe", ("unsafe0", "unsafe1")),
    ]


def test_a_shard_asked_for_again_or_out_of_turn_gives_the_same_batches(tmp_path):
    plans = plan_reading(shards_of_sizes(tmp_path, (3, 5, 2)), "text", None)
    stream = BatchStream(plans, "text", caption_tensor, batch_size=4, workers=0)

    def keys(index):
        return [batch.keys for batch in stream.batches(index)]

    in_turn = [keys(index) for index in range(3)]
    assert in_turn[1] == [["s1-0", "s1-1"], ["s1-2", "s1-3"], ["s1-4"]]
    assert [keys(index) for index in (1, 1, 0, 2, 1)] == [in_turn[index] for index in (1, 1, 0, 2, 1)]
    next(stream.batches(1))
    assert keys(2) == in_turn[2]


@pytest.mark.slow
def test_readers_forgotten_after_an_error_do_not_wait_for_their_workers(tmp_path, monkeypatch):
    # How long torch would wait for each.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 600)

    def fail():
        stream = BatchStream(plan_reading(shards, "text", None), "text", caption_tensor, batch_size=2, workers=2)
        try:
            for _ in stream.batches(0):
                raise KeyError("of the consumer")
        except KeyError as error:
            error.cycle = [stream, error]

    shards = shards_of_sizes(tmp_path, (30,))
    fail()
    start = time.perf_counter()
    gc.collect()
    assert time.perf_counter() - start < 300


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda path: write_tar(path, pairs(["a", "x"])), "expected sample 'b', got nothing"),
        (lambda path: path.write_bytes(path.read_bytes()[:6000]), "(ReadError|got nothing|expected sample)"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_shard_that_changes_during_a_run_ends_in_one_clear_line(tmp_path, workers, change, text):
    path = write_tar(tmp_path / "x.tar", pairs(["a", "b", "c"]))
    plans = plan_reading([inspected(path)], "text", None)
    change(path)
    with pytest.raises(DataError, match=rf"^shard .*x\.tar changed while it was read: .*{text}") as caught:
        list(BatchStream(plans, "text", caption_tensor, batch_size=2, workers=workers).batches(0))
    assert "\n" not in str(caught.value)


def test_exactly_the_tolerated_share_is_accepted_and_one_more_is_not():
    for n_bad in range(1, 101):
        bad = [BadSample(str(number), "empty caption", "safe.txt") for number in range(n_bad)]
        tally = Tally(100, n_bad / 100)
        tally.add(100 - n_bad, "x.tar", bad)
        assert (tally.n_used, tally.by_reason()) == (100 - n_bad, {"empty caption": n_bad})
        with pytest.raises(
            DataError, match=rf"{n_bad + 1} of 100 samples are bad \(empty caption {n_bad + 1}\), more than"
        ):
            tally.add(0, "x.tar", bad[:1])


def test_a_share_of_0_refuses_the_first_bad_sample_and_names_it():
    with pytest.raises(
        DataError, match=r"1 of 9 .* 0; first: 'k' in x\.tar: missing member \(no safe\.txt\); see `uwm"
    ):
        Tally(9, 0.0).add(8, "x.tar", [BadSample("k", "missing member", "no safe.txt")])
    Tally(0, 0.0).add(0, "x.tar", [])


def test_a_picture_without_the_ending_that_is_asked_for_is_counted_and_not_read(tmp_path):
    members = [("a.png", image_bytes(0)), ("a.cls", b"1"), ("b.png", image_bytes(1)), ("c.png", image_bytes(2))]
    shard = inspected(write_tar(tmp_path / "0.tar", [*members, ("c.cls", b"0")]), "safe")
    (plan,) = plan_reading([shard], "vision", None, needs=("cls",))
    assert plan.keys == ("a", "c")
    assert plan.bad == (BadSample("b", "missing member", "no cls"),)
    assert plan_reading([shard], "vision", None)[0].keys == ("a", "b", "c")
