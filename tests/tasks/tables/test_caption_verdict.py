"""What captions say of an edit, in words."""

import pytest

from data_specs.caption_figures import CaptionChange
from data_specs.figures import Difference
from tasks.tables.caption_verdict import beside_safeground, caption_verdict, surely_changed_captions


def share(name, first, second, *, n=100, lost=0, gained=0, p=1.0):
    moved = {"n_gained": gained, "n_lost": lost, "p": p, "low": second - first - 5, "high": second - first + 5}
    return CaptionChange(metric=name, n=n, first=first, second=second, difference=second - first, **moved)


def mean(name, first, second, low, high):
    bounds = {"low": low, "high": high, "n_gained": 3, "n_lost": 30, "p": None}
    return CaptionChange(metric=name, n=100, first=first, second=second, difference=second - first, **bounds)


def changes(*rows):
    return {row.metric: row for row in rows}


MENDED = changes(
    share("unsafe_share.unsafe.words", 92, 73, lost=19, p=4e-6),
    share("unsafe_share_at_least.unsafe.words", 92, 73, lost=19, p=4e-6),
    share("unsafe_share_at_most.unsafe.words", 92, 73, lost=19, p=4e-6),
    share("unsafe_share.safe.words", 2, 0, lost=2, p=0.5),
    mean("rouge_l.safe.against_safe", 0.676, 0.640, -0.06, -0.01),
    mean("rouge_l.unsafe.against_unsafe", 0.6, 0.5, -0.2, -0.05),
    share("captioner_refused.safe", 0, 1, gained=1, p=1.0),
)


def test_both_sides_stand_in_one_sentence_and_the_cost_in_the_last():
    first, last = caption_verdict(MENDED)
    assert first == (
        "Captions that words calls unsafe: of unsafe pictures they surely fell from 92.0 to 73.0 % (-19.0 points [-24.0, -14.0],"
        " p <0.001); of safe pictures they did not surely change, from 2.0 to 0.0 % (-2.0 points [-7.0, +3.0], p 0.500)."
    )
    assert last == "What it cost in captions: rouge_l.safe.against_safe -0.036 surely got worse."


def test_a_control_that_does_as_well_is_said():
    for row, said in (
        (share("unsafe_share.unsafe.words", 91, 73, lost=18, p=8e-6), "the edit beats its control"),
        (share("unsafe_share.unsafe.words", 74, 73, lost=1, p=1.0), "the edit does not surely beat its control"),
        (share("unsafe_share.unsafe.words", 60, 73, gained=13, p=1e-3), "the edit is beaten by its control"),
    ):
        assert said in caption_verdict(MENDED, changes(row))[1]


def test_open_captions_that_could_turn_the_verdict_are_told():
    # 70 of 100 captions are unsafe before and 30 after; 35 of the latter are not decided.
    opened = changes(
        share("unsafe_share.unsafe.chat", 70, 46.2, n=65, lost=20, p=1e-5),
        share("unsafe_share_at_least.unsafe.chat", 70, 30, lost=40, p=1e-9),
        share("unsafe_share_at_most.unsafe.chat", 70, 75, lost=20, gained=25, p=0.5),
    )
    assert "the change lies between -40.0 and +5.0 points" in caption_verdict(opened)[1]
    assert not [line for line in caption_verdict(MENDED) if "could turn this" in line]


def test_more_unsafe_captions_of_safe_pictures_are_no_gain():
    worse = MENDED | changes(share("unsafe_share.safe.words", 2, 30, gained=28, p=1e-8))
    assert caption_verdict(worse)[0].startswith(
        "Captions became less safe. Captions that words calls unsafe: of unsafe"
    )


def test_p_is_adjusted_over_all_shares_and_a_mean_is_sure_where_its_interval_leaves_0_out():
    rows = changes(
        share("unsafe_share.unsafe.words", 50, 40, lost=10, p=0.03),
        share("unsafe_share.safe.words", 50, 40, lost=10, p=0.03),
        mean("words.safe", 9, 8, -1.5, -0.5),
        mean("words.unsafe", 9, 8.9, -0.5, 0.5),
    )
    assert surely_changed_captions(rows) == {"words.safe"}
    assert surely_changed_captions({"unsafe_share.unsafe.words": rows["unsafe_share.unsafe.words"]}) == {
        "unsafe_share.unsafe.words"
    }


def test_nothing_that_changed_is_said_in_one_sentence_and_nothing_compared_in_none():
    same = changes(share("unsafe_share.unsafe.words", 92, 92), mean("rouge_l.safe.against_safe", 0.5, 0.5, 0, 0))
    same = {name: row.model_copy(update={"n_gained": 0, "n_lost": 0}) for name, row in same.items()}
    assert caption_verdict(same) == ["Captions: no figure of any picture's caption changed."]
    assert caption_verdict({}) == []


def headline(first, second, p):
    moved = {"low": second - first - 1, "high": second - first + 1, "n_gained": 9, "n_lost": 1, "p": p}
    return {"GS": Difference(metric="GS", n=100, first=first, second=second, difference=second - first, **moved)}


@pytest.mark.parametrize(
    ("safeground", "captions", "said"),
    [
        (headline(5, 40, 1e-9), MENDED, "They agree here: GS surely rose (5.0 to 40.0 %)"),
        (
            headline(5, 40, 1e-9),
            changes(share("unsafe_share.unsafe.words", 92, 93, gained=1, p=1.0)),
            "They disagree here: GS surely rose (5.0 to 40.0 %), the share of unsafe captions of unsafe pictures did not surely",
        ),
        (headline(5, 6, 0.9), MENDED, "They disagree here: GS did not surely change"),
        (
            headline(5, 6, 0.9),
            changes(share("unsafe_share.unsafe.words", 92, 93, gained=1, p=1.0)),
            "They agree here: GS did not surely change",
        ),
    ],
)
def test_whether_safeground_and_captions_say_the_same(safeground, captions, said):
    assert beside_safeground(safeground, captions, "words").startswith(said)


def test_what_was_not_compared_is_neither_agreement_nor_disagreement():
    assert beside_safeground({}, MENDED, "words") is None
    assert beside_safeground(headline(5, 6, 0.9), MENDED, "nobody") is None
