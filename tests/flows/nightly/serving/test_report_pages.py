"""A store's reports in a browser of this machine: pages of reports, and nothing else of the disk."""

import http.client
import socket

import pytest

from data_specs.errors import SpecError
from flows.nightly.serving.report_pages import reports_served

VERSION = "ab" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "store"
    for place, text in {
        f"report/{VERSION}/report.html": "<p>the report</p>",
        f"report/{VERSION}/manifest.json": "{}",
        f"model/{VERSION}/page.html": "no report",
        ".watches/production/report.html": "<p>the watch</p>",
        ".watches/production/n1.json": "{}",
        "../secret.html": "secret",
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    (folder / "report" / VERSION / "out.html").symlink_to(folder / "../secret.html")
    return folder


@pytest.fixture(scope="module")
def url(store):
    with reports_served(store, 0) as url:
        yield url


def asked(url, path, method="GET", **headers):
    """Status and body, the path as it is: a client would tidy up its dots."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_reports_are_given_and_may_do_nothing_but_show_themselves(url):
    status, body, headers = asked(url, f"/report/{VERSION}/report.html?from=mail")
    assert (status, body) == (200, "<p>the report</p>")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert asked(url, "/.watches/production/report.html")[:2] == (200, "<p>the watch</p>")


def test_the_list_leads_to_every_report_and_to_nothing_else(url):
    status, body, _ = asked(url, "/")
    assert status == 200
    links = {part.partition('"')[0] for part in body.split('href="')[1:]}
    assert links == {f"/report/{VERSION}/report.html", "/.watches/production/report.html"}
    assert {asked(url, link)[0] for link in links} == {200}


@pytest.mark.parametrize(
    "path",
    [
        f"/report/{VERSION}/manifest.json",
        f"/report/{VERSION}/out.html",
        f"/model/{VERSION}/page.html",
        "/.watches/production/n1.json",
        "/../secret.html",
        "/%2e%2e/secret.html",
        f"/report/{VERSION}/../../../secret.html",
        f"/report/{VERSION}/..%2f..%2f..%2fsecret.html",
        "/report/../secret.html",
        "//secret.html",
        "/report",
        "/%ff%fe",
        "/report/" + "a" * 5000,
        f"/report/{VERSION}/report.html%00",
        f"/report/{VERSION}/report.html%0a",
    ],
)
def test_nothing_else_of_the_disk_is_given(url, path):
    status, body, _ = asked(url, path)
    assert status in (404, 414)
    assert "secret" not in body


def test_a_page_elsewhere_cannot_ask_by_a_name_of_its_own_and_nothing_can_be_sent(url):
    assert asked(url, "/", Host="attacker.example")[0] == 421
    assert asked(url, "/", method="POST")[0] == 501


def test_the_header_alone_has_no_body(url):
    status, body, headers = asked(url, f"/report/{VERSION}/report.html", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, "", "17")


def test_only_this_machine_is_listened_to_and_a_port_that_is_taken_is_told(store, url):
    host, _, port = url.removeprefix("http://").partition(":")
    assert host == "127.0.0.1"
    taken = f"--reports {port}: 127.0.0.1:{port} cannot be listened on"
    with pytest.raises(SpecError, match=taken), reports_served(store, int(port)):
        pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", int(port))) != 0
