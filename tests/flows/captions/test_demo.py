"""The demo's captions, in small: few pairs, few steps, every part real. What a figure comes to is asserted nowhere."""

from functools import partial
from pathlib import Path

import pytest
import yaml

from data_specs.caption_files import read_captions
from data_specs.config_file import load_config
from data_specs.errors import SpecError
from data_specs.run_result import RunResult
from flows.captions.caption import caption_edit
from flows.captions.demo import demo_captions
from flows.commands.demo import show_captions
from tasks.demo.captions import TAUS
from tasks.demo.training import train
from tests.cases.small_run import kinds, prefect_here

pytestmark = pytest.mark.slow

MODELS = ("original", "edited", "random")
SIZES = {
    "tasks.demo.task.N_TRAINING_PAIRS": 5,
    "tasks.demo.task.N_CALIBRATION_PAIRS": 8,
    "tasks.demo.task.N_TEST_PAIRS": 12,
    "tasks.demo.task.N_LABELLED": 5,
    "tasks.demo.task.train": partial(train, steps=1),
    "tasks.demo.data._SHARD_PAIRS": 8,
    "tasks.demo.captions.N_CAPTIONER_PAIRS": 8,
    "tasks.demo.captions.N_CAPTIONED_PAIRS": 4,
    "tasks.demo.captions.CAPTIONER_STEPS": 2,
    "tasks.demo.captions._MAX_NEW_TOKENS": 4,
    "tasks.demo.captions.TAUS": TAUS[:2],
    "flows.captions.demo.TAUS": TAUS[:2],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def small(api_url: str):
    with pytest.MonkeyPatch.context() as patch, prefect_here(api_url):
        for name, value in SIZES.items():
            patch.setattr(name, value)
        yield


@pytest.fixture(scope="module")
def done(small, folder: Path) -> RunResult:
    return run(folder)


def run(folder: Path) -> RunResult:
    result: RunResult = demo_captions(str(folder / "store"), 0, str(folder / "demo/captions.yaml"))
    return result


def pairs_of(result: RunResult, role: str) -> set[str]:
    return {*read_captions(Path(result.artifacts[role].path)).column("pair_id").to_pylist()}


def test_captions_and_safe_ground_are_of_pairs_that_did_not_choose_tau(done: RunResult) -> None:
    reported = [pairs_of(done, f"captions.{name}") for name in MODELS]
    assert reported == reported[:1] * 3
    chosen_by = pairs_of(done, "choosing.captions.original")
    assert len(reported[0]) == len(chosen_by) == 4
    assert not reported[0] & chosen_by
    for name in MODELS:
        assert done.metrics[name]["n_pairs"] == 8  # all but the last shard
    for name in MODELS[1:]:
        assert {f"differences.{name}", f"caption_differences.{name}"} <= done.artifacts.keys()


def test_every_tau_is_measured_by_captions_and_by_safe_ground(done: RunResult) -> None:
    weights = [
        done.metrics[f"choosing.{name}"]["n_weights"] for name in ("original", *(f"tau={tau}" for tau in TAUS[:2]))
    ]
    assert 0 == weights[0] < weights[1] < weights[2]
    for tau in TAUS[:2]:
        assert {"unsafe_share.unsafe.words", "unsafe_share.safe.words", "GS"} <= done.metrics[
            f"choosing.tau={tau}"
        ].keys()


def test_the_settings_that_are_written_are_those_of_the_captions(done: RunResult, folder: Path) -> None:
    path = folder / "demo/captions.yaml"
    config = load_config(path)
    assert config.vision is not None
    assert config.vision.tau in TAUS[:2]
    assert config.text is None
    assert f"tau {config.vision.tau} was chosen" in path.read_text(encoding="utf-8")
    again = caption_edit(config, str(folder / "store"), "cpu", 0)
    assert again.computed == 0
    assert again.artifacts == {role: done.artifacts[role] for role in again.artifacts}


def test_a_person_is_shown_both_tables(done: RunResult, capsys: pytest.CaptureFixture[str]) -> None:
    show_captions(done)
    shown = capsys.readouterr().out
    for told in ("tau=0.98", "[95 %]", "GS", "Of unsafe pictures' captions", "demo/captions.yaml"):
        assert told in shown


def test_the_second_time_nothing_is_made_and_changed_settings_are_left_as_they_are(
    done: RunResult, folder: Path
) -> None:
    path, before = folder / "demo/captions.yaml", kinds(folder / "store")
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) | {"name": "mine"}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    again = run(folder)
    assert again.computed == 0
    assert again.artifacts == done.artifacts
    assert kinds(folder / "store") == before
    assert before["demo_captioner"] == 1
    assert load_config(path).name == "mine"


def test_a_place_that_settings_cannot_be_written_to_is_refused_before_anything_is_made(small, tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("a file", encoding="utf-8")
    with pytest.raises(SpecError, match=r"demo/captions\.yaml' cannot be written: .*; start in a folder of yours"):
        demo_captions(str(tmp_path / "store"), 0, str(tmp_path / "demo/captions.yaml"))
    assert not (tmp_path / "store").exists()
