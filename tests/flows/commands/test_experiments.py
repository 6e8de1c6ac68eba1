"""Values that the experiments' commands refuse: one clear line, and nothing is made."""

from pathlib import Path

import pytest

from tests.cases.small_run import Here, change_run, write_run

SWEEP = ["sweep", "--tau", "0.9"]
REFUSED = {
    "tau above 1": (["sweep", "--tau", "1.2"], {}, "tau '1.2': 1.2 is out of bounds, expected above 0 and below 1"),
    "tau is no number": (["sweep", "--tau", "a"], {}, "tau 'a': 'a' is not a number"),
    "tau runs backwards": (["sweep", "--tau", "0.9:0.8:0.1"], {}, "never gets from 0.9 to 0.8"),
    "alpha out of bounds": ([*SWEEP, "--alpha", "-11"], {}, "alpha '-11': -11 is out of bounds"),
    "no such metric": ([*SWEEP, "--choose", "nothing>=1"], {}, "there is no metric 'nothing', only zero_shot"),
    "no limit": ([*SWEEP, "--choose", "GS=1"], {}, "limit 'GS=1' makes no sense"),
    "encoder left alone": (
        [*SWEEP, "--encoder", "vision"],
        {"vision": None},
        "encoder vision is to be swept, but the settings leave it alone (vision: null)",
    ),
    "limit not measured": (
        [*SWEEP, "--choose", "zero_shot>=-1"],
        {},
        "limit zero_shot>=-1: zero_shot is not measured; add evaluation.zero_shot data sets",
    ),
    "no such scorer": (["ablate", "--scorer", "nope"], {}, "text.scorer: Input should be 'uwm', 'unsafe_only'"),
    "no such rule": (["ablate", "--rule", "nope"], {}, "text.rule: Input should be 'score_mass' or 'top_share'"),
    "no whole limit": (["ablate", "--limit", "8,x"], {}, "limit '8,x': 'x' is no whole number"),
    "no sample at all": (["ablate", "--limit", "0"], {}, "calibration.limit: Input should be greater than or equal"),
    "no truth": (["ablate", "--weight-by-magnitude", "yes"], {}, "'yes' is neither true nor false"),
    "no such layer": (["ablate", "--layers", "nothing.*"], {}, "matches no linear layer"),
    "no such layer of a method": (
        ["compare"],
        {"methods": {"sound": {}, "void": {"text": {"layers": "nothing.*"}}}},
        "matches no linear layer",
    ),
    "no point at all": (
        ["ablate", "--scorer", "gradient_unsafe"],
        {"precision": "fp16"},
        "none of the ablation's 1 combinations can run: text.scorer is gradient_unsafe, whose gradients vanish in fp16",
    ),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("refused"), calibration=2, test=2)


@pytest.mark.parametrize("case", REFUSED)
def test_bad_value_ends_in_one_line_before_anything_is_made(
    config: Path, tmp_path: Path, here: Here, case: str
) -> None:
    (command, *options), changes, words = REFUSED[case]
    path = change_run(config, "changed", **changes)
    done = here(command, str(path), "--store", str(tmp_path / "store"), "--workers", "0", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [done.stderr.splitlines()[-1]]
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "store").glob("[!.]*"))


@pytest.mark.parametrize(
    "options", [["sweep", "--tau", "0.9", "--encoder", "neither"], ["compare", "--controls", "some"]]
)
def test_unknown_word_of_an_option_is_refused_with_those_there_are(
    config: Path, here: Here, options: list[str]
) -> None:
    command, *rest = options
    done = here(command, str(config), *rest)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{rest[-1]}' is not one of" in done.stderr
    assert "Traceback" not in done.stderr
