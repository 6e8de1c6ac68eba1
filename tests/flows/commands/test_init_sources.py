"""`uwm init` from shards that lie elsewhere, and from samples that are no pairs; what it writes runs."""

import contextlib
import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_specs.config_file import load_config
from tests.cases.shard_files import image_bytes, write_tar
from tests.cases.small_run import Here, write_run

MODEL = ("--set", "model={architecture: model.json, weights: model.safetensors}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_run(tmp_path, calibration=4, test=4, per_shard=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server that gives the files of a folder."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def one_side(folder: Path, name: str, n: int = 4, *, texts: bool = True, images: bool = True, side: str = "") -> None:
    """A shard of samples of one side: KEY.txt and KEY.png, or KEY.SIDE.txt and so on."""
    members = []
    for i in range(n):
        members += [(f"k{i}.{side}txt", f"{name} caption {i}".encode())] if texts else []
        members += [(f"k{i}.{side}png", image_bytes(i + len(name), size=(36, 40)))] if images else []
        members += [(f"k{i}.json", b'{"tag": "hate"}')]
    write_tar(folder / name, members)


def run_goes_through(here: Here) -> dict[str, object]:
    """What a run on the settings that were written measures."""
    done = here("run", "run.yaml", "--store", "store", "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1])["metrics"]["edited"])


def test_shards_of_a_web_server_are_counted_and_named_as_they_were(folder: Path, here: Here) -> None:
    with served(folder) as address:
        done = here("init", f"{address}/calibration-{{000000..000001}}.tar", f"file://{folder}/test-000000.tar", *MODEL)
        assert done.returncode == 0, done.stderr
        config = load_config(folder / "run.yaml")
        assert config.calibration.shards == [f"{address}/calibration-{{000000..000001}}.tar"]
        assert config.evaluation.shards == [f"file://{folder}/test-000000.tar"]
        assert "# 4 pairs in 2 shards; tags: even 2, odd 2\n" in (folder / "run.yaml").read_text(encoding="utf-8")
        assert "GS" in run_goes_through(here)
        limited = here("init", f"{address}/calibration-000000.tar", "--fetch-limit", "1kB", "--out", "x.yaml")
        assert (limited.returncode, (folder / "x.yaml").exists()) == (2, False)
        assert "or more, and --fetch-limit is 1.0 kB" in limited.stderr
        gone = here("init", f"{address}/nothing-000.tar", "--out", "x.yaml")
    assert (gone.returncode, (folder / "x.yaml").exists()) == (3, False)
    assert "/nothing-000.tar cannot be fetched: the server answered 404" in gone.stderr


def test_a_command_that_gives_a_shard_is_written_as_it_is(folder: Path, here: Here) -> None:
    commands = [f"pipe:cat calibration-{number:06d}.tar" for number in (0, 1)]
    assert here("init", *commands, "test-*.tar", *MODEL).returncode == 0
    assert load_config(folder / "run.yaml").calibration.shards == commands
    assert "GS" in run_goes_through(here)


def test_unpaired_sets_are_told_apart_by_their_names(folder: Path, here: Here) -> None:
    one_side(folder, "safe-000.tar")
    one_side(folder, "unsafe-000.tar", n=3)
    assert here("init", "*safe-000.tar", "test-*.tar", *MODEL).returncode == 0
    config = load_config(folder / "run.yaml")
    assert [[Path(name).name for name in side or []] for side in (config.calibration.safe, config.calibration.unsafe)] == [
        ["safe-000.tar"], ["unsafe-000.tar"]
    ]  # fmt: skip
    assert {encoder.aggregation for encoder in config.edited.values()} == {"ratio_of_means"}
    text = (folder / "run.yaml").read_text(encoding="utf-8")
    assert "# 4 safe samples in 1 shards; tags: hate 4; 3 unsafe samples in 1 shards; tags: hate 3;" in text
    assert (config.methods, "the preset's methods are left out, which compare with pairs" in text) == ({}, True)
    assert "# ratio_of_means: safe and unsafe samples are no pairs\n" in text
    assert "GS" in run_goes_through(here)


@pytest.mark.parametrize("side", ["", "unsafe."], ids=["unpaired", "of pairs"])
def test_unsafe_samples_alone_are_scored_by_unsafe_only(side: str, folder: Path, here: Here) -> None:
    one_side(folder, "unsafe-000.tar", images=False, side=side)
    assert here("init", "unsafe-*.tar", "test-*.tar", *MODEL).returncode == 0
    config = load_config(folder / "run.yaml")
    assert [(encoder, chosen.scorer) for encoder, chosen in config.edited.items()] == [("text", "unsafe_only")]
    text = (folder / "run.yaml").read_text(encoding="utf-8")
    assert "# left alone: calibration holds no images that it could be scored on\n" in text
    assert "# 4 unsafe samples in 1 shards; tags: hate 4;" in text
    assert "GS" in run_goes_through(here)


def test_pictures_alone_leave_the_text_encoder_alone(folder: Path, here: Here) -> None:
    for name in ("safe-0.tar", "unsafe-0.tar"):
        one_side(folder, name, texts=False)
    assert here("init", "*safe-0.tar", "test-*.tar", *MODEL).returncode == 0
    assert [*load_config(folder / "run.yaml").edited] == ["vision"]
    assert "GS" in run_goes_through(here)


def test_what_cannot_be_told_or_does_not_go_together_is_refused(folder: Path, here: Here) -> None:
    for name in ("safe-0.tar", "unsafe-0.tar", "samples-0.tar"):
        one_side(folder, name)
    one_side(folder, "half-0.tar", side="unsafe.")
    one_side(folder, "mixed-0.tar")
    one_side(folder, "mixed-1.tar", side="unsafe.")
    for names, told in (
        (["samples-0.tar", "test-*.tar"], "its name does not say whether they are safe or unsafe"),
        (["unsafe-0.tar"], "can only calibrate, and there are no pairs to measure on"),
        (["safe-0.tar", "test-*.tar"], "set safe is safe, and there are no unsafe samples"),
        (["unsafe-0.tar", "half-0.tar", "test-*.tar"], "cannot calibrate together; name one kind of them"),
        (["unsafe-0.tar", "calibration-*.tar", "test-*.tar"], "cannot calibrate together; name one kind of them"),
        (["mixed-*.tar", "test-*.tar"], "name them apart"),
    ):
        done = here("init", *names, *MODEL)
        assert (done.returncode, told in done.stderr) == (3, True), done.stderr
    assert not (folder / "run.yaml").exists()
