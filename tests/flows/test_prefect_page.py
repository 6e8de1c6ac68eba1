"""What a server of one's own shows of a run: its name, a page of figures, the report's place, progress and lines."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_specs.metrics import find_metric
from flows import prefect_page
from flows.make_safe import make_safe
from tests.cases.small_run import Here, completed, damage, prefect_here, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(here: Here, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("shown")
    config = write_run(folder, calibration=8, test=8)
    shard = next(folder.glob("calibration-*.tar"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefect_page, "EVERY_SECONDS", 0.01)
        finished = completed(here, "run", config, folder / "store")
    return finished, shard


def asked(api_url: str, path: str, **body: Any) -> Any:
    answer = httpx.post(f"{api_url}/{path}/filter", json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def flow_run_of(api_url: str, store: Path) -> dict[str, Any]:
    runs = asked(api_url, "flow_runs", sort="START_TIME_DESC")
    places = ((found, found["parameters"].get("store")) for found in runs)
    return next(found for found, place in places if str(store) in (place, isinstance(place, dict) and place["folder"]))


def artifacts_of(api_url: str, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = asked(api_url, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    return {item["key"]: item for item in found}


def test_a_run_is_named_after_its_settings_and_what_it_does(api_url, run):
    finished, _ = run
    name = finished.result["name"]
    assert flow_run_of(api_url, finished.store)["name"] == f"{name}: make-safe"


def test_the_page_holds_each_figure_before_and_after_and_where_report_and_record_are(api_url, run):
    finished, _ = run
    shown = artifacts_of(api_url, flow_run_of(api_url, finished.store))
    page = shown[f"{finished.result['name']}-result"]
    assert page["type"] == "markdown"
    rows = {
        cells[1].strip().replace("\\", ""): [cell.strip() for cell in cells[2:]]
        for line in page["data"].splitlines()
        if len(cells := line.split("|")) > 4
    }
    for metric, before in finished.result["metrics"]["original"].items():
        if metric in rows:
            after = finished.result["metrics"]["edited"][metric]
            assert rows[metric][0].replace("\\", "").startswith(find_metric(metric).shown(before, more=1))
            assert rows[metric][1].replace("\\", "").startswith(find_metric(metric).shown(after, more=1))
    assert {"GS", "PS"} <= rows.keys()
    report = Path(finished.result["artifacts"]["report"]["path"]) / "report.html"
    link = shown[f"{finished.result['name']}-report"]["data"]
    assert report.as_uri() in link
    (record,) = (finished.store / ".runs").glob("*.json")
    assert json.loads(record.read_text())["id"] in page["data"].replace("\\", "")
    for role in ("edit", "evaluation.edited", "report"):
        assert finished.result["artifacts"][role]["version"][:16] in page["data"]


def test_stages_show_how_far_they_are_and_end_at_a_hundred_percent(api_url, run):
    finished, _ = run
    shown = artifacts_of(api_url, flow_run_of(api_url, finished.store))
    progress = [item for key, item in shown.items() if key.startswith("progress-")]
    assert progress
    assert {item["data"] for item in progress} == {100.0}
    assert all(item["description"] for item in progress)


def test_lines_and_skipped_samples_come_to_the_server_s_log(api_url, tmp_path):
    config = write_run(tmp_path, calibration=8, test=8)
    damage(sorted(tmp_path.glob("calibration*.tar"))[0], {"calibration0002.unsafe.png": b"no picture"})
    settings = config.read_text() + "\nmax_bad_fraction: 0.5\n"
    config.write_text(settings, encoding="utf-8")
    from prefect import settings as prefect_settings

    with (
        prefect_here(api_url),
        prefect_settings.temporary_settings({prefect_settings.PREFECT_LOGGING_TO_API_ENABLED: True}),
    ):
        result = make_safe(config, str(tmp_path / "store"), "cpu", 0)
    run = flow_run_of(api_url, tmp_path / "store")
    page = artifacts_of(api_url, run)[f"{result.name}-result"]["data"]
    assert "## Notices" in page
    assert "skipped" in page
    wanted = {"skipped 1 of 8 samples", f"{result.computed} artifacts computed"}
    until = time.monotonic() + 60
    while wanted and time.monotonic() < until:  # Prefect sends lines in the background
        lines = [line["message"] for line in asked(api_url, "logs", logs={"flow_run_id": {"any_": [run["id"]]}})]
        wanted -= {text for text in wanted if any(text in line for line in lines)}
    assert not wanted, lines


def test_a_server_that_fails_in_the_middle_ends_no_run(here, api_url, tmp_path, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise httpx.ConnectError("All connection attempts failed")

    for name in ("create_markdown_artifact", "create_link_artifact", "create_progress_artifact"):
        monkeypatch.setattr(prefect_page, name, fails)
    config = write_run(tmp_path, calibration=4, test=4)
    assert completed(here, "run", config, tmp_path / "store").result["metrics"]


def test_texts_from_outside_are_no_markup_on_the_page():
    from data_specs.run_result import RunResult

    result = RunResult(name="x", store="/s", artifacts={}, metrics={}, computed=0, reused=0, seconds={})
    page = prefect_page.result_markdown(result, "id", ["key <script>alert(1)</script> | [a](http://b)"])
    assert "<script>" not in page
    assert "](http" not in page
