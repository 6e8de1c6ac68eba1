"""`uwm serve` with a server of the store's own: nights, what is told of them, processes that are killed, and its end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml
from prefect.blocks.webhook import Webhook

from flows.nightly.nights import read_nights, read_schedules
from flows.nightly.telling.smtp_block import SmtpEmail
from tests.cases.places import ROOT
from tests.cases.processes import alive, wait_for
from tests.cases.receivers import smtp_server, webhook
from tests.cases.served import Service
from tests.cases.small_run import UWM, environment, prefect_here, uwm, write_run

pytestmark = pytest.mark.slow

SERVE = ("--cron", "0 3 * * *", "--timezone", "Europe/Berlin", "--workers", "0", "--device", "cpu", "--reports", "0")
ENDLESS = {"shards": "pipe:sleep 600"}


class Place:
    """A watch with a webhook, and services on its store."""

    def __init__(self, folder, hook):
        write_run(folder, calibration=4, test=4)
        self.folder, self.hook, self.store = folder, hook, folder / "store"
        self.services = []
        self.write()

    def write(self, **sets):
        """The watch, with more sets."""
        watch = {
            "name": "production",
            "models": {"plain": {"model": {"architecture": "model.json", "weights": "model.safetensors"}}},
            "sets": {"main": {"shards": "test-*.tar"}, **sets},
            "gates": {"PS": {"min": 0}},
            "notify": [{"webhook": "$ON_CALL", "on": ["passed", "crashed"]}],
        }
        (self.folder / "watch.yaml").write_text(yaml.safe_dump(watch), encoding="utf-8")

    def serve(self, *options):
        """Start a service."""
        log = self.folder / f"serve-{len(self.services)}.log"
        kept = {name: value for name, value in environment().items() if not name.startswith("PREFECT_")}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*UWM, "serve", str(self.folder / "watch.yaml"), "--store", str(self.store), *SERVE, *options],
                env=kept | {"ON_CALL": self.hook.url},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.services.append(Service(process, log, self.store, self.folder / "watch.yaml"))
        return self.services[-1]

    def told(self):
        """The events that the webhook was told of."""
        return [got["body"]["event"] for got in self.hook.got()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with webhook(tmp_path_factory.mktemp("hook")) as hook:
        place = Place(tmp_path_factory.mktemp("served"), hook)
        yield place
        for service in place.services:
            for night in read_nights(place.store, "production"):
                if night.status == "running":
                    with suppress(ProcessLookupError):
                        os.kill(night.process, signal.SIGKILL)
            if service.process.poll() is None:
                os.killpg(service.process.pid, signal.SIGKILL)
                service.process.wait()


@pytest.fixture(scope="module")
def service(place):
    return place.serve("--now")


@pytest.fixture(scope="module")
def automated(place, service, tmp_path_factory):
    """What the server itself sends: a webhook and an SMTP server that it tells by the automations that are shipped."""
    url = service.said(r"serving reevaluate/production on (\S+);")
    folder = tmp_path_factory.mktemp("automated")
    with webhook(folder) as hook, smtp_server(folder) as mail:
        mailer = {"host": "127.0.0.1", "port": mail.port, "security": "none", "sender": "uwm@example.org"}
        with prefect_here(url):
            web = Webhook(url=hook.url, headers={"Content-Type": "application/json"}).save("on-call")
            email = SmtpEmail(**mailer, to=["oncall@example.org"]).save("oncall")
        text = (ROOT / "deploy/automations.yaml").read_text(encoding="utf-8")
        file = folder / "automations.yaml"
        file.write_text(Template(text).safe_substitute(WEBHOOK=web, EMAIL=email), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "automation", "create", "--from-file", str(file)]
        done = subprocess.run(command, env=environment(url), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield hook, mail


@pytest.fixture(scope="module")
def unbegun(automated, service, tmp_path_factory):
    """A webhook that the server tells where no night began, as the shipped automation does, but for 10 seconds."""
    shipped = {each["name"]: each for each in service.ask("POST", "automations/filter")}
    never = shipped["uwm: no night for 25 hours (webhook)"]
    assert never["trigger"]["within"] == timedelta(hours=25).total_seconds()
    with webhook(tmp_path_factory.mktemp("unbegun")) as hook:
        with prefect_here(service.said(r"serving reevaluate/production on (\S+);")):
            block = Webhook(url=hook.url, headers={"Content-Type": "application/json"}).save("unbegun")
        actions = [{**never["actions"][0], "block_document_id": str(block)}]
        service.ask("POST", "automations/", name="soon", trigger={**never["trigger"], "within": 10}, actions=actions)
        yield hook


@pytest.fixture(scope="module")
def silent(service):
    """A flow run that has beaten once; what the service asks of its server holds for it within 10 s, not minutes."""
    service.said("serving")
    (automation,) = service.ask("POST", "automations/filter")
    assert automation["enabled"]
    assert automation["trigger"]["within"] == 120
    flow = service.ask("POST", "flows/", name="silent")["id"]
    run = service.ask("POST", "flow_runs/", flow_id=flow, state={"type": "RUNNING"})["id"]
    resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
    trigger = {**automation["trigger"], "within": 10, "match": resource}
    service.ask("POST", "automations/", name="silent", trigger=trigger, actions=automation["actions"])
    event = {"event": "prefect.flow-run.heartbeat", "resource": resource, "id": str(uuid4())}
    event["occurred"] = datetime.now(UTC).isoformat()
    url = service.said(r"serving reevaluate/production on (\S+);")
    httpx.post(f"{url}/events", json=[event], timeout=60, trust_env=False).raise_for_status()
    return run


def test_a_night_is_carried_out_told_and_its_report_is_where_the_message_says(place, service, silent, unbegun):
    del unbegun  # which is told meanwhile
    (got,) = wait_for(place.hook.got)
    assert got["body"]["event"] == "passed", got["body"]["text"]
    (report,) = got["body"]["reports"]
    assert report["url"].startswith(service.said(r"reports of \S+: (http://127\.0\.0\.1:\d+)"))
    page = httpx.get(report["url"], timeout=60, trust_env=False)
    assert page.content == Path(report["path"]).read_bytes()
    (night,) = wait_for(lambda: [n for n in read_nights(place.store, "production") if n.told])
    assert (night.status, night.outcome, night.told) == ("completed", "passed", ["webhook $ON_CALL: told of passed"])
    run = service.ask("GET", f"flow_runs/{night.flow_run_id}")
    assert run["name"] == "production: reevaluate"
    shown = {"flow_run_id": {"any_": [night.flow_run_id]}}

    def pages():
        found = {item["key"]: item["data"] for item in service.ask("POST", "artifacts/filter", artifacts=shown)}
        return len(found) == 2 and found

    data = wait_for(pages)
    assert "| plain @ main | PS |" in data["production-night"].replace("\\", "")
    assert report["url"] in data["production-plain-main-report"]


def test_the_schedule_is_the_server_s_and_the_store_s(place, service):
    (noted,) = read_schedules(place.store, "production")
    assert (noted.cron, noted.timezone) == ("0 3 * * *", "Europe/Berlin")
    deployment = service.ask("GET", "deployments/name/reevaluate/production")
    assert [each["active"] for each in deployment["schedules"]] == [True]
    chosen = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    runs = wait_for(lambda: service.ask("POST", "flow_runs/filter", sort="EXPECTED_START_TIME_ASC", **chosen))
    first = datetime.fromisoformat(runs[0]["expected_start_time"])
    assert (first.astimezone(ZoneInfo("Europe/Berlin")).hour, first.minute) == (3, 0)
    assert timedelta(0) < first - datetime.now(UTC) <= timedelta(hours=25)


def test_another_service_on_the_store_is_refused_and_told_where_the_server_is(place, service):
    url = service.said(r"serving reevaluate/production on (\S+);")
    command = ("serve", str(service.watch), "--store", str(place.store), "--cron", "0 4 * * *")
    done = uwm(*command, api_url="")
    assert done.returncode == 2
    assert f"has a Prefect server for this store, at {url}; set PREFECT_API_URL" in done.stderr


def test_a_night_that_is_killed_ends_crashed_is_told_once_and_the_next_one_passes(place, service, automated):
    place.write(slow=ENDLESS)
    killed = service.night()
    night = service.record(killed)
    assert night.status == "running"
    os.kill(night.process, signal.SIGKILL)
    service.until(killed, "CRASHED")
    ended = wait_for(lambda: (night := service.record(killed)).told and night)
    assert ended.status == "interrupted"
    assert ended.error.startswith("Crashed: ")
    place.write()
    after = service.night()
    service.until(after, "COMPLETED")
    assert service.record(after).measured[0].computed == 0
    wait_for(lambda: len(place.told()) >= 3)
    assert place.told() == ["passed", "crashed", "passed"]
    # The server has told of it, too, and of nothing else.
    hook, mail = automated
    (posted,), (mailed,) = wait_for(hook.got), wait_for(mail.got)
    assert posted["body"]["text"].startswith("production: reevaluate: Crashed. Process exited with status code: -9")
    assert (mailed["to"], mailed["subject"]) == (["oncall@example.org"], "production: reevaluate: Crashed")
    assert killed in mailed["text"]


def test_the_server_tells_where_no_night_began(unbegun):
    assert wait_for(unbegun.got)[0]["body"]["text"].startswith("No night of uwm began")


def test_a_run_that_fell_silent_is_ended_by_the_server(service, silent):
    service.until(silent, "CRASHED")
    assert service.ask("GET", f"flow_runs/{silent}")["state"]["message"].startswith("No heartbeat for ")


def test_a_service_that_is_killed_leaves_nothing_running_and_the_next_one_tells_of_its_night(place, service):
    place.write(slow=ENDLESS)
    lost = service.night()
    night = service.record(lost)
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait()
    os.kill(night.process, signal.SIGKILL)
    wait_for(lambda: not alive(night.process))
    place.write()
    again = place.serve()
    again.said(r"the night of \S+ (ended without a result): its process is gone")
    again.until(lost, "CRASHED")
    assert place.told()[-1] == "crashed"
    ended = again.record(lost)
    assert (ended.status, ended.error) == ("interrupted", f"its process {night.process} is gone")
    assert [schedule.cron for schedule in read_schedules(place.store, "production")] == ["0 3 * * *"]


def test_a_signal_ends_the_night_that_goes_on_and_the_service_within_seconds(place, service):
    again = place.services[-1]
    place.write(slow=ENDLESS)
    night = again.record(again.night())
    again.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert again.process.wait(60) == 128 + signal.SIGTERM
    assert time.monotonic() - started < 30
    assert "terminated (SIGTERM); finished work is kept" in again.log.read_text()
    wait_for(lambda: not alive(night.process))
    ended = again.record(night.flow_run_id)
    assert ended.status == "interrupted"
    assert ended.told == ["webhook $ON_CALL: told of crashed"]
    assert json.loads(place.hook.path.read_text().splitlines()[-1])["body"]["night"] == ended.id
