"""What the tests of the command line share."""

import contextlib
import io
import subprocess
from collections.abc import Iterator

import pytest

from flows.commands.main import main
from tests.cases.small_run import Here, prefect_here


@pytest.fixture(scope="session")
def here(api_url: str) -> Here:
    """The command line in this process, which spares the imports of a new one."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with (
            _called_with(*arguments),
            prefect_here(api_url),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main()
        return subprocess.CompletedProcess(arguments, int(end.value.code or 0), out.getvalue(), err.getvalue())

    return call


@contextlib.contextmanager
def _called_with(*arguments: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["uwm", *arguments])
        yield
