"""Flows in a notebook: the example runs as it is, shows results as tables, and nothing else comes to the screen."""

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.cases.places import ROOT
from tests.cases.small_run import write_run

pytestmark = pytest.mark.slow

# What a notebook's process finds of the two switches, and whether they were there when Prefect was imported.
SWITCHES = """
import os, prefect.settings
print(os.environ["DO_NOT_TRACK"], prefect.settings.get_current_settings().server.analytics_enabled)
"""
STAGES = """
import time
from flows.notebook import NotebookProgress
from tasks.lineage.progress import advance, listening, notice, stage

with listening(NotebookProgress()), stage("sweep", 3, "points"):
    for _ in range(3):
        time.sleep(0.3)
        advance("sweep")
    notice("2 of 3 <b>")
"""


class Client(NotebookClient):
    """A client that keeps every text that a cell shows or redraws, in order."""

    def __init__(self, notebook: NotebookNode, folder: Path) -> None:
        super().__init__(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
        self.drawn: list[str] = []

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        self.drawn += [msg["content"]["data"]["text/html"]] if "display_data" in msg["msg_type"] else []
        return super().process_message(msg, cell, cell_index)


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without any setting of Prefect's and without the project's switches, as a user has it."""
    for name in [name for name in os.environ if name.startswith("PREFECT_") or name == "DO_NOT_TRACK"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def executed(notebook: NotebookNode, folder: Path) -> Client:
    client = Client(notebook, folder)
    client.execute()
    return client


def outputs(notebook: NotebookNode, kind: str) -> list[list[NotebookNode]]:
    """The outputs of a kind of each cell of code."""
    return [
        [output for output in cell.outputs if output.output_type == kind]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.usefixtures("own_server")
def test_the_example_runs_as_it_is_and_shows_tables_and_nothing_else(tmp_path: Path) -> None:
    write_run(tmp_path).rename(tmp_path / "run.yaml")
    notebook = nbformat.read(ROOT / "examples/run.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    notebook.cells.append(nbformat.v4.new_code_cell(SWITCHES))
    executed(notebook, tmp_path)

    results = outputs(notebook, "execute_result")
    for shown, name in ((results[0], "small"), (results[1], "stricter")):
        (page,) = [output.data["text/html"] for output in shown]
        assert f"<b>{name}</b>" in page
        assert "<li>Edited: " in page
        # The row of GS, with the figures of the run's record.
        (record,) = [
            content
            for path in (tmp_path / "store/.runs").glob("*.json")
            if (content := json.loads(path.read_text()))["settings"]["name"] == name
        ]
        row = page.split("<td>GS</td>")[1].split("</tr>")[0]
        for model in ("original", "edited"):
            low, high = record["intervals"][model]["GS"]
            assert f"<td>{record['figures'][model]['GS']:.2f} [{low:.1f}, {high:.1f}]</td>" in row
        assert (tmp_path / "store/report" / record["artifacts"]["report"] / "report.html").is_file()
    streams = outputs(notebook, "stream")
    assert [output for cell in streams for output in cell if output.name != "stdout"] == []
    assert streams[:2] == [[], []]
    assert streams[2][0].text.startswith("GS ")
    assert streams[-1][0].text == "1 False\n"


@pytest.mark.usefixtures("own_server")
def test_progress_is_redrawn_in_one_place_with_the_time_left(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(STAGES)])
    drawn = executed(notebook, tmp_path).drawn
    at_two = r"sweep: point 2 of 3 <progress max='3' value='1'></progress> 1 of 3, about [\d.]+ s left"
    assert [text for text in drawn if re.search(at_two, text)]
    (output,) = notebook.cells[0].outputs
    assert output.data["text/html"] == drawn[-1]
    assert "<b>2 of 3 &lt;b&gt;</b><br>✓ sweep: 3 points, " in drawn[-1]
    assert "<progress" not in drawn[-1]
