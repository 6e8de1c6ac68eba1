"""The command line in this process, for commands that need no Prefect server."""

import contextlib
import io
import subprocess

import pytest

from flows.commands.main import main


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process; returns its exit status and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["uwm", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    return subprocess.CompletedProcess(arguments, int(end.value.code or 0), out.getvalue(), err.getvalue())
