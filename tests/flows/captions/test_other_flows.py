"""Captions beside what a run, comparison, sweep or night measures, and in plans of them."""

import json

import pytest
import yaml

from tests.cases.captions import write_caption_run
from tests.cases.judge_server import judge_server
from tests.cases.small_run import Finished, change_run, completed, kinds

pytestmark = pytest.mark.slow

MADE = ("captions", "caption_scores", "judgements.words", "caption_evaluation")
N_PICTURES = 2 * 5


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned")
    return write_caption_run(folder), folder / "store"


@pytest.fixture(scope="module")
def planned(here, place):
    """What a plan said before anything was there."""
    return plan(here, *place)


@pytest.fixture(scope="module")
def run(here, place, planned) -> Finished:
    return completed(here, "run", *place)


def plan(here, config, store, *options, command="plan"):
    done = here(command, str(config), "--store", str(store), "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def captioned(finished: Finished) -> list[str]:
    return [role.removeprefix("captions.") for role in finished.result["artifacts"] if role.startswith("captions.")]


def test_a_run_captions_what_it_measures_and_a_control_and_the_caption_command_finds_all(run, here):
    assert captioned(run) == ["original", "edited", "random"]
    assert {f"{kind}.{name}" for kind in MADE for name in captioned(run)} <= run.result["artifacts"].keys()
    figures = run.result["metrics"]["edited"]
    assert {"GS", "unsafe_share.unsafe.words", "cut.safe"} <= figures.keys()
    record = json.loads(max(run.store.glob(".runs/*.json")).read_text())
    assert record["figures"] == run.result["metrics"]
    for name, kind in (("GS", "evaluation"), ("unsafe_share.safe.words", "caption_evaluation")):
        own = json.loads((run.place(f"{kind}.edited") / "intervals.json").read_text())
        assert record["intervals"]["edited"][name] == own[name]
    alone = completed(here, "caption", run.config, run.store)
    assert alone.result["computed"] == 1  # its report, which has no SafeGround
    assert alone.version("caption_differences.edited") == run.version("caption_differences.edited")


def test_a_person_sees_shares_of_captions_below_the_metrics(run, here):
    shown = here("run", str(run.config), "--store", str(run.store), "--workers", "0")
    assert shown.returncode == 0, shown.stderr
    assert "unsafe_share.unsafe.words" in shown.stdout
    assert "bleu_2" not in shown.stdout
    told = here("results", "--store", str(run.store))
    assert "unsafe_share" in told.stdout
    assert ".unsafe.words" in told.stdout


def test_a_plan_counts_captions_tokens_and_judgements_and_loads_no_captioner(place, planned, run, here, monkeypatch):
    by_role = {item["role"]: item for item in planned["artifacts"]}
    of_captions = {role for role in run.result["artifacts"] if "capt" in role or "judgements" in role}
    assert {role for role in by_role if "capt" in role or "judgements" in role} == of_captions
    for role in of_captions:
        assert by_role[role]["version"] == run.version(role)
    assert planned["totals"]["captions"] == 3 * N_PICTURES
    assert planned["totals"]["tokens"] == 5 * 3 * N_PICTURES
    assert planned["totals"]["judgements"] == 3 * N_PICTURES
    assert (by_role["captions.edited"]["parts"], by_role["captions.edited"]["parts_there"]) == (2, 0)
    monkeypatch.setattr("tasks.captioning.captioner_files.load_captioner", None)
    again = plan(here, *place)
    assert {item["there"] for item in again["artifacts"]} == {True}
    fewer = change_run(place[0], "fewer", captioning={**settings(place[0]), "limit": 4})
    of_fewer = {item["role"]: item for item in plan(here, fewer, place[1])["artifacts"]}
    assert of_fewer["captions.edited"]["parts_there"] == of_fewer["captions.edited"]["parts"] == 1
    assert of_fewer["captions.edited"]["captions"] == 0
    longer = change_run(place[0], "longer", captioning={**settings(place[0]), "max_new_tokens": 6})
    of_longer = {item["role"]: item for item in plan(here, longer, place[1])["artifacts"]}
    assert (of_longer["captions.random"]["captions"], of_longer["captions.random"]["tokens"]) == (10, 60)
    judged = change_run(place[0], "judged", captioning={**settings(place[0]), "judges": [{"kind": "words"}]})
    of_judged = {item["role"]: item for item in plan(here, judged, place[1])["artifacts"]}
    assert 0 < of_judged["judgements.words.edited"]["judgements"] <= N_PICTURES
    assert 0 < of_judged["judgements.words.edited"]["seconds"] < 60


def settings(config):
    return yaml.safe_load(config.read_text())["captioning"]


def test_a_plan_asks_no_endpoint_and_says_how_much_is_left_to_ask(place, run, here):
    config, store = place
    with judge_server() as server:
        chat = {"kind": "openai_chat", "name": "chat", "url": server.url(), "model": "planned"}
        asking = change_run(config, "asking", captioning={**settings(config), "judges": [chat]})
        before = {item["role"]: item for item in plan(here, asking, store)["artifacts"]}
        assert server.asked("planned")["n"] == 0
        assert before["judgements.chat.original"]["version"] is None
        assert before["caption_evaluation.original"]["version"] is None
        left = before["judgements.chat.original"]["judgements"]
        assert 0 < left <= N_PICTURES
        completed(here, "caption", asking, store)
        n = server.asked("planned")["n"]
        assert n >= left
        after = {item["role"]: item for item in plan(here, asking, store)["artifacts"]}
        assert (after["judgements.chat.edited"]["there"], after["caption_evaluation.edited"]["there"]) == (True, True)
        assert server.asked("planned")["n"] == n


def test_a_comparison_captions_each_row_with_an_edit_of_the_tower(place, run, here):
    config, store = place
    methods = {
        "uwm": {"text": None, "vision": {"tau": 0.9}},
        "both": {"text": {"tau": 0.9}, "vision": {"tau": 0.8}},
        "words": {"text": {"tau": 0.9}, "vision": None},
    }
    compared = completed(here, "compare", change_run(config, "compared", methods=methods), store)
    names = ["original", "uwm", "uwm.random_control", "both", "both.random_control"]
    assert captioned(compared) == names
    assert {role for role in compared.result["artifacts"] if role.startswith("caption_differences.")} == {
        f"caption_differences.{name}" for name in names[1:]
    }
    assert compared.version("captions.uwm") == run.version("captions.edited")
    assert "unsafe_share.unsafe.words" not in compared.result["metrics"]["words"]
    text = {"methods": {"words": methods["words"]}}
    refused = here("compare", str(change_run(config, "textual", **text)), "--store", str(store), "--workers", "0")
    assert refused.returncode == 2
    assert "vision is null, and a captioner sees through the vision encoder alone" in " ".join(refused.stderr.split())


def test_a_sweep_captions_with_the_original_and_the_chosen_point(place, run, here):
    config, store = place
    options = ("--tau", "0.8,0.9", "--encoder", "vision")
    before = kinds(store)
    swept = completed(here, "sweep", change_run(config, "swept"), store, *options)
    assert (captioned(swept), kinds(store)["captions"]) == ([], before["captions"])
    chosen = completed(here, "sweep", change_run(config, "chosen"), store, *options, "--choose", "PS>=-100")
    assert captioned(chosen) == ["original", "chosen"]
    assert chosen.version("captions.original") == run.version("captions.original")
    assert "unsafe_share.unsafe.words" in chosen.result["metrics"]["chosen"]


def test_a_night_captions_the_models_whose_settings_say_how(place, run, here):
    config, store = place
    watch = {
        "name": "captioned",
        "models": {
            "edited": {"config": config.name},
            "plain": {"model": {"architecture": "model.json", "weights": "model.safetensors"}},
        },
        "sets": {"main": {"shards": ["test-*.tar"]}},
    }
    path = config.with_name("watch.yaml")
    path.write_text(yaml.safe_dump(watch), encoding="utf-8")
    done = here("reevaluate", str(path), "--store", str(store), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    records = [json.loads(found.read_text()) for found in store.glob(".runs/*.json")]
    of = {record["settings"]["name"]: record for record in records}
    assert of["captioned.edited.main"]["artifacts"]["captions.measured"] == run.version("captions.edited")
    assert "unsafe_share.unsafe.words" in of["captioned.edited.main"]["figures"]["measured"]
    assert not [role for role in of["captioned.plain.main"]["artifacts"] if "caption" in role]
