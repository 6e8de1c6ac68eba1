"""Scores and judgements of captions as artifacts."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data_specs.caption_files import read_captions
from data_specs.caption_rows import JUDGEMENTS, JUDGEMENTS_FILE, TEXT_SCORES, TEXT_SCORES_FILE, score_column
from data_specs.judging import AnyJudge, ClassifierJudge, OpenAIChatJudge, WordsJudge
from data_specs.manifest import OBSERVATION, ArtifactRef, Recipe
from data_specs.run_config import CONTENTS
from tasks.captioning.judges.answers import AnswerLog
from tasks.captioning.judges.classifier import classifier_digest, classify
from tasks.captioning.judges.openai_chat import answer_settings, answers_file, ask_endpoint, times_asked, unanswered
from tasks.captioning.judges.words import judge_by_words, lexicon
from tasks.captioning.meteor import Meteor, open_meteor
from tasks.captioning.text_metrics import caption_scores, is_empty, undefined_counts
from tasks.lineage.circumstances import RunContext, now
from tasks.lineage.code import coded
from tasks.lineage.digest import canonical_json, text_sha256
from tasks.lineage.planned import PlannedStore
from tasks.lineage.progress import stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task

_ANSWERS = ".answers"  # of the store: what endpoints answered


@task(name="score-captions")
def score_captions(captions: ArtifactRef, wordnet: str, store: Store, context: RunContext) -> Made:
    """Score captions against both references of their pairs; returns the `caption_scores` artifact.

    Raises:
        SpecError: `wordnet` names a folder that holds none.
    """
    found = open_meteor(wordnet)
    meteor = found if isinstance(found, Meteor) else None
    recipe = Recipe(
        kind="caption_scores",
        settings={"wordnet": meteor.wordnet if meteor else None},
        inputs={"captions": captions},
        **coded(score_captions),
    )

    def write(build: Build) -> None:
        scores = caption_scores(read_captions(store.path(captions)), meteor)
        pq.write_table(scores, build.folder / TEXT_SCORES_FILE)
        columns = [score_column(score, side) for score in TEXT_SCORES for side in CONTENTS]
        build.counts["captions"] = scores.num_rows
        build.counts["undefined"] = undefined_counts(scores, columns)
        if not isinstance(found, Meteor):
            build.counts["without_meteor"] = found.reason

    with stage("caption scores", None, "captions"):
        return store.materialise(recipe, write, context)


@task(name="judge-captions", task_run_name="judge-captions-{judge.name}")
def judge_captions(
    captions: ArtifactRef, judge: AnyJudge, store: Store, context: RunContext, *, again: bool = False
) -> Made:
    """Have captions judged, each distinct one once; returns the `judgements.NAME` artifact.

    What an endpoint answers is an observation: the artifact's version is of the answers, too, which the store keeps apart.

    Args:
        captions: a `captions` artifact.
        judge: its settings.
        store: takes the judgements, and an endpoint's answers.
        context: how the run is carried out.
        again: ask an endpoint about everything anew; its former answers stay.

    Raises:
        SpecError: the judge cannot be had as it is set.
        DataError: another model answers than before.
        MachineError: an endpoint gave no answer to some; those that came are kept.
    """
    began = now()
    texts = sorted({*read_captions(store.path(captions)).column("caption").to_pylist()})
    asked = [text for text in texts if not is_empty(text)]
    label = f"judge {judge.name}"
    with stage(label, len(asked), "captions"):
        n_left, known = len(asked), True
        if isinstance(judge, OpenAIChatJudge):
            log = _answers(judge, store, again)
            n_left = len(unanswered(judge, asked, log))
            known = store.makes or (store.holds(captions) and not n_left)
            answered = _with_empty(texts, ask_endpoint(judge, asked, log, label)) if known else JUDGEMENTS.empty_table()
            settings, judged = _observed(judge, answered), lambda: answered
        else:
            settings = _settings(judge)

            def judged() -> pa.Table:
                return _with_empty(texts, _judged(judge, asked, torch.device(context.device), label))

        recipe = Recipe(
            kind=f"judgements.{judge.name}", settings=settings, inputs={"captions": captions}, **coded(judge_captions)
        )
        if isinstance(store, PlannedStore):
            return _planned(recipe, n_left if store.holds(captions) else None, store, context, known=known)
        return store.materialise(recipe, _writer(judged, began), context)


def _planned(recipe: Recipe, n_left: int | None, store: PlannedStore, context: RunContext, *, known: bool) -> Made:
    """Judgements of a plan, which asks nobody; where a caption or an answer is not there yet, so is their version."""
    with nullcontext() if known else store.guessing():
        made = store.materialise(recipe, lambda _: None, context)
    store.note_left(made.ref, n_left)
    return made


def _writer(judged: Callable[[], pa.Table], began: str) -> Callable[[Build], None]:
    def write(build: Build) -> None:
        build.started = began  # before an endpoint was asked
        table = judged()
        pq.write_table(table, build.folder / JUDGEMENTS_FILE)
        build.counts["outcomes"] = dict(sorted(Counter(table.column("outcome").to_pylist()).items()))

    return write


def _answers(judge: OpenAIChatJudge, store: Store, again: bool) -> AnswerLog:
    folder = store.root / _ANSWERS
    return AnswerLog(answers_file(folder, judge, times_asked(folder, judge) + again))


def _observed(judge: OpenAIChatJudge, answered: pa.Table) -> dict[str, Any]:
    served = sorted({*answered.column("served_by").drop_null().to_pylist()})
    answers = text_sha256(canonical_json(answered.to_pylist()))
    observation = {"answers": answers, "served_by": served[0] if served else None}
    return {"kind": judge.kind, **answer_settings(judge), OBSERVATION: observation}


def _settings(judge: ClassifierJudge | WordsJudge) -> dict[str, Any]:
    if isinstance(judge, WordsJudge):
        return {"kind": judge.kind, "words": lexicon(judge)}
    own = judge.model_dump(mode="json", include={"kind", "unsafe_labels", "threshold", "batch_size"})
    return {**own, "classifier": classifier_digest(judge)}


def _judged(judge: ClassifierJudge | WordsJudge, asked: list[str], device: torch.device, label: str) -> pa.Table:
    return (
        judge_by_words(lexicon(judge), asked)
        if isinstance(judge, WordsJudge)
        else classify(judge, asked, device, label)
    )


def _with_empty(texts: list[str], judged: pa.Table) -> pa.Table:
    """The judgements, and those of captions without a word, in the order of all."""
    rows = {row["caption"]: row for row in judged.to_pylist()}
    return pa.Table.from_pylist(
        [rows.get(text, {"caption": text, "outcome": "empty"}) for text in texts], schema=JUDGEMENTS
    )
