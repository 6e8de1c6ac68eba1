"""What `uwm run` takes, a deployment takes, and the other way round: by the server's own check and the worker's."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from prefect.utilities.schema_tools.validation import ValidationError, validate

from data_specs.config_file import load_preset, parse_config
from data_specs.errors import SpecError
from data_specs.run_config import ENCODERS, RunConfig
from flows.ablate import ablate
from flows.calibrate import calibrate
from flows.compare import compare
from flows.edit import edit
from flows.evaluate import evaluate
from flows.make_safe import make_safe
from flows.sweep import sweep
from tasks.experiments.ablation_points import ablation_points
from tests.cases.settings import BASE, MINIMAL, PRESETS

FLOWS = {
    "nightly": (make_safe, lambda config: {"config": config}),
    "calibrate": (calibrate, lambda config: {"config": config}),
    "edit": (edit, lambda config: {"config": config}),
    "evaluate": (evaluate, lambda config: {"config": config}),
    "sweep": (sweep, lambda config: {"config": config, "taus": [0.9, 1e-3], "alphas": [-1, 0.5]}),
    "compare": (compare, lambda config: {"configs": [config]}),
    "ablate": (ablate, lambda config: {"config": config, "axes": {"limit": [8, None], "weight_by_magnitude": [True]}}),
}
SCHEMAS = {flow.name: flow.parameters.model_dump_for_openapi() for flow, _ in FLOWS.values()}
SHARDS = {"calibration": {"shards": ["/data/a-{00..07}.tar"]}, "evaluation": {"shards": ["/data/b.tar"]}}
ABSOLUTE = MINIMAL | SHARDS


def deployed(flow: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """What a worker gets to run: parameters as they are sent, checked by the server and then by the worker."""
    sent = json.loads(json.dumps(parameters))
    # The server raises the first of these; it checks the schema itself each time, too, which takes most of its time.
    if wrong := validate(sent, SCHEMAS[flow.name]):
        raise ValidationError(wrong[0].message)
    taken: dict[str, Any] = flow.validate_parameters(sent)
    return taken


def by_deployment(config: dict[str, Any]) -> RunConfig | None:
    try:
        taken: RunConfig = deployed(make_safe, {"config": config})["config"]
    except (ValidationError, ParameterTypeError):
        return None
    # Relative paths are refused later, when the run begins.
    return by_run(taken.model_dump(mode="json"))


def by_run(config: dict[str, Any]) -> RunConfig | None:
    try:
        return parse_config(config, base=BASE, source="run.yaml")
    except SpecError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("deployment", FLOWS)
def test_every_deployment_takes_every_preset_as_the_command_line_does(deployment: str, name: str) -> None:
    flow, parameters = FLOWS[deployment]
    config = load_preset(name) | SHARDS
    validate(parameters(config), SCHEMAS[flow.name], raise_on_error=True)
    taken = deployed(flow, parameters(config))
    [found] = taken["configs"] if "configs" in taken else [taken["config"]]
    assert found == by_run(config)
    assert found is not None


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_deployment_takes_an_encoder_with_some_of_its_settings(encoder: str) -> None:
    config = ABSOLUTE | {encoder: {"tau": 0.98, "alpha": -1}, "methods": {"a": {encoder: {"alpha": 0}}, "b": {}}}
    assert by_deployment(config) == by_run(config) is not None


NUMBERS = [0, 1, -1, 2, 0.5, 1.0, 1.5, -10, 10, 10.5, 1e308, 2**63 - 1, 2**63, 10**30]
WORDS = ["", "0.5", "1", "yes", "a", "run\n", "../x", "a\0b", "uwm", "random", "gradient_unsafe", "ratio_of_means"]
WORDS += ["top_share", "bf16", "fp16", "/data/w.pt"]
OTHERS = [
    None,
    True,
    False,
    [],
    {},
    ["/a"],
    [1],
    [None],
    {"a": 1},
    {"shards": ["/a"]},
    {"safe": ["/a"], "unsafe": ["/b"]},
]
ODD = st.sampled_from([*NUMBERS, *WORDS, *OTHERS])
ENCODER_FIELDS = (
    "scorer",
    "layers",
    "aggregation",
    "weight_by_magnitude",
    "rule",
    "tau",
    "alpha",
    "batch_pairs",
    "taus",
)
ENCODER = st.none() | st.dictionaries(st.sampled_from(ENCODER_FIELDS), ODD, max_size=3) | ODD
METHOD = st.dictionaries(st.sampled_from(["text", "vision", "seed"]), ENCODER, max_size=2) | ODD
PARTS = {
    "model": ("architecture", "weights", "tokenizer", "device"),
    "calibration": ("shards", "safe", "unsafe", "limit", "tags"),
    "evaluation": ("shards", "limit", "zero_shot"),
}
ZERO_SHOT = st.fixed_dictionaries(
    {"name": st.just("toys") | ODD, "path": st.just("/toys")}, optional={"split": ODD, "templates": ODD, "x": ODD}
)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A run that would do, with a few settings changed to something that may not."""
    config = json.loads(json.dumps(ABSOLUTE))
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["part", "encoder", "methods", "zero_shot", "top", "gone"]))
        if kind == "part" and isinstance(part := config.get(name := draw(st.sampled_from([*PARTS]))), dict):
            config[name] = part | {draw(st.sampled_from(PARTS[name])): draw(ODD)}
        elif kind == "encoder":
            config[draw(st.sampled_from(ENCODERS))] = draw(ENCODER)
        elif kind == "methods":
            config["methods"] = draw(st.dictionaries(st.sampled_from(["a", "b c", ""]), METHOD, max_size=2) | ODD)
        elif kind == "zero_shot":
            config["evaluation"] = {"shards": ["/b.tar"], "zero_shot": draw(st.lists(ZERO_SHOT, max_size=2))}
        elif kind == "top":
            names = ["name", "seed", "precision", "batch_size", "max_bad_fraction", *PARTS, "nonsense"]
            config[draw(st.sampled_from(names))] = draw(ODD)
        else:
            config.pop(draw(st.sampled_from(sorted(config))), None)
    return config


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(config=configs())
@example(config=ABSOLUTE | {"text": {"tau": "0.98"}})
@example(config=ABSOLUTE | {"text": {"weight_by_magnitude": "yes"}})
@example(config=ABSOLUTE | {"text": {"tau": 1}})
@example(config=ABSOLUTE | {"batch_size": "auto"})
@example(config=ABSOLUTE | {"batch_size": "32"})
@example(config=ABSOLUTE | {"batch_size": 4097})
@example(config=ABSOLUTE | {"text": {"alpha": 0}, "seed": 3.0, "calibration": {"shards": ["/a"], "limit": None}})
@example(config=ABSOLUTE | {"text": None, "vision": None})
@example(config=ABSOLUTE | {"text": {"layers": None}})
@example(config=ABSOLUTE | {"methods": {"a": {"text": {"taus": 1}}}})
def test_a_deployment_takes_what_the_command_line_takes_and_nothing_else(config: dict[str, Any]) -> None:
    assert by_deployment(config) == by_run(config)


WRONG = {
    "tau as text": (sweep, {"taus": ["0.9"], "alphas": [-1]}),
    "no list": (sweep, {"taus": 0.9, "alphas": [-1]}),
    "unknown encoder": (sweep, {"taus": [0.9], "alphas": [-1], "encoder": "neither"}),
    "unknown controls": (compare, {"controls": "some"}),
    "workers below 0": (ablate, {"axes": {}, "workers": -1}),
    "too many workers": (calibrate, {"workers": 257}),
    "unknown parameter": (edit, {"alpha": 1}),
    "half a reference": (evaluate, {"model": {"kind": "model"}}),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_parameters_are_refused_when_they_are_sent(case: str) -> None:
    flow, wrong = WRONG[case]
    config = {"configs": [ABSOLUTE]} if flow is compare else {"config": ABSOLUTE}
    with pytest.raises((ValidationError, SignatureMismatchError)):
        deployed(flow, config | wrong)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"limit": ["8"]}, "calibration.limit: expected a number, got '8'"),
        ({"limit": [True]}, "calibration.limit: expected a number, got True"),
        ({"seed": [[1]]}, r"axis seed holds \[\[1\]\], expected single values"),
        ({"weight_by_magnitude": ["yes"]}, "weight_by_magnitude: Input should be a valid boolean, got 'yes'"),
        ({"scorer": [1]}, "text.scorer: Input should be 'uwm'"),
        ({"tau": [0.9]}, "there is no axis 'tau'"),
        (
            {"seed": list(range(101)), "limit": list(range(1, 101))},
            "the axes give 10100 combinations, expected at most",
        ),
    ],
)
def test_axes_that_the_command_line_would_refuse_are_refused_when_they_come_as_they_are(
    axes: dict[str, list[Any]], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        ablation_points(RunConfig.model_validate(ABSOLUTE), axes)
