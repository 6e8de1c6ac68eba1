"""A whole run told to a collector of OpenLineage, a server in a process of its own."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.cases.collector import collecting
from tests.cases.small_run import Here, completed, write_run


def test_a_run_is_the_parent_of_its_stages_and_tells_figures_and_a_failed_one_says_why(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_run(tmp_path, calibration=4, test=4, vision=None)
    with collecting(tmp_path) as collector:
        monkeypatch.setenv("OPENLINEAGE_URL", collector.url)
        run = completed(here, "run", config, tmp_path / "store")
        events = collector.events()
        first, last = events[0], events[-1]
        assert [(event["job"]["name"], event["eventType"]) for event in (first, last)] == [
            ("run", "START"),
            ("run", "COMPLETE"),
        ]
        (record,) = (json.loads(path.read_text()) for path in (run.store / ".runs").glob("*.json"))
        assert first["run"]["runId"] == last["run"]["runId"] == record["flow_run_id"]
        told = last["run"]["facets"]["unsafeWeights_asked"]
        assert (told["figures"], told["artifacts"]) == (record["figures"], record["artifacts"])
        stages = events[1:-1]
        assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in stages} == {record["flow_run_id"]}
        made = Counter(event["job"]["name"] for event in stages if event["eventType"] == "COMPLETE")
        assert made == Counter(event["job"]["name"] for event in stages if event["eventType"] == "START")
        assert {"activations.text", "scores", "edit", "model", "evaluation", "report"} <= made.keys()
        versions = {output["facets"]["version"]["datasetVersion"] for event in stages for output in event["outputs"]}
        assert set(record["artifacts"].values()) <= versions

        (tmp_path / "calibration-000000.tar").write_bytes(b"no tar")
        done = here("run", str(config), "--store", str(tmp_path / "other"), "--workers", "0")
        assert done.returncode == 3
        failed = collector.events()[-1]
        assert (failed["job"]["name"], failed["eventType"]) == ("run", "FAIL")
        assert "calibration-000000.tar" in failed["run"]["facets"]["errorMessage"]["message"]
