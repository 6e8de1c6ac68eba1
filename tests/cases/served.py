"""A running `uwm serve` and the Prefect server of its store."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from flows.nightly.nights import read_nights
from tests.cases.processes import wait_for


@dataclass
class Service:
    """A running `uwm serve`, and all that it has said."""

    process: "subprocess.Popen[bytes]"
    log: Path
    store: Path
    watch: Path

    def said(self, pattern):
        """What a group of a pattern matches, once it was said."""

        def found():
            text = self.log.read_text(errors="replace")
            assert self.process.poll() is None, text
            return re.search(pattern, text)

        found_at = wait_for(found)
        return found_at[found_at.re.groups]

    def ask(self, method, path, **json):
        """An answer of the store's own server."""
        url = self.said(r"serving reevaluate/production on (\S+);")
        while (
            answer := httpx.request(method, f"{url}/{path}", json=json or None, timeout=60, trust_env=False)
        ).is_error:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            time.sleep(0.2)
        return answer.json() if answer.content else None

    def night(self):
        """Ask for one more night; returns the id of its flow run."""
        deployment = self.ask("GET", "deployments/name/reevaluate/production")["id"]
        return self.ask("POST", f"deployments/{deployment}/create_flow_run", state={"type": "SCHEDULED"})["id"]

    def until(self, flow_run, state):
        """Wait for a state of a flow run."""
        wait_for(lambda: self.ask("GET", f"flow_runs/{flow_run}")["state_type"] == state or time.sleep(0.3))

    def record(self, flow_run):
        """The night of a flow run, once its process has put it down."""
        return wait_for(
            lambda: next((n for n in read_nights(self.store, "production") if n.flow_run_id == flow_run), None)
        )
