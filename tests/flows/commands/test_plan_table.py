"""What a plan says to a person."""

from data_specs.plan import PlannedArtifact, RunPlan
from flows.commands.plan_table import plan_lines


def planned(role: str, *, there: bool = False, rows: int | None = None, folded: int | None = None) -> PlannedArtifact:
    nothing = {"parts": None, "parts_there": None, "images": 0, "texts": 0, "gradients": 0, "seconds": None}
    both = {"size_bytes": 1, "rows_bytes": rows, "folded_bytes": folded}
    return PlannedArtifact(role=role, kind=role, version=None, there=there, **nothing, **both)


def test_statistics_that_are_to_be_made_are_told_in_bytes_either_way() -> None:
    artifacts = [
        planned("activations.text", there=True, rows=5, folded=5),
        planned("activations.vision", rows=10_400_000_000, folded=1_100_000_000),
        planned("scores"),
    ]
    plan = RunPlan(name="x", store="store", device="cpu", artifacts=artifacts, last_run=None)
    told = [line for line in plan_lines(plan) if "folded" in line]
    assert told == ["activations.vision: about 10.4 GB with statistics: rows, 1.1 GB with folded"]


def test_of_sums_by_tag_it_is_told_what_each_further_tag_takes() -> None:
    folded = planned("activations.vision", rows=10_400_000_000, folded=1_100_000_000)
    plan = RunPlan(name="x", store="store", device="cpu", artifacts=[folded], last_run=None)
    by_tag = plan.model_copy(update={"artifacts": [folded.model_copy(update={"tag_bytes": 810_000_000})]})
    (plain,), (told,) = ([line for line in plan_lines(each) if "folded" in line] for each in (plan, by_tag))
    assert told == plain + " for one tag, 810.0 MB more for each further one"
    assert plan_lines(by_tag)[0] == plan_lines(plan)[0] + " with the sums of one tag"


def test_captions_are_told_with_their_tokens_and_judgements_and_only_where_there_are_some() -> None:
    made = planned("captions.original").model_copy(update={"captions": 2000, "tokens": 256_000})
    judged = planned("judgements.words.original").model_copy(update={"judgements": 1900})
    there = planned("captions.edited", there=True)
    plan = RunPlan(name="x", store="store", device="cpu", artifacts=[made, judged, there], last_run=None)
    told = ["2,000 captions of at most 256,000 tokens in all", "at most 1,900 judgements of captions"]
    assert [line for line in plan_lines(plan) if "of captions" in line or "tokens" in line] == told
    without = plan.model_copy(update={"artifacts": [planned("scores")]})
    assert not [line for line in plan_lines(without) if "caption" in line]
