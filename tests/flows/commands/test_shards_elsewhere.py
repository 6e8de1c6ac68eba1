"""`uwm shards check` of what lies elsewhere."""

import json

from typer.testing import CliRunner

from data_specs.errors import SpecError
from flows.commands.shards import app
from tests.cases.file_server import files_served
from tests.cases.shard_files import pairs, tar_bytes


def uwm_shards(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1])


def test_check_of_shards_that_lie_elsewhere_keeps_within_a_limit(tmp_path):
    bodies = {name: tar_bytes(pairs([name])) for name in "abc"}
    size = len(bodies["a"])
    with files_served(**bodies) as server:
        urls = [f"{server.url}/{name}.tar" for name in bodies]
        held = uwm_shards("check", *urls, "--workers", 0, "--fetch-limit", size, "--json")
        assert (held.exit_code, last_json(held)["n_pairs"]) == (0, 3)
        # No copy stayed for the decoding: they were fetched again.
        assert len([path for _, path, _ in server.asked if path == "a.tar"]) > 1
        small = uwm_shards("check", *urls, "--workers", 0, "--fetch-limit", size - 1)
        assert isinstance(small.exception, SpecError)
        assert "or more, and --fetch-limit is" in str(small.exception)
    much = uwm_shards("check", *urls, "--fetch-limit", "much")
    assert str(much.exception) == "--fetch-limit 'much' is no size; expected one such as 200GB or 1.5TiB"
