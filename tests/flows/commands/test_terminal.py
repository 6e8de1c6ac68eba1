"""What reaches a terminal: names of files, keys and tags as they are, and none of what they would do to it."""

import io
import json
import re
import sys

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from flows.commands.console import LiteralConsole
from flows.commands.display import _Bars, _LeftColumn, _Lines
from flows.commands.main import main
from tasks.lineage.progress import counted, listening
from tests.cases.settings import MINIMAL
from tests.cases.shard_files import pair, write_tar

pytestmark = pytest.mark.slow

EVIL = "\x1b[2J\x1b]0;title\x9b31m\u202egnp\u2066[red]:smile:"
LITERAL = "\\x1b[2J\\x1b]0;title\\x9b31m\\u202egnp\\u2066[red]:smile:"


@pytest.fixture
def console(monkeypatch):
    """A console as the command line has it, on a terminal of its own."""
    monkeypatch.setenv("TERM", "xterm")
    console = LiteralConsole()
    console.file = io.StringIO()
    console._force_terminal = console.is_interactive = True
    return console


def without_styles(text):
    """What is left of a terminal's text when rich's own sequences are taken out."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_texts_tables_and_notices_show_names_literally(console):
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    console.print(table, width=300)
    console.print(EVIL, style="yellow", markup=False)
    console.print(f"two\nlines {EVIL}")
    shown = without_styles(console.file.getvalue())
    assert shown.count(LITERAL) == 5
    assert f"two\nlines {LITERAL}\n" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_progress_shows_names_literally_and_still_moves_the_cursor(console):
    with Progress(TextColumn("{task.description}", markup=False), console=console, auto_refresh=False) as progress:
        bars = _Bars(progress)
        bars.start(EVIL, 3, "pairs")
        bars.advance(EVIL, 1)
        progress.refresh()
        bars.notice(EVIL)
        bars.finish(EVIL)
    text = console.file.getvalue()
    assert text.count(LITERAL) >= 2
    assert "\x1b[2K" in text
    assert "\x1b[2J" not in text
    assert not {"\x9b", "\u202e", "\u2066"} & set(text)


def called(monkeypatch, capsys, *arguments):
    for name in ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["uwm", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert all(character.isprintable() or character == "\n" for character in shown.out + shown.err)
    assert all(len(line) < 1500 for line in (shown.out + shown.err).splitlines())
    return ended.value.code or 0, shown.out, shown.err


def test_names_of_files_keys_and_tags_do_not_steer_the_terminal(tmp_path, monkeypatch, capsys):
    name = EVIL.replace("]0", "").replace(":", "")
    tag = json.dumps({"tag": EVIL + "t" * 10_000}).encode()
    shard = write_tar(tmp_path / f"{name}.tar", pair("a", json=tag) + pair("evil\u202e", safe_txt=b""))
    status, out, _ = called(monkeypatch, capsys, "shards", "check", shard, "--workers", 0)
    assert (status, "\\x1b[2J" in out, "bad 'evil\\u202e': empty caption" in out) == (3, True, True)
    status, _, err = called(monkeypatch, capsys, "shards", "check", tmp_path / f"none{name}.tar", "--workers", 0)
    assert status == 3
    status, _, err = called(monkeypatch, capsys, "shards", "pack", tmp_path / f"none{name}.csv", "--out", "x-%d.tar")
    assert (status, "\\x1b[2J" in err) == (3, True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({EVIL: 1, "\u202e" + "k" * 900: 2}, "\\u202egnp\\u2066[red]:smile: is not a known setting; \\u202ekkk"),
        ({"name": EVIL}, "name: String should match pattern"),
        ({"name": ["n" * 600_000]}, "name: Input should be a valid string, got ['nnn"),
        ({"model": {"architecture": "x", "weights": EVIL * 1000, EVIL: 1}}, "is not a known setting"),
    ],
)
def test_settings_do_not_steer_the_terminal_or_fill_it(tmp_path, monkeypatch, capsys, settings, words):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(MINIMAL | settings))
    status, out, err = called(monkeypatch, capsys, "config", path)
    assert (status, out) == (2, "")
    assert words in err


def test_a_config_is_printed_as_a_deployment_takes_it(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(MINIMAL))
    status, out, _ = called(monkeypatch, capsys, "config", path)
    printed = json.loads(out)
    assert (status, printed["evaluation"]["shards"]) == (0, [f"{tmp_path}/b.tar"])
    assert (printed["text"]["layers"], printed["methods"]) == ("attention_output", {})


def test_an_experiment_says_at_which_point_it_is_and_what_is_left_over_all(console, monkeypatch):
    clock = iter(range(0, 1000, 10))
    with Progress(*(TextColumn("{task.description}", markup=False), _LeftColumn()), console=console, auto_refresh=False,
                  get_time=lambda: 0.0) as progress, listening(_Bars(progress)):  # fmt: skip
        told = []
        for _ in counted("sweep", [1, 2, 3], "points"):
            progress.get_time = lambda: float(next(clock))
            (task,) = progress.tasks
            told.append((task.description, _LeftColumn().render(task).plain))
    assert [text for text, _ in told] == ["sweep: point 1 of 3", "sweep: point 2 of 3", "sweep: point 3 of 3"]
    assert (told[0][1], told[1][1].startswith("about ")) == ("", True)

    console.file = io.StringIO()
    monkeypatch.setattr("flows.commands.display.screen", console)
    monkeypatch.setattr("flows.commands.display.time.perf_counter", lambda: float(next(clock)))
    with listening(_Lines(0.0)):
        list(counted("comparison", ["a", "b"], "models"))
        list(counted("pack", ["a"], "pairs"))
    lines = [line for line in without_styles(console.file.getvalue()).splitlines() if ":" in line]
    assert lines[-4:-2] == ["comparison: model 1 of 2 done, about 10 s left", "comparison: model 2 of 2 done"]
    assert [line.partition(":")[0] for line in lines[-2:]] == ["comparison", "pack"]
