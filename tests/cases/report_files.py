"""Artifacts of which reports and galleries are made, written on the spot; and a page taken apart."""

import io
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from data_specs.manifest import Recipe
from data_specs.metrics import metric_names
from data_specs.schemas import BY_TAG, LAYER_SUMMARY, embeddings_schema, pair_id
from tasks.demo.scenes import draw_pairs
from tasks.extraction.columns import vector_column
from tasks.lineage.circumstances import RunContext
from tests.cases.shard_files import inspected, tar_bytes

CONTEXT = RunContext()
WIDTH = 24
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'><svg/onload=alert(3)>",
    "</style></title></details><iframe src=http://example.org>",
    "{{ 7 * 7 }} & a\u202e reversed end",
)


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def noise(size, seed):
    """A picture that no format can make small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def drawn_shards(folder, sizes=(5, 3), *, picture_size=(320, 200), captions=(), tags=(), keys=(), noisy=False):
    """Paired shards of drawn scenes, or of noise; the first captions (safe, then unsafe), tags and keys can be given."""
    shards, row = [], 0
    for number, size in enumerate(sizes):
        members = []
        for pair in draw_pairs(size, number, "report"):
            key = keys[row] if row < len(keys) else pair.key
            said = captions[row] if row < len(captions) else (pair.safe_text, pair.unsafe_text)
            tag = tags[row] if row < len(tags) else pair.tag
            safe, unsafe = pair.safe_image.resize(picture_size), pair.unsafe_image.resize(picture_size)
            if noisy:
                safe, unsafe = noise(picture_size, 2 * row), noise(picture_size, 2 * row + 1)
            members += [
                (f"{key}.json", json.dumps({"tag": tag}).encode()),
                (f"{key}.safe.png", png(safe)),
                (f"{key}.safe.txt", said[0].encode()),
                (f"{key}.unsafe.png", png(unsafe)),
                (f"{key}.unsafe.txt", said[1].encode()),
            ]
            row += 1
        path = folder / f"{number}.tar"
        path.write_bytes(tar_bytes(members))
        shards.append(inspected(path))
    return shards


def put(store, kind, write, **settings):
    """Store an artifact that `write(folder)` makes."""
    recipe = Recipe(kind=kind, settings=settings, code="test")
    return store.materialise(recipe, lambda build: write(build.folder), CONTEXT).ref


def random_unit(n, seed, width=WIDTH):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, width, generator=generator), dim=1)


def put_embeddings(store, encoder, shards, seed, tags=()):
    """Random embeddings of every pair of the shards, as the pipeline writes them."""

    def write(folder):
        (folder / "embeddings").mkdir()
        start = 0
        for number, shard in enumerate(shards):
            n = len(shard.samples)
            listed = [tags[row] if row < len(tags) else "hate" for row in range(start, start + n)]
            columns = [
                [pair_id(shard.sha256, sample.key) for sample in shard.samples for _ in range(2)],
                ["safe", "unsafe"] * n,
                [tag for tag in listed for _ in range(2)],
                vector_column(random_unit(2 * n, seed + number)),
            ]
            name = f"{number:06d}-{shard.sha256[:12]}.parquet"
            pq.write_table(pa.table(columns, schema=embeddings_schema(WIDTH)), folder / "embeddings" / name)
            start += n

    return put(store, f"embeddings.{encoder}", write, seed=seed, shards=[shard.sha256 for shard in shards])


def put_model_embeddings(store, shards, seed, tags=()):
    return {
        "text": put_embeddings(store, "text", shards, seed, tags),
        "vision": put_embeddings(store, "vision", shards, seed + 500, tags),
    }


def random_metrics(seed, *, zero_shot=True):
    names = [*metric_names(), *(["zero_shot"] if zero_shot else [])]
    values = torch.rand(len(names), generator=torch.Generator().manual_seed(seed)) * 100
    return {"n_pairs": 1234, **dict(zip(names, values.tolist(), strict=True))}


def put_evaluation(store, metrics, tags, **settings):
    """An evaluation with an interval of 1.5 points each side, and figures per tag that lie a point apart."""

    def write(folder):
        intervals = {name: [value - 1.5, value + 1.5] for name, value in metrics.items() if name != "n_pairs"}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "intervals.json").write_text(json.dumps(intervals))
        rows = [
            {"tag": tag, "n_pairs": n, "metric": name, "value": metrics[name] / 2 + row, "low": 0.25, "high": 99.75}
            for row, (tag, n) in enumerate(tags)
            for name in metric_names()[:13]
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=BY_TAG), folder / "by_tag.parquet")

    return put(store, "evaluation", write, metrics=metrics, tags=[list(tag) for tag in tags], **settings)


def put_scores(store, layers=("transformer.resblocks.0.attn.out_proj", "visual.transformer.resblocks.0.mlp.c_proj")):
    def write(folder):
        numbers = dict.fromkeys(LAYER_SUMMARY.names, 1)
        texts = {"rule": "score_mass", "tau": 0.98, "n_selected": 17, "n_weights": 4096, "selected_share": 17 / 4096}
        rows = [{**numbers, **texts, "layer": layer, "encoder": "text"} for layer in layers]
        pq.write_table(pa.Table.from_pylist(rows, schema=LAYER_SUMMARY), folder / "layer_summary.parquet")

    return put(store, "scores", write, layers=list(layers))


@dataclass(eq=False)  # each is one of its own, whatever another holds
class Element:
    """One element of a page: its attributes, the elements around it, all text in it."""

    tag: str
    attributes: dict
    around: list = field(repr=False)
    text: str = ""

    @property
    def classes(self):
        return (self.attributes.get("class") or "").split()

    def inside(self, tag, of_class=None):
        """The innermost element around this one of a tag and class, or None."""
        fitting = [item for item in self.around if item.tag == tag and (of_class is None or of_class in item.classes)]
        return fitting[-1] if fitting else None


class Page(HTMLParser):
    """A page's elements in order; refuses elements that do not close in turn."""

    _EMPTY = ("meta", "img", "input", "br", "wbr")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append(Element(tag, dict(attrs), list(self._open)))
        if tag not in self._EMPTY:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, tag, of_class=None):
        return [item for item in self.elements if item.tag == tag and (of_class is None or of_class in item.classes)]

    def table(self, label):
        """Rows of the table in the region of this label, each a list of stripped cell texts."""
        return [
            [cell.text.strip() for cell in self.elements if cell.tag in ("td", "th") and row in cell.around]
            for row in self.all("tr")
            if (region := row.inside("div", "scroll")) and region.attributes.get("aria-label") == label
        ]
