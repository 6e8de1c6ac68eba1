"""`captioning.tower: model` from outside: a CLIP that no LLaVA was built around, in a run, comparison, sweep and night."""

import json

import pyarrow.parquet as pq
import pytest
import yaml

from data_specs.caption_files import read_captions
from data_specs.run_result import RunResult
from flows.captions.shown import caption_rows
from tasks.captioning import captioner_files
from tasks.captioning.captioner import load_captioner
from tests.cases.captions import write_caption_run, write_clip
from tests.cases.report_files import Page
from tests.cases.small_run import Finished, Here, change_run, completed, file_digests, kinds

pytestmark = pytest.mark.slow

NAMES = ("captioner", "tower", "edited", "random")
SHARE = "unsafe_share.unsafe.words"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    """Captions of a LLaVA by itself."""
    folder = tmp_path_factory.mktemp("tower")
    return completed(here, "caption", write_caption_run(folder), folder / "store")


@pytest.fixture(scope="module")
def put_in(own: Finished, here: Here) -> Finished:
    """The same settings of another CLIP, which is put into the captioner."""
    other = json.loads(own.config.with_name("model.json").read_text())
    own.config.with_name("quick.json").write_text(json.dumps(other | {"quick_gelu": True}), encoding="utf-8")
    write_clip(own.config.with_name("other.safetensors"), other, seed=5)
    captioning = yaml.safe_load(own.config.read_text())["captioning"] | {"tower": "model"}
    model = {"architecture": "model.json", "weights": "other.safetensors"}
    return completed(here, "run", change_run(own.config, "put_in", model=model, captioning=captioning), own.store)


def captioned(finished: Finished) -> list[str]:
    return [role.removeprefix("captions.") for role in finished.result["artifacts"] if role.startswith("captions.")]


def inputs_of(finished: Finished, name: str) -> dict:
    return json.loads((finished.place(f"captions.{name}") / "manifest.json").read_text())["recipe"]["inputs"]


def test_the_runs_model_is_put_in_where_that_is_asked_for(own: Finished, put_in: Finished, here: Here) -> None:
    assert captioned(put_in) == [*NAMES]
    assert put_in.version("captions.captioner") == own.version("captions.original")  # the LLaVA as it is
    recipes = {name: inputs_of(put_in, name) for name in NAMES}
    assert {name: "tower" in of for name, of in recipes.items()} == dict.fromkeys(NAMES, True) | {"captioner": False}
    assert len({of["tower"] for name, of in recipes.items() if name != "captioner"}) == 1
    assert {name for name, of in recipes.items() if "edit" in of} == {"edited", "random"}
    said = {name: read_captions(put_in.place(f"captions.{name}")).column("caption").to_pylist() for name in NAMES}
    assert said["tower"] != said["captioner"]
    assert {f"caption_differences.{name}" for name in NAMES[1:]} <= {*put_in.result["artifacts"]}
    alone = completed(here, "caption", put_in.config, put_in.store)
    assert {name: alone.version(f"captions.{name}") for name in captioned(alone)} == {
        name: put_in.version(f"captions.{name}") for name in NAMES
    }


def test_no_row_says_safeground_of_one_model_and_captions_of_another(put_in: Finished, here: Here) -> None:
    metrics = put_in.result["metrics"]
    assert {name: ("GS" in of, SHARE in of) for name, of in metrics.items()} == {
        "original": (True, False),
        "captioner": (False, True),
        "tower": (False, True),
        "edited": (True, True),
        "random": (False, True),
    }
    record = next(
        found
        for path in put_in.store.glob(".runs/*.json")
        if (found := json.loads(path.read_text()))["artifacts"].get("report") == put_in.version("report")
    )
    assert record["figures"] == metrics
    assert SHARE not in record["intervals"]["original"]
    shown = here("run", str(put_in.config), "--store", str(put_in.store), "--workers", "0")
    assert (shown.returncode, "captioner" in shown.stdout, "− original" in shown.stdout) == (0, True, True)


def test_its_report_has_a_row_of_the_model_that_was_put_in(put_in: Finished) -> None:
    page = Page((put_in.place("report") / "report.html").read_text(encoding="utf-8"))
    through = "the run's model put in as the vision tower"
    rows = [row[0] for row in page.table("Unsafe captions by words")][2:]
    assert rows == [
        "captioner",
        f"tower{through}",
        f"edited{through}",
        f"random{through}; control: as many weights, drawn at random",
    ]
    # SafeGround was measured of the run's model, which the captioner as it is does not look through.
    beside = [row[0] for row in page.table("Captions beside SafeGround")][1:]
    assert [name for name in beside if name in rows] == rows[1:3]


def test_a_plan_of_a_tower_that_is_put_in_knows_all_versions(put_in: Finished, here: Here) -> None:
    anew = here("plan", str(put_in.config), "--store", str(put_in.store.with_name("nothing")), "--json")
    assert anew.returncode == 0, anew.stderr
    expected = {item["role"]: item for item in json.loads(anew.stdout.splitlines()[-1])["artifacts"]}
    for name in NAMES:
        assert expected[f"captions.{name}"]["version"] == put_in.version(f"captions.{name}")


def test_two_processes_put_it_in_and_write_the_bytes_of_one(put_in: Finished, here: Here, tmp_path) -> None:
    shared = completed(here, "caption", put_in.config, tmp_path, "--devices", "cpu:2")
    assert captioned(shared) == [*NAMES]
    made = {name: of for name, of in file_digests(tmp_path).items() if name.startswith("captions")}
    assert len(made) == 2 * 2 * len(NAMES)  # two shards' parts, and the sets of these
    assert made.items() <= file_digests(put_in.store).items()
    started = {
        json.loads(path.read_text())["circumstances"]["process"]
        for path in tmp_path.glob("captions.part/*/manifest.json")
    }
    assert len(started) > 1


def test_a_sweep_captions_with_the_chosen_point_on_the_model(put_in: Finished, here: Here) -> None:
    options = ("--tau", "0.8,0.9", "--encoder", "vision", "--choose", "PS>=-100")
    swept = completed(here, "sweep", change_run(put_in.config, "swept"), put_in.store, *options)
    assert captioned(swept) == ["captioner", "tower", "chosen"]
    for name in ("captioner", "tower"):
        assert swept.version(f"captions.{name}") == put_in.version(f"captions.{name}")
    chosen = inputs_of(swept, "chosen")
    assert (chosen["tower"], chosen["edit"]["version"]) == (inputs_of(put_in, "tower")["tower"], swept.version("edit"))
    assert {"GS", SHARE} <= swept.result["metrics"]["chosen"].keys()
    assert SHARE not in swept.result["metrics"]["original"]


def test_a_night_captions_through_the_model_of_the_watch(put_in: Finished, here: Here) -> None:
    watch = {
        "name": "towers",
        "models": {"safer": {"config": put_in.config.name}},
        "sets": {"main": {"shards": ["test-*.tar"]}},
    }
    path = put_in.config.with_name("watch.yaml")
    path.write_text(yaml.safe_dump(watch), encoding="utf-8")
    done = here("reevaluate", str(path), "--store", str(put_in.store), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    records = [json.loads(found.read_text()) for found in put_in.store.glob(".runs/*.json")]
    night = next(record for record in records if record["settings"]["name"] == "towers.safer.main")
    assert night["artifacts"]["captions.measured"] == put_in.version("captions.edited")
    assert {"GS", SHARE} <= night["figures"]["measured"].keys()


@pytest.fixture(scope="module")
def compared(own: Finished, put_in: Finished, here: Here, tmp_path_factory) -> tuple[Finished, list[str]]:
    """Both runs side by side in a store of their own, and which captioners were loaded for that."""
    store, loaded = tmp_path_factory.mktemp("compared") / "store", []
    captioner_files._captioner.cache_clear()

    def load(config, device):
        loaded.append(config.model)
        return load_captioner(config, device)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(captioner_files, "load_captioner", load)
        configs = (str(own.config), str(put_in.config))
        done = here("compare", *configs, "--store", str(store), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    return Finished(own.config, store, json.loads(done.stdout.splitlines()[-1])), loaded


FIVE_ROWS = {  # of the comparison: run and row in runs by themselves
    "original": ("own", "original"),
    "small": ("own", "edited"),
    "small.random_control": ("own", "random"),
    "put_in.captions.tower": ("put_in", "tower"),
    "put_in.captions.put_in": ("put_in", "edited"),
    "put_in.captions.put_in.random_control": ("put_in", "random"),
}


def test_a_comparison_has_all_rows_of_two_clips_in_one_captioner(own, put_in, compared) -> None:
    made, loaded = compared
    assert len(loaded) == 1
    for name, (run, row) in FIVE_ROWS.items():
        role = name if ".captions." in name else f"captions.{name}"
        assert made.version(role) == {"own": own, "put_in": put_in}[run].version(f"captions.{row}")
    assert kinds(made.store)["captions"] == len(FIVE_ROWS)
    for name in ("tower", "put_in"):
        changes = made.place(f"put_in.caption_differences.{name}") / "caption_differences.parquet"
        assert {row["n"] for row in pq.read_table(changes).to_pylist() if "at_most" in row["metric"]} == {5}


def rows_of_report(made: Finished) -> list[str]:
    page = Page((made.place("report") / "report.html").read_text(encoding="utf-8"))
    return [
        row[0].partition("the run's model")[0].partition("control:")[0]
        for row in page.table("Unsafe captions by words")
    ][2:]


def test_its_report_and_table_show_them_side_by_side(put_in, compared, here: Here) -> None:
    made, _ = compared
    five = ["original", "small", "small.random control", "put in tower", "put in", "put in.random control"]
    assert rows_of_report(made) == five
    configs = (str(made.config), str(put_in.config))
    shown = here("compare", *configs, "--store", str(made.store), "--workers", "0")
    assert shown.returncode == 0, shown.stderr
    heads = caption_rows(RunResult.model_validate(made.result))["heads"]
    assert heads[:4] == ["captions", "original", "small", "− original"]
    assert heads[6:8] == ["put_in tower", "− original"]
    assert len(heads) == 2 + 2 * 5


def test_captions_by_another_question_are_not_set_beside(put_in: Finished, compared, here: Here) -> None:
    made, _ = compared
    captioning = yaml.safe_load(put_in.config.read_text())["captioning"] | {"prompt": "What is this?"}
    asked = change_run(put_in.config, "asked", captioning=captioning)
    done = here("compare", str(made.config), str(asked), "--store", str(made.store), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    told = "captions of asked are not beside those of small in the report: captioner, question"
    assert told in " ".join(done.stderr.split())
    result = json.loads(done.stdout.splitlines()[-1])
    assert "asked.captions.tower" in result["artifacts"]
    assert rows_of_report(Finished(made.config, made.store, result)) == ["original", "small", "small.random control"]


def test_a_comparison_refuses_methods_that_are_called_as_its_own_rows(put_in: Finished, here: Here) -> None:
    for name in ("captioner", "tower"):
        config = change_run(put_in.config, "named", methods={name: {"text": None, "vision": {"tau": 0.9}}})
        refused = here("compare", str(config), "--store", str(put_in.store), "--workers", "0")
        assert refused.returncode == 2
        assert f"has a method named {name}, as the unedited model, the captioner" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "quick.json"}, "has hidden_act 'quick_gelu', the captioner's 'gelu'"),
        ({"llava": "llava"}, "name a CLIP as model, or set captioning.tower: own"),
    ],
)
def test_a_tower_that_cannot_be_put_in_is_refused_before_anything_is_made(
    put_in: Finished, here: Here, tmp_path, changes, said
) -> None:
    settings = yaml.safe_load(put_in.config.read_text())
    model = changes if "llava" in changes else settings["model"] | changes
    config = change_run(put_in.config, "refused", model=model)
    refused = here("caption", str(config), "--store", str(tmp_path), "--workers", "0")
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
    assert kinds(tmp_path) == {}
