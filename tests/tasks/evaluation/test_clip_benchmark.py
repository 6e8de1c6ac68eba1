import math

import numpy as np
import pytest
import torch
from clip_benchmark.datasets.builder import build_wds_dataset
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from open_clip import image_transform
from torch.testing import assert_close
from torch.utils.data import DataLoader

from data_specs.data_sets import ZeroShotConfig
from data_specs.manifest import Recipe
from data_specs.metrics import recall_name
from tasks.embeddings.observer import EmbeddingObserver
from tasks.embeddings.pairs import read_pairs
from tasks.encoders.architecture import Architecture
from tasks.encoders.forward import forward_precision
from tasks.encoders.loading import LoadedModel
from tasks.evaluation.zero_shot import (
    class_embeddings,
    classification_ranks,
    open_data_set,
    read_labelled,
)
from tasks.extraction.rows import RowFold
from tasks.extraction.shard_pass import ShardPass, input_stream
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.shards.inspection import open_shards
from tasks.shards.plan import plan_reading
from tests.cases.evaluations import accuracies, retrieval
from tests.cases.models import TINY_CLIP, tiny_model
from tests.cases.shard_files import image_bytes, pair, write_tar

# CLIP_benchmark leaves the order of shards to webdataset, which warns that this is not said.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:WebDataset.shardshuffle:UserWarning")]

CPU = torch.device("cpu")
FORMATS = (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"))


def token_ids(texts):
    """A stand-in vocabulary: a word a token, 63 ends a text."""
    ids = torch.zeros(len(texts), 16, dtype=torch.int64)
    for row, text in enumerate(texts):
        words = [1 + int.from_bytes(word.encode(), "big") % 59 for word in text.split()]
        ids[row, : len(words) + 1] = torch.tensor([*words, 63])
    return ids


@pytest.fixture(scope="module")
def loaded():
    preprocess = image_transform(32, is_train=False)
    return LoadedModel(tiny_model().eval(), preprocess, token_ids, Architecture(TINY_CLIP, {}, None), {}, "tiny")


@pytest.fixture
def one_number(monkeypatch):
    # CLIP_benchmark makes a float of an array of one number, which numpy 2.4 refuses.
    def to_float(value):
        return value.item() if isinstance(value, np.ndarray) else float(value)

    monkeypatch.setattr(zeroshot_classification, "float", to_float, raising=False)


def embed(folder, shards, encoder, loaded):
    """The embeddings artifact of shards, made as a run makes it."""
    plans = plan_reading(shards, encoder, None)

    def write(build):
        context = RunContext()
        fold = RowFold(loaded, encoder, EmbeddingObserver(16), "fp32", torch.device("cpu"))
        stream = input_stream(loaded, encoder, plans, batch_size=7, context=context)
        shard_pass = ShardPass(stream, plans, fold, stage="embed", max_bad_fraction=0)
        for index in range(len(plans)):
            shard_pass.run_shard(index, build)

    recipe = Recipe(kind=f"embeddings.{encoder}", settings={}, inputs={}, code="0")
    return Store(folder / "store").materialise(recipe, write, RunContext()).path


def batches(data_set):
    return DataLoader(data_set.batched(10), batch_size=None, shuffle=False, num_workers=0)


def smallest_gap(queries, candidates, right):
    """How close any wrong answer comes to the right one; a tie would leave the rank to rounding."""
    similarity = queries.double() @ candidates.double().T
    gaps = (similarity - similarity.gather(1, right[:, None])).abs()
    return gaps.scatter(1, right[:, None], math.inf).min().item()


def write_classification(folder, n_classes, n_images, n_shards=3):
    """Random pictures with classes of unequal frequency, in CLIP_benchmark's layout."""
    weights = 1 / np.arange(1, n_classes + 1)
    labels = np.random.default_rng(n_classes).choice(n_classes, n_images, p=weights / weights.sum())
    (folder / "test").mkdir()
    for shard, numbers in enumerate(np.array_split(np.arange(n_images), n_shards)):
        members = []
        for i in numbers.tolist():
            form, suffix = FORMATS[i % len(FORMATS)]
            members += [(f"s{i:07d}.{suffix}", image_bytes(i, form)), (f"s{i:07d}.cls", str(labels[i]).encode())]
        write_tar(folder / f"test/{shard}.tar", members)
    (folder / "test/nshards.txt").write_text(f"{n_shards}\n")
    (folder / "classnames.txt").write_text("".join(f"kind {'abcdefghijkl'[c]}\n" for c in range(n_classes)))
    templates = "a photo of a {c}\nthe {c} there\n{c}\nmany a {c} , one {c}\n"
    (folder / "zeroshot_classification_templates.txt").write_text(templates)


@pytest.mark.parametrize(
    ("name", "templates", "n_classes", "n_images"),
    [
        ("toys", "data_set", 11, 100),
        ("toys", "data_set", 5, 60),
        ("toys", "data_set", 3, 40),
        ("pets", "paper", 11, 100),
    ],
)
def test_zero_shot_accuracies_equal_clip_benchmarks(tmp_path, loaded, one_number, name, templates, n_classes, n_images):
    write_classification(tmp_path, n_classes, n_images)
    ours = open_data_set(ZeroShotConfig(name=name, path=str(tmp_path), templates=templates))
    artifact = embed(tmp_path, open_shards(ours.shards, "safe", tmp_path / "copies"), "vision", loaded)
    _, images, labels = read_labelled(artifact, n_classes, ours.name)
    with forward_precision("fp32", CPU):
        classes = class_embeddings(loaded.model, token_ids, ours, CPU, prompts_at_once=9)
    found = accuracies(classification_ranks(images, labels, classes), labels, n_classes)

    theirs = build_wds_dataset(name, loaded.preprocess, split="test", data_dir=str(tmp_path))
    used = theirs.templates if templates == "data_set" else ["a photo of a {c}, a type of pet."]
    arguments = (token_ids, theirs.classes, used, "cpu")
    classifier = zeroshot_classification.zero_shot_classifier(loaded.model, *arguments, amp=False)
    expected = zeroshot_classification.evaluate(loaded.model, batches(theirs), *arguments, amp=False)

    assert_close(classes, classifier.T, rtol=0, atol=1e-6)
    assert len(labels) == n_images
    assert len(set(torch.bincount(labels).tolist())) > 1
    assert smallest_gap(images, classes, labels) > 1e-5
    assert 0 < expected["acc1"] < 1
    assert expected["acc1"] != pytest.approx(expected["mean_per_class_recall"], abs=1e-3)
    measured = {metric: value for metric, value in expected.items() if not math.isnan(value)}
    assert set(measured) == {"acc1", "mean_per_class_recall", *(["acc5"] if n_classes >= 5 else [])}
    assert {metric: value / 100 for metric, value in found.items()} == pytest.approx(measured, abs=1e-6)


def test_retrieval_equals_clip_benchmarks(tmp_path, loaded):
    words = np.random.default_rng(0)
    (tmp_path / "test").mkdir()
    for shard in range(2):
        members = []
        for i in range(30 * shard, 30 * shard + 30):
            caption = " ".join(f"w{word}" for word in words.integers(0, 1000, 8)).encode()
            # CLIP_benchmark finds a pair's safe side, once more, under its own member names.
            members += [*pair(f"k{i:03d}", seed=i, safe_txt=caption)]
            members += [(f"k{i:03d}.png", image_bytes(i)), (f"k{i:03d}.txt", caption)]
        write_tar(tmp_path / f"test/{shard}.tar", members)
    (tmp_path / "test/nshards.txt").write_text("2")
    (tmp_path / "dataset_type.txt").write_text("retrieval")

    shards = open_shards([str(tmp_path / f"test/{shard}.tar") for shard in range(2)], None, tmp_path / "copies")
    pairs = read_pairs(*(embed(tmp_path, shards, encoder, loaded) for encoder in ("text", "vision")))
    found = retrieval(pairs)

    theirs = build_wds_dataset("pairs", loaded.preprocess, split="test", data_dir=str(tmp_path))
    expected = zeroshot_retrieval.evaluate(
        loaded.model, batches(theirs), token_ids, "cpu", amp=False, recall_k_list=[1, 5, 10]
    )

    own = torch.arange(60)
    assert len(pairs.pair_ids) == 60
    assert smallest_gap(pairs.text_safe, pairs.vision_safe, own) > 1e-6
    assert smallest_gap(pairs.vision_safe, pairs.text_safe, own) > 1e-6
    for ours, name in (("Ts-Vs", "image_retrieval"), ("Vs-Ts", "text_retrieval")):
        by_k = {f"{name}_recall@{k}": found[recall_name(ours, k)] / 100 for k in (1, 5, 10)}
        assert by_k == pytest.approx({metric: expected[metric] for metric in by_k}, abs=1e-6)
        assert 0 < by_k[f"{name}_recall@10"] < 1
