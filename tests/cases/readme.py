"""The examples of the README, and what its reader is supposed to have: tables, a model, data sets."""

import csv
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.demo.data import LABELLED, write_labelled_sets
from tasks.demo.scenes import LABEL_SETS
from tests.cases.places import ROOT
from tests.cases.small_run import write_run

README = ROOT / "README.md"
LANGUAGES = ("bash", "python", "yaml", "text")
_FENCE = re.compile(r"^(?:<!-- not run: (?P<why>.+) -->\n)?```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_SPAN = re.compile(r"`(uwm [a-z][^`]*)`")
_MODEL = {"architecture": "model.json", "weights": "model.safetensors"}


@dataclass(frozen=True)
class Block:
    """One example; `not_run` says why the tests do not run it."""

    language: str
    text: str
    line: int
    not_run: str | None = None

    @property
    def commands(self) -> list[str]:
        """The lines of a shell's example without their comments."""
        lines = (re.sub(r"(?:^|\s+)# .*$", "", line).strip() for line in self.text.splitlines())
        return [line for line in lines if line]


def blocks(text: str) -> list[Block]:
    """All examples of a text, in order.

    Raises:
        ValueError: one is of no known language, is indented where it should be fenced, or is never closed.
    """
    found = [
        Block(match["language"], match["text"], text.count("\n", 0, match.start("text")) + 1, match["why"])
        for match in _FENCE.finditer(text)
    ]
    left = _FENCE.sub("", text)
    if wrong := [f"line {block.line}: {block.language!r}" for block in found if block.language not in LANGUAGES]:
        raise ValueError(f"examples of no language that a test knows: {wrong}")
    if strays := re.findall(r"^ {4}.*|.*```.*|.*<!-- not run.*", left, re.MULTILINE):
        raise ValueError(f"examples that no test would find: {strays}")
    return found


def spans(text: str) -> list[str]:
    """The commands that stand in sentences and tables, with the vertical bars of tables unescaped."""
    return [" ".join(span.split()).replace(r"\|", "|") for span in _SPAN.findall(_FENCE.sub("", text))]


def reader_has(folder: Path) -> None:
    """Put into a folder what the examples take for granted: two tables, ViSU's files, a model, labelled pictures."""
    write_run(folder, calibration=12, test=8)
    for path in [*folder.glob("*.tar"), folder / "config.yaml"]:
        path.unlink()
    for name in ("calibration", "test"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        (folder / f"{name}.jsonl").unlink()
    write_labelled_sets(folder, 6, seed=0, stage="draw")
    entries = [
        {"incremental_id": n, "coco_id": n, "safe": f"safe {n}", "nsfw": f"unsafe {n}", "tag": "a"} for n in range(2)
    ]
    (folder / "ViSU-Text_train.json").write_text(json.dumps(entries), encoding="utf-8")
    for n in range(2):
        for place in (f"coco/{n:012d}.jpg", f"unsafe/train/{n}/0.jpg"):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / f"test{n}.safe.png", folder / place)


def with_the_readers_model(settings: dict[str, Any], folder: Path) -> None:
    """Write `run.yaml`, and another run for comparisons, with a model and zero-shot data sets that are at hand."""
    labelled = [{"name": name, "path": f"{LABELLED}/{name}"} for name in LABEL_SETS]
    own = {**settings, "model": _MODEL, "evaluation": {**settings["evaluation"], "zero_shot": labelled}}
    (folder / "run.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    other = {name: value for name, value in own.items() if name != "methods"}
    (folder / "safe-clip.yaml").write_text(yaml.safe_dump({**other, "name": "safe-clip", "seed": 1}), encoding="utf-8")
