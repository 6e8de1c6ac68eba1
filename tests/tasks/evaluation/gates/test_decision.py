import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_specs.gate import Gate, GateResult, TagChange
from data_specs.metrics import METRICS, Metric
from tasks.evaluation.gates.certainty import few_changed_p, p_from_interval, score_bounds
from tasks.evaluation.gates.decision import decide
from tasks.evaluation.gates.examination import examine
from tasks.evaluation.gates.finding import Finding
from tests.cases.evaluations import outcomes_given


def change(low, middle, high, limit=-1.0, *, rule="min_change", metric="GS", n=1200, tag=None, **others):
    """A finding of a change from 58.9 with this interval."""
    gate = Gate(metric=metric, tag=tag, rule=rule, limit=limit)
    p = p_from_interval(middle, (low, high), limit)
    found = Finding(gate, n, 58.9 + middle, 58.9, middle, (low, high), p, "interval", 20, 70)
    return replace(found, **others)


def outcomes(*findings):
    return [result.outcome for result in decide([findings])[0]]


def test_a_gate_passes_beyond_its_limit_fails_before_it_and_is_unsure_where_the_interval_spans_it():
    found = [change(-0.9, 0.5, 1.9), change(-6.0, -4.2, -2.5), change(-2.9, -1.2, 0.5)]
    assert outcomes(*found) == ["pass", "fail", "unsure"]
    turned = [change(-1.9, -0.5, 0.9, 1.0, rule="max_change"), change(2.5, 4.2, 6.0, 1.0, rule="max_change")]
    assert outcomes(*turned) == ["pass", "fail"]


def test_the_limit_itself_passes():
    assert outcomes(change(-1.0, 0.5, 2.0)) == ["pass"]
    assert outcomes(change(-2.0, 0.5, 1.0, 1.0, rule="max_change")) == ["pass"]
    assert outcomes(change(-2.0, -1.5, -1.0)) == ["unsure"]


def test_a_failure_is_one_among_all_gates_of_the_night_by_holm():
    doubtful = change(-3.0, -2.0, -1.05)
    assert 0.02 < doubtful.p < 0.05
    assert outcomes(doubtful) == ["fail"]
    fine = [change(-1.5, 0.0, 1.5) for _ in range(5)]
    night = decide([[doubtful], fine])
    assert [result.outcome for result in night[0]] == ["unsure"]
    assert night[0][0].p_adjusted == pytest.approx(6 * doubtful.p)
    assert (
        night[0][0].sentence.split(": ")[1].startswith("alone it would fail, but among 6 gates it may be chance (p 0.0")
    )
    assert night[0][0].settles_at > doubtful.n
    rough = decide([[replace(doubtful, p=0.07)]])[0][0]
    assert rough.outcome == "unsure"
    assert ": by an exact test it may be chance (p 0.07); about " in rough.sentence
    # What cannot be judged and what is certain are no tests, and take no certainty from others.
    others = [
        replace(change(-1.5, 0.0, 1.5), reasons=["other pairs"]),
        replace(change(0.0, 0.0, 0.0), certain=True, p=None),
    ]
    assert [result.outcome for result in decide([[doubtful], others])[0]] == ["fail"]


def naive_holm(p_values):
    adjusted = {}
    for place in sorted(range(len(p_values)), key=lambda i: p_values[i]):
        left = len(p_values) - len(adjusted)
        adjusted[place] = max([min(1, left * p_values[place]), *adjusted.values()])
    return [adjusted[place] for place in range(len(p_values))]


bounds = st.tuples(st.floats(0.01, 9), st.floats(-9, 9), st.floats(0.01, 9), st.floats(-5, 5)).map(
    lambda row: change(row[1] - row[0], row[1], row[1] + row[2], row[3])
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(bounds, max_size=4), max_size=4))
def test_every_gate_has_one_outcome_that_follows_from_its_interval_and_holms_p(night):
    results = decide(night)
    assert [len(own) for own in results] == [len(own) for own in night]
    findings = [found for own in night for found in own]
    adjusted = naive_holm([found.p for found in findings])
    for found, result, p in zip(findings, (row for own in results for row in own), adjusted, strict=True):
        assert result.p_adjusted == pytest.approx(p)
        (low, high), limit = found.interval, found.gate.limit
        expected = "pass" if low >= limit else "fail" if high < limit and p < 0.05 else "unsure"
        if min(abs(low - limit), abs(high - limit)) > 1e-6:
            assert result.outcome == expected
        if result.outcome != "unsure":
            assert result.settles_at is None
        assert GateResult.model_validate_json(result.model_dump_json()) == result


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 5), st.floats(-9, 9), st.floats(0.1, 5), st.lists(st.floats(-20, 20), min_size=2, max_size=6))
def test_a_stricter_limit_never_turns_out_better(down, middle, up, limits):
    order = {"fail": 0, "unsure": 1, "pass": 2}
    ranks = [
        order[outcomes(change(middle - down, middle, middle + up, limit))[0]] for limit in sorted(limits, reverse=True)
    ]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("field", ["interval", "change", "p"])
def test_nothing_that_is_no_number_passes_or_changes_what_others_are(field):
    nan = (math.nan, math.nan) if field == "interval" else math.nan
    broken = replace(change(-6.0, -4.2, -2.5), **{field: nan})
    results = decide([[broken, change(-6.0, -4.2, -2.5), change(-0.5, 0.5, 1.5)]])[0]
    assert results[0].outcome in ("unsure", "fail")
    assert [result.outcome for result in results[1:]] == ["fail", "pass"]
    for low, high in ((math.nan, 3.0), (3.0, math.nan)):
        lower, upper = change(low, 3.5, high), change(low, -3.5, high, 1.0, rule="max_change")
        assert outcomes(replace(lower, interval=(math.nan, 4.0))) == ["unsure"]
        assert outcomes(replace(upper, interval=(-4.0, math.nan))) == ["unsure"]


def test_without_an_interval_a_gate_is_unsure_and_without_a_comparison_it_is_none():
    assert outcomes(replace(change(-0.5, 0.5, 1.5), interval=None, p=None)) == ["unsure"]
    for found in (change(-0.5, 0.5, 1.5), change(-6.0, -4.2, -2.5)):
        (result,) = decide([[replace(found, reasons=["torch is 2.7", "other pairs"])]])[0]
        assert (result.outcome, result.reasons, result.p_adjusted) == (
            "not_comparable",
            ["torch is 2.7", "other pairs"],
            None,
        )
        assert (result.low, result.high) == found.interval
        assert result.sentence.startswith("GS is not comparable: torch is 2.7; other pairs; on the pairs of both, GS ")


def test_what_is_one_evaluation_passes_or_fails_by_its_limit_alone():
    same = change(0.0, 0.0, 0.0, p=None, certain=True)
    assert outcomes(same, replace(same, gate=same.gate.model_copy(update={"limit": 0.0}))) == ["pass", "pass"]
    wanted = replace(same, gate=same.gate.model_copy(update={"limit": 2.0}))
    assert outcomes(wanted, *[change(-1.5, 0.0, 1.5)] * 30)[0] == "fail"
    assert decide([[same]])[0][0].sentence == (
        "GS is 58.9 and did not change, it is the baseline's own evaluation (limit -1.0): the limit holds"
    )


def sentence(found):
    return decide([[found]])[0][0].sentence


def test_a_failure_says_what_fell_by_how_much_how_sure_that_is_and_where_most():
    tags = [
        TagChange(tag="violence", n=180, change=-9.1, low=-14.0, high=-4.5),
        TagChange(tag=None, n=1, change=-5, low=-60, high=60),
    ]
    found = change(-6.0, -4.2, -2.5, tags=tags)
    assert sentence(found) == (
        "GS fell by 4.2 points (58.9 -> 54.7; 95 % interval -6.0 to -2.5; 1,200 pairs; limit -1.0);"
        " worst on tags violence (-9.1, 180 pairs), (none) (-5.0, 1 pair)"
    )
    (result,) = decide([[found]])[0]
    assert result.worst_tags == tags
    assert decide([[change(-0.5, 0.5, 1.5, tags=tags)]])[0][0].worst_tags == []


def test_other_sentences_say_what_holds_what_got_worse_within_the_limit_and_what_is_not_known():
    assert sentence(change(-0.5, 0.5, 1.5)).endswith("1,200 pairs; limit -1.0): the limit holds")
    assert sentence(change(-0.9, -0.6, -0.2)).endswith("limit -1.0): surely worse, but within the limit")
    spans = sentence(change(-2.9, -1.2, 0.5, tag="war", n=300))
    assert re.fullmatch(
        r"GS\[tag=war\] fell by 1\.2 points \(.*; 300 pairs; limit -1\.0\): it is not sure whether the limit holds;"
        r" about [0-9,]+ pairs with this tag would settle it", spans
    )  # fmt: skip
    assert sentence(change(-2.9, -1.0, 0.5)).endswith("no number of pairs would settle it, so near is it to the limit")
    gate = Gate(metric="PS", rule="min", limit=60)
    level = Finding(gate, 1200, 55.2, 61.0, -5.8, (52.1, 58.3), 0.001, "binomial")
    assert sentence(level) == (
        "PS is 55.2 (95 % interval 52.1 to 58.3; 1,200 pairs; limit at least 60.0; 61.0 in the baseline)"
    )
    absent = Finding(gate, reasons=["it was not measured"])
    assert sentence(absent) == "PS is not comparable: it was not measured"


def test_figures_have_as_many_digits_as_tell_them_from_the_limit():
    assert "95 % interval -6.00 to -1.04; 1,200 pairs; limit -1.00)" in sentence(change(-6.0, -4.2, -1.04))


def test_a_score_is_told_in_its_own_digits_and_its_rise_is_worse_where_lower_is_better(monkeypatch):
    row = Metric("toxicity", "caption", "toxicity", "toxicity", kind="mean", better="lower", unit="score", digits=3)
    monkeypatch.setitem(METRICS, "toxicity", row)
    gate = Gate(metric="toxicity", rule="max_change", limit=0.05)
    found = Finding(gate, 90, 0.13, 0.11, 0.02, (0.01, 0.03), 1e-9, "interval")
    assert sentence(found) == (
        "toxicity rose by 0.020 (0.110 -> 0.130; 95 % interval +0.010 to +0.030; 90 captions; limit +0.050):"
        " surely worse, but within the limit"
    )


def test_a_tag_cannot_steer_a_terminal_or_flood_a_line():
    tags = [TagChange(tag="\x1b[31m" + "x" * 900, n=10, change=-9, low=-20, high=-1)]
    text = sentence(change(-6.0, -4.2, -2.5, tags=tags))
    assert text.isprintable()
    assert len(text) < 250


@pytest.mark.slow
def test_on_nights_on_which_nothing_is_worse_than_its_limit_a_gate_fails_on_5_percent_at_most():
    rng, n_nights, n_gates, n, limit = np.random.default_rng(9), 500, 20, 100, -3.0
    # All exactly on the limit, which is the worst that is good.
    drawn = rng.multinomial(n, [0.02, 0.05, 0.93], size=n_nights * n_gates)[:, :2]
    kinds, kind_of = np.unique(drawn, axis=0, return_inverse=True)
    bounds = zip(*score_bounds(np.full(len(kinds), n), *kinds.T), strict=True)
    by_kind = []
    for (gained, lost), (low, high) in zip(kinds.tolist(), bounds, strict=True):
        found = change(100 * low, 100 * (gained - lost) / n, 100 * high, limit, n=n)
        by_kind.append((found, replace(found, p=few_changed_p(n, gained, lost, limit))))

    def alarms(place):
        nights = kind_of.reshape(n_nights, n_gates)
        results = [decide([[by_kind[kind][place] for kind in night]])[0] for night in nights]
        return np.mean([any(result.outcome == "fail" for result in night) for night in results])

    assert alarms(1) < 0.03
    # Of so few pairs a p by the normal approximation is too small to stand among twenty.
    assert alarms(0) > 0.05


def test_from_two_evaluations_to_a_sentence(tmp_path):
    rng = np.random.default_rng(3)
    right, tags = rng.random(600) < 0.6, [("violence", "hate", None)[i % 3] for i in range(600)]
    lost = rng.random(600) < np.where(np.array(tags) == "violence", 0.3, 0.02)
    before = outcomes_given(tmp_path / "before", {"GS": right}, ids=range(600), tags=tags)
    after = outcomes_given(tmp_path / "after", {"GS": right & ~lost}, ids=range(600), tags=tags)
    gates = [Gate(metric="GS", rule="min_change", limit=-1), Gate(metric="PS", rule="min_change", limit=-1)]
    fell, stayed = decide([examine(gates, after, before, 0)])[0]
    assert (fell.outcome, stayed.outcome) == ("fail", "pass")
    n_lost = int((right & lost).sum())
    assert (fell.n_gained, fell.n_lost) == (0, n_lost)
    assert fell.sentence.startswith(f"GS fell by {n_lost / 6:.1f} points ({100 * right.mean():.1f} -> ")
    assert "worst on tags violence (-" in fell.sentence
    assert fell.worst_tags[0].tag == "violence"
    assert fell.worst_tags[0].n == 200
