"""`--set SETTING=VALUE`, and what is said of names that nobody knows."""

import re

import pytest
import yaml

from data_specs.config_file import load_config, load_preset
from data_specs.errors import SpecError
from data_specs.metrics import find_metric
from tasks.experiments.choice import parse_limits
from tests.cases.settings import changed, parse


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    found = tmp_path_factory.mktemp("changes") / "run.yaml"
    settings = changed(
        text={"alpha": 0},
        vision=None,
        methods={"own": {}, "v1.2": {"text": {"tau": 0.7}}},
        evaluation={"shards": ["b.tar"], "zero_shot": [{"name": "toys", "path": "toys"}]},
    )
    found.write_text(yaml.safe_dump(settings))
    return found


@pytest.mark.parametrize(
    ("change", "read", "value"),
    [
        ("text.tau=0.95", lambda run: (run.text.tau, run.text.alpha), (0.95, 0.0)),
        ("text={tau: 0.5}", lambda run: (run.text.tau, run.text.alpha), (0.5, -1.0)),
        ("vision={}", lambda run: run.vision and run.vision.layers, "mlp_output"),
        ("calibration.limit=null", lambda run: run.calibration.limit, None),
        ("calibration.tags=[a, b]", lambda run: run.calibration.tags, ["a", "b"]),
        ("model.quick_gelu=true", lambda run: run.model.quick_gelu, True),
        ("evaluation.zero_shot.0.name=cars", lambda run: run.evaluation.zero_shot[0].name, "cars"),
        ("methods.v1.2.text.tau=0.6", lambda run: run.methods["v1.2"].text.tau, 0.6),
        # What is the run's is its methods', too, where they do not say otherwise.
        ("text.tau=0.4", lambda run: [way.text.tau for way in run.methods.values()], [0.4, 0.7]),
        ("name=007", lambda run: run.name, "007"),
    ],
)
def test_a_change_counts_as_if_the_file_said_so(path, change, read, value):
    assert read(load_config(path, [change])) == value
    assert read(load_config(path)) != value


def test_paths_in_changes_start_at_the_files_folder_and_the_last_of_two_holds(path):
    config = load_config(path, ["evaluation.shards=[x.tar]", "seed=1", "seed=2"])
    assert (config.evaluation.shards, config.seed) == ([str(path.parent / "x.tar")], 2)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("text.tauu=0.9", "text.tauu=0.9: text.tauu is not a known setting; did you mean tau"),
        ("txt.tau=0.9", "--set txt.tau: txt is not a known setting; did you mean text"),
        ("text.tau=98", "text.tau: Input should be less than 1, got 98"),
        ("text.tau=high", "text.tau: expected a number, got 'high'"),
        ("seed=true", "seed: expected a number, got True"),
        ("vision.tau=0.9", "--set vision.tau: vision is None, which holds no settings; give --set vision={} first"),
        ("text.alpha.x=1", "--set text.alpha.x: text.alpha is 0, which holds no settings"),
        ("evaluation.zero_shot.1.name=x", "'1' is no number of this list, expected 0 to 0"),
        ("text.tau", "--set 'text.tau' makes no sense; write SETTING=VALUE, such as text.tau=0.95"),
        ("text.tau=[1", "--set text.tau is not valid YAML"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_name(path, change, expected):
    with pytest.raises(SpecError) as refused:
        load_config(path, [change])
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": {"taus": 0.9}}, "text.taus is not a known setting; did you mean tau$"),
        ({"modle": {}}, "modle is not a known setting; did you mean model$"),
        ({"evaluation": {"shard": [], "shards": ["b.tar"]}}, "evaluation.shard is not a known .* did you mean shards$"),
        ({"methods": {"m": {"text": {"alfa": 1}}}}, r"methods.m.text.alfa is not a known setting; did you mean alpha$"),
        (
            {"evaluation": {"shards": ["b"], "zero_shot": [{"name": "x", "path": "x", "spilt": "test"}]}},
            r"evaluation.zero_shot.0.spilt is not a known setting; did you mean split$",
        ),
        # Known elsewhere.
        ({"tau": 0.9}, "tau is not a known setting; did you mean text.tau or vision.tau$"),
        ({"text": {"seed": 1}}, "text.seed is not a known setting; did you mean seed$"),
        ({"entirely": 1}, "entirely is not a known setting$"),
    ],
)
def test_a_typo_in_settings_is_told_what_was_meant_at_every_level(changes, expected):
    with pytest.raises(SpecError, match=expected):
        parse(changed(**changes))


def test_typos_in_names_of_metrics_limits_and_presets_are_told_what_was_meant():
    with pytest.raises(SpecError, match=r"did you mean zero_shot$"):
        parse_limits("zero-shot>=-2")
    with pytest.raises(SpecError, match=r"did you mean GS$"):
        find_metric("gs")
    with pytest.raises(SpecError, match=re.escape("did you mean vit-b16")):
        load_preset("vitb16")
