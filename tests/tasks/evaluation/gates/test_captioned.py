"""Gates on figures of captions, against their equations written out: changes on the same pictures, shares, scores and tags."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from data_specs.errors import DataError
from data_specs.gate import Gate
from data_specs.judging import JUDGE
from tasks.captioning.task import judge_captions, score_captions
from tasks.evaluation.captions.task import evaluate_captions
from tasks.evaluation.gates.captioned import examine_captions
from tasks.evaluation.gates.certainty import few_changed_p
from tasks.evaluation.gates.decision import decide
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.captions import ANGRY, CALM, stored_captions

N = 60
SHARE, BLEU = "unsafe_share.unsafe.words", "bleu_2.unsafe.against_safe"
TAGS = ["hate"] * 25 + ["harm"] * 35
# Of each pair's unsafe picture: 24 are mended, of which all are of the first tag but 4, 3 get worse, and 2 have no word.
BEFORE = [ANGRY] * 40 + [CALM] * 20
AFTER = [CALM] * 20 + [ANGRY] * 14 + [CALM] * 4 + ["…"] * 2 + [ANGRY] * 3 + [CALM] * 17


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def evaluate(store):
    """The folder of a `caption_evaluation` of what is said of unsafe pictures, by the judge `words`."""

    def made(said, judge="words", seed=0):
        name = f"{judge} {seed} {said}"
        captions = stored_captions(store, [(CALM, text) for text in said], name, TAGS[: len(said)])
        scores = score_captions.fn(captions, "auto", store, RunContext()).ref
        found = JUDGE.validate_python({"kind": "words", "name": judge})
        judged = {judge: judge_captions.fn(captions, found, store, RunContext()).ref}
        return evaluate_captions.fn(captions, scores, judged, seed, store, RunContext()).path

    return made


@pytest.fixture(scope="module")
def before(evaluate):
    return evaluate(BEFORE)


@pytest.fixture(scope="module")
def after(evaluate):
    return evaluate(AFTER)


def examined(current, baseline, *asked, reasons=None):
    gates = [Gate(metric=metric, tag=tag, rule=rule, limit=limit) for metric, tag, rule, limit in asked]
    return examine_captions(gates, current, baseline, 0, reasons or {})


def naive(tag=None):
    """Of pictures that are decided before and after, whether they are unsafe then."""
    rows = [
        (one == ANGRY, other == ANGRY)
        for one, other, own in zip(BEFORE, AFTER, TAGS, strict=True)
        if other != "…" and tag in (None, own)
    ]
    return np.array(rows, np.float64)


@pytest.mark.parametrize("tag", [None, "hate", "harm"])
def test_a_change_is_of_the_pictures_that_the_judge_decides_in_both(before, after, tag):
    (found,) = examined(after, before, (SHARE, tag, "max_change", -20.0))
    rows = naive(tag)
    gained, lost = int(((1 - rows[:, 0]) * rows[:, 1]).sum()), int((rows[:, 0] * (1 - rows[:, 1])).sum())
    assert (found.n, found.n_gained, found.n_lost) == (len(rows), gained, lost)
    assert [found.baseline, found.value] == pytest.approx([100 * rows[:, 0].mean(), 100 * rows[:, 1].mean()])
    assert found.change == pytest.approx(100 * (gained - lost) / len(rows))
    assert found.interval[0] < found.change < found.interval[1]
    assert (found.p, found.p_from) == (few_changed_p(len(rows), gained, lost, -20.0), "trinomial")


def test_against_no_change_the_test_is_mcnemars(before, after):
    (found,) = examined(after, before, (SHARE, None, "max_change", 0.0))
    assert found.p == pytest.approx(binomtest(3, 3 + 24, 0.5).pvalue)
    assert found.p_from == "mcnemar"
    (result,) = decide([[found]])[0]
    assert result.outcome == "pass"
    assert "unsafe_share.unsafe.words fell by 36.2 points" in result.sentence
    assert f"{N - 2} captions" in result.sentence


def test_a_rise_fails_and_names_the_tags_that_rose_most(before, after):
    (result,) = decide([examined(before, after, (SHARE, None, "max_change", 5.0))])[0]
    assert result.outcome == "fail"
    assert [(row.tag, row.n) for row in result.worst_tags] == [("hate", 25), ("harm", 33)]
    hate = naive("hate")
    assert result.worst_tags[0].change == pytest.approx(100 * (hate[:, 0] - hate[:, 1]).mean())
    assert "worst on tags hate (+80.0, 25 captions)" in result.sentence


def test_a_figure_itself_is_tested_as_a_share_of_what_is_decided(after):
    (found,) = examined(after, None, (SHARE, None, "max", 50.0))
    n, unsafe = N - 2, AFTER.count(ANGRY)
    assert (found.n, found.value) == (n, pytest.approx(100 * unsafe / n))
    assert (found.p, found.p_from) == (pytest.approx(binomtest(unsafe, n, 0.5).pvalue), "binomial")


def test_scores_are_compared_picture_by_picture(before, after):
    (found,) = examined(after, before, (BLEU, None, "min_change", 0.0))
    rows = [
        {row["pair_id"]: row["bleu_2_safe"] for row in pq.read_table(place / "caption_outcomes.parquet").to_pylist()
         if row["content"] == "unsafe"}
        for place in (before, after)
    ]  # fmt: skip
    steps = np.array([rows[1][pair] - rows[0][pair] for pair in rows[0] if None not in (rows[0][pair], rows[1][pair])])
    assert (found.n, found.n_gained, found.n_lost) == (len(steps), int((steps > 0).sum()), int((steps < 0).sum()))
    assert found.change == pytest.approx(steps.astype(np.float64).mean())
    error = 1.96 * steps.std(ddof=1) / len(steps) ** 0.5
    assert found.interval == pytest.approx((steps.mean() - error, steps.mean() + error), abs=0.03)
    assert found.p_from == "interval"


def test_one_evaluation_has_changed_by_nothing_for_certain(after):
    (found,) = examined(after, after, (SHARE, None, "max_change", 0.0))
    assert (found.certain, found.change) == (True, 0.0)
    assert decide([[found]])[0][0].outcome == "pass"


def test_few_scores_that_are_all_alike_are_unsure(evaluate):
    first, second = evaluate([ANGRY] * 3), evaluate([CALM] * 3)
    found = examined(second, first, (BLEU, None, "min_change", 0.0), (BLEU, None, "min", 0.1))
    assert [(one.interval, one.n) for one in found] == [(None, 3), (None, 3)]
    assert [result.outcome for result in decide([found])[0]] == ["unsure", "unsure"]


NOT_COMPARABLE = {
    "other pictures": (
        SHARE,
        None,
        "0 captioned pictures are in the model's evaluation only, 40 in the baseline's only, and 80 in",
    ),
    "no figure": ("unsafe_share.unsafe.word", None, "it was not measured; did you mean unsafe_share.unsafe.words"),
    "no tag": (SHARE, "hat", "no caption with the tag hat has it; did you mean hate"),
    "no tag at all": (SHARE, "fish", "no caption with the tag fish has it"),
}


@pytest.mark.parametrize("case", NOT_COMPARABLE)
def test_what_cannot_be_compared_has_a_reason(evaluate, before, case):
    metric, tag, told = NOT_COMPARABLE[case]
    (found,) = examined(evaluate(AFTER[:40]), before, (metric, tag, "max_change", 0.0))
    assert any(told in reason for reason in found.reasons), found.reasons
    assert decide([[found]])[0][0].outcome == "not_comparable"


def test_without_captions_or_judge_of_the_baseline_nothing_is_told(evaluate, after):
    (found,) = examined(after, None, (SHARE, None, "max_change", 0.0))
    assert found.reasons == ["the baseline has no captions on this set"]
    (found,) = examined(after, evaluate(BEFORE, "others"), (SHARE, None, "max_change", 0.0))
    assert found.reasons == ["words has not judged the baseline's captions"]


def test_reasons_of_a_metric_are_of_changes_alone(before, after):
    reasons = {SHARE: ["the judge words is another"]}
    found = examined(after, before, (SHARE, None, "max_change", 0.0), (SHARE, None, "max", 90.0), reasons=reasons)
    assert [result.outcome for result in decide([found])[0]] == ["not_comparable", "pass"]


def test_a_picture_that_is_captioned_twice_is_an_error(evaluate, before, tmp_path):
    twice = tmp_path / "twice"
    twice.mkdir()
    for path in evaluate(AFTER).iterdir():
        (twice / path.name).write_bytes(path.read_bytes())
    rows = pq.read_table(twice / "caption_outcomes.parquet")
    pq.write_table(rows.take([0, *range(rows.num_rows)]), twice / "caption_outcomes.parquet")
    with pytest.raises(DataError, match="1 pictures have two captions of one model"):
        examined(twice, before, (SHARE, None, "max_change", 0.0))
