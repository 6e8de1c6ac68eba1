"""Against numbers computed with the paper authors' released code in float64 (tests/data/README.md)."""

import json
import tarfile

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from data_specs.run_config import ENCODERS, ModelConfig
from tasks.activations.capture import StatisticsObserver
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.encoders.forward import encode, forward_precision
from tasks.encoders.loading import load_model
from tasks.encoders.tokens import valid_text_tokens
from tasks.evaluation.similarities import similarities
from tasks.extraction.columns import vectors
from tasks.scoring.saliency import ChannelStats
from tasks.scoring.scorers.uwm import MeanOfRatios
from tasks.selection.rules import select
from tests.cases.evaluations import retrieval, safeground
from tests.cases.golden_case import E2E, golden_case, golden_model, golden_numbers, overlap, write_golden_e2e

ALIAS = {"text": "attention_output", "vision": "mlp_output"}
WEIGHTED = {"text": True, "vision": False}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case():
    return golden_case()


@pytest.fixture(scope="module")
def expected():
    return golden_numbers()


@pytest.fixture(scope="module")
def model():
    return golden_model()


def observed(model, encoder, inputs):
    """Statistics by layer as a pass takes them from one batch: hooks, mask, rows in the published schema."""
    n = len(inputs)
    text = pa.array([f"row {i}" for i in range(n)], pa.string())
    identity = {"pair_id": text, "content": text, "tag": text}
    with StatisticsObserver(model, encoder, ALIAS[encoder]) as observer:
        observer.prepare(valid_text_tokens(model, inputs) if encoder == "text" else None)
        with forward_precision("fp32", CPU):
            embeddings = encode(model, encoder, inputs)
            rows = observer.rows(identity, embeddings)
    found = {}
    for folder, batch in rows.items():
        table = pa.Table.from_batches([batch])
        found[folder.split("layer=")[1]] = [vectors(table.column(name), name) for name in ("norm", "std")]
    return found


def scores_of(model, encoder, safe, unsafe):
    n = len(safe)
    statistics = observed(model, encoder, torch.cat([safe, unsafe]))
    found = {}
    for layer, (norm, std) in statistics.items():
        weight = model.get_submodule(layer).weight.detach()
        mean = MeanOfRatios(weight)
        mean.add(ChannelStats(norm[:n], std[:n]), ChannelStats(norm[n:], std[n:]))
        found[layer] = mean.scores() * weight.abs() if WEIGHTED[encoder] else mean.scores()
    return found


@pytest.fixture(scope="module")
def scores(model, expected):
    n = len(expected["images"]) // 2
    inputs = {"text": expected["token_ids"], "vision": expected["images"]}
    found = {}
    for encoder in ENCODERS:
        found |= scores_of(model, encoder, inputs[encoder][:n], inputs[encoder][n:])
    return found


def mask_of(selection, shape):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask.view(-1)[torch.from_numpy(selection.index)] = True
    return mask


def test_scores_of_hooked_statistics_are_the_released_scores(case, expected, scores):
    assert sorted(scores) == sorted(case["layers"]["text"] + case["layers"]["vision"])
    for layer, found in scores.items():
        assert_close(found.double(), expected[f"uwm.score/{layer}"], rtol=2e-5, atol=0)


@pytest.mark.parametrize("tau", [0.98, 0.9, 0.8])
def test_selections_are_the_released_ones(case, expected, scores, tau):
    for layer, found in scores.items():
        selection = select(found.numpy(), "score_mass", tau)
        assert len(selection.index) == case["mask_counts"][f"uwm/{tau}/{layer}"]
        assert overlap(mask_of(selection, found.shape), expected[f"uwm.selected_tau{tau}/{layer}"]) >= 0.98


def given_selections(expected):
    """Name, scores, expected mask, rule and tau of every selection from scores that the case gives."""
    for name in expected:
        method, _, layer = name.partition("/")
        if method == "unsafe_only.selected_topk0.95":
            yield name, expected[f"unsafe_only.score/{layer}"], expected[name], "top_share", 0.95
        elif method.endswith(".selected0.965"):
            scorer = method.removesuffix(".selected0.965")
            rule = "score_mass" if (scorer, layer[:6]) == ("GradientUnsafe", "visual") else "top_share"
            yield name, expected[f"{scorer}.score/{layer}"], expected[name], rule, 0.965


def test_rules_select_what_was_released_from_the_given_scores(expected):
    given = list(given_selections(expected))
    assert len(given) == 15
    for name, scores, mask, rule, tau in given:
        selection = select(scores.numpy(), rule, tau)
        assert len(selection.index) == int(mask.sum()), name
        assert overlap(mask_of(selection, scores.shape), mask) >= 0.98, name


@pytest.fixture(scope="module")
def embedded(expected):
    members = ("safe_text", "unsafe_text", "safe_image", "unsafe_image")
    sets = [expected[f"safeground.{member}"].float() for member in members]
    n = len(sets[0])
    return EmbeddedPairs([f"pair {i}" for i in range(n)], [None] * n, *sets)


def test_safeground_of_the_given_embeddings_is_the_released_one(case, embedded):
    assert len(embedded.pair_ids) == 200
    found = safeground(similarities(embedded))
    names = ("P_t_s", "P_t_u", "P_v_s", "P_v_u", "Txt_s", "Img_s", "PS", "PU", "GS")
    assert {name: round(found[name], 2) for name in names} == {name: case["safeground"][name] for name in names}


def test_retrieval_of_the_given_embeddings_is_the_released_one(case, embedded):
    found = retrieval(embedded)
    released = {
        "Ts-Vs": "t2i_recall_safe",
        "Vs-Ts": "i2t_recall_safe",
        "Tu-Vus": "unsafe_t2union_recall",
        "Vu-Tus": "unsafe_i2union_recall",
    }
    for name, key in released.items():
        recalls = [round(found[name if k == 1 else f"{name}@{k}"], 2) for k in (1, 5, 10, 20)]
        assert recalls == case["safeground"][f"{key}@1,5,10,20"], name


@pytest.fixture(scope="module")
def e2e(tmp_path_factory):
    folder = write_golden_e2e(tmp_path_factory.mktemp("golden"))
    config = ModelConfig(architecture=str(folder / "model.json"), weights=str(folder / "model.safetensors"))
    return load_model(config)


def captions(shard):
    """(safe, unsafe) captions of a shard's pairs, in order."""
    with tarfile.open(E2E / shard) as tar:
        texts = {member.name: tar.extractfile(member).read().decode() for member in tar if member.name[-3:] == "txt"}
    keys = sorted({name.split(".")[0] for name in texts})
    return [texts[f"{key}.safe.txt"].strip() for key in keys], [texts[f"{key}.unsafe.txt"].strip() for key in keys]


def test_the_kept_token_embeddings_are_all_that_the_captions_use(e2e):
    kept = set(load_file(E2E / "model_used_rows.safetensors")["token_embedding.rows"].tolist())
    used = [text for shard in ("calibration.tar", "test.tar") for side in captions(shard) for text in side]
    assert set(e2e.tokenizer(used).unique().tolist()) <= kept


def test_text_scores_and_selections_from_captions_are_the_released_ones(e2e):
    expected = load_file(E2E / "expected.safetensors")
    counts = json.loads((E2E / "expected.json").read_text())["selected"]
    safe, unsafe = captions("calibration.tar")
    found = scores_of(e2e.model, "text", e2e.tokenizer(safe), e2e.tokenizer(unsafe))
    assert len(found) == 2
    for layer, scores in found.items():
        assert_close(scores, expected[f"score/{layer}"], rtol=1e-4, atol=0)
        for tau in (0.98, 0.9):
            selection = select(scores.numpy(), "score_mass", tau)
            assert len(selection.index) == counts[f"{tau}/{layer}"]
            assert overlap(mask_of(selection, scores.shape), expected[f"selected_tau{tau}/{layer}"]) >= 0.98
