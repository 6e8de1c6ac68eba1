import re

import pytest
import yaml

from data_specs.config_file import load_config, load_preset, parse_config
from data_specs.errors import ArtifactError, DataError, PipelineError, SpecError
from data_specs.run_config import EncoderConfig, RunConfig
from data_specs.spec import Spec
from tests.cases.places import ROOT
from tests.cases.settings import BASE, MINIMAL, PRESETS, changed, parse


def test_defaults_are_the_papers_settings():
    config = parse(MINIMAL)
    assert config.text == EncoderConfig(
        layers="attention_output",
        aggregation="mean_of_ratios",
        weight_by_magnitude=True,
        rule="score_mass",
        tau=0.98,
        alpha=-1,
    )
    assert config.vision == EncoderConfig(
        layers="mlp_output",
        aggregation="mean_of_ratios",
        weight_by_magnitude=False,
        rule="score_mass",
        tau=0.98,
        alpha=-1,
        batch_pairs=64,
    )
    assert (config.seed, config.precision, config.max_bad_fraction) == (0, "fp32", 0.01)
    assert (config.calibration.limit, config.calibration.tags, config.calibration.paired) == (8192, None, True)
    assert (config.evaluation.limit, config.evaluation.zero_shot) == (None, [])
    assert tuple(config.edited) == ("text", "vision")


def test_one_field_given_keeps_that_encoders_other_defaults():
    config = parse(changed(text={"tau": 0.9}, vision={"alpha": 0}))
    assert (config.text.tau, config.text.layers, config.text.weight_by_magnitude) == (0.9, "attention_output", True)
    assert (config.vision.alpha, config.vision.layers, config.vision.weight_by_magnitude) == (0, "mlp_output", False)


def test_an_encoder_set_to_null_is_left_alone():
    assert tuple(parse(changed(text=None)).edited) == ("vision",)
    assert tuple(parse(changed(vision=None)).edited) == ("text",)
    with pytest.raises(SpecError, match=r"run\.yaml: settings: text and vision are both null: nothing would be edited"):
        parse(changed(text=None, vision=None))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"taus": 1}, "taus is not a known setting"),
        ({"text": {"taus": 0.9}}, "text.taus is not a known setting"),
        ({"model": {**MINIMAL["model"], "device": "cpu"}}, "model.device is not a known setting"),
        ({"text": {"tau": 98}}, "text.tau: Input should be less than 1, got 98"),
        ({"vision": {"tau": 0}}, "vision.tau: Input should be greater than 0, got 0"),
        ({"vision": {"tau": 1}}, "vision.tau: Input should be less than 1, got 1"),
        ({"text": {"tau": float("nan")}}, "text.tau: Input should be less than 1, got nan"),
        ({"text": {"tau": True}}, "text.tau: expected a number, got True"),
        ({"text": {"tau": "0.9"}}, "text.tau: expected a number, got '0.9'"),
        ({"seed": "7"}, "seed: expected a number, got '7'"),
        ({"seed": 10**5000}, "seed: Input should be less than"),
        (
            {"vision": {"weight_by_magnitude": "yes"}},
            "vision.weight_by_magnitude: Input should be a valid boolean, got",
        ),
        ({"vision": {"weight_by_magnitude": 1}}, "vision.weight_by_magnitude: Input should be a valid boolean, got 1"),
        ({"name": 7}, "name: Input should be a valid string, got 7; put it in quotes"),
        ({"calibration": {"shards": ["a"], "tags": [True]}}, "calibration.tags.0: Input should be a valid string, got"),
        ({"calibration": {"shards": ["a\0b"]}}, "calibration.shards.0: String should match pattern"),
        ({"calibration": {"shards": [""]}}, "calibration.shards.0: String should have at least 1 character"),
        (
            {"evaluation": {"shards": ["\ud800"]}},
            "evaluation.shards.0: Input should be a valid string, unable to parse",
        ),
        ({"text": {"alpha": float("inf")}}, "text.alpha: Input should be less than or equal to 10, got inf"),
        ({"text": {"alpha": -11}}, "text.alpha: Input should be greater than or equal to -10, got -11"),
        ({"text": {"rule": "top_k"}}, "text.rule: Input should be 'score_mass' or 'top_share', got 'top_k'"),
        ({"text": {"aggregation": "mean"}}, "text.aggregation: Input should be 'mean_of_ratios' or 'ratio_of_means'"),
        ({"text": {"layers": ""}}, "text.layers: String should have at least 1 character, got ''"),
        ({"text": [1]}, "text: Input should be a valid dictionary"),
        ({"precision": "fp8"}, "precision: Input should be 'fp32', 'tf32', 'bf16' or 'fp16', got 'fp8'"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, got -1"),
        ({"seed": 2**63}, f"seed: Input should be less than {2**63}, got {2**63}"),
        ({"seed": True}, "seed: expected a number, got True"),
        ({"max_bad_fraction": 1.5}, "max_bad_fraction: Input should be less than or equal to 1, got 1.5"),
        ({"max_bad_fraction": True}, "max_bad_fraction: expected a number, got True"),
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1, got 0"),
        ({"batch_size": 4097}, "batch_size: Input should be less than or equal to 4096, got 4097"),
        (
            {"batch_size": 1.5},
            "batch_size: Input should be a valid integer, got a number with a fractional part, got 1.5",
        ),
        ({"batch_size": "32"}, "batch_size: expected a number or auto, got '32'"),
        ({"batch_size": "Auto"}, "batch_size: expected a number or auto, got 'Auto'"),
        ({"batch_size": True}, "batch_size: expected a number or auto, got True"),
        ({"batch_size": None}, "batch_size: Input should be a valid integer, got None"),
        ({"name": "../run"}, "name: String should match pattern"),
        ({"name": ""}, "name: String should match pattern"),
        ({"model": {"architecture": "ViT-B-32"}}, "model: weights is missing; give a pretrained tag (such as openai)"),
        ({"model": {"architecture": "hf-hub:a/b", "weights": "w"}}, "model: weights is 'w', but hf-hub: names its own"),
        ({"calibration": {"shards": []}}, "calibration.shards: List should have at least 1 item"),
        ({"calibration": {"shards": "a.tar"}}, "calibration.shards: Input should be a valid list, got 'a.tar'"),
        (
            {"calibration": {"shards": ["a"], "limit": 0}},
            "calibration.limit: Input should be greater than or equal to 1",
        ),
        ({"calibration": {"shards": ["a"], "limit": True}}, "calibration.limit: expected a number, got True"),
        ({"calibration": {}}, "calibration: give either shards (paired) or both safe and unsafe (unpaired;"),
        ({"calibration": {"safe": ["a"]}}, "calibration: give either shards (paired) or both safe and unsafe"),
        (
            {"calibration": {"shards": ["a"], "safe": ["a"], "unsafe": ["b"]}},
            "calibration: give either shards (paired)",
        ),
        ({"evaluation": {}}, "evaluation.shards is missing"),
        ({"evaluation": None}, "evaluation: Input should be a valid dictionary"),
        (
            {"evaluation": {"shards": ["b"], "zero_shot": [{"name": "x", "path": "p"}, {"name": "x", "path": "q"}]}},
            "evaluation.zero_shot: data set names must differ, got ['x', 'x']",
        ),
        (
            {"evaluation": {"shards": ["b"], "zero_shot": [{"name": "x", "path": "p", "split": "../x"}]}},
            "evaluation.zero_shot.0.split: String should match pattern",
        ),
    ],
)
def test_a_setting_that_is_unknown_or_out_of_bounds_is_refused_by_its_path(changes, expected):
    with pytest.raises(SpecError, match=re.escape(f"run.yaml: {expected}")) as caught:
        parse(changed(**changes))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_everything_wrong_is_named_at_once():
    with pytest.raises(SpecError) as caught:
        parse({"name": "run", "text": {"tau": 98, "alfa": 1}})
    assert str(caught.value) == (
        "run.yaml: text.tau: Input should be less than 1, got 98; text.alfa is not a known setting;"
        " did you mean alpha; model is missing; calibration is missing; evaluation is missing"
    )


def test_unpaired_sets_need_ratio_of_means():
    unpaired = {"safe": ["s.tar"], "unsafe": ["u.tar"]}
    expected = (
        r"settings: vision\.aggregation is mean_of_ratios, which needs paired shards.*set vision\.aggregation: ratio_of"
    )
    ratio = {"aggregation": "ratio_of_means"}
    with pytest.raises(SpecError, match=expected):
        parse(changed(calibration=unpaired, text=ratio))
    config = parse(changed(calibration=unpaired, text=ratio, vision=ratio))
    assert not config.calibration.paired
    assert tuple(parse(changed(calibration=unpaired, text=ratio, vision=None)).edited) == ("text",)
    assert parse(changed(text=ratio)).text.aggregation == "ratio_of_means"


def test_unsafe_samples_alone_are_enough_where_nothing_is_compared_with_safe_ones():
    unsafe = {"unsafe": ["u.tar"]}
    config = parse(changed(calibration=unsafe, text={"scorer": "unsafe_only"}, vision={"scorer": "random"}))
    assert (config.calibration.paired, config.calibration.safe) == (False, None)
    expected = r"vision.scorer is difference, which compares with safe samples.*set vision.scorer: unsafe_only"
    with pytest.raises(SpecError, match=expected):
        parse(changed(calibration=unsafe, text={"scorer": "unsafe_only"}, vision={"scorer": "difference"}))


def test_a_message_stays_short_however_much_is_wrong():
    many = {f"{'x' * 500}{number}": 1 for number in range(500)} | {
        "name": "n" * 100_000,
        "text": {"layers": [["l"] * 9] * 9},
    }
    with pytest.raises(SpecError) as caught:
        parse(changed(**many))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).endswith("; and 494 more")
    with pytest.raises(SpecError, match=r"name: .*, got 'n{78}…$"):
        parse(changed(name="n" * 100_000))


def test_settings_cannot_change_after_validation():
    config = parse(MINIMAL)
    with pytest.raises(ValueError, match="Instance is frozen"):
        config.seed = 1


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nname: a\nseed: 2\n", "is not valid YAML: key 'seed' is given twice"),
        ("text: {tau: 0.5, tau: 0.6}\n", "is not valid YAML: key 'tau' is given twice"),
        ("- 1\n", "holds list, expected a mapping with name, model, calibration"),
        ("", "holds NoneType, expected a mapping"),
        ("a: [\n", "is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not valid YAML: tag '!!python/object/apply:os.getcwd' is not"),
        ("? [a, b]\n: 1\n", "is not valid YAML: key a list or mapping is not text"),
    ],
)
def test_a_file_that_is_no_mapping_of_unique_keys_is_refused_in_one_line(tmp_path, text, expected):
    with pytest.raises(SpecError, match=rf"run\.yaml {re.escape(expected)}") as caught:
        load_config(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read the settings file .*missing\.yaml"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(SpecError, match="cannot read the settings file"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(SpecError, match=r"cannot read the settings file .*latin\.yaml"):
        load_config(tmp_path / "latin.yaml")


def test_a_yaml_merge_key_shares_settings_between_encoders(tmp_path):
    shared = yaml.safe_dump(MINIMAL) + "text: &edit {tau: 0.5, alpha: 0}\nvision: {<<: *edit, alpha: 1}\n"
    config = load_config(write(tmp_path, shared))
    assert (config.vision.tau, config.vision.alpha, config.vision.layers) == (0.5, 1, "mlp_output")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_papers_settings_for_their_model(name):
    preset = load_preset(name)
    config = parse_config(preset, base=BASE, source=name)
    assert (config.model.architecture, config.model.weights) == PRESETS[name]
    assert (config.text, config.vision) == (parse(MINIMAL).text, parse(MINIMAL).vision)
    assert config.calibration.limit == 8192
    assert load_config(ROOT / f"data_specs/presets/{name}.yaml").text == config.text


def test_an_unknown_preset_is_refused_with_those_there_are():
    with pytest.raises(SpecError, match=r"preset 'vit-h14' does not exist; there are coca-vit-l14, .*, vit-l14"):
        load_preset("vit-h14")
    assert {path.stem for path in (ROOT / "data_specs/presets").glob("*.yaml")} == PRESETS.keys()


def specs(base=Spec):
    for spec in base.__subclasses__():
        yield spec
        yield from specs(spec)


def reachable(spec):
    found = {spec}
    for other in specs():
        if any(other.__name__ in str(field.annotation) for field in spec.model_fields.values()):
            found |= {other} if other in found else reachable(other)
    return found


def test_every_setting_is_described_and_every_number_bounded():
    settings = reachable(RunConfig)
    assert {spec.__name__ for spec in settings} >= {"RunConfig", "EncoderConfig", "ModelConfig", "ZeroShotConfig"}
    for spec in settings:
        for name, field in spec.model_fields.items():
            where = f"{spec.__name__}.{name}"
            annotation = str(field.annotation)
            assert field.description or "Config" in annotation, where
            if "int" in annotation.replace("Constraint", "") or "float" in annotation:
                bounds = {type(item).__name__.lower() for item in field.metadata}
                assert bounds & {"ge", "gt"}, where
                assert bounds & {"le", "lt"}, where


def test_every_error_has_its_exit_status():
    assert [(kind.__name__, kind.exit_code) for kind in (PipelineError, SpecError, DataError, ArtifactError)] == [
        ("PipelineError", 1),
        ("SpecError", 2),
        ("DataError", 3),
        ("ArtifactError", 4),
    ]
