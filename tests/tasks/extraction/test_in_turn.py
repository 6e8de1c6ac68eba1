"""Several edited models that read the same shards: each sample is decoded once, and every byte is that of a pass alone."""

import pickle
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from data_specs.manifest import ArtifactRef
from tasks.embeddings.task import embed_in_turn, embed_shards
from tasks.encoders.loading import load_model
from tasks.extraction.in_turn import ModelInTurn
from tasks.extraction.shared_reading import SharedReading
from tasks.lineage.circumstances import RunContext
from tasks.lineage.contents import is_pruned
from tasks.lineage.dropping.dropped import Dropped
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.store import Store
from tasks.manipulation.edit import Edit, positions
from tasks.manipulation.edit_file import write_edit
from tasks.manipulation.in_place import edited_in_place
from tasks.shards.decoding import DECODERS, decode_caption
from tasks.shards.plan import plan_reading
from tests.cases.extracting import config_of, write_model_with_tokenizer, write_pair_shards
from tests.cases.places import ROOT

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

    def make(store, encoder, chosen=range(N_MODELS), workers=0, runner=None):
        models = []
        for number in chosen:
            with edited_in_place(loaded, *edits[number]) as edited:
                models.append(ModelInTurn(edited, partial(edited_in_place, loaded, *edits[number], edited.digests)))
        plans = plan_reading(shards, encoder, None)
        context = RunContext(workers=workers, runner=runner)
        embed_in_turn(encoder, plans, models, config_of(model, **SETTINGS), store, context, label="turn")

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


class InAnother:
    """Has all work done by another process, as a worker that was faster."""

    def make(self, shared, loaded, store, context):
        work = pickle.dumps((shared.sendable(), store.root))
        code = (
            "import pickle, sys; from tasks.lineage.circumstances import RunContext; from tasks.lineage.store import Store;"
            "work, root = pickle.load(sys.stdin.buffer); work.help(Store(root), RunContext())"
        )
        subprocess.run([sys.executable, "-c", code], input=work, cwd=ROOT, timeout=600, check=True)


class InShares:
    """Does the shares that an engine would hand out, each with a store of its own."""

    def make(self, shared, loaded, store, context):
        for share in shared.shares(loaded, store, context).shares:
            pickle.loads(pickle.dumps(share)).do(Store(store.root), RunContext())


@pytest.mark.parametrize("runner", [InAnother, InShares])
def test_workers_make_none_of_the_parts_that_were_dropped_and_that_the_run_counts_on(
    runner, in_turn, loaded, edits, model, shards, tmp_path
):
    stored = [
        stored_model(loaded, edits[number], model, tmp_path / f"{number}.safetensors") for number in range(N_MODELS)
    ]
    store = Store(tmp_path / "store")
    plans = plan_reading(shards, "vision", None)
    embed_shards("vision", plans, stored[0], config_of(model, **SETTINGS), store, RunContext(), label="alone")
    dropped = {path.parent for path in store.root.glob("embeddings.vision.part/*/manifest.json")}
    assert len(dropped) == 4
    store.uses.close()  # what a process uses is not dropped
    for folder in dropped:
        assert prune(Store(store.root), ArtifactRef(kind="embeddings.vision.part", version=folder.name), "test")
    run = Store(store.root)
    run.elsewhere = Dropped(run.root, run.elsewhere)
    embed_stored(run, stored, shards, model, runner())
    made = {path.parent for path in store.root.glob("embeddings.vision.part/*/manifest.json")}
    assert len(made) == 4 * N_MODELS
    assert {folder for folder in made if is_pruned(folder)} == dropped


def stored_model(loaded, edit, model, path):
    """An edited model as a file of its own, which any process can open."""
    with edited_in_place(loaded, *edit) as edited:
        save_file({name: value.clone() for name, value in edited.model.state_dict().items()}, path)
    return load_model(model.model_copy(update={"weights": str(path)}))


def embed_stored(store, stored, shards, model, runner=None):
    models = [ModelInTurn(each, partial(nullcontext, each)) for each in stored]
    plans, context = plan_reading(shards, "vision", None), RunContext(runner=runner)
    embed_in_turn("vision", plans, models, config_of(model, **SETTINGS), store, context, label="turn")


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
