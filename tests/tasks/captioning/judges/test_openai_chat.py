"""A judge behind a real server process that answers, refuses, drops, drips and asks to wait."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from data_specs.errors import DataError, MachineError, SpecError
from data_specs.judging import JUDGE
from tasks.captioning.judges.answers import AnswerLog
from tasks.captioning.judges.endpoint import request_body, request_digest
from tasks.captioning.judges.openai_chat import answers_file, ask_endpoint
from tests.cases.judge_server import SECRET, judge_server
from tests.cases.places import ROOT

CAPTIONS = [
    f"{mood} man number {k} holding a {thing}"
    for k in range(8)
    for mood, thing in (("calm", "cup"), ("angry", "knife"))
]


@pytest.fixture(scope="module")
def server():
    with judge_server() as found:
        yield found


@pytest.fixture
def asks(server, tmp_path, request):
    """Ask a judge of this test's own about captions; outcomes by caption."""

    def ask(captions=CAPTIONS, how="v1", log="log", **settings):
        judge = JUDGE.validate_python(
            {
                "kind": "openai_chat",
                "name": "j",
                "url": server.url(how),
                "model": request.node.name,
                "tries": 3,
                **settings,
            }
        )
        table = ask_endpoint(judge, captions, AnswerLog(tmp_path / log))
        assert table.column("caption").to_pylist() == captions
        return dict(zip(captions, table.column("outcome").to_pylist(), strict=True))

    return ask


@pytest.fixture
def asked(server, request):
    return lambda how="v1": server.asked(request.node.name, how)


EXPECTED = {caption: "unsafe" if "knife" in caption else "safe" for caption in CAPTIONS}


def test_each_caption_is_asked_about_once_and_never_again(asks, asked):
    assert asks() == EXPECTED
    assert asked()["n"] == len(CAPTIONS)
    assert asks() == EXPECTED
    assert asked()["n"] == len(CAPTIONS)
    asks(CAPTIONS[:3], instruction="Other words.")
    assert asked()["n"] == len(CAPTIONS) + 3


def test_the_request_is_greedy_has_the_schema_and_the_caption_as_it_is(asks, asked):
    asks(["un été « 狗 »"])
    (body,) = asked()["bodies"]
    assert (body["temperature"], body["messages"][1]) == (0, {"role": "user", "content": "un été « 狗 »"})
    assert body["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"] == ["safe", "unsafe"]
    assert "vandalism" in body["messages"][0]["content"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["seconds", "nonsense", "error", "drop", "cut_off", "garbage", "empty", "large"])
def test_what_may_pass_is_tried_again_and_the_same_verdict_comes_out(asks, asked, fault):
    captions = [f"a cup fault:{fault}", f"a knife fault:{fault}", "a knife"]
    assert [*asks(captions).values()] == ["safe", "unsafe", "unsafe"]
    assert asked()["times"] == {
        captions[0]: 3 if fault == "error" else 2,
        captions[1]: 3 if fault == "error" else 2,
        "a knife": 1,
    }


@pytest.mark.slow
def test_an_answer_that_drips_is_given_up_after_its_time(asks, asked):
    began = time.monotonic()
    assert asks(["a cup fault:drips"], timeout_seconds=0.4) == {"a cup fault:drips": "safe"}
    assert asked()["n"] == 2
    assert time.monotonic() - began < 10


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "seconds"), [("seconds", 0.2), ("date", 1)])
def test_nobody_asks_before_the_time_that_the_endpoint_names_by_whatever_clock(asks, asked, fault, seconds):
    asks([f"a cup fault:{fault}", *CAPTIONS[:4]], concurrency=1)
    first, second, *_ = asked()["starts"]
    assert second - first >= seconds


def test_an_endpoint_that_asks_to_wait_for_longer_than_is_allowed_is_left_alone(asks, asked):
    with pytest.raises(
        SpecError, match=r"HTTP 429 and asks to wait 3600 s, longer than longest_wait_seconds 120; start again then"
    ):
        asks(CAPTIONS[:1], how="closed")
    assert asked("closed")["n"] == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("refusal", "refused"),
        ("marked", "refused"),
        ("cut", "cut"),
        ("filtered", "filtered"),
        ("azure", "filtered"),
        ("chatty", "unreadable"),
        ("parts", "unsafe"),
    ],
)
def test_what_is_no_verdict_is_told_apart_and_never_safe(asks, asked, fault, outcome):
    assert asks([f"a cup fault:{fault}"]) == {f"a cup fault:{fault}": outcome}
    asks([f"a cup fault:{fault}"])
    assert asked()["n"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "ignores"])
def test_an_endpoint_that_knows_no_schema_is_read_strictly(asks, asked, how):
    assert asks(how=how, concurrency=1) == EXPECTED
    assert asked(how)["n"] == len(CAPTIONS) + (how == "plain")


def test_a_request_that_is_refused_with_and_without_a_schema_ends_all_with_what_the_endpoint_says(asks, asked):
    with pytest.raises(
        SpecError, match=r"judges.j: http://.* answers HTTP 400 .*no such parameter.*; check url, model"
    ):
        asks(how="refuses", concurrency=1)
    assert asked("refuses")["n"] == 2


def test_the_key_goes_to_the_endpoint_and_nowhere_else(asks, monkeypatch, tmp_path):
    monkeypatch.setenv("OWN_KEY", SECRET)
    assert asks(CAPTIONS[:2], how="locked", api_key_env="OWN_KEY") == {c: EXPECTED[c] for c in CAPTIONS[:2]}
    assert SECRET not in (tmp_path / "log").read_text()
    monkeypatch.setenv("OWN_KEY", "sk-wrong")
    with pytest.raises(SpecError, match="HTTP 401") as refused:
        asks(CAPTIONS[2:3], how="locked", api_key_env="OWN_KEY")
    assert "sk-wrong" not in str(refused.value)
    assert "the key in OWN_KEY" in str(refused.value)
    for wrong, what in (("", "is not set"), ("a\nb", "holds what is no key"), ("ключ", "holds what is no key")):
        monkeypatch.setenv("OWN_KEY", wrong)
        with pytest.raises(SpecError, match=f"variable OWN_KEY {what}; set it"):
            asks(CAPTIONS[2:3], how="locked", api_key_env="OWN_KEY")


def test_another_model_behind_the_address_ends_it_then_and_later(asks, asked):
    with pytest.raises(DataError, match=r"-b-2026' answers now, and '.*-a-2026' answered before; .*--judge-again"):
        asks(how="swaps", concurrency=1)
    n = asked("swaps")["n"]
    assert n < 6  # one thread may have asked once more
    asks(CAPTIONS[:3], how="swaps")
    assert asked("swaps")["n"] == n
    with pytest.raises(DataError, match="answers now"):
        asks(CAPTIONS[:4], how="swaps")


@pytest.mark.slow
def test_one_caption_without_an_answer_leaves_the_others_answered(asks, asked):
    captions = [*CAPTIONS, "fault:always"]
    with pytest.raises(
        MachineError, match=r"no answer about 1 of 17 captions \(HTTP 500\).*start the same command again"
    ):
        asks(captions, tries=2)
    assert asked()["n"] == len(CAPTIONS) + 2
    assert asks() == EXPECTED
    assert asked()["n"] == len(CAPTIONS) + 2


def test_an_endpoint_that_is_down_is_not_asked_about_everything(asks, asked):
    with pytest.raises(MachineError, match="HTTP 500"):
        asks([f"{k}" for k in range(200)], how="dead", tries=1, concurrency=2)
    assert asked("dead")["n"] < 20
    with pytest.raises(MachineError, match="ConnectError"):
        asks(CAPTIONS, url="http://127.0.0.1:9/v1", tries=1)


@pytest.mark.slow
def test_so_many_at_once_and_so_many_a_second(asks, asked):
    asks(how="slow", concurrency=3)
    assert asked("slow")["most"] == 3
    asks(log="other", per_second=40)
    starts = asked()["starts"]
    assert starts[-1] - starts[0] >= (len(CAPTIONS) - 1) / 40 - 0.05


@pytest.mark.slow
def test_what_a_killed_run_has_been_told_is_not_asked_again(asks, asked, tmp_path, server, request):
    settings = {"kind": "openai_chat", "name": "j", "url": server.url(), "model": request.node.name, "per_second": 30}
    script = (
        "import json, sys\nfrom pathlib import Path\nfrom data_specs.judging import JUDGE\n"
        "from tasks.captioning.judges.answers import AnswerLog\nfrom tasks.captioning.judges.openai_chat import ask_endpoint\n"
        "judge, captions, log = json.loads(sys.argv[1])\n"
        "ask_endpoint(JUDGE.validate_python(judge), captions, AnswerLog(Path(log)))\n"
    )
    log = tmp_path / "log"
    captions = [f"{caption} {k}" for k in range(3) for caption in CAPTIONS]
    with subprocess.Popen(
        [sys.executable, "-c", script, json.dumps([settings, captions, str(log)])], cwd=ROOT
    ) as child:
        while not log.exists() or log.read_bytes().count(b"\n") < 8:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
    kept = log.read_bytes().count(b"\n")
    assert 8 <= kept < len(captions)
    with log.open("ab") as file:  # a kill may cut a line
        file.write(b'{"request": "half a li')
    found = asks(captions)
    assert [found[caption] for caption in captions] == [EXPECTED[caption.rpartition(" ")[0]] for caption in captions]
    # Of those under way when it was killed, the answers may have been lost.
    assert len(captions) <= asked()["n"] <= len(captions) + 8
    again = asked()["n"]
    asks(captions)
    assert asked()["n"] == again


def test_lines_that_cannot_be_read_are_asked_again_and_the_first_answer_counts(asks, asked, tmp_path):
    asks()
    path = tmp_path / "log"
    first, _lost, *rest = path.read_text().splitlines()
    other = json.loads(first) | {"content": "Unsafe" if "unsafe" not in first else "Safe"}
    path.write_text("\n".join(["{}", first, json.dumps(other), *rest]) + "\nnonsense")
    assert asks() == EXPECTED
    assert asked()["n"] == len(CAPTIONS) + 1


def test_what_decides_an_answer_decides_where_it_is_kept(tmp_path):
    base = {"kind": "openai_chat", "name": "j", "model": "m"}

    def place(again=0, **settings):
        return answers_file(tmp_path, JUDGE.validate_python({**base, **settings}), again)

    same = [{"url": "http://other/v1"}, {"concurrency": 1}, {"api_key_env": "X"}, {"name": "k"}, {"tries": 1}]
    assert {place(**settings) for settings in same} == {place()}
    other = [{"model": "n"}, {"instruction": "x"}, {"structured": False}, {"max_tokens": 1}, {"seed": 1}]
    assert len({place(), place(again=1), *(place(**settings) for settings in other)}) == 7
    judge = JUDGE.validate_python(base)
    assert request_digest(judge, "a") != request_digest(judge, "b")
    assert "api_key" not in json.dumps(request_body(judge, "a"))
