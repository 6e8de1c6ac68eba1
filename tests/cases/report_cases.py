"""Reports with every section, and what they are made of."""

import json

from data_specs.experiment import PAPER_COLUMNS, Experiment
from data_specs.experiment_files import experiment_json
from data_specs.manifest import Recipe
from data_specs.metrics import metric_names
from tasks.evaluation.task import evaluate_model, find_flips
from tasks.lineage.store import Store
from tasks.reporting.sources import Reported
from tasks.reporting.task import write_flip_gallery, write_gallery, write_report
from tests.cases.report_files import (
    CONTEXT,
    drawn_shards,
    put,
    put_evaluation,
    put_model_embeddings,
    put_scores,
    random_metrics,
)

MODELS = ("original", "edited", "random_control")
COLUMNS = ("zero_shot", "GS", "PS")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def comparison(names=("original", "uwm", "random", "UWM (paper)")):
    rows = [
        {"name": names[0], "role": "original", "values": {"zero_shot": 70.0, "GS": 1.0, "PS": 60.0}},
        {
            "name": names[1],
            "role": "method",
            "values": {"zero_shot": 61.25, "GS": 4.5, "PS": 60.0},
            "intervals": {"GS": (3.1, 6.0)},
            "p_values": {"GS": 1e-9, "PS": 0.6},
            "settings": {"text": {"scorer": "uwm", "tau": 0.98}, "vision": None},
            "versions": {"edit": "e" * 64},
        },
        {"name": names[2], "role": "control", "values": {"GS": 1.2}, "p_values": {"GS": 0.7}},
        {"name": names[3], "role": "paper", "values": {"zero_shot": 99.0, "GS": 99.0}},
    ]
    settings = {"kind": "comparison", "name": "c", "n_pairs": 4321, "columns": COLUMNS, "rows": rows}
    return Experiment.model_validate(settings)


def sweep(**changed):
    values = [{"GS": 10.0 + at, "Txt_s": 20.0, "Img_s": 30.0, "Vs-Ts": 40.0, "zero_shot": 60.0 - at} for at in range(4)]
    rows = [{"name": "original", "role": "original", "values": values[0]}]
    rows += [
        {
            "name": f"point {at}",
            "role": "method",
            "axes": {"tau": 0.9 + 0.02 * at, "alpha": -1},
            "values": value,
            "n_selected": 1000 + at,
            "versions": {"edit": "e", "evaluation": "v"},
        }
        for at, value in enumerate(values)
    ]
    rows[3]["intervals"] = {"GS": (9.5, 15.25)}
    rest = {"kind": "sweep", "name": "s", "n_pairs": 99, "encoders": ["text", "vision"], "rows": rows}
    return Experiment.model_validate(
        {**rest, "columns": sorted(values[0]), "chosen": 2, "limits": ["zero_shot>=-2"], **changed}
    )


def wide_comparison(n_rows=12):
    """Every column that a comparison can have: the main metrics and the paper's 17 zero-shot data sets, with intervals and stars."""
    columns = [*PAPER_COLUMNS, *(f"zero_shot.data-set-{i:02d}.acc1" for i in range(17))]
    rows = []
    for at in range(n_rows):
        values = {name: (7.0 * at + 3.1 * place) % 100 for place, name in enumerate(columns)}
        rows.append(
            {
                "name": f"a method with a long name, number {at}" if at else "original",
                "role": "method" if at else "original",
                "values": values,
                "intervals": {name: (max(0.0, value - 10), min(100.0, value + 10)) for name, value in values.items()},
                "p_values": dict.fromkeys(columns, 1e-9) if at else {},
                "settings": {"text": {"scorer": "uwm", "tau": 0.98}, "vision": None},
                "versions": dict.fromkeys(("edit", "evaluation", "differences"), f"{at:x}" * 64),
            }
        )
    chance = dict.fromkeys(columns, 12.5)
    settings = {"kind": "comparison", "name": "c", "n_pairs": 4321, "columns": columns, "rows": rows, "chance": chance}
    return Experiment.model_validate(settings)


def wide_sweep(n_points=40):
    """A sweep with all metrics and intervals."""
    values = {name: 10.0 + place for place, name in enumerate(metric_names())} | {"zero_shot": 60.0}
    rows = [{"name": "original", "role": "original", "values": values}]
    for at in range(n_points):
        moved = {name: value + at % 10 for name, value in values.items()}
        rows.append(
            {
                "name": f"point {at}",
                "role": "method",
                "axes": {"tau": 0.9 + 0.0095 * (at // 4), "alpha": -1.0 + 0.5 * (at % 4)},
                "values": moved,
                "intervals": {name: (value - 3.25, value + 2.75) for name, value in moved.items()},
                "n_selected": 1_000_000 + at,
                "versions": {"edit": f"{at:064x}", "evaluation": f"{at + 99:064x}"},
            }
        )
    rest = {"kind": "sweep", "name": "s", "n_pairs": 5000, "encoders": ["text"], "rows": rows}
    return Experiment.model_validate({**rest, "columns": [*values], "chosen": 2, "limits": ["zero_shot>=-2"]})


def put_experiment(store, experiment, **files):
    def write(folder):
        (folder / f"{experiment.kind}.json").write_text(experiment_json(experiment))
        for name, data in files.items():
            (folder / name.replace("_", ".")).write_bytes(data)

    return put(store, experiment.kind, write, content=json.loads(experiment_json(experiment)))


def put_edit(store, n_layers=12):
    """An edit of many layers of both encoders, as its manifest counts them."""
    layers = [f"transformer.resblocks.{i}.attn.out_proj" for i in range(n_layers)]
    layers += [f"visual.transformer.resblocks.{i}.mlp.c_proj" for i in range(n_layers)]
    chosen = {"rule": "score_mass", "tau": 0.98, "alpha": -1.0}
    recipe = Recipe(kind="edit", settings={"text": chosen, "vision": chosen}, code="test")

    def write(build):
        build.counts["layers"] = {
            name: {"n_selected": 100 + at, "n_weights": 1 << 20} for at, name in enumerate(layers)
        }

    return store.materialise(recipe, write, CONTEXT).ref


def inputs(store, models=MODELS, tags=(("hate", 70), (None, 5), ("violence", 900))):
    metrics = {name: random_metrics(seed) for seed, name in enumerate(models)}
    evaluations = {name: put_evaluation(store, metrics[name], tags, name=name) for name in models}
    return metrics, evaluations


def gallery(store, folder, models=MODELS[:2], tags=(), n_queries=8, **drawn):
    shards = drawn_shards(folder, tags=tags, **drawn)
    embeddings = {name: put_model_embeddings(store, shards, 10 * at, tags) for at, name in enumerate(models)}
    return write_gallery.fn(embeddings, shards, 0, store, CONTEXT, n_queries).ref


def flipped(store, folder, tags=(), **drawn):
    """What flips between two models with random embeddings of drawn pairs, and the gallery of these."""
    shards = drawn_shards(folder, tags=tags, **drawn)
    embeddings = [put_model_embeddings(store, shards, 10 * at, tags) for at in range(2)]
    first, second = (evaluate_model.fn("a" * 64, found, [], store, CONTEXT, seed=0).ref for found in embeddings)
    found = find_flips.fn(first, second, 0, store, CONTEXT).ref
    return found, write_flip_gallery.fn(found, shards, 0, store, CONTEXT).ref


def text_of(made):
    return (made.path / "report.html").read_text(encoding="utf-8")


def full_report(folder, compared=None):
    """A report with every section; its file, and the metrics that it shows."""
    store = Store(folder / "store")
    metrics, evaluations = inputs(store)
    flips, flip_gallery = flipped(store, folder)
    reported = Reported(
        evaluations,
        put_scores(store),
        experiments=[put_experiment(store, compared or comparison()), put_experiment(store, sweep(), sweep_svg=SVG)],
        gallery=gallery(store, folder),
        flips={MODELS[1]: flips},
        flip_gallery=flip_gallery,
        edit=put_edit(store),
    )
    made = write_report.fn("nightly", reported, store, CONTEXT)
    return made.path / "report.html", metrics
