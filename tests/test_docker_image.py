"""The Dockerfile's own steps, run in a clean folder: what it copies is all that the command line needs."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases.places import ROOT

pytestmark = pytest.mark.slow

BUILD, IMAGE = ROOT.joinpath("Dockerfile").read_text(encoding="utf-8").split("\nFROM ")[-2:]
UV = shutil.which("uv") or str(ROOT / ".uv/bin/uv")


def steps(stage, word):
    return [line.partition(" ")[2] for line in stage.replace("\\\n", " ").splitlines() if line.startswith(f"{word} ")]


def copied():
    """Source and place of everything that the build takes from the repository."""
    for step in steps(BUILD, "COPY"):
        *sources, target = step.split()
        if not sources[0].startswith("--from"):
            yield from ((source, source if target == "./" else target) for source in sources)


def passes(name):
    """Whether the last line of .dockerignore that fits lets a file of the repository's folder through."""
    kept = True
    for line in ROOT.joinpath(".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch.fnmatchcase(name, pattern):
            kept = line.startswith("!")
    return kept


def test_docker_is_sent_what_is_copied_and_nothing_else():
    wanted = {source for source, _ in copied()}
    assert wanted
    assert {path.name for path in ROOT.iterdir() if passes(path.name)} == wanted
    assert ROOT.joinpath("Dockerfile").read_text().count("COPY . ") == 0


@pytest.mark.skipif(not Path(UV).is_file(), reason="uv is not here")
def test_the_steps_make_an_environment_in_which_the_command_line_and_a_worker_s_flow_are_found(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    for source, target in copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, app / target)
    extras = re.search(r'^ARG EXTRAS="(.*)"$', BUILD, re.MULTILINE)[1]
    # From uv's cache, where `make` has put the same versions; not copied, which would take 6 GB.
    own = {"EXTRAS": extras, "UV_LINK_MODE": "symlink", "UV_PYTHON": sys.executable, "VIRTUAL_ENV": ""}
    path = f"{Path(UV).parent}{os.pathsep}{os.environ['PATH']}"
    for step in steps(BUILD, "RUN"):
        done = subprocess.run(
            step,
            shell=True,
            cwd=app,
            env={**os.environ, **own, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    inside = {"PATH": f"{app}/.venv/bin:/usr/bin:/bin", "HOME": str(tmp_path / "nobody")}

    def call(*command):
        return subprocess.run(command, cwd=tmp_path, env=inside, capture_output=True, text=True, check=True).stdout

    assert "Usage: uwm" in call("uwm", "--help")
    place = call("python", "-c", "import flows.nightly.reevaluate as module; print(module.__file__)")
    assert Path(place.strip()) == app / "flows/nightly/reevaluate.py"


def test_the_image_runs_as_a_user_without_rights_who_can_write_where_the_store_is():
    users = steps(IMAGE, "USER")
    assert users == ["1000"]
    assert "useradd --uid 1000" in IMAGE
    assert steps(IMAGE, "WORKDIR") == ["/data"]
    assert "install -d -o uwm -g uwm /data" in IMAGE
    assert "UWM_STORE=/data/store" in IMAGE
