"""`uwm run` from outside: what it prints, makes, repeats, survives and refuses."""

import json
import random
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.cases.forked import forked
from tests.cases.small_run import MODEL, Here, environment, file_digests, uwm, write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, here: Here) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("finished")
    config = write_run(folder)
    done = here("run", str(config), "--store", str(folder / "store"), "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    return {
        "folder": folder,
        "config": config,
        "store": folder / "store",
        "result": json.loads(done.stdout.splitlines()[-1]),
    }


def test_json_result_has_the_promised_keys_and_places(finished: dict[str, Any]) -> None:
    result = finished["result"]
    assert {"name", "store", "artifacts", "metrics", "computed", "reused", "seconds"} <= result.keys()
    promised = {"activations.text", "activations.vision", "scores", "edit", "model"}
    promised |= {"evaluation.original", "evaluation.edited"}
    assert promised <= result["artifacts"].keys()
    for place in result["artifacts"].values():
        assert (Path(place["path"]) / "manifest.json").is_file()
    assert (Path(result["artifacts"]["edit"]["path"]) / "edit.safetensors").is_file()
    assert result["metrics"]["original"]["n_pairs"] == 12
    assert {"GS", "Ts-Vs", "Tu-Vus@20"} <= result["metrics"]["edited"].keys()
    assert result["computed"] > 0
    assert result["reused"] == 0


def test_edited_model_loads_in_open_clip(finished: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(finished["result"]["artifacts"]["model"]["path"])
    (tmp_path / "tiny-clip.json").write_text(json.dumps(MODEL), encoding="utf-8")
    open_clip.add_model_config(tmp_path)
    model = open_clip.create_model("tiny-clip", pretrained=str(folder / "model.safetensors"))
    original = open_clip.create_model("tiny-clip", pretrained=str(finished["folder"] / "model.safetensors"))
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, original.state_dict()[name])
    }
    assert changed == {
        "transformer.resblocks.0.attn.out_proj.weight",
        "transformer.resblocks.1.attn.out_proj.weight",
        "visual.transformer.resblocks.0.mlp.c_proj.weight",
        "visual.transformer.resblocks.1.mlp.c_proj.weight",
    }


def test_second_run_computes_nothing(finished: dict[str, Any], here: Here) -> None:
    done = here("run", str(finished["config"]), "--store", str(finished["store"]), "--json")
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["computed"] == 0
    assert result["artifacts"] == finished["result"]["artifacts"]
    assert result["metrics"] == finished["result"]["metrics"]


def test_four_workers_and_another_place_give_the_same_versions_and_bytes(
    finished: dict[str, Any], tmp_path: Path, here: Here
) -> None:
    config = write_run(tmp_path / "elsewhere")
    done = here("run", str(config), "--store", str(tmp_path / "store"), "--workers", "4")
    assert done.returncode == 0, done.stderr
    assert file_digests(tmp_path / "store") == file_digests(finished["store"])


def test_killed_at_random_moments_ends_with_the_same_bytes(
    finished: dict[str, Any], tmp_path: Path, api_url: str, here: Here
) -> None:
    store = tmp_path / "store"
    command = ["run", str(finished["config"]), "--store", str(store), "--workers", "2"]
    moments = random.Random(7)
    for _ in range(3):
        process = forked(*command, api_url=api_url, said=tmp_path / "said")
        deadline = time.monotonic() + 60
        made = len(list(store.glob("*/*")))
        while len(list(store.glob("*/*"))) <= made and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        process.kill()
        half_made = [path for path in store.glob("[!.]*/*") if not (path / "manifest.json").is_file()]
        assert half_made == []
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert file_digests(store) == file_digests(finished["store"])


def test_tau_changes_the_edit_and_what_follows_but_not_what_comes_before(finished: dict[str, Any], here: Here) -> None:
    config = finished["folder"] / "other_tau.yaml"
    settings = yaml.safe_load(finished["config"].read_text())
    config.write_text(yaml.safe_dump(settings | {"vision": {"tau": 0.8}}), encoding="utf-8")
    done = here("run", str(config), "--store", str(finished["store"]), "--workers", "0", "--json")
    before, after = finished["result"]["artifacts"], json.loads(done.stdout.splitlines()[-1])["artifacts"]
    same = {name for name in before if before[name] == after[name]}
    assert same == {
        "overlap",
        "activations.text",
        "activations.vision",
        "layer_scores.text",
        "layer_scores.vision",
        "embeddings.text.original",
        "embeddings.vision.original",
        "embeddings.text.edited",
        "evaluation.original",
    }


def test_unpaired_sets_of_different_size_run(finished: dict[str, Any], tmp_path: Path, here: Here) -> None:
    folder = finished["folder"]
    for content, n_shards in (("safe", 3), ("unsafe", 2)):
        for index in range(n_shards):
            with (
                tarfile.open(folder / f"calibration-{index:06d}.tar") as source,
                tarfile.open(tmp_path / f"{content}-{index}.tar", "w") as target,
            ):
                for member in source:
                    key, *rest = member.name.split(".")
                    if rest[0] == content:
                        member.name = ".".join([key, *rest[1:]])
                        target.addfile(member, source.extractfile(member))
    calibration = {
        "safe": [str(tmp_path / "safe-{0..2}.tar")],
        "unsafe": [str(tmp_path / "unsafe-{0..1}.tar")],
    }
    aggregation = {"tau": 0.9, "aggregation": "ratio_of_means"}
    settings = yaml.safe_load(finished["config"].read_text())
    config = folder / "unpaired.yaml"
    config.write_text(
        yaml.safe_dump(settings | {"calibration": calibration, "text": aggregation, "vision": None}), encoding="utf-8"
    )
    done = here("run", str(config), "--store", str(tmp_path / "store"), "--workers", "0", "--json")
    assert done.returncode == 0, done.stderr
    artifacts = json.loads(done.stdout.splitlines()[-1])["artifacts"]
    manifest = json.loads((Path(artifacts["layer_scores.text"]["path"]) / "manifest.json").read_text())
    counts = next(iter(manifest["counts"]["layers"].values()))
    assert (counts["n_safe"], counts["n_unsafe"]) == (24, 16)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"tua": 0.9}, 2, "tua is not a known setting"),
        ({"text": {"tau": 98}}, 2, "text.tau"),
        ({"vision": {"layers": "visual.nothing.*"}}, 2, "matches no linear layer"),
        ({"model": {"architecture": "ViT-B-32", "weights": "model.safetensors"}}, 2, "do not fit the architecture"),
        ({"model": {"architecture": "ViT-Z-99", "weights": "x"}}, 2, "no open_clip model"),
        ({"calibration": {"shards": ["nowhere.tar"]}}, 3, "does not exist"),
        ({"evaluation": {"shards": ["nowhere.tar"]}}, 3, "does not exist"),
    ],
)
def test_bad_settings_end_in_one_clear_line(
    finished: dict[str, Any], tmp_path: Path, here: Here, change: dict[str, Any], status: int, words: str
) -> None:
    settings = yaml.safe_load(finished["config"].read_text())
    config = finished["folder"] / f"bad-{tmp_path.name}.yaml"
    config.write_text(yaml.safe_dump(settings | change), encoding="utf-8")
    done = here("run", str(config), "--store", str(tmp_path / "store"))
    assert done.returncode == status
    error_lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error_lines) == 1
    assert words in error_lines[0]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "store").glob("[!.]*"))


def test_shard_cut_between_two_members_is_refused_and_leaves_nothing(tmp_path: Path, here: Here) -> None:
    config = write_run(tmp_path / "cut")
    shard = tmp_path / "cut" / "calibration-000001.tar"
    with tarfile.open(shard) as tar:
        offset = tar.getmembers()[7].offset
    shard.write_bytes(shard.read_bytes()[:offset])
    done = here("run", str(config), "--store", str(tmp_path / "store"))
    assert done.returncode == 3
    assert "calibration-000001.tar is cut short" in done.stderr
    assert not list((tmp_path / "store").glob("[!.]*"))


def test_changed_artifact_ends_with_the_stores_status(finished: dict[str, Any], tmp_path: Path, here: Here) -> None:
    store = tmp_path / "store"
    shutil.copytree(finished["store"], store)
    edit = store / "edit" / finished["result"]["artifacts"]["edit"]["version"]
    damaged = bytearray((edit / "edit.safetensors").read_bytes())
    damaged[-1] ^= 1
    (edit / "edit.safetensors").write_bytes(damaged)
    done = here("artifacts", "verify", edit.name[:12], "--store", str(store))
    assert (done.returncode, "edit.safetensors changed" in done.stderr) == (4, True)
    done = here("run", str(finished["config"]), "--store", str(store))
    assert (done.returncode, "edit.safetensors changed" in done.stderr) == (4, True)


def test_edit_is_applied_and_undone_bit_for_bit(finished: dict[str, Any], tmp_path: Path, here: Here) -> None:
    edit = Path(finished["result"]["artifacts"]["edit"]["path"]) / "edit.safetensors"
    base = finished["folder"] / "model.safetensors"
    edited, restored = tmp_path / "edited.safetensors", tmp_path / "restored.safetensors"
    assert here("edit", "apply", str(edit), str(base), "--out", str(edited)).returncode == 0
    made = Path(finished["result"]["artifacts"]["model"]["path"]) / "model.safetensors"
    assert edited.read_bytes() == made.read_bytes()
    assert here("edit", "undo", str(edit), str(edited), "--out", str(restored)).returncode == 0
    before, after = load_file(base), load_file(restored)
    assert all(before[name].numpy().tobytes() == after[name].numpy().tobytes() for name in before)
    refused = here("edit", "apply", str(edit), str(edited), "--out", str(tmp_path / "twice.safetensors"))
    assert refused.returncode == 4
    assert not (tmp_path / "twice.safetensors").exists()


def test_artifacts_are_listed_shown_and_verified(finished: dict[str, Any], here: Here) -> None:
    store = ["--store", str(finished["store"])]
    version = finished["result"]["artifacts"]["evaluation.edited"]["version"]
    assert version[:16] in here("artifacts", "list", *store).stdout
    shown = here("artifacts", "show", version, *store).stdout
    assert "calibration-000000.tar" in shown
    verified = here("artifacts", "verify", version[:10], *store)
    assert verified.returncode == 0
    assert "activations.text" in verified.stdout
    assert here("artifacts", "show", "ffff", *store).returncode == 4


def test_runs_quietly_on_a_temporary_server_and_leaves_no_process(finished: dict[str, Any], prefect_home: str) -> None:
    done = uwm("run", str(finished["config"]), "--store", str(finished["store"]), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["computed"] == 0
    assert prefect_home in environment()["PREFECT_HOME"]
    for noise in ("Traceback", "WARNING", "ERROR", "prefect", "http", "leaked"):
        assert noise not in done.stderr
