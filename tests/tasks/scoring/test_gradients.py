"""Gradient scores over shards, against one backward pass through a whole batch."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from data_specs.errors import DataError, SpecError
from data_specs.manifest import Recipe
from data_specs.run_config import ENCODERS
from data_specs.schemas import pair_id
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.encoders.forward import encode
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import load_model
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.finished_parts import Parts
from tasks.lineage.store import Build
from tasks.scoring.gradients.embedding_gradients import pair_gradients
from tasks.scoring.gradients.gradient_pass import GradientFold, sum_gradients
from tasks.scoring.scorer import BatchMembers
from tasks.scoring.scorers.gradient_safe_clip import redirection_loss
from tasks.scoring.scorers.gradient_unsafe import preference_loss
from tasks.shards.decoding import decode_caption, decode_image
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading
from tests.cases.folds import dying_at
from tests.cases.models import write_tiny_model
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
    """Sum over all shards, going on from what `folder` holds; the scores and counts."""
    folder.mkdir(parents=True, exist_ok=True)
    build = Build(Recipe(kind="layer_scores.text", code="x"), folder, Parts(folder))
    build.parts.remove_unfinished()

    def gradients():
        return pair_gradients(embedded, encoder, loss, batch_pairs=batch_pairs, wanted=lambda *_: True, device=CPU)

    layers = target_layers(loaded.model, encoder, changes.get("layers", LAYERS[encoder]))
    plans = plan_reading(shards, encoder, None)
    fold = changes.get("fold", GradientFold)(loaded, encoder, layers, gradients, precision="fp32", device=CPU)
    stream = input_stream(loaded, encoder, plans, batch_size=3, context=RunContext(workers=workers), side="safe")
    shard_pass = ShardPass(stream, plans, fold, stage="test", max_bad_fraction=1.0)
    sum_gradients(build, fold, shard_pass, plans, "test")
    return fold.finish()


@pytest.mark.parametrize("loss", [preference_loss, redirection_loss])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_pieces_of_batches_across_shards_equal_whole_batches(tmp_path, loaded, shards, inputs, embedded, encoder, loss):
    scores, counts = run(tmp_path, loaded, encoder, shards, embedded, loss=loss)
    expected = whole_batches(loaded, encoder, inputs, loss, 4)
    assert counts == {"n_pairs": 14, "n_batches": 4}
    assert scores.keys() == expected.keys()
    for name, total in expected.items():
        assert_close(scores[name].double(), total, rtol=2e-4, atol=2e-5 * float(total.max()))


@pytest.mark.slow
@pytest.mark.parametrize("call", range(1, 7))
def test_a_pass_that_was_cut_at_any_batch_goes_on_with_the_same_bits(tmp_path, loaded, shards, embedded, call):
    expected, counts = run(tmp_path / "whole", loaded, "text", shards, embedded)
    cut = tmp_path / "cut"
    with pytest.raises(OSError, match="the disk is away"):
        run(cut, loaded, "text", shards, embedded, fold=dying_at(GradientFold, call))
    found, again_counts = run(cut, loaded, "text", shards, embedded)
    assert again_counts == counts
    assert all(torch.equal(found[name], total) for name, total in expected.items())
    assert len(list(cut.glob("*.safetensors"))) == 1
    # Once more, from the finished sums alone.
    again, _ = run(cut, loaded, "text", shards, embedded, fold=dying_at(GradientFold, 1))
    assert all(torch.equal(again[name], total) for name, total in expected.items())


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
    strange = replace(embedded[2], pair_ids=[*embedded[2].pair_ids[:-1], "0123456789abcdef/gone"])
    with pytest.raises(DataError, match="pair 0123456789abcdef/gone was embedded, but the shards no longer give it"):
        run(tmp_path, loaded, "text", shards, [*embedded[:2], strange])


def test_no_pair_at_all_is_refused(tmp_path, loaded, shards, embedded):
    with pytest.raises(DataError, match="no pair with all four members is left to score"):
        run(tmp_path, loaded, "text", shards, [])


def test_a_layer_that_the_embedding_does_not_depend_on_is_refused(tmp_path, loaded, shards, embedded):
    loaded.model.unused = torch.nn.Linear(3, 3)
    try:
        with pytest.raises(SpecError, match=r"text\.layers: the embedding does not depend on layer unused"):
            run(tmp_path, loaded, "text", shards, embedded, layers="unused")
    finally:
        del loaded.model.unused


def test_batches_are_consecutive_pairs_across_shards_and_the_last_is_what_is_left(embedded):
    found = list(pair_gradients(embedded, "text", preference_loss, batch_pairs=4, wanted=lambda *_: True, device=CPU))
    assert [item.pair_id for item in found] == [name for some in embedded for name in some.pair_ids]
    assert [item.batch for item in found] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 2


def test_unwanted_pairs_leave_no_gap_in_a_batch(embedded):
    tagged = [replace(some, tags=["odd" if i % 2 else "even" for i in range(len(some.tags))]) for some in embedded]
    found = list(
        pair_gradients(
            tagged, "vision", preference_loss, batch_pairs=3, wanted=lambda _name, tag: tag == "odd", device=CPU
        )
    )
    wanted = [name for some in tagged for name, tag in zip(some.pair_ids, some.tags, strict=True) if tag == "odd"]
    assert [item.pair_id for item in found] == wanted
    assert [item.batch for item in found] == [i // 3 for i in range(len(wanted))]
