"""Zero-shot data sets that a web server or a store gives."""

import fsspec
import pytest

from data_specs.data_sets import ZeroShotConfig
from data_specs.errors import DataError
from tasks.evaluation.zero_shot import open_data_set
from tasks.shards.inspection import open_shards
from tests.cases.file_server import ServedFile, files_served
from tests.cases.shard_files import tar_bytes

FILES = {
    "toys/classnames.txt": b"\xef\xbb\xbfcat\r\ndog\n",
    "toys/zeroshot_classification_templates.txt": "a {c}\nein Bild: {c} für dich\n".encode(),
    "toys/test/nshards.txt": b"2\n",
    "toys/test/0.tar": tar_bytes([("a.jpg", b"x"), ("a.cls", b"0")]),
    "toys/test/1.tar": tar_bytes([("b.jpg", b"y"), ("b.cls", b"1")]),
}


@pytest.fixture
def server():
    with files_served() as served:
        served.files = {name: ServedFile(body) for name, body in FILES.items()}
        yield served


def opened(path):
    return open_data_set(ZeroShotConfig(name="toys", path=path))


@pytest.mark.parametrize("after", ["", "/", "?sig=s3cret&v=1"])
def test_a_data_set_on_a_server_is_the_one_that_lies_there(server, tmp_path, after):
    found = opened(f"{server.url}/toys{after}")
    assert (found.class_names, found.templates) == (("cat", "dog"), ("a {c}", "ein Bild: {c} für dich"))
    assert found.shards == tuple(f"{server.url}/toys/test/{n}.tar{after.strip('/')}" for n in range(2))
    shards = open_shards(found.shards, "safe", tmp_path)
    assert [sample.key for shard in shards for sample in shard.samples] == ["a", "b"]


def test_a_data_set_of_a_store_is_the_one_that_lies_there():
    system = fsspec.filesystem("memory")
    for name, body in FILES.items():
        system.pipe(f"/sets/{name}", body)
    assert opened("memory://sets/toys").shards == ("memory://sets/toys/test/0.tar", "memory://sets/toys/test/1.tar")


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        (
            "classnames.txt",
            None,
            r"cannot read .*/toys/classnames\.txt\?sig=…: the server answered 404: .*; expected a folder",
        ),
        ("classnames.txt", b"\xff\xfe", r"cannot read .*/toys/classnames\.txt\?sig=…: 'utf-8' codec"),
        ("classnames.txt", b"<html>log in</html>", "it gives a web page"),
        ("test/nshards.txt", b"many", r"nshards\.txt\?sig=… says 'many', expected a count"),
        ("zeroshot_classification_templates.txt", b"a picture", r"templates\.txt\?sig=… lacks \{c\}"),
    ],
)
def test_what_is_wrong_with_it_is_named_without_what_gives_access(server, name, body, told):
    if body is None:
        del server.files[f"toys/{name}"]
    else:
        server.files[f"toys/{name}"] = ServedFile(body)
    with pytest.raises(DataError, match=rf"^zero-shot data set toys: .*{told}") as refused:
        opened(f"{server.url}/toys?sig=s3cret")
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)
