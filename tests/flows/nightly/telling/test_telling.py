"""Webhooks and e-mail are told of a night as the watch asks, by real servers' account; what fails ends nothing."""

import asyncio
import socket

import pytest
from prefect.blocks.abstract import NotificationError

from data_specs.errors import SpecError
from data_specs.gate import Gate, GateResult
from data_specs.night import Measured, Night
from data_specs.watch import Watch
from flows.nightly.telling import telling
from flows.nightly.telling.message import sentences_of, told_text
from flows.nightly.telling.smtp_block import SmtpEmail
from flows.nightly.telling.telling import require_ways, tell
from tests.cases.receivers import own_certificate, smtp_server, webhook
from tests.cases.small_run import prefect_here

FELL = "GS fell by 12.5 points [-20.1, -4.9] from abc to def; limit -1"


def watch(*notify):
    return Watch(
        name="production", models={"current": {"tag": "p"}}, sets={"visu": {"shards": "x.tar"}}, notify=[*notify]
    )


def night(**more):
    gate = Gate(metric="GS", rule="min", limit=60)
    gates = [
        GateResult(gate=gate, outcome="fail", n=40, value=48.0, sentence=FELL),
        GateResult(gate=gate, outcome="unsure", n=40, sentence="GS may have fallen"),
    ]
    one = Measured(
        model="current", set="visu", status="completed", gates=gates, report="/data/store/report/abc/report.html"
    )
    settings = {
        "id": "n1",
        "watch": "production",
        "settings": {},
        "started": "2026-11-30T03:00:00+00:00",
        "status": "failed",
        "outcome": "failed",
        "measured": [one],
    }
    return Night(**(settings | more))


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(telling, "_PAUSES", (0.0, 0.0))
    monkeypatch.delenv("UWM_REPORTS_URL", raising=False)


def test_a_webhook_gets_a_text_for_people_and_the_gates_for_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("UWM_REPORTS_URL", "http://127.0.0.1:8090/")
    with webhook(tmp_path) as server:
        told = tell(watch({"webhook": server.url, "on": ["failed"]}), night(), "failed")
    (got,) = server.got()
    assert told == [f"webhook 127.0.0.1:{server.port}: told of failed"]
    body = got["body"]
    assert got["path"] == "/services/SECRET"
    assert body["text"].splitlines() == [
        "production: the night of 2026-11-30 03:00 UTC FAILED",
        f"- current @ visu: {FELL}",
        "Report of current @ visu: http://127.0.0.1:8090/report/abc/report.html",
    ]
    assert (body["watch"], body["night"], body["event"], body["outcome"]) == ("production", "n1", "failed", "failed")
    assert body["sentences"] == [f"current @ visu: {FELL}"]
    assert [(gate["model"], gate["set"], gate["name"], gate["outcome"]) for gate in body["gates"]] == [
        ("current", "visu", "GS min 60", "fail"),
        ("current", "visu", "GS min 60", "unsure"),
    ]
    assert body["reports"][0]["path"] == "/data/store/report/abc/report.html"


def test_only_those_who_asked_for_an_event_are_told_and_the_variable_names_where(tmp_path, monkeypatch):
    with webhook(tmp_path) as server:
        monkeypatch.setenv("ON_CALL_URL", server.url)
        asked = watch(
            {"webhook": "$ON_CALL_URL", "on": ["unsure"]}, {"webhook": "http://127.0.0.1:1/never", "on": ["failed"]}
        )
        assert tell(asked, night(outcome="unsure"), "unsure") == ["webhook $ON_CALL_URL: told of unsure"]
    assert [got["body"]["sentences"] for got in server.got()] == [["current @ visu: GS may have fallen"]]


@pytest.mark.parametrize(
    ("statuses", "n_tries", "ends"),
    [
        ((500, 429, 200), 3, "told of failed"),
        ((503,), 3, "not told of failed: it answered with status 503"),
        ((404, 200), 1, "not told of failed: it answered with status 404"),
        ((302, 200), 1, "not told of failed: it answered with status 302"),
    ],
)
def test_what_may_pass_is_tried_three_times_and_what_will_not_once(tmp_path, statuses, n_tries, ends):
    with webhook(tmp_path, statuses) as server:
        (told,) = tell(watch({"webhook": server.url}), night(), "failed")
    assert told == f"webhook 127.0.0.1:{server.port}: {ends}"
    assert len(server.got()) == n_tries


def test_an_impatient_one_tries_once(tmp_path):
    with webhook(tmp_path, (500, 200)) as server:
        assert "status 500" in tell(watch({"webhook": server.url}), night(), "crashed", patient=False)[0]
    assert len(server.got()) == 1


def test_nobody_there_is_told_without_the_secret_and_the_next_one_is_told_all_the_same(tmp_path, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with webhook(tmp_path) as server:
        ways = ({"webhook": f"http://127.0.0.1:{port}/SECRET"}, {"webhook": "$NOT_SET"}, {"webhook": server.url})
        told = tell(watch(*ways), night(), "failed")
    assert told[0].startswith(f"webhook 127.0.0.1:{port}: not told of failed: ")
    assert "SECRET" not in "".join(told)
    assert told[1] == "webhook $NOT_SET: not told of failed: variable NOT_SET is not set; set it to the webhook's URL"
    assert told[2].endswith(": told of failed")
    assert len(server.got()) == 1


def test_a_fault_stands_before_gates_and_each_sentence_is_said_once():
    failed = Measured(model="safe", set="visu", status="failed", error="no shard matches drop/*.tar")
    both = night(error=f"current on visu: {FELL}; not measured: …", measured=[failed, *night().measured])
    assert sentences_of(both, "failed") == [
        "safe @ visu: no shard matches drop/*.tar",
        f"current @ visu: {FELL}",
    ]
    assert sentences_of(night(measured=[], error="SIGKILL"), "crashed") == ["SIGKILL"]
    assert sentences_of(night(measured=[]), "crashed") == [
        "its process is gone; the next night goes on from what is in the store"
    ]
    assert "the night of 2026-11-30 01:00 UTC did not begin" in told_text(night(due="2026-11-30T01:00:00"), "missed")


def test_many_sentences_are_cut_and_counted():
    many = [Measured(model="m", set=f"s{number}", status="failed", error="broken") for number in range(30)]
    said = sentences_of(night(measured=many), "crashed")
    assert len(said) == 20
    assert said[-1] == "and 11 more"


def test_an_smtp_server_gets_the_mail_encrypted_and_after_a_login(tmp_path, monkeypatch):
    certificate = own_certificate(tmp_path)
    with smtp_server(tmp_path, certificate, ("uwm", "pass word%")) as server:
        given = {"host": "127.0.0.1", "port": server.port, "sender": "uwm@example.org", "username": "uwm"}
        block = SmtpEmail(**given, password="pass word%", to=["a@example.org", "b@example.org"])
        with block.raise_on_failure(), pytest.raises(NotificationError, match="certificate"):
            asyncio.run(block.notify("not sent", "to a server that is not trusted"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        asyncio.run(block.notify("GS fell\n- a line", "production: the night FAILED"))
        wrong = SmtpEmail(**given, password="other", to=["a@example.org"])
        with wrong.raise_on_failure(), pytest.raises(NotificationError, match="535"):
            asyncio.run(wrong.notify("not sent"))
    assert server.got() == [
        {
            "from": "uwm@example.org",
            "to": ["a@example.org", "b@example.org"],
            "subject": "production: the night FAILED",
            "text": "GS fell\n- a line\n",
            "encrypted": True,
        }
    ]


def test_an_address_that_the_server_refuses_and_a_subject_of_two_lines_are_errors(tmp_path):
    with smtp_server(tmp_path) as server:
        given = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": "uwm@example.org"}
        for to, subject, said in (("nobody@example.org", "x", "550"), ("a@example.org", "x\nBcc: c@d.org", "linefeed")):
            block = SmtpEmail(**given, to=["b@example.org", to])
            with block.raise_on_failure(), pytest.raises(NotificationError, match=said):
                asyncio.run(block.notify("text", subject))
    assert [got["to"] for got in server.got()] == [["b@example.org"]]


def test_a_block_of_the_server_is_found_by_its_name_and_sends_the_mail(api_url, tmp_path):
    with smtp_server(tmp_path) as server, prefect_here(api_url):
        given = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": "uwm@example.org"}
        SmtpEmail(**given, to=["oncall@example.org"]).save("oncall")
        asked = watch({"email_block": "oncall"})
        require_ways(asked.notify)
        assert tell(asked, night(), "failed") == ["email_block oncall: told of failed"]
        (told,) = tell(watch({"email_block": "gone"}), night(), "failed")
        with pytest.raises(SpecError, match="notify: email_block gone: there is none of this name; expected"):
            require_ways(watch({"email_block": "gone"}).notify)
    (got,) = server.got()
    assert (got["to"], got["subject"]) == (
        ["oncall@example.org"],
        "production: the night of 2026-11-30 03:00 UTC FAILED",
    )
    assert FELL in got["text"]
    assert told.startswith("email_block gone: not told of failed: there is none of this name")
