"""Gradient scores over shards, against one backward pass through a whole batch."""

import copy
from dataclasses import replace
from functools import reduce

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from data_specs.errors import DataError, SpecError
from data_specs.run_config import ENCODERS
from data_specs.schemas import layer_folder, pair_id
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.encoders.forward import encode
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import load_model
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.finished_parts import Parts
from tasks.lineage.store import Build
from tasks.scoring.gradients.embedding_gradients import BatchGradients, gradients_of_safe
from tasks.scoring.gradients.gradient_pass import GradientFold
from tasks.scoring.gradients.sums import BatchSums, GradientLayer, GradientSums
from tasks.scoring.gradients.windows import pair_windows
from tasks.scoring.joined.layer import SUMMED
from tasks.scoring.scorer import BatchMembers
from tasks.scoring.scorers.gradient_safe_clip import redirection_loss
from tasks.scoring.scorers.gradient_unsafe import preference_loss
from tasks.shards.decoding import decode_caption, decode_image
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading
from tests.cases.models import write_tiny_model
from tests.cases.recipes import recipe_of
from tests.cases.shard_files import pair, write_tar

CPU = torch.device("cpu")
N_PAIRS = (5, 4, 6)
LAYERS = {"text": "attention_output", "vision": "mlp_output"}
UNEMBEDDED = "b2"


class SmallTokenizer:
    """Token ids [n, 16] below 64 from a caption's last letters; 63 ends a text, 0 is padding."""

    def __call__(self, captions):
        rows = [[1 + letter % 61 for letter in caption.encode()[-9:]] + [63] for caption in captions]
        return torch.tensor([row + [0] * (16 - len(row)) for row in rows])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    model = load_model(write_tiny_model(tmp_path_factory.mktemp("model")))
    return replace(model, tokenizer=SmallTokenizer())


@pytest.fixture(scope="module")
def members():
    return [pair(f"{shard}{i}", seed=100 * n + i) for n, shard in enumerate("abc") for i in range(N_PAIRS[n])]


@pytest.fixture(scope="module")
def shards(tmp_path_factory, members):
    folder = tmp_path_factory.mktemp("shards")
    made = []
    for shard in "abc":
        path = write_tar(folder / f"{shard}.tar", [item for some in members for item in some if item[0][0] == shard])
        made.append(inspect_shard(path.name, None, path))
    return made


@pytest.fixture(scope="module")
def inputs(loaded, members):
    """Inputs of every embedded pair by encoder and side, straight from the members' bytes."""
    found = {(encoder, side): [] for encoder in ENCODERS for side in ("safe", "unsafe")}
    for some in members:
        named = {name.split(".", 1)[1]: data for name, data in some}
        if some[0][0].split(".")[0] == UNEMBEDDED:
            continue
        for side in ("safe", "unsafe"):
            caption = decode_caption(named[f"{side}.txt"], key="", name="")
            image = decode_image(named[f"{side}.png"], key="", name="")
            found["text", side].append(loaded.tokenizer([caption])[0])
            found["vision", side].append(loaded.preprocess(image))
    return {name: torch.stack(values) for name, values in found.items()}


@pytest.fixture(scope="module")
def embedded(loaded, shards, inputs):
    """Embeddings by shard, as the stored ones are read."""
    with torch.no_grad():
        vectors = {name: encode(loaded.model, name[0], values) for name, values in inputs.items()}
    made, start = [], 0
    for shard in shards:
        keys = [sample.key for sample in shard.samples if sample.key != UNEMBEDDED]
        rows = slice(start, start := start + len(keys))
        four = {f"{encoder}_{side}": values[rows] for (encoder, side), values in vectors.items()}
        made.append(EmbeddedPairs([pair_id(shard.sha256, key) for key in keys], [None] * len(keys), **four))
    return made


def whole_batches(loaded, encoder, inputs, loss, batch_pairs):
    """Sum over batches of |gradient|, each from one forward pass over all of its pairs, in float64."""
    model = loaded.model.double()
    try:
        other = "vision" if encoder == "text" else "text"
        weights = {name: layer.weight for name, layer in target_layers(model, encoder, LAYERS[encoder]).items()}
        kind = torch.float64 if encoder == "vision" else torch.int64
        n = len(inputs[encoder, "safe"])
        totals = dict.fromkeys(weights, 0)
        for start in range(0, n, batch_pairs):
            rows = slice(start, start + batch_pairs)
            own = normalize(encode_double(model, encoder, inputs[encoder, "safe"][rows].to(kind)), dim=1)
            with torch.no_grad():
                rest = [
                    normalize(encode_double(model, e, inputs[e, side][rows]), dim=1)
                    for e, side in ((encoder, "unsafe"), (other, "safe"), (other, "unsafe"))
                ]
            gradients = torch.autograd.grad(loss(BatchMembers(own, *rest)), [*weights.values()])
            totals = {name: totals[name] + g.abs() for name, g in zip(weights, gradients, strict=True)}
        return totals
    finally:
        loaded.model.float()


def encode_double(model, encoder, values):
    return model.encode_image(values.double()) if encoder == "vision" else model.encode_text(values)


def run(folder, loaded, encoder, shards, embedded, *, loss=preference_loss, batch_pairs=4, workers=0, **changes):
    """The sums of each shard, kept and read again, and joined from the first to the last; scores and the pairs behind them."""
    windows = pair_windows([some.pair_ids for some in embedded], batch_pairs)
    by_shard = {some.pair_ids[0][:SHARD_DIGEST_CHARS]: some for some in embedded}
    layers = target_layers(loaded.model, encoder, changes.get("layers", LAYERS[encoder]))
    plans = plan_reading(shards, encoder, None)
    fold = GradientFold(
        loaded,
        encoder,
        layers,
        BatchGradients(by_shard.__getitem__, encoder, gradients_of_safe(loss), CPU).of,
        {shard.sha256: window for shard, window in zip(shards, windows, strict=True)},
        contents=("safe",),
        precision="fp32",
        device=CPU,
    )
    stream = input_stream(loaded, encoder, plans, batch_size=3, context=RunContext(workers=workers), side="safe")
    shard_pass = ShardPass(stream, plans, fold, stage="test", max_bad_fraction=1.0)
    joined = {}
    for index in range(len(plans)):
        build = Build(recipe_of(), folder / str(index), Parts(folder / str(index)))
        shard_pass.run_shard(index, build)
        for name in layers:
            state = GradientLayer().read(build.folder / layer_folder(encoder, name), build.counts[SUMMED])
            joined[name] = joined[name].join(state) if name in joined else state
    return {name: sums.finished() for name, sums in joined.items()}, {sums.n_pairs for sums in joined.values()}


@pytest.mark.slow
@pytest.mark.parametrize("loss", [preference_loss, redirection_loss])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_pieces_of_batches_across_shards_equal_whole_batches(tmp_path, loaded, shards, inputs, embedded, encoder, loss):
    require_whole_batches(tmp_path, loaded, encoder, shards, inputs, embedded, loss, 4)


# Batches that end within shards, with them, and never before the set does.
@pytest.mark.parametrize("batch_pairs", [2, 5, 8, 9, 14, 64])
def test_batches_of_any_size_equal_whole_ones_wherever_shards_end(
    tmp_path, loaded, shards, inputs, embedded, batch_pairs
):
    require_whole_batches(tmp_path, loaded, "text", shards, inputs, embedded, redirection_loss, batch_pairs)


def require_whole_batches(folder, loaded, encoder, shards, inputs, embedded, loss, batch_pairs):
    scores, n_pairs = run(folder, loaded, encoder, shards, embedded, loss=loss, batch_pairs=batch_pairs)
    expected = whole_batches(loaded, encoder, inputs, loss, batch_pairs)
    assert n_pairs == {14}
    assert scores.keys() == expected.keys() != set()
    for name, total in expected.items():
        assert_close(scores[name].double(), total, rtol=2e-4, atol=2e-5 * float(total.max()))


@pytest.mark.parametrize("batch_pairs", [1, 3, 4, 7, 100, None])
def test_shards_that_are_joined_in_any_order_come_to_the_sum_over_batches(batch_pairs):
    """Integers, so that no digit is lost in any order; shards of 0 to 5 pairs."""
    generator = torch.Generator().manual_seed(0)
    sizes = [3, 0, 1, 5, 0, 4, 2]
    gradients = torch.randint(-9, 10, (sum(sizes), 2, 3), generator=generator).float()
    ids, states = [f"{place}" for place in range(sum(sizes))], []
    shards = [ids[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]
    for window in pair_windows(shards, batch_pairs):
        sums = GradientSums()
        sums.begin(bounded=window.begins_batch)
        for number, (_, own) in enumerate(window.batches()):
            if number:
                sums.close_batch()
            for name in own:
                sums.add({"x": gradients[int(name)]})
        if window.ends_batch:
            sums.close_batch()
        states.append(sums.ended("x", len(window.own)))
    if batch_pairs is None:
        expected = gradients.sum(dim=0)
    else:
        expected = sum(batch.sum(dim=0).abs() for batch in gradients.split(batch_pairs))
    left = reduce(BatchSums.join, copy.deepcopy(states))
    right = reduce(lambda later, earlier: earlier.join(later), reversed(copy.deepcopy(states)))
    halves = reduce(BatchSums.join, copy.deepcopy(states[:4])).join(reduce(BatchSums.join, copy.deepcopy(states[4:])))
    for joined in (left, right, halves):
        assert joined.n_pairs == sum(sizes)
        assert torch.equal(joined.finished(), expected)


def test_the_model_is_left_as_it_was(tmp_path, loaded, shards, embedded):
    before = {name: value.requires_grad for name, value in loaded.model.named_parameters()}
    run(tmp_path, loaded, "vision", shards, embedded)
    assert {name: value.requires_grad for name, value in loaded.model.named_parameters()} == before
    assert all(value.grad is None for value in loaded.model.parameters())


@pytest.mark.slow
def test_workers_change_no_bit(tmp_path, loaded, shards, embedded):
    alone, _ = run(tmp_path / "0", loaded, "text", shards, embedded)
    shared, _ = run(tmp_path / "2", loaded, "text", shards, embedded, workers=2)
    assert all(torch.equal(shared[name], total) for name, total in alone.items())


def test_a_pair_that_the_shards_no_longer_give_is_refused(tmp_path, loaded, shards, embedded):
    gone = embedded[2].pair_ids[-1][:16] + "/gone"
    strange = replace(embedded[2], pair_ids=[*embedded[2].pair_ids[:-1], gone])
    with pytest.raises(DataError, match=f"pair {gone} was embedded, but the shards no longer give it"):
        run(tmp_path, loaded, "text", shards, [*embedded[:2], strange])


def test_a_layer_that_the_embedding_does_not_depend_on_is_refused(tmp_path, loaded, shards, embedded):
    loaded.model.unused = torch.nn.Linear(3, 3)
    try:
        with pytest.raises(SpecError, match=r"text\.layers: the embedding does not depend on layer unused"):
            run(tmp_path, loaded, "text", shards, embedded, layers="unused")
    finally:
        del loaded.model.unused


def test_batches_are_consecutive_pairs_across_shards_and_the_last_is_what_is_left():
    shards = [[f"a{i}" for i in range(5)], [], [f"b{i}" for i in range(3)], ["c0"]]
    every = [name for own in shards for name in own]
    windows = pair_windows(shards, 4)
    assert [list(window.own) for window in windows] == shards
    found = {}
    for window in windows:
        for whole, own in window.batches():
            for name in own:
                found[name] = list(whole)
    assert found == {name: every[place // 4 * 4 : place // 4 * 4 + 4] for place, name in enumerate(every)}
