"""Which artifacts each setting renews: those of the kinds listed here, and no others."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any, get_args

import pytest
import torch
import yaml
from prefect import Task

from data_specs.config_file import parse_config
from data_specs.manifest import ArtifactRef
from data_specs.run_config import ENCODERS, MethodConfig, RunConfig
from data_specs.spec import Spec
from flows.make_safe import make_safe
from tasks.lineage.store import Store
from tasks.lineage.trace import inputs_of
from tests.cases.models import TINY_CLIP, write_tiny_model, write_toy_tokenizer
from tests.cases.shard_files import image_bytes, write_tar
from tests.cases.small_run import write_shards

pytestmark = pytest.mark.slow

Versions = dict[str, set[str]]


def in_parts(*kinds: str) -> set[str]:
    return {*kinds, *(f"{kind}.part" for kind in kinds)}


MEASURED = {"evaluation", "differences", "flips", "gallery.flips", "report"}
# What follows from another edit, other selected weights and other scores of one encoder.
EDITED = {encoder: {"edit", "model", "gallery", *MEASURED, *in_parts(f"embeddings.{encoder}")} for encoder in ENCODERS}
EDITED["text"] |= {"class_embeddings"}
SELECTED = {encoder: {"scores", *EDITED[encoder]} for encoder in ENCODERS}
SCORED = {encoder: {f"layer_scores.{encoder}", *SELECTED[encoder]} for encoder in ENCODERS}
SHOWN = {"gallery", *MEASURED, *in_parts("embeddings.text", "embeddings.vision")}
READ = in_parts("activations.vision") | SCORED["vision"]
CALIBRATED = READ | SCORED["text"]
# The same scores to the last bit, and so the same edited model with the same embeddings.
FOLDED = READ - {*in_parts("embeddings.vision"), "gallery"}
DECODED = CALIBRATED - {"class_embeddings", *in_parts("embeddings.text")}

# The settings that all but the unpaired and the random run start from: a scorer of gradients, and one of activations.
PAIRED: dict[str, Any] = {
    "model": {
        "architecture": "model.json",
        "weights": "model.safetensors",
        "tokenizer": "tokenizer",
        "quick_gelu": True,
    },
    "evaluation": {"shards": ["test-{000000..000001}.tar"], "zero_shot": [{"name": "cifar10", "path": "toys"}]},
    "calibration": {"shards": ["calibration-{000000..000001}.tar"]},
    "text": {"scorer": "gradient_unsafe", "batch_pairs": 2, "tau": 0.9},
    "vision": {"tau": 0.9},
}
UNPAIRED = PAIRED | {
    "calibration": {"safe": ["safe-0.tar"], "unsafe": ["unsafe-0.tar"]},
    "text": None,
    "vision": {"tau": 0.9, "aggregation": "ratio_of_means"},
}
BY_TAG = PAIRED | {"vision": {"tau": 0.9, "statistics": "folded", "sums_by_tag": True}}
RANDOM = PAIRED | {"text": None, "vision": {"tau": 0.9, "scorer": "random"}}

# Each other row is a run of its own: a minute together.
QUICK = {"name", "seed", "calibration.tags", "vision.tau"}

Case = tuple[dict[str, Any], str, Any, set[str]]
# Of what is not measured: by tests/flows/test_llava_tower.py the same tower elsewhere renews nothing.
OF_ANOTHER_FLOW = {"model.llava"}
RENEWS: list[Case] = [
    (PAIRED, "name", "other", {"report"}),
    (PAIRED, "seed", 1, {"gallery", *MEASURED}),
    (RANDOM, "seed", 1, SCORED["vision"]),
    (PAIRED, "model.architecture", "heads.json", SCORED["text"]),
    (PAIRED, "model.architecture", "pixels.json", CALIBRATED),
    (PAIRED, "model.weights", "other/model.safetensors", CALIBRATED),
    (PAIRED, "model.tokenizer", "other_tokenizer", SCORED["text"]),
    (PAIRED, "model.quick_gelu", False, CALIBRATED),
    (PAIRED, "calibration.shards", ["calibration-000001.tar"], {"overlap", *CALIBRATED}),
    (UNPAIRED, "calibration.safe", ["safe-1.tar"], {"overlap", *READ}),
    (UNPAIRED, "calibration.unsafe", ["safe-1.tar"], {"overlap", *READ}),
    (PAIRED, "calibration.limit", 3, CALIBRATED),
    (PAIRED, "calibration.tags", ["even"], SCORED["text"] | SCORED["vision"]),
    (PAIRED, "evaluation.shards", ["test-000001.tar"], {"overlap", *SHOWN}),
    (PAIRED, "evaluation.limit", 3, SHOWN),
    (PAIRED, "evaluation.choose_on", 0.25, set()),
    (PAIRED | {"store": {}}, "store.remote", ["remote"], set()),
    (PAIRED | {"fetching": {}}, "fetching.limit", "1GB", set()),
    (PAIRED | {"fetching": {}}, "fetching.trust_etag", True, set()),
    (PAIRED, "selection", {"shards": ["safe-0.tar"]}, set()),
    (PAIRED, "evaluation.zero_shot.name", "other", MEASURED),
    (PAIRED, "evaluation.zero_shot.path", "other_toys", {"class_embeddings", *MEASURED}),
    (PAIRED, "evaluation.zero_shot.split", "train", {*in_parts("embeddings.vision"), *MEASURED}),
    (PAIRED, "evaluation.zero_shot.templates", "paper", {"class_embeddings", *MEASURED}),
    (PAIRED, "text.scorer", "gradient_safe_clip", SCORED["text"]),
    (PAIRED, "text.layers", "mlp_output", SCORED["text"]),
    (PAIRED, "text.aggregation", "ratio_of_means", set()),
    (PAIRED, "text.weight_by_magnitude", True, SCORED["text"]),
    (PAIRED, "text.rule", "top_share", SELECTED["text"]),
    (PAIRED, "text.tau", 0.8, SELECTED["text"]),
    (PAIRED, "text.sign", "loss", {"slopes.text", *SELECTED["text"]}),
    (PAIRED, "text.alpha", 0.5, EDITED["text"]),
    (PAIRED, "text.batch_pairs", 4, SCORED["text"]),
    (PAIRED, "vision.scorer", "unsafe_only", SCORED["vision"]),
    (PAIRED, "vision.layers", "attention_output", READ),
    (PAIRED, "vision.aggregation", "ratio_of_means", SCORED["vision"]),
    (PAIRED, "vision.weight_by_magnitude", True, SCORED["vision"]),
    (PAIRED, "vision.rule", "top_share", SELECTED["vision"]),
    (PAIRED, "vision.tau", 0.8, SELECTED["vision"]),
    (PAIRED, "vision.sign", "loss", {"slopes.vision", *SELECTED["vision"]}),
    (PAIRED, "vision.alpha", 0.5, EDITED["vision"]),
    (PAIRED, "vision.batch_pairs", 2, set()),
    (PAIRED, "text.statistics", "folded", set()),
    (PAIRED, "text.sample_pairs", 7, set()),
    (PAIRED, "vision.statistics", "folded", FOLDED),
    (
        BY_TAG | {"vision": {"tau": 0.9, "statistics": "folded"}},
        "vision.sums_by_tag",
        True,
        FOLDED - {"activations.vision.part"},
    ),
    (BY_TAG, "calibration.tags", ["even"], SCORED["text"] | SCORED["vision"]),
    (PAIRED | {"text": {**PAIRED["text"], "statistics": "folded"}}, "text.sums_by_tag", True, set()),
    (PAIRED, "vision.sample_pairs", 7, set()),
    (PAIRED, "methods", {"other": {"text": None}}, set()),
    (PAIRED, "precision", "bf16", CALIBRATED | SHOWN),
    # A shard here is one batch with either size, so that the edited model is the same to the last bit.
    (PAIRED, "batch_size", 16, CALIBRATED - {"class_embeddings"}),
    # Pictures are PNGs here, which both decoders leave to Pillow: the edited text encoder is the same to the last bit.
    (PAIRED, "decoder", "torchvision", DECODED),
    (PAIRED, "max_bad_fraction", 0.5, set()),
]
# Other words for the same, all at once.
SAME: dict[str, Any] = {
    "model.architecture": "elsewhere/model.json",
    "model.weights": "elsewhere/model.safetensors",
    "model.tokenizer": "elsewhere/tokenizer",
    "calibration.shards": [f"elsewhere/calibration-00000{i}.tar" for i in range(2)],
    "calibration.limit": 4,
    "evaluation.limit": 100,
    "evaluation.zero_shot.path": "elsewhere/toys",
    "text.layers": "transformer.resblocks.*.attn.out_proj",
}


def leaves(spec: type[Spec]) -> Iterator[str]:
    """The dotted names of all fields; `methods` are other settings of `text` and `vision`, each a run of its own, and
    `selection` is of sweeps."""
    for name, field in spec.model_fields.items():
        inner = [] if name in ("methods", "selection") else [*specs_of(field.annotation)]
        yield from (f"{name}.{leaf}" for item in inner for leaf in leaves(item))
        if not inner:
            yield name


def specs_of(annotation: Any) -> Iterator[type[Spec]]:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for argument in get_args(annotation):
        yield from specs_of(argument)


def changed(settings: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    copied = deepcopy(settings)
    *sections, last = field.split(".")
    inner: Any = copied
    for section in sections:
        inner = inner[section]
        inner = inner[0] if isinstance(inner, list) else inner
    inner[last] = value
    return copied


def write_toys(folder: Path, names: str) -> None:
    for split, seed in (("test", 0), ("train", 5)):
        (folder / split).mkdir(parents=True)
        members = [
            (f"{i}.{end}", data) for i in (0, 1) for end, data in (("png", image_bytes(seed + i)), ("cls", b"1"))
        ]
        write_tar(folder / split / "0.tar", members)
        (folder / split / "nshards.txt").write_text("1\n")
    (folder / "classnames.txt").write_text(names)
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}\n")


def write_files(folder: Path) -> None:
    """All that the settings name, in `folder`, and again in `folder/elsewhere`."""
    write_tiny_model(folder)
    write_tiny_model(folder / "other", seed=1)
    for name in ("calibration", "test"):
        write_shards(folder, name, n_pairs=4, per_shard=2)
    heads = TINY_CLIP | {"text_cfg": TINY_CLIP["text_cfg"] | {"heads": 4}}
    pixels = {"model_cfg": TINY_CLIP, "preprocess_cfg": {"mean": [0.0, 0.0, 0.0]}}
    for name, content in (("heads", heads), ("pixels", pixels)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    write_toy_tokenizer(folder / "tokenizer")
    write_toy_tokenizer(folder / "other_tokenizer", padding="<pad>")
    write_toys(folder / "toys", "cat\npicture\n")
    write_toys(folder / "other_toys", "cat\nnumber\n")
    for number, name in enumerate(("safe-0", "safe-1", "unsafe-0")):
        write_tar(folder / f"{name}.tar", [(f"{i}.png", image_bytes(10 * number + i)) for i in range(2)])
    copytree(folder, folder.with_name("copy"))
    folder.with_name("copy").rename(folder / "elsewhere")


@pytest.fixture(scope="module")
def versions_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Versions]]:
    """The versions of all artifacts of a run by kind; runs share a store, and the same settings run once."""
    folder = tmp_path_factory.mktemp("settings") / "run"
    write_files(folder)
    store = Store(folder / "store")
    known: dict[str, Versions] = {}

    def run(settings: dict[str, Any]) -> Versions:
        key = yaml.safe_dump(settings)
        if key not in known:
            config = parse_config({"name": "small", **settings}, base=folder, source="settings")
            places = make_safe.fn(config, str(store.root), "cpu", 0).artifacts.values()
            known[key] = defaultdict(set)
            pending = [ArtifactRef(kind=Path(place.path).parent.name, version=place.version) for place in places]
            for ref in pending:
                if ref.version not in known[key][ref.kind]:
                    known[key][ref.kind].add(ref.version)
                    pending += inputs_of(store, ref).values()
        return known[key]

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several take longer where tensors are as small
    with pytest.MonkeyPatch.context() as patch:
        # Prefect's engine takes longer than such a run, and decides no version.
        patch.setattr(Task, "__call__", lambda task, *arguments, **named: task.fn(*arguments, **named))
        yield run
    torch.set_num_threads(n_threads)


def renewed(before: Versions, after: Versions) -> set[str]:
    return {kind for kind in before | after if before[kind] != after[kind]}


def test_every_setting_has_a_row_here() -> None:
    # What acts in `uwm caption` alone has its rows in tests/flows/captions/test_caption.py.
    own = {field for field in leaves(RunConfig) if not field.startswith("captioning.")}
    assert {field for _, field, _, _ in RENEWS} | OF_ANOTHER_FLOW == own
    assert set(leaves(MethodConfig)) < set(leaves(RunConfig))


@pytest.mark.parametrize(
    ("base", "field", "value", "kinds"),
    [
        pytest.param(*case, id=case[1], marks=() if case[0] is PAIRED and case[1] in QUICK else pytest.mark.slow)
        for case in RENEWS
    ],
)
def test_a_setting_renews_what_it_can_change_and_nothing_else(
    versions_of: Callable[..., Versions], base: dict[str, Any], field: str, value: Any, kinds: set[str]
) -> None:
    assert renewed(versions_of(base), versions_of(changed(base, field, value))) == kinds


def test_other_words_for_the_same_renew_nothing(versions_of: Callable[..., Versions]) -> None:
    settings = PAIRED
    for field, value in SAME.items():
        settings = changed(settings, field, value)
    assert renewed(versions_of(PAIRED), versions_of(settings)) == set()
