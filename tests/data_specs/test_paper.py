import pytest

from data_specs.data_sets import CalibrationConfig, EvaluationConfig, ZeroShotConfig
from data_specs.experiment import PAPER_COLUMNS, zero_shot_column
from data_specs.metrics import ZERO_SHOT
from data_specs.paper import paper_results, paper_row
from data_specs.run_config import (
    MethodConfig,
    ModelConfig,
    RunConfig,
)
from data_specs.zero_shot_presets import zero_shot_presets

PAPER = paper_results()
TAGS = set(PAPER.tags)
CONFIG = RunConfig(
    name="paper",
    model=ModelConfig(architecture="ViT-L-14-quickgelu", weights="openai"),
    calibration=CalibrationConfig(shards=["calibration.tar"], limit=8192),
    evaluation=EvaluationConfig(shards=["test.tar"]),
)
OPENAI = ("ViT-L-14-quickgelu", "openai")
BASELINE = {"layers": "attention_output", "weight_by_magnitude": False, "rule": "top_share"}


def row(model=OPENAI, method=None, *, n_test_pairs=5000, tags=TAGS, zero_shot=(), **changes):
    changes["model"] = ModelConfig(architecture=model[0], weights=model[1])
    changes["evaluation"] = CONFIG.evaluation.model_copy(update={"zero_shot": zero_shot})
    return paper_row(CONFIG.model_copy(update=changes), method, n_test_pairs=n_test_pairs, tags=tags)


def method_of(name):
    return PAPER.methods[name]


def changed(method, encoder, **changes):
    config = method.encoder(encoder).model_copy(update=changes)
    return method.model_copy(update={encoder: config})


def seventeen(templates="paper", named=lambda preset: preset.key):
    return [
        ZeroShotConfig(name=named(preset).replace("/", "_"), path="x", templates=templates)
        for preset in zero_shot_presets()
    ]


def test_the_tables_are_complete_and_have_the_columns_of_comparisons():
    assert tuple(PAPER.columns) == PAPER_COLUMNS
    assert len(PAPER.tags) == 20
    for methods in PAPER.rows.values():
        for figures in methods.values():
            assert len(figures) == len(PAPER.columns)
            assert all(figure is None or 0 < figure < 100 for figure in figures)
    assert {model.name for model in PAPER.models} == set(PAPER.rows)
    assert {preset.column for preset in zero_shot_presets()} == set(PAPER.zero_shot.data_sets)
    assert {len(figures) for figures in PAPER.zero_shot.data_sets.values()} == {len(PAPER.zero_shot.rows)}


def test_the_means_of_the_single_data_sets_are_the_table_s_zero_shot_figures():
    # As printed, they differ by up to 0.15 (G-Safe-CLIP: 56.15 and 56.3).
    for place, (model, name) in enumerate(PAPER.zero_shot.rows):
        figures = [figures[place] for figures in PAPER.zero_shot.data_sets.values()]
        assert sum(figures) / len(figures) == pytest.approx(PAPER.rows[model][name][0], abs=0.16)


def test_groups_are_never_above_the_preferences_that_they_join():
    for methods in PAPER.rows.values():
        for figures in methods.values():
            values = dict(zip(PAPER.columns, figures, strict=True))
            assert values["GS"] <= min(values[name] for name in ("Txt_s", "Img_s", "PS", "PU"))
            assert values["PS"] <= min(values["P_t_s"], values["P_v_s"])


def test_the_presets_of_a_run_are_the_paper_s_uwm():
    name, values = row(method=MethodConfig())
    assert name == "ViT-L-14, UWM (paper)"
    assert (values["GS"], values["Txt_s"], values["Vs-Ts"]) == (4.5, 19.1, 32.0)


@pytest.mark.parametrize(
    ("model", "gs_original", "gs_uwm"),
    [
        (("ViT-L-14", "openai"), 1.2, 4.5),
        (("ViT-L-14", "hf-hub:openai/clip-vit-large-patch14"), 1.2, 4.5),
        (("hf-hub:timm/vit_large_patch14_clip_224.openai", None), 1.2, 4.5),
        (("ViT-B-16-quickgelu", "openai"), 1.0, 2.0),
        (("ViT-B-32", "openai"), 1.1, 1.3),
        (("coca_ViT-L-14", "mscoco_finetuned_laion2b_s13b_b90k"), 1.3, 2.2),
        (("ViT-SO400M-14-SigLIP-384", "webli"), 1.0, 1.8),
        (("hf-hub:timm/ViT-SO400M-14-SigLIP-384", None), 1.0, 1.8),
        (("ViT-L-14-quickgelu", "hf-hub:aimagelab/safeclip_vit-l_14"), 6.4, 7.5),
        (("ViT-L-14", "/models/safeclip_vit-l_14"), 6.4, 7.5),
    ],
)
def test_every_model_of_the_paper_is_known_by_its_names(model, gs_original, gs_uwm):
    assert row(model)[1]["GS"] == gs_original
    assert row(model, MethodConfig())[1]["GS"] == gs_uwm


@pytest.mark.parametrize(
    "model",
    [
        ("ViT-L-14", "laion2b_s32b_b82k"),
        ("ViT-L-14-336", "openai"),
        ("coca_ViT-L-14", "laion2b_s13b_b90k"),
        ("ViT-L-14", "hf-hub:someone/safeclip_vit-l_14"),
        ("ViT-L-14", "/models/other.safetensors"),
        ("hf-hub:timm/vit_large_patch14_clip_336.openai", None),
    ],
)
def test_other_weights_have_no_row(model):
    assert row(model) is None
    assert row(model, MethodConfig()) is None


def test_the_gradient_baselines_have_rows_for_vit_l14_alone():
    assert row(method=method_of("G-Unsafe"))[1]["Img_s"] == 4.6
    assert row(method=method_of("G-Safe-CLIP"))[1]["Img_s"] == 6.8
    assert row(("ViT-B-32", "openai"), method_of("G-Unsafe")) is None
    assert method_of("G-Unsafe").vision.rule == "score_mass"
    assert {method_of("G-Unsafe").text.rule, method_of("G-Safe-CLIP").vision.rule} == {"top_share"}


@pytest.mark.parametrize("name", ["UWM", "G-Unsafe", "G-Safe-CLIP"])
@pytest.mark.parametrize("encoder", ["text", "vision"])
def test_one_other_setting_is_not_the_paper_s_method(name, encoder):
    method = method_of(name)
    config = method.encoder(encoder)
    others = {
        "scorer": "unsafe_only",
        "layers": "*.c_fc",
        "weight_by_magnitude": not config.weight_by_magnitude,
        "rule": "top_share" if config.rule == "score_mass" else "score_mass",
        "tau": 0.97,
        "alpha": -0.5,
    }
    others |= {"aggregation": "ratio_of_means"} if name == "UWM" else {"batch_pairs": 128}
    for setting, value in others.items():
        assert row(method=changed(method, encoder, **{setting: value})) is None, setting
    assert row(method=method.model_copy(update={encoder: None})) is None


def test_settings_that_a_scorer_does_not_read_do_not_matter():
    assert row(method=changed(method_of("UWM"), "text", batch_pairs=7)) == row(method=method_of("UWM"))
    other = changed(method_of("G-Unsafe"), "vision", aggregation="ratio_of_means")
    assert row(method=other) == row(method=method_of("G-Unsafe"))


@pytest.mark.parametrize(
    "calibration",
    [
        CalibrationConfig(shards=["x.tar"], limit=4096),
        CalibrationConfig(shards=["x.tar"], limit=None),
        CalibrationConfig(shards=["x.tar"], limit=8192, tags=["blood"]),
        CalibrationConfig(safe=["x.tar"], unsafe=["y.tar"], limit=8192),
    ],
)
def test_other_calibration_data_matter_for_edits_and_not_for_the_original(calibration):
    assert row(method=MethodConfig(), calibration=calibration) is None
    assert row(calibration=calibration, seed=5)[0] == "ViT-L-14, original (paper)"


def test_another_seed_or_test_set_is_not_the_paper_s():
    assert row(method=MethodConfig(), seed=1) is None
    assert row(n_test_pairs=4999) is None
    assert row(tags=TAGS - {"blood"}) is None
    assert row(tags=TAGS | {"vandalism of walls"}) is None


def test_zero_shot_figures_are_those_of_the_paper_s_data_sets_with_its_template():
    assert ZERO_SHOT not in row()[1]
    single = [
        ZeroShotConfig(name="cifar10", path="x", templates="paper"),
        ZeroShotConfig(name="fgvc_aircraft", path="x", templates="paper"),
        ZeroShotConfig(name="ImageNetV2", path="x", templates="data_set"),
        ZeroShotConfig(name="mnist", path="x"),
    ]
    values = row(method=MethodConfig(), zero_shot=single)[1]
    assert values[zero_shot_column("cifar10")] == 91.1
    assert values[zero_shot_column("fgvc_aircraft")] == 11.3
    assert len([name for name in values if name.startswith(ZERO_SHOT)]) == 2


def test_the_mean_is_given_where_the_data_sets_are_exactly_the_paper_s():
    assert row(zero_shot=seventeen())[1][ZERO_SHOT] == 72.7
    assert row(method=MethodConfig(), zero_shot=seventeen(named=lambda preset: preset.column))[1][ZERO_SHOT] == 61.3
    assert ZERO_SHOT not in row(zero_shot=seventeen()[:-1])[1]
    assert ZERO_SHOT not in row(zero_shot=seventeen("data_set"))[1]
    assert ZERO_SHOT not in row(zero_shot=[*seventeen(), ZeroShotConfig(name="mnist", path="x")])[1]
    twice = [*seventeen()[:-1], ZeroShotConfig(name="CIFAR-10", path="x", templates="paper")]
    assert ZERO_SHOT not in row(zero_shot=twice)[1]
