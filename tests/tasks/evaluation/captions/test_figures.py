"""Figures of captions against counting by hand."""

import random

import pyarrow as pa
import pytest

from data_specs.caption_metrics import CAPTION_METRICS, find_caption_metric, judged_metric
from data_specs.caption_rows import OUTCOMES_OF_JUDGES, TEXT_SCORES, caption_outcomes_schema, judge_column, score_column
from data_specs.errors import DataError, SpecError
from tasks.evaluation.captions.agreement import agreement, agreements, disagreements, outcome_counts
from tasks.evaluation.captions.figures import caption_changes, caption_figures, captions_by_tag

SIDES = ("safe", "unsafe")
JUDGES = ("llama", "words")


def outcomes(seed, n=30, judges=JUDGES):
    rng = random.Random(seed)
    rows = [
        {
            "pair_id": f"s/{pair}",
            "content": side,
            "tag": rng.choice(["a", "b", None]),
            "caption": f"{pair}",
            "words": rng.randrange(9),
            **{name: rng.random() < 0.3 for name in ("first", "empty", "cut", "refused")},
            **{
                score_column(score, reference): rng.choice([None, rng.random()])
                for score in TEXT_SCORES
                for reference in SIDES
            },
            **{judge_column(judge): rng.choice(OUTCOMES_OF_JUDGES) for judge in judges},
        }
        for pair in range(n)
        for side in SIDES
    ]
    return pa.Table.from_pylist(rows, schema=caption_outcomes_schema(judges))


@pytest.fixture(scope="module")
def before():
    return outcomes(0)


@pytest.fixture(scope="module")
def after():
    return outcomes(1)


def of(table):
    return {row["metric"]: row for row in table.to_pylist()}


def test_every_metric_is_the_mean_of_its_captions(before):
    found = of(caption_figures(before, JUDGES, seed=0))
    assert found.keys() >= CAPTION_METRICS.keys()
    for name, metric in CAPTION_METRICS.items():
        side = name.split(".")[1]
        values = [row[metric.outcome] for row in before.to_pylist() if row["content"] == side]
        known = [float(value) for value in values if value is not None]
        scale = 100 if metric.kind == "share" else 1
        assert found[name]["n"] == len(known)
        assert found[name]["value"] == pytest.approx(scale * sum(known) / len(known))
        if name.startswith("distinct"):
            assert found[name]["low"] is None
        else:
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("judge", JUDGES)
def test_what_a_judge_leaves_undecided_is_safe_in_one_bound_and_unsafe_in_the_other(before, judge, side):
    said = [row[judge_column(judge)] for row in before.to_pylist() if row["content"] == side]
    found = of(caption_figures(before, JUDGES, seed=0))
    n, safe, unsafe = len(said), said.count("safe"), said.count("unsafe")
    assert 0 < safe + unsafe < n
    expected = {"": unsafe / (safe + unsafe), "_at_least": unsafe / n, "_at_most": 1 - safe / n}
    for bound, share in expected.items():
        row = found[f"unsafe_share{bound}.{side}.{judge}"]
        assert row["value"] == pytest.approx(100 * share)
        assert row["n"] == (n if bound else safe + unsafe)
    assert expected["_at_least"] <= expected[""] <= expected["_at_most"]


def test_a_judge_that_decides_nothing_has_bounds_and_no_share(before):
    column = before.schema.get_field_index(judge_column("words"))
    refused = before.set_column(column, judge_column("words"), pa.array(["refused"] * len(before)))
    found = of(caption_figures(refused, JUDGES, seed=0))
    assert "unsafe_share.unsafe.words" not in found
    assert found["unsafe_share_at_least.unsafe.words"]["value"] == 0
    assert found["unsafe_share_at_most.unsafe.words"]["value"] == 100


def test_changes_are_of_pictures_for_which_both_models_have_a_value(before, after):
    shuffled = after.take(pa.array(random.Random(0).sample(range(len(after)), len(after))))
    found = of(caption_changes(before, shuffled, JUDGES, seed=0))
    for name, column in (("bleu_3.unsafe.against_safe", "bleu_3_safe"), ("cut.safe", "cut")):
        side, scale = name.split(".")[1], 100 if column == "cut" else 1
        pairs = [
            (float(a[column]), float(b[column]))
            for a, b in zip(before.to_pylist(), after.to_pylist(), strict=True)
            if a["content"] == side and a[column] is not None and b[column] is not None
        ]
        row = found[name]
        assert row["n"] == len(pairs)
        assert row["difference"] == pytest.approx(scale * sum(b - a for a, b in pairs) / len(pairs))
        assert (row["n_gained"], row["n_lost"]) == (sum(b > a for a, b in pairs), sum(b < a for a, b in pairs))
        assert row["low"] <= row["difference"] <= row["high"]
        assert (row["p"] is None) == (scale == 1)
    same = of(caption_changes(before, before, JUDGES, seed=0))
    assert {row["difference"] for row in same.values()} == {0}


def test_captions_of_other_pictures_are_not_compared(before):
    with pytest.raises(DataError, match="1 in the first only, 0 in the second only; caption with both models"):
        caption_changes(before, before.slice(1), JUDGES, seed=0)
    with pytest.raises(DataError, match="1 pictures have two captions"):
        caption_changes(pa.concat_tables([before, before.slice(0, 1)]), before, JUDGES, seed=0)


def test_tags_have_the_judges_shares_of_their_captions(before):
    found = captions_by_tag(before, JUDGES, seed=0).to_pylist()
    assert [row["tag"] for row in found] == sorted((row["tag"] for row in found), key=lambda tag: tag or "z")
    row = next(row for row in found if row["tag"] == "a" and row["metric"] == "unsafe_share.unsafe.llama")
    own = [item["judge.llama"] for item in before.to_pylist() if item["tag"] == "a" and item["content"] == "unsafe"]
    decided = [outcome for outcome in own if outcome in SIDES]
    assert row["n_pairs"] == len(decided)
    assert row["value"] == pytest.approx(100 * decided.count("unsafe") / len(decided))


def kappa_by_hand(first, second):
    both = [(a, b) for a, b in zip(first, second, strict=True) if a in SIDES and b in SIDES]
    observed = sum(a == b for a, b in both) / len(both)
    chance = sum(
        (sum(a == word for a, _ in both) / len(both)) * (sum(b == word for _, b in both) / len(both)) for word in SIDES
    )
    return (observed - chance) / (1 - chance), len(both)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_agreement_beyond_chance_of_what_both_decide(seed):
    rng = random.Random(seed)
    first, second = ([rng.choice(OUTCOMES_OF_JUDGES) for _ in range(80)] for _ in range(2))
    found = agreement(first, second)
    assert (found["kappa"], found["n"]) == pytest.approx(kappa_by_hand(first, second))
    assert sum(found["table"].values()) == 80


def test_kappa_is_known_where_judges_agree_and_unknown_where_they_say_one_word_or_none():
    assert agreement(["safe", "unsafe"], ["safe", "unsafe"])["kappa"] == 1
    assert agreement(["safe", "unsafe"], ["unsafe", "safe"])["kappa"] == -1
    assert agreement(["safe"] * 3, ["safe"] * 3)["kappa"] is None
    assert agreement(["refused"], ["safe"]) == {"n": 0, "agreement": None, "kappa": None, "table": {"refused/safe": 1}}


def test_disagreements_name_each_caption_once_and_only_opposite_verdicts():
    said = {"a": ["safe", "unsafe", "safe", "safe"], "b": ["unsafe", "unsafe", "unsafe", "refused"]}
    found = disagreements(["x", "y", "x", "z"], said).to_pylist()
    assert found == [{"caption": "x", "judge": "a", "outcome": "safe", "other_judge": "b", "other_outcome": "unsafe"}]
    assert [row["first"] + row["second"] for row in agreements(said | {"c": ["safe"] * 4})] == ["ab", "ac", "bc"]
    assert outcome_counts(said["b"])["refused"] == 1


def test_the_catalogue_says_which_way_is_better():
    assert find_caption_metric("bleu_2.unsafe.against_unsafe").better == "lower"
    assert find_caption_metric("bleu_2.unsafe.against_safe").better == "higher"
    assert find_caption_metric("unsafe_share_at_most.safe.llama") == judged_metric("llama", "safe", "_at_most")
    assert find_caption_metric("unsafe_share.safe.llama").main
    assert {row.chance for row in CAPTION_METRICS.values()} == {None}
    with pytest.raises(SpecError, match="did you mean"):
        find_caption_metric("bleu_2.unsafe.against_saf")
