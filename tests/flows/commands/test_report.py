"""`uwm report`."""

import pytest
import yaml

from tests.cases.command_line import called
from tests.cases.nights import at, gate_result, keep, measured, night


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    return keep(root, night(at(1), measured(gates=[gate_result()])))


def test_a_watch_is_named_by_its_file_or_its_name(root, tmp_path):
    watch = {"name": "production", "models": {"current": {"tag": "prod"}}, "sets": {"visu": {"shards": "a.tar"}}}
    (tmp_path / "watch.yaml").write_text(yaml.safe_dump(watch))
    pages = []
    for named in (str(tmp_path / "watch.yaml"), "production"):
        out = tmp_path / f"{len(pages)}.html"
        ended = called("report", "--watch", named, "--store", str(root), "--out", str(out))
        assert (ended.returncode, ended.stdout) == (0, f"{out}\n"), ended.stderr
        pages.append(out.read_text(encoding="utf-8").partition("Written")[2].partition("<h2>")[2])
    assert pages[0] == pages[1]
    assert "PASSED" in pages[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.html", "1.html", "watch.yaml"]


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ([], 2, "give either runs, such as `uwm report NAME NAME`, or --watch"),
        (["a", "--watch", "production"], 2, "give either runs"),
        (["--watch", "staging"], 2, "no watch with a history here is called 'staging'; there are 'production'"),
        (["--watch", "none.yaml"], 2, "none.yaml"),
        (["nobody"], 4, "nobody"),
        (["--watch", "production", "--out", "s3://bucket/x.html"], 2, "--out is a URL"),
        (["--watch", "production", "--out", "none/x.html"], 2, "cannot write 'none/x.html': No such file"),
    ],
)
def test_what_cannot_be_reported_is_refused(root, asked, status, told):
    ended = called("report", *asked, "--store", str(root))
    assert ended.returncode == status, ended.stderr
    assert told in ended.stderr
