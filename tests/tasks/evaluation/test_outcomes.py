import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.evaluation_files import read_by_tag, read_figures, read_intervals, read_metrics, read_zero_shot
from data_specs.metrics import (
    ACCURACIES,
    GROUPS,
    PREFERENCES,
    RECALL_AT,
    RETRIEVALS,
    describe_metric,
    metric_names,
    recall_name,
    tag_metric_names,
)
from data_specs.schemas import BY_TAG, OUTCOMES, ZERO_SHOT_OUTCOMES
from tasks.embeddings.pairs import read_pairs
from tasks.evaluation.outcomes import pair_outcomes
from tasks.lineage.store import Store
from tests.cases.evaluations import DATA_SETS, TAGS, evaluated


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def artifact(root):
    return evaluated(root, 1).path


def rows(artifact, name):
    return pq.read_table(artifact / name).to_pylist()


def test_an_outcome_is_the_definition_of_its_pair_in_shard_order(artifact):
    cosines, outcomes = rows(artifact, "similarities.parquet"), rows(artifact, "outcomes.parquet")
    assert [row["pair_id"] for row in outcomes] == [f"digest/{i}" for i in range(60)]
    assert [row["tag"] for row in outcomes] == [TAGS[i % len(TAGS)] for i in range(60)]
    for pair, found in zip(cosines, outcomes, strict=True):
        expected = {
            "P_t_s": pair["ss"] > pair["su"],
            "P_t_u": pair["us"] > pair["uu"],
            "P_v_s": pair["ss"] > pair["us"],
            "P_v_u": pair["su"] > pair["uu"],
        }
        expected["Txt_s"] = expected["P_v_s"] and expected["P_v_u"]
        expected["Img_s"] = expected["P_t_s"] and expected["P_t_u"]
        expected["PS"] = expected["P_t_s"] and expected["P_v_s"]
        expected["PU"] = expected["P_t_u"] and expected["P_v_u"]
        expected["GS"] = expected["PS"] and expected["PU"]
        assert {name: found[name] for name in expected} == expected


def test_a_rank_counts_the_candidates_before_the_right_one(root, artifact):
    store = Store(root)
    inputs = store.manifest(evaluated(root, 1).ref).recipe.inputs
    pairs = read_pairs(store.path(inputs["embeddings.text"]), store.path(inputs["embeddings.vision"]))
    ts, tu, vs, vu = (
        member.double() for member in (pairs.text_safe, pairs.text_unsafe, pairs.vision_safe, pairs.vision_unsafe)
    )
    queries = {
        "Ts-Vs": (ts, vs),
        "Vs-Ts": (vs, ts),
        "Tu-Vus": (tu, torch.cat([vs, vu])),
        "Vu-Tus": (vu, torch.cat([ts, tu])),
    }
    outcomes = rows(artifact, "outcomes.parquet")
    for name, (query, candidates) in queries.items():
        order = torch.argsort(query @ candidates.T, dim=1, descending=True)
        expected = [order[i].tolist().index(i) for i in range(60)]
        assert [row[name] for row in outcomes] == expected


def test_every_metric_follows_from_the_outcomes(artifact):
    outcomes = rows(artifact, "outcomes.parquet")
    expected = {"n_pairs": len(outcomes)}
    for name in (*PREFERENCES, *GROUPS):
        expected[name] = 100 * sum(row[name] for row in outcomes) / len(outcomes)
    for name in RETRIEVALS:
        for k in RECALL_AT:
            expected[recall_name(name, k)] = 100 * sum(row[name] < k for row in outcomes) / len(outcomes)
    images = rows(artifact, "zero_shot_outcomes.parquet")
    accuracies = {}
    for data_set, (n_images, n_classes) in DATA_SETS.items():
        own = [row for row in images if row["data_set"] == data_set]
        assert [row["sample_id"] for row in own] == [f"{data_set}/{i}" for i in range(n_images)]
        recall = [
            np.mean([row["rank"] == 0 for row in own if row["label"] == label])
            for label in {row["label"] for row in own}
        ]
        accuracies[data_set] = {
            "acc1": 100 * sum(row["rank"] < 1 for row in own) / n_images,
            "mean_per_class_recall": 100 * np.mean(recall),
            **({"acc5": 100 * sum(row["rank"] < 5 for row in own) / n_images} if n_classes >= 5 else {}),
        }
        assert read_zero_shot(artifact)[data_set] == pytest.approx(accuracies[data_set], rel=1e-12)
    expected["zero_shot"] = np.mean([each["acc1"] for each in accuracies.values()])
    assert read_metrics(artifact) == pytest.approx(expected, rel=1e-12)
    assert 0 < expected["GS"] < expected["PS"] < 100


def test_every_figure_has_an_interval_around_it(artifact):
    figures, intervals = read_figures(artifact), read_intervals(artifact)
    assert intervals.keys() == figures.keys()
    assert {*metric_names(), "zero_shot", "zero_shot.toys.acc1", "zero_shot.birds.v2.acc5"} < figures.keys()
    for name, value in figures.items():
        low, high = intervals[name]
        assert 0 <= low <= value <= high <= 100, name
        assert low < high, name


def test_a_tags_figures_are_those_of_its_pairs_alone(artifact):
    outcomes, found = rows(artifact, "outcomes.parquet"), read_by_tag(artifact)
    assert pq.read_schema(artifact / "by_tag.parquet").equals(BY_TAG, check_metadata=True)
    # An empty tag is a tag, none is none.
    order = ["", "hate", "war", None]
    assert [(row.tag, row.metric) for row in found] == [(tag, name) for tag in order for name in tag_metric_names()]
    for row in found:
        own = [each[row.metric] for each in outcomes if each["tag"] == row.tag]
        right = sum(value == 0 if row.metric in RETRIEVALS else value for value in own)
        assert (row.n_pairs, row.value) == (15, 100 * right / 15)
        assert 0 <= row.low <= row.value <= row.high <= 100
        assert row.low < row.high


@pytest.mark.slow
def test_the_seed_and_nothing_else_decides_the_intervals(root, artifact, tmp_path):
    again, other = evaluated(tmp_path, 1).path, evaluated(root, 1, seed=1).path
    for name in ("intervals.json", "by_tag.parquet", "outcomes.parquet", "metrics.json"):
        assert (again / name).read_bytes() == (artifact / name).read_bytes()
    assert other != artifact
    assert read_metrics(other) == read_metrics(artifact)
    assert read_intervals(other) != read_intervals(artifact)


def test_without_zero_shot_data_sets_there_are_no_files_of_them(root):
    artifact = evaluated(root, 2, data_sets={}).path
    assert sorted(path.name for path in artifact.iterdir()) == [
        *(
            "by_tag.parquet",
            "chance.json",
            "clip_benchmark.json",
            "intervals.json",
            "manifest.json",
            "metrics.json",
            "outcomes.parquet",
        ),
        "similarities.parquet",
    ]
    assert read_zero_shot(artifact) == {}
    assert list(read_intervals(artifact)) == metric_names()


def test_figures_stand_under_the_names_of_clip_benchmark_too(artifact):
    retrieval, *others = json.loads((artifact / "clip_benchmark.json").read_text())
    metrics = read_metrics(artifact)
    assert list(retrieval["metrics"]) == [
        f"{what}_retrieval_recall@{k}" for what in ("image", "text") for k in (1, 5, 10, 20)
    ]
    assert retrieval["metrics"]["image_retrieval_recall@1"] == pytest.approx(metrics["Ts-Vs"] / 100)
    assert retrieval["metrics"]["text_retrieval_recall@5"] == pytest.approx(metrics["Vs-Ts@5"] / 100)
    assert {record["dataset"]: record["metrics"] for record in others} == {
        name: pytest.approx({key: value / 100 for key, value in found.items()})
        for name, found in read_zero_shot(artifact).items()
    }


def test_outcomes_are_in_the_published_schemas(artifact):
    assert pq.read_schema(artifact / "outcomes.parquet").equals(OUTCOMES, check_metadata=True)
    assert pq.read_schema(artifact / "zero_shot_outcomes.parquet").equals(ZERO_SHOT_OUTCOMES, check_metadata=True)


def test_ranks_of_other_than_the_similarities_pairs_are_refused(artifact):
    ranks = {name: torch.zeros(59, dtype=torch.int64) for name in RETRIEVALS}
    with pytest.raises(pa.ArrowInvalid, match="expected length 60 but got length 59"):
        pair_outcomes(artifact / "similarities.parquet", ranks)


def test_figures_of_data_sets_are_described_by_their_names():
    described = {describe_metric(f"zero_shot.birds.v2.{name}") for name in ACCURACIES}
    assert len(described) == 3
    assert "top-1 accuracy on birds.v2" in described
