"""Where the paths of settings start."""

from pathlib import Path

import pytest
import yaml

from data_specs.config_file import load_config, parse_config, require_absolute, resolve_location
from data_specs.errors import SpecError
from data_specs.run_config import ModelConfig, RunConfig
from tests.cases.settings import MINIMAL, changed, parse


def test_local_paths_start_at_the_files_folder_and_urls_stay_as_they_are(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    data = changed(
        model={"architecture": "model.json", "weights": "w.safetensors"},
        calibration={
            "shards": ["data/a-{00..03}.tar", "/abs/b.tar", "pipe:cat x.tar", "https://h/x.tar", "s3://b/x.tar"]
        },
        evaluation={"shards": ["~/b.tar"], "zero_shot": [{"name": "toys", "path": "../toys"}]},
    )
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data))
    config = load_config(tmp_path / "run.yaml")
    assert config.model.architecture == str(tmp_path / "model.json")
    assert config.model.weights == str(tmp_path / "w.safetensors")
    assert config.calibration.shards == [
        str(tmp_path / "data/a-{00..03}.tar"),
        "/abs/b.tar",
        "pipe:cat x.tar",
        "https://h/x.tar",
        "s3://b/x.tar",
    ]
    assert config.evaluation.shards == [str(Path("~/b.tar").expanduser())]
    assert config.evaluation.zero_shot[0].path == str(tmp_path / "../toys")


def test_paths_start_at_the_folder_of_a_link_and_not_of_what_it_points_to(tmp_path):
    for folder in ("real", "linked"):
        (tmp_path / folder).mkdir()
    (tmp_path / "real/settings").write_text(yaml.safe_dump(MINIMAL))
    (tmp_path / "linked/run.yaml").symlink_to("../real/settings")
    assert load_config(tmp_path / "linked/run.yaml").evaluation.shards == [f"{tmp_path}/linked/b.tar"]


def test_a_home_folder_of_nobody_is_refused_and_a_name_with_a_tilde_is_taken(tmp_path, monkeypatch):
    with pytest.raises(
        SpecError, match=r"path '~nobody-here/b\.tar': there is no home folder '~nobody-here'; write \./~"
    ):
        parse(changed(evaluation={"shards": ["~nobody-here/b.tar"]}))
    assert parse(changed(evaluation={"shards": ["./~b.tar"]})).evaluation.shards == ["/base/~b.tar"]


def test_settings_from_no_file_name_absolute_paths_only():
    with pytest.raises(SpecError, match=r"name the relative path 'a\.tar', and nothing says where it starts"):
        require_absolute(RunConfig.model_validate(MINIMAL))
    for relative in ({"architecture": "model.json", "weights": "w"}, {"architecture": "ViT-B-32", "weights": "w.pt"}):
        with pytest.raises(SpecError, match=r"name the relative path '(model\.json|w\.pt)'"):
            require_absolute(parse(MINIMAL).model_copy(update={"model": ModelConfig(**relative)}))
    require_absolute(parse(MINIMAL))
    remote = {"shards": ["https://h/x.tar", "pipe:cat x.tar", "s3://b/x.tar"]}
    require_absolute(parse(changed(calibration=remote, evaluation=remote)))


def test_unpaired_lists_are_made_absolute_too():
    ratio = {"aggregation": "ratio_of_means"}
    config = parse(changed(calibration={"safe": ["s.tar"], "unsafe": ["u.tar"]}, text=ratio, vision=ratio))
    assert (config.calibration.safe, config.calibration.unsafe) == (["/base/s.tar"], ["/base/u.tar"])
    assert config.calibration.shards is None


def test_names_of_models_and_tags_are_no_paths(tmp_path):
    config = parse_config(MINIMAL, base=tmp_path, source="run.yaml")
    assert (config.model.architecture, config.model.weights) == ("ViT-B-32", "openai")
    (tmp_path / "openai").write_bytes(b"")
    config = parse_config(MINIMAL, base=tmp_path, source="run.yaml")
    assert config.model.weights == str(tmp_path / "openai")
    assert resolve_location("hf-hub:org/model", tmp_path) == "hf-hub:org/model"
