"""Embeddings of pictures that torchvision decoded, beside those of Pillow's."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tasks.embeddings.observer import FOLDER
from tasks.embeddings.task import embed_shards
from tasks.encoders.loading import load_model
from tasks.extraction.columns import vectors
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.shards.inspection import inspect_shard
from tasks.shards.plan import plan_reading
from tests.cases.extracting import config_of, write_model_with_tokenizer
from tests.cases.shard_files import image_bytes, write_tar


def smooth(seed, format="JPEG", mode="RGB"):
    rough = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    rough.resize((90, 70), Image.Resampling.BICUBIC).convert(mode).save(buffer, format, quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model_with_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    members = [(f"{i}.jpg", smooth(i, mode=["RGB", "L", "CMYK"][i % 3])) for i in range(9)]
    members += [("png.png", image_bytes(1, size=(40, 40))), ("cut.jpg", smooth(30)[:600]), ("none.jpg", b"no picture")]
    path = write_tar(tmp_path_factory.mktemp("shards") / "0.tar", members)
    return inspect_shard(path.name, "unsafe", path)


def embedded(root, model, shard, decoder, *, workers=0, encoder="vision"):
    config = config_of(model, decoder=decoder, batch_size=4, max_bad_fraction=0.3)
    plans, context = plan_reading([shard], encoder, None), RunContext(workers=workers)
    return embed_shards(encoder, plans, load_model(model), config, Store(root), context, label="embeddings")


def rows(made):
    return vectors(pq.read_table(next((made.path / FOLDER).glob("*.parquet"))).column("embedding"), "embedding")


@pytest.mark.slow
def test_embeddings_are_near_those_of_pillow_and_the_same_samples_are_bad(tmp_path, model, shard):
    pillow, other = (embedded(tmp_path, model, shard, decoder) for decoder in ("pillow", "torchvision"))
    assert other.ref != pillow.ref
    assert other.manifest.counts == pillow.manifest.counts
    assert pillow.manifest.counts["samples_used"] == 10
    assert {item["key"] for item in pillow.manifest.counts["skipped"]} == {"cut", "none"}
    cosines = (rows(pillow) * rows(other)).sum(dim=1)
    assert not torch.equal(rows(pillow), rows(other))
    assert cosines.min() > 0.999


def test_processes_that_decode_give_the_same_bytes(tmp_path, model, shard):
    alone, two = (embedded(tmp_path / str(n), model, shard, "torchvision", workers=n) for n in (0, 2))
    assert alone.ref == two.ref
    assert alone.manifest.files == two.manifest.files


def test_recipes_name_the_decoder_of_pictures_only_and_only_where_it_is_not_pillow(model):
    other = config_of(model, decoder="torchvision")
    plain = {"precision": "fp32", "batch_size": 32}
    assert [other.reading("vision"), other.reading("text")] == [plain | {"decoder": "torchvision"}, plain]
    assert config_of(model).reading("vision") == plain
