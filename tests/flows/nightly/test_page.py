"""What Prefect shows of a night says of each gate what it was held against, and of each model what was computed."""

from data_specs.gate import Gate, GateResult
from data_specs.night import Measured, Night
from flows.nightly.page import night_markdown


def test_a_row_a_gate_and_a_row_a_model_and_what_others_wrote_is_no_markup():
    fell = GateResult(
        gate=Gate(metric="GS", tag="violence", rule="min_change", limit=-1),
        outcome="fail",
        n=40,
        value=48.04,
        baseline=60.55,
        change=-12.51,
        low=-20.1,
        high=-4.9,
        sentence="GS fell | <b>badly</b>",
    )
    least = GateResult(gate=Gate(metric="PS", rule="min", limit=60), outcome="pass", n=40, value=70.0, sentence="holds")
    measured = [
        Measured(
            model="current",
            set="visu",
            status="completed",
            n_pairs=1040,
            skipped={"undecodable image": 1200, "missing caption": 1},
            computed=0,
            reused=7,
            run="r1",
            shards_added=["b.tar"],
            report="/store/report/abc/report.html",
            gates=[fell, least],
        ),
        Measured(model="safe", set="visu", status="failed", error="no shard"),
    ]
    night = Night(
        id="n1", watch="production", settings={}, started="2026-11-30T03:00:00+00:00", status="failed",
        outcome="failed", measured=measured, told=["webhook x: told of failed"],
    )  # fmt: skip
    lines = night_markdown(night).replace("\\", "").splitlines()
    table = [line for line in lines if line.startswith("| ") and "---" not in line]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    assert lines[0] == "# production: failed"
    first, second = rows[1:3]
    assert first[:2] == ["current @ visu", "GS[tag=violence]"]
    assert first[2:] == ["60.55", "48.04", "-12.51", "[-20.10, -4.90]", "min_change -1", "**FAIL**"]
    assert second == ["current @ visu", "PS", "", "70.00", "", "", "min 60", "pass"]
    assert rows[4] == ["current @ visu", "1,040", "1201", "1", "nothing", "7", "r1", "/store/report/abc/report.html"]
    assert rows[5][:5] == ["safe @ visu", "", "", "0", "failed"]
    assert "- skipped: current @ visu: undecodable image 1,200, missing caption 1" in lines
    assert "- not measured: safe @ visu: no shard" in lines
    assert "<b>" not in night_markdown(night)
    assert "- told: webhook x: told of failed" in lines
