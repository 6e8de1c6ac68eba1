"""Several edited models that read the same shards: each sample is decoded once, and every byte is that of a pass alone."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch

from tasks.embeddings.task import embed_in_turn, embed_shards
from tasks.encoders.loading import load_model
from tasks.extraction.in_turn import ModelInTurn
from tasks.extraction.shared_reading import SharedReading
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.manipulation.edit import Edit, positions
from tasks.manipulation.edit_file import write_edit
from tasks.manipulation.in_place import edited_in_place
from tasks.shards.decoding import DECODERS, decode_caption
from tasks.shards.plan import plan_reading
from tests.cases.extracting import config_of, write_model_with_tokenizer, write_pair_shards

pytestmark = pytest.mark.slow

LAYERS = {"text": "transformer.resblocks.0.attn.out_proj", "vision": "visual.transformer.resblocks.1.mlp.c_proj"}
N_MODELS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model_with_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def loaded(model):
    return load_model(model)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_pair_shards(tmp_path_factory.mktemp("shards"), (4, 3, 5, 1), broken=1)


@pytest.fixture(scope="module")
def edits(loaded, tmp_path_factory):
    """Edits of both encoders, and their files."""
    folder, found = tmp_path_factory.mktemp("edits"), []
    for seed in range(N_MODELS):
        layers = {}
        for encoder, layer in LAYERS.items():
            weight = loaded.model.get_parameter(f"{layer}.weight")
            index = torch.randperm(weight.numel(), generator=torch.Generator().manual_seed(seed))[:60].sort().values
            layers[layer] = positions(index, weight, encoder)
        sides = dict.fromkeys(LAYERS, -1.0)
        edit = Edit(loaded.digest, layers, sides, dict.fromkeys(LAYERS, "top_share"), dict.fromkeys(LAYERS, 0.9))
        path = folder / f"{seed}.safetensors"
        write_edit(edit, path)
        found.append((edit, path))
    return found


SETTINGS = {"batch_size": 4, "max_bad_fraction": 0.3}


@pytest.fixture
def in_turn(loaded, edits, model, shards):
    """Make the parts of all models in one store."""

    def make(store, encoder, chosen=range(N_MODELS), workers=0):
        models = []
        for number in chosen:
            with edited_in_place(loaded, *edits[number]) as edited:
                models.append(ModelInTurn(edited, partial(edited_in_place, loaded, *edits[number], edited.digests)))
        plans = plan_reading(shards, encoder, None)
        embed_in_turn(
            encoder, plans, models, config_of(model, **SETTINGS), store, RunContext(workers=workers), label="turn"
        )

    return make


def alone(store, loaded, edits, model, shards, encoder, number):
    with edited_in_place(loaded, *edits[number]) as edited:
        plans = plan_reading(shards, encoder, None)
        return embed_shards(encoder, plans, edited, config_of(model, **SETTINGS), store, RunContext(), label="alone")


@contextmanager
def counting(monkeypatch, encoder):
    calls, decode = [], DECODERS["pillow"] if encoder == "vision" else decode_caption

    def counted(data, *, key, name):
        calls.append((key, name))
        return decode(data, key=key, name=name)

    with monkeypatch.context() as patched:
        if encoder == "vision":
            patched.setitem(DECODERS, "pillow", counted)
        else:
            patched.setattr("tasks.shards.reading.decode_caption", counted)
        yield calls


@pytest.mark.parametrize("held_bytes", [None, 4 * 3 * 32 * 32 * 4, 0])
@pytest.mark.parametrize("encoder", ["vision", "text"])
def test_bytes_are_those_of_a_pass_alone_and_each_sample_is_decoded_once(
    encoder, held_bytes, in_turn, loaded, edits, model, shards, tmp_path, monkeypatch
):
    if held_bytes is not None:
        small = partial(SharedReading, held_bytes=held_bytes)
        monkeypatch.setattr("tasks.extraction.in_turn.SharedReading", small)
    together, apart = Store(tmp_path / "together"), Store(tmp_path / "apart")
    with counting(monkeypatch, encoder) as calls:
        in_turn(together, encoder)
    assert len(calls) == len(set(calls)) == 28
    with counting(monkeypatch, encoder) as calls:
        found = [alone(together, loaded, edits, model, shards, encoder, number) for number in range(N_MODELS)]
    assert calls == []
    expected = [alone(apart, loaded, edits, model, shards, encoder, number) for number in range(N_MODELS)]
    assert [made.ref for made in found] == [made.ref for made in expected]
    assert len({made.ref for made in found}) == N_MODELS
    for made, other in zip(found, expected, strict=True):
        assert made.manifest.files == other.manifest.files
        assert made.manifest.counts == other.manifest.counts
        assert made.manifest.counts["samples_skipped"] == {
            f"undecodable {'image' if encoder == 'vision' else 'caption'}": 1
        }
    assert [path.name for path in (together.root / ".scratch").iterdir()] == []


def test_worker_processes_decode_for_all_models(in_turn, loaded, edits, model, shards, tmp_path):
    together, apart = Store(tmp_path / "together"), Store(tmp_path / "apart")
    in_turn(together, "vision", workers=2)
    for number in range(N_MODELS):
        made = alone(together, loaded, edits, model, shards, "vision", number)
        assert made.manifest.files == alone(apart, loaded, edits, model, shards, "vision", number).manifest.files


def test_what_one_model_has_already_is_not_made_again(in_turn, loaded, edits, model, shards, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    alone(store, loaded, edits, model, shards[1:], "vision", 0)
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("embeddings.vision.part/*/manifest.json")}
    assert len(before) == 3
    with counting(monkeypatch, "vision") as calls:
        in_turn(store, "vision")
    after = {path: path.stat().st_mtime_ns for path in store.root.glob("embeddings.vision.part/*/manifest.json")}
    assert len(after) == 4 * N_MODELS
    assert before.items() <= after.items()
    assert {key for key, _ in calls} == {
        f"s{number}k{i}" for number, n in enumerate((4, 3, 5, 1)) for i in range(n)
    } | {"bad"}
    with counting(monkeypatch, "vision") as calls:
        in_turn(store, "vision")
    assert calls == []


def test_the_model_is_as_it_was_afterwards(in_turn, loaded, tmp_path):
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    in_turn(Store(tmp_path / "store"), "vision")
    assert all(before[name].equal(value) for name, value in loaded.model.state_dict().items())


class Sized:
    """A stream of which only sizes matter."""

    def __init__(self, sizes):
        self.sizes = sizes

    def shard_bytes(self, index):
        return self.sizes[index]


@pytest.mark.parametrize("seed", range(30))
def test_windows_hold_as_many_shards_as_fit_in_their_order(seed, tmp_path):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 60, (int(torch.randint(0, 20, (1,), generator=generator)),), generator=generator).tolist()
    windows = [*SharedReading(Sized(sizes), sizes, tmp_path, held_bytes=50).windows()]
    assert [index for window in windows for index in window] == [*range(len(sizes))]
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        total = sum(sizes[index] for index in window)
        assert total <= 50 or len(window) == 1
        if following is not None:
            assert total + sizes[following[0]] > 50
