"""A command is imported when it is asked for, and looks as if it had been there all the time."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from flows.commands.group import app
from flows.commands.later import Later
from tests.cases.command_line import called
from tests.cases.small_run import environment

IMPORTED = """
import json, sys
sys.argv = ["uwm", *sys.argv[1:]]
from flows.commands.main import main
try:
    main()
finally:
    print(json.dumps(sorted(name for name in sys.modules if name.startswith("flows.commands."))), file=sys.stderr)
"""
ALWAYS = {f"flows.commands.{name}" for name in ("main", "ending", "group", "later", "version")}


def rows(group: TyperGroup, *above: str) -> Iterator[tuple[tuple[str, ...], Later]]:
    """All commands below a group, with the words that call them."""
    for name, row in group.commands.items():
        if isinstance(row, Later):
            yield (*above, name), row
            command = row.command()
            if isinstance(command, TyperGroup):
                yield from rows(command, *above, name)


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, ...], Later]:
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    return dict(rows(found))


def imported(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, env=environment(), check=False
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_what_is_said_of_a_command_is_what_it_says_of_itself(known):
    assert {("run",), ("lineage", "uses"), ("store", "gc")} <= known.keys()
    for words, row in known.items():
        command = row.command()
        assert (row.help, words[-1]) == (command.help, command.name), words
        assert row.get_short_help_str(100) == command.get_short_help_str(100), words


def test_a_list_imports_no_other_command(tmp_path):
    own = {"flows.commands.artifacts", "flows.commands.options", "flows.commands.console"}
    assert imported("artifacts", "list", "--store", str(tmp_path)) == ALWAYS | own


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("lis",), ("sto",)])
def test_what_calls_no_command_imports_none(words):
    assert imported(*words) == ALWAYS


@pytest.mark.slow
def test_a_command_of_a_group_is_imported_alone():
    found = imported("store", "lo", "--head")
    assert found == ALWAYS | {"flows.commands.store", "flows.commands.store.group"}
    found = imported("store", "log", "--help")
    assert {name for name in found if name.startswith("flows.commands.store.")} == {
        "flows.commands.store.group",
        "flows.commands.store.log",
    }


@pytest.mark.parametrize(
    ("words", "meant"), [(("artefacts",), "artifacts"), (("store", "satus"), "status"), (("edit", "udno"), "undo")]
)
def test_a_misspelt_command_is_told_what_was_meant(words, meant):
    done = called(*words)
    assert done.returncode == 2
    assert f"Did you mean '{meant}'?" in " ".join(done.stderr.split())
