"""Captions of drawn pairs by several models, judged, measured and compared, and a report of them."""

import pyarrow.parquet as pq

from data_specs.caption_rows import CAPTIONS_FOLDER
from data_specs.judging import JUDGE
from data_specs.manifest import Recipe
from data_specs.schemas import pair_id
from tasks.captioning.task import judge_captions, score_captions
from tasks.evaluation.captions.task import compare_captions, evaluate_captions
from tasks.lineage.store import Store
from tasks.reporting.sources import Reported, ReportedCaptions
from tasks.reporting.task import write_caption_gallery, write_report
from tests.cases.captions import ANGRY, CALM, caption_rows
from tests.cases.report_files import CONTEXT, drawn_shards

N_PAIRS = 8
# What is said of each pair's safe and unsafe picture: the edit mends four captions, breaks one, and one has no word.
SAID = {
    "original": [(CALM, ANGRY)] * 5 + [(CALM, CALM), (CALM, ANGRY), ("a calm woman with an apple", "an angry woman")],
    "edited": [(CALM, CALM)] * 4
    + [(CALM, ANGRY), (CALM, ANGRY), (CALM, "…"), ("a calm woman with an apple", "a woman")],
    "random": [(CALM, ANGRY)] * 5 + [(CALM, CALM), (CALM, ANGRY), (ANGRY, "an angry woman")],
}
JUDGES = ({"kind": "words"}, {"kind": "words", "name": "knives", "path": "knives.txt"})


def written(store, shards, said, name, tags=(), edit=None):
    """The `captions` artifact of what is `said` of pairs, safe and unsafe, in the order of the shards."""
    ids = [pair_id(shard.sha256, sample.key) for shard in shards for sample in shard.samples]
    settings = {
        "prompt": "USER: <image> What is this? ASSISTANT:",
        "decoding": {"greedy": True, "max_new_tokens": 16},
        "precision": "fp32",
        "batch_size": 8,
        "said": [[*both] for both in said],
    }
    inputs = {"captioner": "c" * 64, **({"edit": edit} if edit else {})}

    def write(build):
        (build.folder / CAPTIONS_FOLDER).mkdir()
        pq.write_table(caption_rows(said, "hate", ids, tags), build.folder / CAPTIONS_FOLDER / "000000.parquet")
        build.counts["samples_used"] = len(said)

    recipe = Recipe(kind="captions", settings={**settings, "name": name}, inputs=inputs, code="0" * 64)
    return store.materialise(recipe, write, CONTEXT).ref


def control_of_nothing(store):
    """An `edit` artifact that says of itself that it was drawn at random."""
    return store.materialise(Recipe(kind="edit", settings={"control": 0}, code="0" * 64), lambda _: None, CONTEXT).ref


def judged(store, captions, folder, judges=JUDGES):
    """The `caption_evaluation` of captions."""
    (folder / "knives.txt").write_text("knife\n")
    scores = score_captions.fn(captions, "auto", store, CONTEXT).ref
    found = {}
    for settings in judges:
        own = {**settings, "path": str(folder / settings["path"])} if "path" in settings else settings
        judge = JUDGE.validate_python(own)
        found[judge.name] = judge_captions.fn(captions, judge, store, CONTEXT).ref
    return evaluate_captions.fn(captions, scores, found, 0, store, CONTEXT).ref


def reported(store, folder, said=SAID, judges=JUDGES, tags=(), **drawn):
    """All that a report shows of captions: a `random` model is a control."""
    shards = drawn_shards(folder, **({"sizes": (5, 3)} | drawn), tags=tags)
    evaluations = {}
    for name, both in said.items():
        edit = control_of_nothing(store) if name == "random" else None
        evaluations[name] = judged(store, written(store, shards, both, name, tags, edit), folder, judges)
    first, *others = evaluations

    def compared(one, other):
        return compare_captions.fn(evaluations[one], evaluations[other], 0, store, CONTEXT).ref

    return ReportedCaptions(
        captions=evaluations,
        differences={name: compared(first, name) for name in others},
        lead=compared("random", "edited") if {"random", "edited"} <= {*evaluations} else None,
        gallery=write_caption_gallery.fn(evaluations, shards, 0, store, CONTEXT).ref,
    )


def caption_report(folder, **changed):
    """A report of captions alone; its artifact's folder, and what it shows."""
    store = Store(folder / "store")
    captions = reported(store, folder, **changed)
    made = write_report.fn("captions", Reported({}, captions=captions), store, CONTEXT)
    return made, captions, store
