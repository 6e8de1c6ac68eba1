"""Judgements and scores in a store: what decides their versions, and what is asked again."""

import pytest

from data_specs.caption_files import read_judgements, read_text_scores
from data_specs.errors import DataError
from data_specs.judging import JUDGE
from tasks.captioning.judges.words import DRAWN_DANGERS
from tasks.captioning.task import judge_captions, score_captions
from tasks.captioning.text_metrics import rouge_l
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.captions import ANGRY, CALM, stored_captions
from tests.cases.classifiers import write_classifier
from tests.cases.judge_server import judge_server
from tests.cases.wordnet import write_wordnet

SAID = [(CALM, ANGRY), (CALM, CALM), ("…", "a cup fault:refusal")]


@pytest.fixture(scope="module")
def server():
    with judge_server() as found:
        yield found


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def judged(store, captions, *, again=False, **judge):
    return judge_captions.fn(captions, JUDGE.validate_python(judge), store, RunContext(), again=again)


def outcomes(store, made):
    return {row["caption"]: row["outcome"] for row in read_judgements(store.path(made.ref)).to_pylist()}


def test_an_endpoint_judges_each_distinct_caption_and_its_answers_decide_the_version(store, server, request):
    chat = {"kind": "openai_chat", "name": "llama", "model": request.node.name}
    captions = stored_captions(store, SAID)
    made = judged(store, captions, **chat, url=server.url())
    assert outcomes(store, made) == {CALM: "safe", ANGRY: "unsafe", "…": "empty", "a cup fault:refusal": "refused"}
    assert made.ref.kind == "judgements.llama"
    assert made.manifest.counts["outcomes"] == {"empty": 1, "refused": 1, "safe": 1, "unsafe": 1}
    seen = made.manifest.recipe.settings["observation"]
    assert seen["served_by"] == f"{request.node.name}-2026"
    assert judged(store, captions, **chat, url="http://127.0.0.1:9/v1").reused  # nobody is asked
    assert server.asked(request.node.name)["n"] == 3
    other = stored_captions(store, [(CALM, "a gun")], "edited")
    judged(store, other, **chat, url=server.url())
    assert server.asked(request.node.name)["n"] == 4  # of another model's captions only the new one


def test_asked_anew_an_endpoint_that_answers_otherwise_makes_another_version(store, server, request):
    chat = {"kind": "openai_chat", "name": "llama", "model": request.node.name, "concurrency": 1}
    captions = stored_captions(store, SAID[:2])
    first = judged(store, captions, **chat, url=server.url())
    same = judged(store, captions, **chat, url=server.url(), again=True)
    assert same.reused
    assert same.ref == first.ref
    assert server.asked(request.node.name)["n"] == 4
    other = judged(store, captions, **chat, url=server.url("contrary"), again=True)
    assert other.ref != first.ref
    assert (
        {outcomes(store, other)[text] for text in (CALM, ANGRY)} == {"safe", "unsafe"} != outcomes(store, other)[CALM]
    )
    assert outcomes(store, other)[CALM] == "unsafe"
    assert judged(store, captions, **chat, url=server.url()).ref == other.ref  # the newest time counts
    with pytest.raises(DataError, match="--judge-again"):
        judged(store, stored_captions(store, [(CALM, "new")] * 4, "x"), **chat, url=server.url("swaps"))


def test_another_way_to_read_asks_nothing(store, server, request):
    chat = {"kind": "openai_chat", "name": "llama", "model": request.node.name, "structured": False}
    captions = stored_captions(store, SAID[:2])
    first = judged(store, captions, **chat, url=server.url())
    again = judged(store, captions, **chat, url=server.url(), read="first_line")
    assert again.ref != first.ref
    assert server.asked(request.node.name)["n"] == 2


def test_words_decide_by_their_list(store, tmp_path):
    captions = stored_captions(store, SAID)
    made = judged(store, captions, kind="words")
    assert outcomes(store, made) == {CALM: "safe", ANGRY: "unsafe", "…": "empty", "a cup fault:refusal": "safe"}
    assert "observation" not in made.manifest.recipe.settings
    (tmp_path / "list").write_text("\n".join(DRAWN_DANGERS))
    assert judged(store, captions, kind="words", path=str(tmp_path / "list")).ref == made.ref
    (tmp_path / "list").write_text("cup")
    assert outcomes(store, judged(store, captions, kind="words", path=str(tmp_path / "list")))[CALM] == "unsafe"


def test_a_classifier_is_named_by_its_files_and_its_threshold(store, tmp_path):
    captions = stored_captions(store, SAID)
    own = {"kind": "classifier", "name": "c", "path": str(write_classifier(tmp_path / "c")), "unsafe_label": "toxic"}
    made = judged(store, captions, **own)
    assert {row["score"] is None for row in read_judgements(store.path(made.ref)).to_pylist()} == {True, False}
    assert judged(store, captions, **own | {"path": str(write_classifier(tmp_path / "d"))}).reused
    assert judged(store, captions, **own, threshold=0.9).ref != made.ref


def test_scores_are_of_every_caption_and_say_why_there_is_no_meteor(store, tmp_path):
    captions = stored_captions(store, SAID)
    made = score_captions.fn(captions, str(write_wordnet(tmp_path / "wordnet")), store, RunContext())
    rows = read_text_scores(store.path(made.ref)).to_pylist()
    assert [row["rouge_l_unsafe"] for row in rows] == [rouge_l(text, ANGRY) for both in SAID for text in both]
    assert all(row["meteor_safe"] is not None for row in rows)
    assert made.manifest.counts["undefined"]["bleu_4_safe"] == 2  # "…" and three words
    without = score_captions.fn(captions, "auto", store, RunContext())
    if "without_meteor" in without.manifest.counts:
        assert "nltk.downloader wordnet" in without.manifest.counts["without_meteor"]
        assert without.manifest.recipe.settings["wordnet"] is None
        assert without.manifest.counts["undefined"]["meteor_safe"] == 6
