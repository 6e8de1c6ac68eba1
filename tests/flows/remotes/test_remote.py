"""Runs that share a remote: what one has made, nobody makes again, and a remote that fails costs nothing but its help."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from data_specs.config_file import load_config
from data_specs.errors import ArtifactError, SpecError
from data_specs.run_config import RunConfig
from data_specs.run_result import RunResult
from data_specs.store_place import StoreConfig, StorePlace
from flows.calibrate import calibrate
from flows.make_safe import make_safe, steps_of_make_safe
from flows.plan import plan_of
from flows.remotes.exchange import open_shared, push_artifacts
from tasks.lineage.digest import file_sha256
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tasks.lineage.trace import lineage_lines
from tests.cases.s3_server import BUCKET, S3Server, s3_server, without_pauses
from tests.cases.small_run import artifacts, change_run, file_digests, kinds, write_run

pytestmark = pytest.mark.slow

FOR_STEPS = ("activations.", "embeddings.", "layer_scores.", "scores")


@dataclass(frozen=True)
class Team:
    """A run and the remote that all of it was put into."""

    config: RunConfig
    path: Path
    store: Path
    url: str
    result: RunResult


def run(config: RunConfig, store: Path, *urls: str, device: str = "cpu") -> tuple[RunResult, list[str]]:
    """A run in this process, and what its user read."""
    heard = Notices()
    with listening(heard):
        result: RunResult = make_safe.fn(config, StorePlace(folder=str(store), remote=[*urls]), device, 0)
    return result, heard.texts


@pytest.fixture(scope="module", autouse=True)
def no_pauses():
    with pytest.MonkeyPatch.context() as patch:
        without_pauses(patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def clients(s3: S3Server):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def team(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Team:
    folder = tmp_path_factory.mktemp("team")
    path = write_run(folder / "run", calibration=8, test=4, per_shard=4)
    config, url = load_config(path), f"s3://{BUCKET}/runs"
    result, notices = run(config, folder / "store", url)
    assert result.computed == len(artifacts(folder / "store"))
    assert not [text for text in notices if "s3://" in text]
    return Team(config, path, folder / "store", url, result)


def record_of(store: Path) -> dict:
    (path,) = store.glob(".runs/*.json")
    return json.loads(path.read_text())


def test_all_that_a_run_made_lies_in_its_remote(team: Team, s3: S3Server) -> None:
    there = {tuple(key.split("/")[:2]) for key in s3.keys("runs") if key.endswith("manifest.json")}
    assert there == {(path.parent.name, path.name) for path in artifacts(team.store)}
    pushed = record_of(team.store)["remotes"]["pushed"][team.url]
    assert (pushed["artifacts"], pushed["left"]) == (len(there), 0)
    # A set and its parts, scores and those of each encoder share their files.
    files = [path for path in team.store.glob("[!.]*/*/**/*") if path.is_file() and path.name != "manifest.json"]
    digests = {file_sha256(path): path.stat().st_size for path in files}
    assert {key.rpartition("/")[2] for key in s3.keys("runs/.files")} == digests.keys()
    assert pushed["bytes"] == sum(digests.values())
    assert len(digests) < 0.7 * len(files)


def test_a_colleague_with_an_empty_store_computes_nothing_and_brings_only_what_is_looked_at(
    team: Team, s3: S3Server, tmp_path: Path
) -> None:
    s3.forget()
    result, notices = run(team.config, tmp_path / "store", team.url)
    assert result.computed == 0
    assert notices == []
    assert result.metrics == team.result.metrics
    assert {role: at.version for role, at in result.artifacts.items()} == {
        role: at.version for role, at in team.result.artifacts.items()
    }
    here = kinds(tmp_path / "store")
    assert not [kind for kind in here if kind.startswith(FOR_STEPS)]
    assert {"report", "model", "edit", "evaluation", "differences"} <= here.keys()
    assert (Path(result.artifacts["report"].path) / "report.html").is_file()
    mine, theirs = file_digests(tmp_path / "store"), file_digests(team.store)
    assert mine.items() <= theirs.items()
    fetched = {asked.rpartition("/")[2] for asked in s3.asked() if asked.startswith("GET") and "/.files/" in asked}
    statistics = {digest for name, digest in theirs.items() if name.startswith(("activations.", "embeddings."))}
    assert fetched
    assert not fetched & statistics
    pulled = record_of(tmp_path / "store")["remotes"]["pulled"]
    assert pulled["artifacts"] == len(artifacts(tmp_path / "store"))
    assert not [asked for asked in s3.asked() if asked.startswith("PUT")]


def test_lineage_reaches_the_shards_from_a_store_that_holds_but_the_ends(team: Team, tmp_path: Path) -> None:
    result, _ = run(team.config, tmp_path / "store", team.url)
    at = Store(tmp_path / "store").find(result.artifacts["evaluation.edited"].version)
    mine, theirs = ([*lineage_lines(Store(root), at)] for root in (tmp_path / "store", team.store))
    assert mine == theirs
    assert [line for line in mine if "test-000000.tar" in line]
    assert [line for line in mine if "activations.vision.part" in line]


def test_a_run_whose_remote_gives_out_while_it_is_given_goes_on_and_a_push_ends_it(
    team: Team, s3: S3Server, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/gives-out"
    s3.rule("drop", "PUT .*/gives-out/", after=5)
    try:
        result, notices = run(team.config, tmp_path / "store", url)
    finally:
        s3.behave()
    assert result.computed == team.result.computed
    assert [text for text in notices if "the run goes on without it" in text]
    (last,) = [text for text in notices if "store push" in text]
    assert f"--store {tmp_path}/store --remote {url}" in last
    assert record_of(tmp_path / "store")["remotes"]["pushed"][url]["left"] > 0
    place = StorePlace(folder=str(tmp_path / "store"), remote=[url])
    store, remotes = open_shared(place)
    done = push_artifacts(store, remotes.remotes[0], [])
    assert done.failed == []
    assert done.n_artifacts + done.n_there == len(artifacts(tmp_path / "store"))
    assert run(team.config, tmp_path / "colleague", url)[0].computed == 0


def test_a_run_whose_remote_gives_out_while_it_gives_makes_what_it_did_not_give(
    team: Team, s3: S3Server, tmp_path: Path
) -> None:
    s3.rule("drop", r"GET .*/runs/\.files/", after=3)
    try:
        result, notices = run(team.config, tmp_path / "store", team.url)
    finally:
        s3.behave()
    assert 0 < result.computed < team.result.computed
    assert [text for text in notices if text.endswith("it is made here")]
    assert result.metrics == team.result.metrics
    mine = file_digests(tmp_path / "store")
    # Of reports the box tells what was there.
    assert {k: v for k, v in mine.items() if not k.startswith("report")}.items() <= file_digests(team.store).items()
    assert (Path(result.artifacts["report"].path) / "report.html").is_file()


def test_a_server_that_is_killed_in_the_middle_does_not_end_the_run(team: Team, tmp_path: Path) -> None:
    with s3_server(tmp_path / "own") as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.address)
        server.rule("die", "PUT", after=5)
        result, notices = run(team.config, tmp_path / "store", f"s3://{BUCKET}/dies")
        assert server.process.wait(60) == 1
    assert result.computed == team.result.computed
    assert [text for text in notices if "store push" in text]
    assert file_digests(tmp_path / "store") == file_digests(team.store)


def refused_before_anything_was_made(config: RunConfig, store: Path, url: str, why: str) -> None:
    with pytest.raises(ArtifactError, match=why) as refused:
        run(config, store, url)
    assert refused.value.exit_code == 4
    assert not store.exists() or not artifacts(store)


def test_wrong_credentials_no_bucket_and_nobody_there_are_told_before_anything_is_made(
    team: Team, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3.knowing_nobody():
        refused_before_anything_was_made(
            team.config, tmp_path / "a", team.url, "refuses access .*check the credentials"
        )
    refused_before_anything_was_made(team.config, tmp_path / "b", "s3://nobody/x", "there is no such bucket")
    refused_before_anything_was_made(team.config, tmp_path / "c", f"file://{tmp_path}/no/remote", "is not there")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    refused_before_anything_was_made(team.config, tmp_path / "d", team.url, "does not answer as it should")


def test_the_settings_name_remotes_too_and_no_version_depends_on_them(team: Team, tmp_path: Path) -> None:
    path = change_run(team.path, "small-too", store={"remote": "../team"})
    config = load_config(path)
    assert config.store.remote == [str(path.parent / "../team")]
    named = config.model_copy(update={"name": team.config.name})
    result, _ = run(named.model_copy(update={"store": StoreConfig(remote=[team.url])}), tmp_path / "store")
    assert result.computed == 0
    assert team.config.store.remote == []
    with pytest.raises(SpecError, match=r"nowhere://x: .*use s3://"):
        run(named.model_copy(update={"store": StoreConfig(remote=["nowhere://x"])}), tmp_path / "other")


def test_a_plan_knows_what_a_remote_has_and_writes_nowhere(team: Team, s3: S3Server, tmp_path: Path) -> None:
    place = StorePlace(folder=str(tmp_path / "store"), remote=[team.url])
    s3.forget()
    plan = plan_of([team.config], place, "cpu", lambda sessions: steps_of_make_safe(sessions[0]))
    assert plan.to_make == []
    assert len(plan.artifacts) == len({at.version for at in team.result.artifacts.values()})
    assert not (tmp_path / "store").exists()
    assert not [asked for asked in s3.asked() if not asked.startswith(("GET", "HEAD"))]


def grown(team: Team, folder: Path, **changes: object) -> tuple[RunConfig, RunConfig]:
    """The same settings over two and over three calibration shards."""
    names = [path.name for path in sorted(team.path.parent.glob("calibration-*.tar"))]
    settings = yaml.safe_load(team.path.read_text()) | changes
    paths = []
    for n_shards in (1, 2):
        paths.append(team.path.with_name(f"{folder.name}-{n_shards}.yaml"))
        paths[-1].write_text(yaml.safe_dump(settings | {"calibration": {"shards": names[:n_shards]}}))
    first, second = map(load_config, paths)
    return first, second


@pytest.mark.parametrize("statistics", ["rows", "folded"])
def test_of_a_set_that_has_grown_a_colleague_computes_only_what_is_new(
    team: Team, tmp_path: Path, statistics: str
) -> None:
    both = {encoder: {"tau": 0.9, "statistics": statistics} for encoder in ("text", "vision")}
    before, after = grown(team, tmp_path, **both)
    url = f"file://{tmp_path}/remote"
    place: Callable[[str], StorePlace] = lambda name: StorePlace(folder=str(tmp_path / name), remote=[url])  # noqa: E731
    calibrate.fn(before, place("first"), "cpu", 0)
    calibrate.fn(after, place("second"), "cpu", 0)
    made = [path for path in artifacts(tmp_path / "second") if path.parent.name == "activations.text.part"]
    commands = [json.loads((path / "manifest.json").read_text())["counts"]["samples_used"] for path in made]
    new = {path.name for path in made} - {path.name for path in artifacts(tmp_path / "first")}
    assert len(new) == (1 if statistics == "rows" else 0)  # folded, it was joined and is gone
    assert commands == [4] * len(made)
    alone = StorePlace(folder=str(tmp_path / "alone"))
    calibrate.fn(after, alone, "cpu", 0)
    second, third = (file_digests(tmp_path / name) for name in ("second", "alone"))
    assert second.items() <= third.items()
    assert [name for name in second if name.startswith("scores/")]


def test_parts_that_worker_processes_make_are_put_there_too(team: Team, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    result, _ = run(team.config, tmp_path / "store", f"file://{remote}", device="cpu:2")
    there = {path.parent.name for path in remote.glob("[!.]*/*/manifest.json")}
    assert there == {path.name for path in artifacts(tmp_path / "store")}
    assert result.computed == len(there)
