"""Scorers and methods in the settings: defaults by scorer, inheritance, and what is refused."""

import pytest

from data_specs.config_file import load_preset, parse_config
from data_specs.errors import SpecError
from data_specs.paper import paper_results
from data_specs.run_config import ACTIVATION_SCORERS, ENCODERS, RunConfig
from tests.cases.settings import BASE, MINIMAL, changed, parse

UNPAIRED = {"safe": ["a.tar"], "unsafe": ["b.tar"]}
RATIO = {"aggregation": "ratio_of_means"}


def with_methods(**methods):
    return parse(changed(text={"tau": 0.9, "weight_by_magnitude": False}, vision={"alpha": 0}, methods=methods))


@pytest.mark.parametrize("scorer", ["uwm", "unsafe_only", "difference", "gradient_unsafe", "magnitude", "random"])
def test_the_text_encoder_weights_activation_scores_by_magnitude_and_no_others(scorer):
    config = parse(changed(text={"scorer": scorer}, vision={"scorer": scorer}))
    assert config.text.weight_by_magnitude == (scorer in ACTIVATION_SCORERS)
    assert not config.vision.weight_by_magnitude
    given = parse(changed(text={"scorer": scorer, "weight_by_magnitude": False}))
    assert not given.text.weight_by_magnitude


def test_batches_of_pairs_are_the_papers():
    config = parse(MINIMAL)
    assert (config.text.batch_pairs, config.vision.batch_pairs) == (512, 64)


def test_a_method_starts_from_the_runs_own_settings():
    config = with_methods(same={}, other={"text": {"alpha": 2}, "vision": None})
    assert (config.methods["same"].text, config.methods["same"].vision) == (config.text, config.vision)
    other = config.methods["other"]
    assert (other.text.tau, other.text.alpha, other.vision) == (0.9, 2, None)
    assert not other.text.weight_by_magnitude


def test_a_method_with_another_scorer_weights_by_magnitude_as_that_scorer_does():
    config = with_methods(unsafe={"text": {"scorer": "unsafe_only"}}, same={"text": {"scorer": "uwm"}})
    assert config.methods["unsafe"].text.weight_by_magnitude
    assert not config.methods["same"].text.weight_by_magnitude


def test_an_encoder_that_the_run_leaves_alone_is_left_alone_by_its_methods_unless_they_say():
    methods = {"same": {}, "both": {"vision": {"tau": 0.5}}}
    config = parse(changed(vision=None, methods=methods))
    assert config.methods["same"].vision is None
    assert (config.methods["both"].vision.tau, config.methods["both"].vision.layers) == (0.5, "mlp_output")


def test_settings_survive_a_round_trip_through_json():
    config = with_methods(a={"text": {"scorer": "gradient_unsafe"}}, b={"vision": None})
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_run_with_a_method_is_the_run_that_the_method_describes():
    config = with_methods(a={"text": {"scorer": "random"}})
    run = config.with_method(config.methods["a"])
    assert (run.text.scorer, run.vision, run.methods) == ("random", config.vision, {})
    assert run.evaluation == config.evaluation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"a b": {}}}, "methods.a b"),
        ({"methods": {"a": {"txt": {}}}}, "methods.a.txt is not a known setting"),
        ({"methods": {"a": {"text": {"tau": 98}}}}, "methods.a.text.tau: Input should be less than 1, got 98"),
        ({"methods": {"a": {"text": None, "vision": None}}}, "methods.a: text and vision are both null"),
        ({"text": {"scorer": "nsfw"}}, "text.scorer: Input should be 'uwm', "),
        ({"text": {"batch_pairs": 1}}, "text.batch_pairs: Input should be greater than or equal to 2, got 1"),
        ({"text": {"batch_pairs": True}}, "text.batch_pairs: expected a number, got True"),
        (
            {"vision": {"scorer": "gradient_unsafe"}, "precision": "fp16"},
            "vision.scorer is gradient_unsafe, whose gradients vanish in fp16; set precision: bf16",
        ),
        (
            {"calibration": UNPAIRED, "text": {"scorer": "gradient_safe_clip"}, "vision": RATIO},
            "text.scorer is gradient_safe_clip, which needs paired shards",
        ),
        (
            {
                "calibration": UNPAIRED,
                "text": RATIO,
                "vision": RATIO,
                "methods": {"a": {"text": {"scorer": "uwm"}, "vision": {"aggregation": "mean_of_ratios"}}},
            },
            "methods.a.vision.aggregation is mean_of_ratios, which needs paired shards",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_its_path(changes, message):
    with pytest.raises(SpecError) as caught:
        parse(changed(**changes))
    assert message in str(caught.value)


@pytest.mark.parametrize("scorer", ["unsafe_only", "difference", "magnitude", "random"])
def test_other_scorers_take_unpaired_sets(scorer):
    config = parse(changed(calibration=UNPAIRED, text={"scorer": scorer}, vision={"scorer": scorer}))
    assert not any(config.encoder(encoder).needs_pairs for encoder in ENCODERS)


@pytest.mark.parametrize("name", ["vit-b16", "vit-b32", "vit-l14"])
def test_the_presets_methods_are_the_papers(name):
    config = parse_config(load_preset(name), base=BASE, source=name)
    assert config.methods == paper_results().methods


def test_a_setting_left_out_and_the_same_setting_given_are_the_same_to_the_letter():
    given = {"tau": 0.98, "alpha": -1, "rule": "score_mass", "aggregation": "mean_of_ratios"}
    assert parse(changed(text=given)).model_dump_json() == parse(MINIMAL).model_dump_json()


def test_sums_by_tag_are_of_folded_statistics_and_stand_in_no_record_where_they_are_not_asked_for():
    folded = {"statistics": "folded", "sums_by_tag": True}
    assert parse(changed(vision=folded)).vision.acting.items() >= folded.items()
    assert not {"sums_by_tag", "statistics"} & parse(MINIMAL).vision.acting.keys()
    for given in ({"sums_by_tag": True}, folded | {"statistics": "rows"}):
        with pytest.raises(
            SpecError, match=r"vision: sums_by_tag is true, .* but statistics is rows; set statistics: folded"
        ):
            parse(changed(vision=given))
    with pytest.raises(SpecError, match=r"sums_by_tag"):
        parse(changed(vision=folded | {"sums_by_tag": 1}))
    methods = {"plain": {"vision": {"statistics": "rows", "sums_by_tag": False}}, "other": {"vision": {"tau": 0.9}}}
    found = parse(changed(vision=folded, methods=methods)).methods
    assert [found[name].vision.sums_by_tag for name in methods] == [False, True]


def test_a_sign_filter_needs_paired_shards_and_gradients_that_do_not_vanish_and_lowers_weights():
    filtered = {"text": {"sign": "loss", "scorer": "magnitude"}}
    assert parse(changed(**filtered)).signs == {"text": "loss"}
    assert parse(changed(text={}, vision={})).signs == {}
    with pytest.raises(SpecError, match=r"text\.sign is loss, which needs paired shards with both members"):
        parse(changed(calibration=UNPAIRED, vision=None, **filtered))
    with pytest.raises(SpecError, match=r"text\.sign is loss, whose gradients vanish in fp16"):
        parse(changed(precision="fp16", **filtered))
    with pytest.raises(SpecError, match=r"alpha 1\.5 raises them"):
        parse(changed(text={"sign": "against", "alpha": 1.5}))
    assert "sign" not in parse(MINIMAL).text.acting
    assert parse(changed(**filtered)).text.acting["sign"] == "loss"
