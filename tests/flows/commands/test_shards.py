import csv
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from data_specs.errors import DataError, SpecError
from flows.commands.main import main
from flows.commands.shards import app
from tasks.shards.plan import BadSample, Tally
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_check_asks_each_shard_only_for_what_it_holds(tmp_path):
    texts = [member for member in pairs(["a", "b"]) if not member[0].endswith("png")]
    write_tar(tmp_path / "texts.tar", texts)
    alone = uwm_shards("check", tmp_path / "texts.tar", "--workers", 0)
    assert (alone.exit_code, "paired, text;" in alone.stdout) == (0, True)

    write_tar(tmp_path / "both.tar", pairs(["c"]))
    mixed = uwm_shards("check", tmp_path / "texts.tar", tmp_path / "both.tar", "--workers", 0, "--json")
    assert (mixed.exit_code, last_json(mixed)["reasons"]) == (0, {})
    assert [shard["encoders"] for shard in last_json(mixed)["shards"]] == [["text"], ["text", "vision"]]


def test_check_ends_as_a_run_would_and_lists_the_first_20(tmp_path):
    members = [item for n in range(100) for item in pair(f"k{n:03d}", **({"safe.txt": b" "} if n < 25 else {}))]
    path = write_tar(tmp_path / "a.tar", [item for item in members if item[0].endswith("txt")])
    told = uwm_shards("check", path, "--workers", 0)
    assert (told.exit_code, told.stdout.count("  bad '")) == (3, 20)
    assert "  bad 'k019': empty caption (safe.txt)\n  and 5 more; --json lists all\n" in told.stdout
    assert len(last_json(uwm_shards("check", path, "--workers", 0, "--json"))["shards"][0]["bad"]) == 25
    for allowed, status in ((0.24, 3), (0.25, 0)):
        assert uwm_shards("check", path, "--workers", 0, "--max-bad-fraction", allowed).exit_code == status


def test_check_judges_each_set_and_encoder_as_a_run_does(tmp_path):
    # Of 4 + 6 pairs of a set one caption is bad, of another one of 50: a run refuses the first, over all there are few.
    for name, n, n_bad in (("test-0", 4, 1), ("test-1", 6, 0), ("calibration-0", 50, 1)):
        changed = [{"safe.txt": b" "} if i < n_bad else {} for i in range(n)]
        members = [item for i, change in enumerate(changed) for item in pair(f"{name}k{i}", **change)]
        write_tar(tmp_path / f"{name}.tar", [item for item in members if item[0].endswith("txt")])
    shards = sorted(tmp_path.glob("*.tar"))
    for allowed, status in ((0.099, 3), (0.1, 0)):
        told = uwm_shards("check", *shards, "--workers", 0, "--max-bad-fraction", allowed)
        assert told.exit_code == status
        assert told.stderr.count("a run would refuse set") == (status == 3)
    refused = uwm_shards("check", *shards, "--workers", 0, "--max-bad-fraction", 0.05)
    assert "set test: 1 of 10 samples are bad for the text encoder, more than max_bad_fraction 0.05" in refused.stderr
    assert last_json(uwm_shards("check", *shards, "--workers", 0, "--json"))["sets"] == [
        {"name": "calibration", "encoder": "text", "n_samples": 50, "n_bad": 1},
        {"name": "test", "encoder": "text", "n_samples": 10, "n_bad": 1},
    ]
    # What a run counts with draws the line at the same place.
    bad = [BadSample("test-0k0", "empty caption")]
    Tally(10, 0.1).add(9, "test-0.tar", bad)
    with pytest.raises(DataError, match="1 of 10 samples are bad"):
        Tally(10, 0.099).add(9, "test-0.tar", bad)


def bad_table(folder, n):
    """Of `n` rows the odd ones lack their image, and one has a value too many."""
    rows = [f"k{i},,safe,unsafe,{'gone.jpg' if i % 2 else ''}," for i in range(n)]
    (folder / "bad.csv").write_text("\n".join([",".join(COLUMNS), *rows, "x,,,,,,"]) + "\n")
    return folder / "bad.csv"


def test_pack_tells_all_bad_rows_and_writes_them_to_a_file(tmp_path):
    table, told = bad_table(tmp_path, 60), tmp_path / "told.csv"
    result = uwm_shards("pack", table, "--out", f"{tmp_path}/x-%d.tar", "--bad", told)
    assert isinstance(result.exception, DataError)
    assert str(result.exception).startswith(
        "31 of 61 rows cannot be packed; mend them, or leave them out with --skip-bad"
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("  ")]
    assert (len(lines), lines[-1]) == (21, "  and 11 more; --bad FILE.csv writes all")
    assert lines[0].startswith(f"  bad row 2 of {table}, column safe_image: image '{tmp_path}/gone.jpg' does not exist")
    with told.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [f"row {n} of {table}" for n in [*range(2, 61, 2), 61]]
    assert "has 7 values, but the header names 6 columns" in rows[-1]["problem"]
    assert not list(tmp_path.glob("*.tar"))


def test_pack_leaves_bad_rows_out_where_asked_and_counts_them(tmp_path):
    result = uwm_shards("pack", bad_table(tmp_path, 5), "--out", f"{tmp_path}/x-%d.tar", "--skip-bad", "--json")
    assert (result.exit_code, last_json(result)["n_pairs"], last_json(result)["left_out"]) == (0, 3, {"bad row": 3})
    assert len(last_json(result)["bad"]) == 3
    # The bytes are those of a table without these rows.
    good = tmp_path / "good.csv"
    good.write_text("\n".join([",".join(COLUMNS), *(f"k{i},,safe,unsafe,," for i in (0, 2, 4))]))
    assert uwm_shards("pack", good, "--out", f"{tmp_path}/y-%d.tar").exit_code == 0
    assert (tmp_path / "x-0.tar").read_bytes() == (tmp_path / "y-0.tar").read_bytes()
    (tmp_path / "none.csv").write_text(",".join(COLUMNS) + "\n,,a,b,,\n")
    refused = uwm_shards("pack", tmp_path / "none.csv", "--out", f"{tmp_path}/z-%d.tar", "--skip-bad")
    assert "column key: it is empty" in str(refused.exception)


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
