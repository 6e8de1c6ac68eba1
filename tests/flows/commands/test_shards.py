import csv
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from data_specs.errors import DataError, SpecError
from flows.commands.main import main
from flows.commands.shards import app
from tasks.shards.tables import COLUMNS
from tests.cases.shard_files import image_bytes, pair, pairs, tar_bytes, write_tar


def uwm_shards(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1])


def make_table(folder, n=5):
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(n):
            (folder / f"{number}.jpg").write_bytes(image_bytes(number, "JPEG"))
            writer.writerow(
                [f"k{number}", "hate", f"safe {number}", f"unsafe {number}", f"{number}.jpg", f"{number}.jpg"]
            )
    return folder / "table.csv"


def test_a_packed_table_passes_the_check(tmp_path):
    packed = uwm_shards("pack", make_table(tmp_path), "--out", f"{tmp_path}/out/x-%06d.tar", "--max-count", 2)
    assert packed.exit_code == 0, packed.output
    assert f"packed 5 pairs into 3 shards: {tmp_path}/out/x-000000.tar to {tmp_path}/out/x-000002.tar" in packed.stdout
    assert "members: safe_image 5, safe_text 5, unsafe_image 5, unsafe_text 5\ntags: hate 5\n" in packed.stdout

    checked = uwm_shards("check", f"{tmp_path}/out/x-{{000000..000002}}.tar")
    assert checked.exit_code == 0
    assert f"{tmp_path}/out/x-000002.tar: 1 pairs, 0 bad; paired, text and vision; tags: hate 1" in checked.stdout
    assert "in all 5 pairs in 3 shards, 0 bad, 0 shards broken; tags: hate 5" in checked.stdout


def test_pack_ends_with_one_json_object_where_asked(tmp_path):
    result = uwm_shards("pack", make_table(tmp_path), "--out", f"{tmp_path}/x-%d.tar", "--json")
    counts = last_json(result)
    assert counts["shards"] == [f"{tmp_path}/x-0.tar"]
    assert (counts["n_pairs"], counts["tags"], counts["left_out"]) == (5, {"hate": 5}, {})


def test_pack_refuses_what_the_table_lacks_and_what_exists(tmp_path):
    table = make_table(tmp_path)
    (tmp_path / "3.jpg").unlink()
    result = uwm_shards("pack", table, "--out", f"{tmp_path}/x-%d.tar")
    assert isinstance(result.exception, DataError)
    assert "row 4 of" in str(result.exception)
    (tmp_path / "x-7.tar").write_bytes(b"")
    result = uwm_shards("pack", table, "--out", f"{tmp_path}/x-%d.tar")
    assert isinstance(result.exception, SpecError)


def broken_set(folder):
    """A sound shard, one with three bad samples of five, two broken ones, and one that does not exist."""
    write_tar(folder / "sound.tar", pairs(["a", "b"]))
    members = pair("c") + pair("d", 1, safe_txt=b" ") + pair("e", 2, unsafe_png=None) + pair("f", 3)
    members += pair("evil\u202e", 4, safe_txt=b"", unsafe_png=b"garbage", json=b'{"tag": "\\u001b[31mred"}')
    write_tar(folder / "bad.tar", members)
    (folder / "cut.tar").write_bytes(tar_bytes(pairs(["g", "h"]))[:3000])
    (folder / "empty.tar").write_bytes(b"")
    return [folder / f"{name}.tar" for name in ("sound", "bad", "cut", "empty", "none")]


@pytest.mark.parametrize("workers", [0, 2])
def test_check_reports_every_bad_sample_and_goes_on_after_broken_shards(tmp_path, workers):
    result = uwm_shards("check", *broken_set(tmp_path), "--json", "--workers", workers)
    assert result.exit_code == 3
    report = last_json(result)
    assert (report["n_shards"], report["n_broken"], report["n_pairs"], report["n_bad"]) == (5, 3, 7, 3)
    assert report["reasons"] == {"empty caption": 2, "missing member": 1, "undecodable image": 1}
    assert report["tags"] == {"hate": 4}
    sound, bad, cut, empty, missing = report["shards"]
    assert (sound["n_pairs"], sound["bad"], sound["tags"], sound["encoders"]) == (
        2,
        [],
        {"hate": 2},
        ["text", "vision"],
    )
    assert [(item["key"], item["reason"]) for item in bad["bad"]] == [
        ("d", "empty caption"),
        ("e", "missing member"),
        ("evil\u202e", "empty caption"),
        ("evil\u202e", "undecodable image"),
    ]
    assert "unexpected end of data" in cut["error"]
    assert "is empty: 0 bytes" in empty["error"]
    assert "does not exist" in missing["error"]


def test_check_prints_a_line_for_each_and_nothing_that_steers_the_terminal(tmp_path):
    result = uwm_shards("check", *broken_set(tmp_path), "--workers", 0)
    assert result.exit_code == 3
    assert f"{tmp_path}/bad.tar: 5 pairs, 3 bad; paired, text and vision; tags: hate 2\n" in result.stdout
    assert "  bad 'd': empty caption (safe.txt)\n" in result.stdout
    assert "  bad 'e': missing member (no unsafe.jpg or unsafe.jpeg or unsafe.png or unsafe.webp)\n" in result.stdout
    assert "  bad 'evil\\u202e': undecodable image (unsafe.png: no image, expected a JPEG" in result.stdout
    assert f"BROKEN: shard {tmp_path}/cut.tar is " in result.stdout
    assert "in all 7 pairs in 5 shards, 3 bad (empty caption 2, missing member 1, undecodable" in result.stdout
    write_tar(tmp_path / "tags.tar", pair("a", json=b'{"tag": "\\u001b[31mred"}'))
    assert "tags: \\x1b[31mred 1" in uwm_shards("check", tmp_path / "tags.tar", "--workers", 0).stdout


def test_check_asks_only_for_what_any_shard_of_the_set_holds(tmp_path):
    texts = [member for member in pairs(["a", "b"]) if not member[0].endswith("png")]
    write_tar(tmp_path / "texts.tar", texts)
    alone = uwm_shards("check", tmp_path / "texts.tar", "--workers", 0)
    assert (alone.exit_code, "paired, text;" in alone.stdout) == (0, True)

    write_tar(tmp_path / "both.tar", pairs(["c"]))
    mixed = uwm_shards("check", tmp_path / "texts.tar", tmp_path / "both.tar", "--workers", 0, "--json")
    assert mixed.exit_code == 3
    assert last_json(mixed)["reasons"] == {"missing member": 2}


def test_check_tells_unpaired_shards_and_counts_classes_as_tags(tmp_path):
    members = [
        (f"{i}.{name}", data) for i in range(3) for name, data in (("png", image_bytes(i)), ("cls", b"%d" % (i % 2)))
    ]
    result = uwm_shards("check", write_tar(tmp_path / "x.tar", members), "--workers", 0)
    assert result.exit_code == 0
    assert "3 pairs, 0 bad; unpaired, vision; tags: 0 2, 1 1" in result.stdout


def test_check_refuses_the_same_bytes_twice_and_tars_of_something_else(tmp_path):
    first = write_tar(tmp_path / "a.tar", pair("a"))
    again = write_tar(tmp_path / "b.tar", pair("a"))
    other = write_tar(tmp_path / "c.tar", [("src/main.py", b"import this")])
    result = uwm_shards("check", first, again, other, "--workers", 0)
    assert result.exit_code == 3
    assert f"BROKEN: shard {again} holds the same bytes as {first}; name one of them" in result.stdout
    assert f"BROKEN: shard {other} " in result.stdout
    assert "holds no member that an encoder reads, only such as 'src/main.py'; expected KEY.safe.jpg" in result.stdout


def test_check_takes_relative_paths_and_commands(tmp_path, monkeypatch):
    write_tar(tmp_path / "a:b.tar", pair("a"))
    write_tar(tmp_path / "c.tar", pair("c"))
    monkeypatch.chdir(tmp_path)
    result = uwm_shards("check", "a:b.tar", "pipe:cat c.tar", "--workers", 0)
    assert result.exit_code == 0, result.output
    assert "in all 2 pairs in 2 shards" in result.stdout


def test_visu_is_imported_and_what_is_left_out_is_shown(tmp_path):
    entries = [
        {"incremental_id": i, "coco_id": i, "safe": "a", "nsfw": text, "tag": "hate"}
        for i, text in enumerate(["x", "", "y"])
    ]
    texts = tmp_path / "ViSU-Text_train.json"
    texts.write_text(json.dumps(entries))
    for path in ("coco/000000000000.jpg", "coco/000000000002.jpg", "unsafe/train/0/0.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(image_bytes(1, "JPEG"))
    arguments = ["import-visu", "--texts", texts, "--out", f"{tmp_path}/x-%d.tar", "--max-count", 10]
    folders = ["--coco", tmp_path / "coco", "--unsafe-images", tmp_path / "unsafe"]

    refused = uwm_shards(*arguments, *folders)
    assert isinstance(refused.exception, DataError)
    assert "1 of 2 pairs lack an image (0 safe, 1 unsafe); first: 2/0.jpg below" in str(refused.exception)
    assert isinstance(uwm_shards(*arguments).exception, SpecError)

    result = uwm_shards(*arguments, *folders, "--skip-missing")
    assert result.exit_code == 0
    assert "packed 1 pairs into 1 shards" in result.stdout
    assert "left out: empty unsafe caption 1, missing unsafe image 1\n" in result.stdout
    (tmp_path / "x-0.tar").unlink()
    alone = uwm_shards(*arguments, "--texts-only", "--json")
    assert (last_json(alone)["n_pairs"], last_json(alone)["left_out"]) == (2, {"empty unsafe caption": 1})


def test_a_wrong_setting_ends_in_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    for name in ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    out = f"{tmp_path}/x.tar"
    monkeypatch.setattr(sys, "argv", ["uwm", "shards", "pack", str(make_table(tmp_path)), "--out", out])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    lines = shown.err.splitlines()
    assert lines[-1].startswith(f"error: --out '{out}' cannot be used: its file name 'x.tar' does not hold exactly one")
    assert "Traceback" not in shown.err


def python(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_bad_data_ends_with_status_3_and_no_traceback(tmp_path):
    checked = python("-m", "flows.commands.main", "shards", "check", *broken_set(tmp_path), "--json")
    assert checked.returncode == 3
    assert json.loads(checked.stdout.splitlines()[-1])["n_bad"] == 3
    assert "Traceback" not in checked.stderr


@pytest.mark.slow
def test_the_command_line_answers_before_heavy_libraries_are_imported():
    code = "import sys; from flows.commands import shards; print({'torch', 'webdataset', 'pyarrow', 'PIL'} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"
