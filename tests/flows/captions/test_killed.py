"""`uwm caption` killed outright at several moments: the next one goes on, captions nothing twice, and asks about nothing twice."""

import json
import signal

import pytest

from tests.cases.captions import write_caption_run
from tests.cases.forked import forked
from tests.cases.judge_server import judge_server
from tests.cases.processes import wait_for
from tests.cases.small_run import Here, completed, file_digests

pytestmark = pytest.mark.slow

CONCURRENCY = 2


def n_parts(store):
    return len([*store.glob("captions.part/*/manifest.json")])


def n_answers(store):
    return sum(len(path.read_text().splitlines()) for path in store.glob(".answers/*.jsonl"))


# From the first caption on to the answers about the last ones.
MOMENTS = [
    lambda store: n_parts(store) >= 1,
    lambda store: n_parts(store) >= 3,
    lambda store: n_answers(store) >= 1,
    lambda store: len([*store.glob("caption_evaluation/*/manifest.json")]) >= 1,
]


def test_a_captioning_that_is_killed_again_and_again_makes_and_asks_once(tmp_path, here: Here, api_url) -> None:
    store = tmp_path / "store"
    with judge_server() as server:
        chat = {"kind": "openai_chat", "name": "chat", "url": server.url("slow"), "model": "killed"}
        captioning = {"judges": [chat | {"concurrency": CONCURRENCY}]}
        config = write_caption_run(tmp_path / "run", captioning=captioning)
        command = ["caption", str(config), "--store", str(store), "--workers", "0", "--device", "cpu"]
        made, ended = {}, []
        for moment in MOMENTS:
            process = forked(*command, api_url=api_url, said=tmp_path / "said")
            wait_for(lambda: process.poll() is not None or moment(store))  # noqa: B023  (waited for at once)
            process.kill()
            ended.append(process.wait())
            made |= {path: path.stat().st_mtime_ns for path in store.glob("captions*/*/manifest.json")}
        assert ended == [-signal.SIGKILL] * len(MOMENTS)
        resumed = completed(here, "caption", config, store)
        assert {path: path.stat().st_mtime_ns for path in made} == made
        asked = server.asked("killed", "slow")
        answers = [json.loads(line)["request"] for path in store.glob(".answers/*.jsonl") for line in path.open()]
        assert len(answers) == len({*answers})
        # What was asked and not yet answered when the process was killed is asked again, and nothing else.
        assert len(answers) <= asked["n"] <= len(answers) + len(MOMENTS) * CONCURRENCY
        other = completed(here, "caption", config, tmp_path / "other")
    own, others = (
        {name: digest for name, digest in file_digests(place).items() if name.startswith("captions")}
        for place in (store, tmp_path / "other")
    )
    assert own == others
    assert resumed.result["metrics"] == other.result["metrics"]
