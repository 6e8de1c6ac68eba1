"""Every example of the README, taken from its text: run as it stands, or checked where it says why it cannot run here."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_specs.config_file import parse_config
from tests.cases.places import ROOT
from tests.cases.readme import README, Block, blocks, reader_has, spans, with_the_readers_model
from tests.cases.shell import in_shell
from tests.cases.small_run import Here, environment

TEXT = README.read_text(encoding="utf-8")
BLOCKS = blocks(TEXT)
RUN = [block for block in BLOCKS if block.not_run is None and block.language != "text"]
NOT_RUN = [block for block in BLOCKS if block.not_run is not None]
# What each may do without; a new example that cannot run is put here, too, so that it is seen.
REASONS = {
    "it needs an account of the hub; tests/tasks/exporting/test_hub.py pushes to a stand-in",
    "it needs the extra mlflow; tests/flows/test_trackers.py writes to MLflow on SQLite",
    "it needs an account of Weights & Biases",
    "both make an environment of their own, and the second one runs this README",
    "it trains two models for minutes; tests/flows/captions/test_demo.py runs it in small",
    "a server and a worker go on until they are stopped; tests/flows/test_schedules.py runs these lines",
}
PICTURE_BYTES = 200_000


def run(block: Block, folder: Path, here: Here, api_url: str) -> None:
    """Let the shell or Python have an example as it stands."""
    if block.language == "bash":
        done = in_shell(block.text, folder, here)
    else:
        command = [sys.executable, "-c", block.text]
        around = environment(api_url)
        done = subprocess.run(
            command, cwd=folder, env=around, capture_output=True, text=True, timeout=1200, check=False
        )
    assert done.returncode == 0, f"README.md, line {block.line}:\n{block.text}\n{done.stdout}\n{done.stderr}"


def settings_of(text: str, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """An example of settings, a part of some laid over the rest; refused where a run would refuse it."""
    settings = {**(base or {}), **yaml.safe_load(text)}
    parse_config(settings, base=Path("/"), source="README.md")
    return settings


@pytest.mark.slow
def test_every_example_runs_as_it_stands(tmp_path: Path, here: Here, api_url: str) -> None:
    reader_has(tmp_path)
    settings: dict[str, Any] = {}
    ran = 0
    for block in RUN:
        if block.language == "yaml":
            settings = settings_of(block.text, settings)
            with_the_readers_model(settings, tmp_path)
        else:
            run(block, tmp_path, here, api_url)
        ran += 1
    assert ran == len(RUN) >= 10
    assert (tmp_path / "safer/README.md").is_file()
    assert list((tmp_path / "store/comparison").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["uwm shards pack calibration.csv --aut x.tar\n", "uwm config nowhere.yaml | cat\n"])
def test_an_example_that_breaks_is_noticed(text: str, tmp_path: Path, here: Here, api_url: str) -> None:
    with pytest.raises(AssertionError, match=rf"README\.md, line 7:\n +{re.escape(text.strip())}"):
        run(Block("bash", text, 7), tmp_path, here, api_url)


def test_what_does_not_run_says_why_and_there_is_little_of_it() -> None:
    assert {block.not_run for block in NOT_RUN} == REASONS
    assert sum(len(block.commands) for block in NOT_RUN) < sum(len(block.commands) for block in RUN) / 2


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: f"line-{block.line}")
def test_what_does_not_run_is_sound_as_far_as_can_be_said(block: Block, here: Here) -> None:
    if block.language == "yaml":
        settings_of(block.text)
    elif block.language == "python":
        compile(block.text, "README.md", "exec")
    else:
        assert subprocess.run(["bash", "-n", "-c", block.text], check=False).returncode == 0
        for command in block.commands:
            require_known(command, here)


@pytest.mark.parametrize("span", spans(TEXT), ids=lambda span: span[:50])
def test_commands_in_sentences_and_tables_have_the_options_that_they_are_told_to_have(span: str, here: Here) -> None:
    require_known(span, here)


def require_known(command: str, here: Here) -> None:
    """A program's part and options are there; what stands for a value is not looked at."""
    program, *words = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command).split()
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), command
        return
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", command))
    parts = [word for word in words[:3] if re.fullmatch(r"[a-z][a-z-]*", word)]
    if program == "prefect":
        told = prefect_help(*parts[:2]) + prefect_help()
    else:
        assert program == "uwm", command
        told = uwm_help(words, here)
    missing = {option for option in options if not re.search(rf"{option}(?![\w-])", told)}
    assert missing == set(), f"{command}: {told}"


def uwm_help(words: list[str], here: Here) -> str:
    """Help on each command that the words name, such as `artifacts list | show`."""
    group, *others = words
    if group in ("shards", "artifacts", "edit", "lineage", "store") and others:
        named = [word for word in others if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        parts = [(group, word) for word in named if group in ("artifacts", "store")] or [(group, others[0])]
    else:
        parts = [(group,)]
    told = ""
    for part in parts:
        done = here(*part, "--help")
        assert done.returncode == 0, f"uwm {' '.join(part)}: {done.stderr}"
        told += done.stdout
    return told


@cache
def prefect_help(*parts: str) -> str:
    """Help on a command of Prefect's, and without one on what all of them take."""
    command = [sys.executable, "-m", "prefect", *parts, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout + " --no-prompt" * ("--prompt" in done.stdout)


def test_examples_that_no_test_would_find_are_refused() -> None:
    fenced = "a\n\n<!-- not run: a GPU -->\n```bash\nuwm run x  # y\n```\n\n```yaml\na: 1\n```\n"
    assert blocks(fenced) == [Block("bash", "uwm run x  # y\n", 5, "a GPU"), Block("yaml", "a: 1\n", 9)]
    assert blocks(fenced)[0].commands == ["uwm run x"]
    for text, told in (
        ("```sh\nls\n```\n", "no language"),
        ("a\n\n    uwm run x\n", "no test would find"),
        ("```bash\nls\n", "no test would find"),
        ("<!-- not run: a GPU -->\n\n```bash\nls\n```\n", "no test would find"),
    ):
        with pytest.raises(ValueError, match=told):
            blocks(text)


def test_links_within_the_repository_lead_somewhere_and_the_picture_is_small() -> None:
    titles = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    targets = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    assert {target.removeprefix("#") for target in targets if target.startswith("#")} <= anchors
    files = {target for target in targets if "://" not in target and not target.startswith("#")}
    assert [target for target in files if not (ROOT / target).exists()] == []
    pictures = [ROOT / target for target in files if target.endswith(".png")]
    assert pictures
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < PICTURE_BYTES
