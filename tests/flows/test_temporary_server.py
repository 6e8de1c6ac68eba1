"""The temporary server in surroundings that are not its own: settings, proxies, homes, other runs, killed runs."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import flows.server.temporary
from data_specs.errors import PipelineError, SpecError
from flows.server.own_server import last_error
from flows.server.surroundings import loopback_reached_directly, server_environment
from flows.server.temporary import TemporaryServer, prefect_api
from tests.cases.processes import alive, wait_for
from tests.cases.small_run import UWM, artifacts, environment, write_run

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9"
# Each ended a run, or took it elsewhere.
PROXIES = {"HTTP_PROXY": NOWHERE, "https_proxy": "socks://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}
SETTINGS = {
    "PREFECT_SERVER_API_AUTH_STRING": "admin:pass",
    "PREFECT_API_AUTH_STRING": "admin:pass",
    "PREFECT_API_KEY": "pnu_1",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://u:p@127.0.0.1:9/x",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "soon",
    "PREFECT_SERVER_API_PORT": "none",
    "PREFECT_API_SSL_CERT_FILE": "/nowhere.pem",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/none",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_LOGGING_SETTINGS_PATH": "/nowhere.yml",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), calibration=8, test=8)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers of this test put their folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def run(config: Path, store: Path, cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in environment().items() if not name.startswith("PREFECT_")}
    command = [*UWM, "run", str(config), "--store", str(store), "--workers", "0"]
    return subprocess.run(
        command, env=kept | changes, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )


def test_nothing_of_the_users_prefect_reaches_a_run(config: Path, tmp_path: Path, temporary: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with closing(sqlite3.connect(home / "prefect.db")) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
    (tmp_path / "prefect.toml").write_text("broken = [", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.prefect]\nlogging.level = "NONE"\n', encoding="utf-8")
    (tmp_path / ".env").write_text("PREFECT_SERVER_API_AUTH_STRING=a:b\n", encoding="utf-8")
    before = (home / "prefect.db").read_bytes()
    # Nobody may write to /proc/self, not even root.
    settings = {"PREFECT_HOME": str(home), "HOME": "/proc/self", "XDG_CACHE_HOME": "", "TMPDIR": str(temporary)}
    done = run(config, tmp_path / "store", tmp_path, **PROXIES, **SETTINGS, **settings)
    assert done.returncode == 0, done.stderr
    assert artifacts(tmp_path / "store")
    assert "ALL_PROXY is not used in this run" in done.stderr
    assert [path.name for path in home.iterdir()] == ["prefect.db"]
    assert (home / "prefect.db").read_bytes() == before
    assert list(temporary.iterdir()) == []


def test_a_run_carries_no_key_and_no_password_to_its_server(
    prefect_home: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_1")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:pass")
    with prefect_api():
        from prefect.settings import get_current_settings

        settings = get_current_settings()
        assert (settings.api.key, settings.api.auth_string) == (None, None)
        assert settings.home.parent == temporary
    assert list(temporary.iterdir()) == []


def test_no_proxy_is_completed_for_a_run_and_then_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet.example, 10.0.0.1")
    monkeypatch.delenv("no_proxy", raising=False)
    with loopback_reached_directly():
        for name in ("NO_PROXY", "no_proxy"):
            assert os.environ[name] == "intranet.example,10.0.0.1,127.0.0.1,localhost,::1"
    assert os.environ["NO_PROXY"] == "intranet.example, 10.0.0.1"
    assert "no_proxy" not in os.environ


def test_servers_started_at_once_on_a_new_account_all_answer_and_share_one_database_that_is_made(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    servers = [TemporaryServer() for _ in range(3)]
    for server in servers:
        server.wait()
    assert len({server.api_url for server in servers}) == 3
    [template] = (tmp_path / "cache/uwm").glob("*.db")
    for server in servers:
        server.stop()
    assert list(temporary.iterdir()) == []
    # What a full disk left there is not trusted, but made again.
    template.write_bytes(template.read_bytes()[:50_000])
    with TemporaryServer() as server:
        server.wait()
    assert template.stat().st_size > 500_000


def test_a_server_that_cannot_start_says_why(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(home: Path) -> dict[str, str]:
        return server_environment(home) | {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/x.db"
        }

    monkeypatch.setattr(flows.server.temporary, "server_environment", broken)
    with pytest.raises(PipelineError, match=r"ended with status .* unable to open database file"):
        TemporaryServer().wait()
    assert list(temporary.iterdir()) == []


def test_the_last_error_is_not_the_word_that_there_was_one() -> None:
    log = "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left\n"
    log += "ERROR:    Application startup failed. Exiting.\n"
    assert last_error(log) == "OSError: [Errno 28] No space left"
    assert last_error("") == "it said nothing"


@pytest.mark.parametrize("where", ["variable", "profile"])
def test_a_configured_server_that_is_dead_is_told_in_seconds(config: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "profiles.toml").write_text(
        f'active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "{NOWHERE}/api"\n', encoding="utf-8"
    )
    given = {"PREFECT_API_URL": f"{NOWHERE}/api"} if where == "variable" else {"PREFECT_HOME": str(tmp_path)}
    done = run(config, tmp_path / "store", tmp_path, **given)
    assert done.returncode == SpecError.exit_code
    assert f"no Prefect server answers at {NOWHERE}/api" in done.stderr
    assert ("unset PREFECT_API_URL" if where == "variable" else "set PREFECT_API_URL= (empty)") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


CELL = """
import asyncio
from pathlib import Path
from data_specs.config_file import load_config
from flows.make_safe import make_safe

async def cell():
    print(make_safe(load_config(Path({config!r})), store="store", workers=0).name)
    print(make_safe.with_options(name="again")({config!r}, store="store", workers=0).computed)

asyncio.run(cell())
"""


def test_a_notebook_cell_in_another_folder_gets_the_result_and_a_quiet_screen(
    config: Path, tmp_path: Path, temporary: Path
) -> None:
    kept = {name: value for name, value in environment().items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", CELL.format(config=str(config))],
        env={**kept, "PREFECT_HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "small\n0\n"), done.stderr
    assert done.stderr == ""
    assert list(temporary.iterdir()) == []


def test_a_killed_process_takes_its_server_and_the_folder_along(tmp_path: Path, temporary: Path) -> None:
    code = "import time; from flows.server.temporary import TemporaryServer as S; s = S(); print(s._process.pid, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(1000)"], env=environment(), stdout=subprocess.PIPE, text=True
    ) as parent:
        server = int(parent.stdout.readline())
        wait_for(lambda: any(temporary.iterdir()))
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(temporary.iterdir()))
    wait_for(lambda: not alive(server))
