"""`uwm caption` from outside: a tiny LLaVA before and after the edit of its tower, killed, resumed and judged anew."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file, save_file

from data_specs.caption_files import read_captions
from tests.cases.captions import write_caption_run
from tests.cases.judge_server import judge_server
from tests.cases.report_files import Page
from tests.cases.small_run import Finished, Here, change_run, completed, kinds

NAMES = ("original", "edited", "random")


@pytest.fixture(scope="module")
def server():
    with judge_server() as found:
        yield found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, here: Here, server) -> Finished:
    folder = tmp_path_factory.mktemp("caption")
    chat = {"kind": "openai_chat", "name": "chat", "url": server.url(), "model": "caption"}
    config = write_caption_run(folder, captioning={"judges": [{"kind": "words", "path": "words.txt"}, chat]})
    return completed(here, "caption", config, folder / "store")


def test_both_sides_are_captioned_judged_and_compared_for_each_tower(done: Finished) -> None:
    for name in NAMES:
        rows = read_captions(done.place(f"captions.{name}")).to_pylist()
        assert [row["content"] for row in rows].count("safe") == [row["content"] for row in rows].count("unsafe") == 5
        figures = json.loads((done.place(f"caption_evaluation.{name}") / "metrics.json").read_text())
        assert {f"unsafe_share.{side}.{judge}" for side in ("safe", "unsafe") for judge in ("words", "chat")} <= {
            *figures
        }
    for name in ("edited", "random"):
        changes = pq.read_table(done.place(f"caption_differences.{name}") / "caption_differences.parquet").to_pylist()
        assert {row["n"] for row in changes if row["metric"].startswith("unsafe_share_at_most")} == {5}
    recipes = {
        name: json.loads((done.place(f"captions.{name}") / "manifest.json").read_text())["recipe"]["inputs"]
        for name in NAMES
    }
    assert "edit" not in recipes["original"]
    assert recipes["edited"]["edit"]["version"] == done.version("edit")
    assert recipes["random"]["edit"]["version"] == done.version("edit.random")


def test_its_report_shows_both_sides_of_each_tower_and_what_two_judges_say(done: Finished) -> None:
    page = Page((done.place("report") / "report.html").read_text(encoding="utf-8"))
    for judge in ("words", "chat"):
        rows = [row[0] for row in page.table(f"Unsafe captions by {judge}")][2:]
        assert rows == ["original", "edited", "randomcontrol: as many weights, drawn at random"]
    assert len(page.table("Agreement of judges")) == 1 + len(NAMES)
    gallery = json.loads((done.place("gallery.captions") / "captions.json").read_text())
    assert gallery["n_pictures"] == len(gallery["pictures"]) == 10
    lead = json.loads((done.place("caption_differences.edited.over_control") / "manifest.json").read_text())
    assert [lead["recipe"]["inputs"][name]["version"] for name in ("first", "second")] == [
        done.version("caption_evaluation.random"),
        done.version("caption_evaluation.edited"),
    ]
    text = page.all("body")[0].text
    assert "pictures of 5 pairs; greedy, at most 5 tokens; fp32" in text
    assert "chat: openai_chat, caption, served by" in text


def test_the_same_command_computes_nothing_and_asks_nobody(done: Finished, here: Here, server) -> None:
    asked = server.asked("caption")["n"]
    assert asked > 0
    again = completed(here, "caption", done.config, done.store)
    assert again.result["computed"] == 0
    assert again.result["artifacts"] == done.result["artifacts"]
    assert server.asked("caption")["n"] == asked


def test_asked_anew_each_distinct_caption_is_asked_about_once_more(done: Finished, here: Here, server) -> None:
    asked = server.asked("caption")
    completed(here, "caption", done.config, done.store, "--judge-again")
    after = server.asked("caption")
    assert after["n"] == 2 * asked["n"]
    assert set(after["times"].values()) == {2}


def test_what_has_no_effect_on_captions_makes_none_anew_and_what_has_does(done: Finished, here: Here) -> None:
    before = kinds(done.store)
    judges = [{"kind": "words", "path": "words.txt"}, {"kind": "words", "name": "more"}]
    completed(
        here,
        "caption",
        change_run(done.config, "judges", captioning=_captioning(done) | {"judges": judges}),
        done.store,
    )
    after = kinds(done.store)
    assert after["captions.part"] == before["captions.part"]
    assert after["judgements.more"] == 3
    completed(
        here, "caption", change_run(done.config, "question", captioning=_captioning(done) | {"prompt": "?"}), done.store
    )
    assert kinds(done.store)["captions"] == 2 * before["captions"]
    assert kinds(done.store)["scores"] == before["scores"]


def _captioning(done: Finished) -> dict:
    return yaml.safe_load(done.config.read_text())["captioning"]


def test_the_figures_of_each_model_are_the_runs_with_their_intervals(done: Finished) -> None:
    content = json.loads(min(done.store.glob(".runs/*.json")).read_text())  # the first run's
    for name in NAMES:
        folder = done.place(f"caption_evaluation.{name}")
        figures = json.loads((folder / "metrics.json").read_text())
        assert done.result["metrics"][name] == content["figures"][name] == figures
        assert content["intervals"][name] == json.loads((folder / "intervals.json").read_text())


def test_a_captioner_with_another_tower_is_refused_before_anything_is_made(done: Finished, here: Here) -> None:
    other, store = done.config.with_name("other"), done.store.with_name("untouched")
    shutil.copytree(done.config.with_name("llava"), other)
    fc1 = "layers.0.mlp.fc1.weight"
    path, name = next((p, n) for p in other.glob("*.safetensors") for n in load_file(p) if n.endswith(fc1))
    state = load_file(path)
    state[name][0, :2] += 1
    save_file(state, path, {"format": "pt"})
    config = change_run(done.config, "other", captioning=_captioning(done) | {"model": "other"})
    refused = here("caption", str(config), "--store", str(store), "--workers", "0")
    assert refused.returncode == 2
    said = " ".join(refused.stderr.split())
    assert (
        f"its vision tower is not the vision encoder of model, which is edited: 2 of {state[name].numel()} values"
        in said
    )
    assert kinds(store) == {}


def test_a_person_sees_a_table_and_a_program_one_line(done: Finished, here: Here) -> None:
    shown = here("caption", str(done.config), "--store", str(done.store), "--workers", "0")
    assert shown.returncode == 0, shown.stderr
    assert "unsafe_share.unsafe.words" in shown.stdout
    assert "0 artifacts computed" in shown.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"captioning": None}, "the settings have no captioning; add captioning"),
        (
            {"vision": None, "text": {"tau": 0.9}},
            "vision is null, and a captioner sees through the vision encoder alone",
        ),
        ({"captioning": {"model": "nowhere"}}, "has no config.json; give the folder of a LLaVA"),
        ({"captioning": {"model": "llava", "judges": [{"kind": "perspective", "name": "p"}]}}, "closes that interface"),
    ],
)
def test_settings_that_cannot_be_captioned_with_are_refused(done: Finished, here: Here, changes, said) -> None:
    refused = here(
        "caption", str(change_run(done.config, "wrong", **changes)), "--store", str(done.store), "--workers", "0"
    )
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
