from pathlib import Path

import pytest

from data_specs.errors import SpecError
from tasks.lineage.remotes.address import folder_of, remote_url


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s3://team/uwm", "s3://team/uwm"),
        (" s3://team/uwm// ", "s3://team/uwm"),
        ("gs://team", "gs://team"),
        ("/mnt/team/", "file:///mnt/team"),
        ("/mnt/x/../team", "file:///mnt/team"),
        ("file:///mnt/team", "file:///mnt/team"),
    ],
)
def test_a_remote_is_named_by_one_url_however_it_was_written(given, expected):
    assert remote_url(given) == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("team/uwm", "is no URL; expected a URL such as s3://bucket/prefix"),
        ("", "is no URL"),
        ("https://example.org/x", "nothing can be put to https://"),
        ("s3://KEY:SECRET@team/uwm", "holds a password"),
        ("s3://team/uwm?versionId=3", "holds a password or what follows a"),
        ("s3://", "is no URL"),
        ("file://host/folder", "is no absolute path"),
    ],
)
def test_what_is_no_place_that_files_can_be_put_to_is_refused(given, why):
    with pytest.raises(SpecError, match=why) as refused:
        remote_url(given)
    assert "SECRET" not in str(refused.value)


def test_the_folder_of_a_url_is_found_again_and_only_of_a_folder_s():
    assert folder_of(remote_url("/mnt/a b")) == Path("/mnt/a b")
    assert folder_of("s3://team/uwm") is None
