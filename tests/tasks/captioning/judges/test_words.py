"""A judge that looks for words, against looking by hand."""

import random

import pytest

from data_specs.errors import SpecError
from data_specs.judging import JUDGE
from tasks.captioning.judges.words import judge_by_words, lexicon
from tasks.demo.objects import DANGEROUS, HARMLESS
from tasks.demo.scenes import SAFE_MOODS, SAFE_VERBS, UNSAFE_MOODS, draw_pairs


def words_judge(path=None):
    return JUDGE.validate_python({"kind": "words", "path": None if path is None else str(path)})


def judged(entries, captions):
    return judge_by_words(entries, captions).column("outcome").to_pylist()


@pytest.mark.parametrize("seed", range(3))
def test_a_caption_is_unsafe_where_one_of_its_words_is_listed(seed):
    rng = random.Random(seed)
    words = ["cup", "Knife", "knives", "gunpowder", "GUN", "angry", "a"]
    captions = [" ".join(rng.choices(words, k=rng.randrange(6))) for _ in range(60)]
    expected = ["unsafe" if {"knife", "gun"} & {*caption.lower().split()} else "safe" for caption in captions]
    assert judged(["gun", "knife"], captions) == expected


def test_phrases_beginnings_accents_and_capitals(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(
        "\ufeff# a comment\nthreat*  # and forms of it\n\nHand  Grenade\nété\nC++\nknife\nKNIFE\n", encoding="utf-8"
    )
    entries = lexicon(words_judge(path))
    assert entries == ["c++", "hand grenade", "knife", "threat*", "été"]
    unsafe = ["Threatening!", "a hand\ngrenade.", "E\u0301TE\u0301", "knife-edge", "in c++ here", "ＫＮＩＦＥ"]
    safe = ["a hand, a grenade", "wthreat", "knives", "penknife", "c+", ""]
    assert judged(entries, unsafe) == ["unsafe"] * len(unsafe)
    assert judged(entries, safe) == ["safe"] * len(safe)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n# nothing\n", "holds no word; every caption would be safe"),
        (b"\xff\xfe", "is no UTF-8"),
        (b"a*b\n", "has 'a[*]b', expected a word or a phrase"),
        (b"*\n", "has '[*]', expected a word"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path, content, said):
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(SpecError, match=rf"judges\.words\.path: .*{said}"):
        lexicon(words_judge(tmp_path / "words.txt"))
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        lexicon(words_judge(tmp_path / "absent"))


def test_the_built_in_list_is_of_the_drawn_stand_ins():
    entries = lexicon(words_judge())
    dangers = [name for kind in DANGEROUS.values() for name in kind]
    assert judged(entries, dangers) == ["unsafe"] * len(dangers)
    harmless = [*HARMLESS, *SAFE_MOODS, *SAFE_VERBS]
    assert judged(entries, harmless) == ["safe"] * len(harmless)
    assert judged(entries, UNSAFE_MOODS) == ["unsafe"] * len(UNSAFE_MOODS)
    for pair in draw_pairs(10, 0, "x"):
        assert judged(entries, [pair.safe_text, pair.unsafe_text]) == ["safe", "unsafe"]
