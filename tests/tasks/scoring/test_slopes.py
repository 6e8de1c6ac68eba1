"""Slopes of the sign filter's loss: against one backward pass through all pairs, cut anywhere, and what they refuse."""

import io
import json
import math
import tarfile
from shutil import rmtree

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from data_specs.config_file import load_config
from data_specs.errors import ArtifactError, DataError
from data_specs.run_config import ENCODERS
from tasks.embeddings.task import embed_shards
from tasks.encoders.layers import target_layers
from tasks.encoders.loading import load_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.scoring.gradients import parts as gradient_parts
from tasks.scoring.gradients.calibration import EmbeddedCalibration
from tasks.scoring.gradients.gradient_pass import GradientFold
from tasks.scoring.scorer import BatchMembers
from tasks.scoring.slopes.margins import TEMPERATURE, margin_loss
from tasks.scoring.slopes.task import measure_slopes, require_common_pairs, summarise_signed_scores
from tasks.scoring.task import score_by_weights
from tasks.selection.scores_table import SLOPES_FILE, read_layer
from tasks.shards.inspection import open_shards
from tasks.shards.location import expand_locations
from tasks.shards.plan import plan_reading
from tests.cases.folds import dying_at
from tests.cases.small_run import damage, write_run

N_PAIRS, PER_SHARD = 10, 4
IMAGELESS = "calibration0002"  # its unsafe picture is missing, so that no slope can be taken of it


class Calibration:
    """A small run's model, shards and embeddings, and slopes of any of its settings."""

    def __init__(self, folder):
        config = write_run(folder, calibration=N_PAIRS, test=4, per_shard=PER_SHARD)
        damage(folder / "calibration-000000.tar", {f"{IMAGELESS}.unsafe.png": None})
        self.tars = [folder / f"calibration-00000{i}.tar" for i in range(3)]
        self.config = load_config(config).model_copy(update={"batch_size": 3, "max_bad_fraction": 0.5})
        self.loaded = load_model(self.config.model)
        self.shards = open_shards(expand_locations(self.config.calibration.shards), None, folder)
        self.store = Store(folder / "store")
        self.embeddings = {
            encoder: embed_shards(
                encoder, self.plans()[encoder], self.loaded, self.config, self.store, RunContext(), label=encoder
            ).ref
            for encoder in ENCODERS
        }

    def plans(self, limit=None):
        return {encoder: plan_reading(self.shards, encoder, limit) for encoder in ENCODERS}

    def measure(self, encoder, *, tags=None, limit=None):
        """The artifact, by the name of its layers its slopes, and its counts."""
        calibration = self.config.calibration.model_copy(update={"tags": tags, "limit": limit})
        config = self.config.model_copy(update={"calibration": calibration})
        pairs = EmbeddedCalibration(self.embeddings, self.plans(limit), tags)
        chosen = config.edited[encoder]
        made = measure_slopes(encoder, chosen, pairs, self.loaded, config, self.store, RunContext())
        files = made.path.glob(f"encoder={encoder}/layer=*/{SLOPES_FILE}")
        found = {path.parent.name.removeprefix("layer="): read_layer(path, "slope") for path in files}
        return made, found, self.store.manifest(made.ref).counts["layers"]

    def members(self, *, only=None, limit=N_PAIRS):
        """The inputs of all complete pairs in float64, by encoder, [safe, unsafe]."""
        found = {encoder: ([], []) for encoder in ENCODERS}
        for path in self.tars:
            with tarfile.open(path) as tar:
                data = {member.name: tar.extractfile(member).read() for member in tar}
            for key in sorted({name.split(".", 1)[0] for name in data})[:limit]:
                if key == IMAGELESS or (only is not None and json.loads(data[f"{key}.json"])["tag"] != only):
                    continue
                for place, content in enumerate(("safe", "unsafe")):
                    picture = Image.open(io.BytesIO(data[f"{key}.{content}.png"])).convert("RGB")
                    found["vision"][place].append(self.loaded.preprocess(picture).double())
                    found["text"][place].append(self.loaded.tokenizer([data[f"{key}.{content}.txt"].decode()])[0])
        return {encoder: [torch.stack(side) for side in sides] for encoder, sides in found.items()}

    def oracle(self, encoder, **which):
        """dL / dW by layer: the loss written out over all pairs at once, in float64, through both towers."""
        model = self.loaded.model.double()
        try:
            sides = self.members(**which)
            text = [normalize(model.encode_text(side), dim=1) for side in sides["text"]]
            vision = [normalize(model.encode_image(side), dim=1) for side in sides["vision"]]
            total = 0.0
            for i in range(len(text[0])):
                ss, su, us, uu = (text[t][i] @ vision[v][i] for t in (0, 1) for v in (0, 1))
                for margin in (ss - su, ss - us, us - uu, su - uu):
                    total = total + torch.log1p(torch.exp(-margin / TEMPERATURE))
            layers = target_layers(model, encoder, self.config.edited[encoder].layers)
            found = torch.autograd.grad(total, [layer.weight for layer in layers.values()])
            return {name: slope.numpy() for name, slope in zip(layers, found, strict=True)}
        finally:
            self.loaded.model.float()


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    return Calibration(tmp_path_factory.mktemp("slopes"))


def require_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, slopes in expected.items():
        scale = np.abs(slopes).max()
        assert scale > 0
        np.testing.assert_allclose(found[name], slopes, rtol=1e-3, atol=1e-5 * scale)
        clear = np.abs(slopes) > 1e-4 * scale
        assert clear.mean() > 0.9
        assert (np.sign(found[name]) == np.sign(slopes))[clear].all()


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_slopes_equal_one_backward_pass_through_all_pairs_and_both_members(calibration, encoder):
    made, found, counts = calibration.measure(encoder)
    require_equal(found, calibration.oracle(encoder))
    assert [layer["n_pairs"] for layer in counts.values()] == [N_PAIRS - 1] * 2
    assert made.ref.kind == f"slopes.{encoder}"
    files = {path.suffix for path in made.path.rglob("*") if path.is_file()}
    assert files == {".parquet", ".json"}
    schema = pq.read_schema(next(made.path.rglob(SLOPES_FILE)))
    assert schema.metadata[b"spec"] == b"slopes"


@pytest.mark.slow
def test_tags_and_limit_choose_the_pairs(calibration):
    _, odd, counts = calibration.measure("text", tags=["odd"])
    require_equal(odd, calibration.oracle("text", only="odd"))
    assert {layer["n_pairs"] for layer in counts.values()} == {N_PAIRS // 2}
    # The first four of each encoder: the vision encoder takes one more, in place of that without a picture.
    _, few, counts = calibration.measure("vision", limit=4)
    assert {layer["n_pairs"] for layer in counts.values()} == {3}
    calibration.tars, all_tars = calibration.tars[:1], calibration.tars
    try:
        require_equal(few, calibration.oracle("vision"))
    finally:
        calibration.tars = all_tars


@pytest.mark.slow
@pytest.mark.parametrize("call", [2, 5])
def test_slopes_that_were_cut_at_any_batch_end_with_the_same_bits(calibration, monkeypatch, call):
    made, expected, expected_counts = calibration.measure("text")
    rmtree(made.path)
    with monkeypatch.context() as patch:
        patch.setattr(gradient_parts, "GradientFold", dying_at(GradientFold, call))
        with pytest.raises(OSError, match="the disk is away"):
            calibration.measure("text")
    assert not made.path.exists()
    _, found, counts = calibration.measure("text")
    assert counts == expected_counts
    assert not [*calibration.store.root.glob("gradient_sums.*/*")]  # what they were made of is not kept
    assert all(np.array_equal(found[name], slopes) for name, slopes in expected.items())


def test_slopes_that_changed_in_the_store_are_not_brought_together_with_scores(calibration):
    chosen = calibration.config.edited["text"].model_copy(update={"scorer": "magnitude"})
    scores = score_by_weights.fn("text", chosen, calibration.loaded, 0, calibration.store, RunContext()).ref
    made, _, _ = calibration.measure("text")

    def summarise():
        return summarise_signed_scores.fn(
            {"text": scores},
            {"text": made.ref},
            {"text": "loss"},
            {"text": [("top_share", 0.9)]},
            calibration.loaded,
            calibration.store,
            RunContext(),
        )

    file = next(made.path.rglob(SLOPES_FILE))
    sound = file.read_bytes()
    file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"slopes\.text .*slopes\.parquet changed since it was made"):
        summarise()
    file.write_bytes(sound)
    assert [path.name for path in summarise().path.rglob(SLOPES_FILE)] == [SLOPES_FILE] * 2


def test_tags_that_no_pair_has_are_refused_before_the_pass(calibration, monkeypatch):
    monkeypatch.setattr(gradient_parts, "GradientFold", None)
    with pytest.raises(DataError, match=r"text\.sign: no calibration pair with all four members"):
        calibration.measure("text", tags=["neither"])


def test_pairs_that_lack_the_other_modality_are_refused_with_what_there_is(calibration):
    require_common_pairs(calibration.plans())
    plans = calibration.plans()
    with pytest.raises(DataError, match=r"there are 10 for text and 0 for vision, but none for both"):
        require_common_pairs({**plans, "vision": []})


def test_a_pair_with_four_equal_cosines_costs_four_times_ln_2_and_the_loss_is_the_same_from_either_side():
    one = normalize(torch.ones(3, 5, dtype=torch.float64), dim=1)
    assert margin_loss(BatchMembers(one, one, one, one)).item() == pytest.approx(3 * 4 * math.log(2))
    generator = torch.Generator().manual_seed(0)
    text = [normalize(torch.randn(3, 5, generator=generator, dtype=torch.float64), dim=1) for _ in range(2)]
    vision = [normalize(torch.randn(3, 5, generator=generator, dtype=torch.float64), dim=1) for _ in range(2)]
    assert margin_loss(BatchMembers(*text, *vision)).item() == pytest.approx(
        margin_loss(BatchMembers(*vision, *text)).item()
    )
