import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.testing import assert_close

from data_specs.errors import DataError
from data_specs.schemas import embeddings_schema
from tasks.embeddings.observer import FOLDER
from tasks.evaluation.zero_shot import (
    DataSet,
    class_embeddings,
    classification_metrics,
    open_data_set,
    read_labelled,
)
from tasks.extraction.columns import vector_column
from tests.support import tiny_model, write_statistics


def naive_metrics(images, labels, classes):
    right, among_five, by_class = [], [], {}
    for image, label in zip(images.tolist(), labels.tolist(), strict=True):
        logits = [sum(a * b for a, b in zip(image, row, strict=True)) for row in classes.tolist()]
        ranked = sorted(range(len(logits)), key=lambda c: (-logits[c], c))
        right.append(ranked[0] == label)
        among_five.append(label in ranked[:5])
        by_class.setdefault(label, []).append(ranked[0] == label)
    recall = [sum(hits) / len(hits) for hits in by_class.values()]
    metrics = {"acc1": 100 * sum(right) / len(right), "mean_per_class_recall": 100 * sum(recall) / len(recall)}
    if len(classes) > 5:
        metrics["acc5"] = 100 * sum(among_five) / len(among_five)
    return metrics


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_accuracies_equal_their_definition_with_many_ties(n, n_classes, width, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-2, 3, (n, width), generator=generator).float()
    classes = torch.randint(-2, 3, (n_classes, width), generator=generator).float()
    labels = torch.randint(0, n_classes, (n,), generator=generator)
    found = classification_metrics(images, labels, classes)
    assert found == pytest.approx(naive_metrics(images, labels, classes), rel=1e-12)


def test_classes_without_an_image_do_not_count_in_the_mean_over_classes():
    classes = torch.eye(4)
    labels = torch.tensor([0, 0, 0, 2])
    found = classification_metrics(classes[[0, 0, 1, 2]], labels, classes)
    assert found == {"acc1": 75.0, "mean_per_class_recall": pytest.approx(100 * (2 / 3 + 1) / 2)}


def test_of_classes_that_look_the_same_only_the_first_is_ever_chosen():
    found = classification_metrics(torch.ones(8, 2), torch.arange(8), torch.ones(8, 2))
    assert found == {"acc1": 12.5, "mean_per_class_recall": 12.5, "acc5": 62.5}


def token_ids(texts):
    """A stand-in vocabulary: a letter a token, 63 ends a text."""
    ids = torch.zeros(len(texts), 16, dtype=torch.int64)
    for row, text in enumerate(texts):
        letters = [1 + ord(letter) % 60 for letter in text[:15]]
        ids[row, : len(letters) + 1] = torch.tensor([*letters, 63])
    return ids


def test_a_class_is_the_normalised_mean_of_its_prompts_unit_embeddings():
    model = tiny_model()
    data_set = DataSet("toys", ("cat", "{c} dog", "cow"), ("a {c}", "the {c}.", "{c} and {c}"), ())
    with torch.inference_mode():
        found = class_embeddings(model, token_ids, data_set, torch.device("cpu"))
        for row, prompts in (
            (0, ["a cat", "the cat.", "cat and cat"]),
            (1, ["a {c} dog", "the {c} dog.", "{c} dog and {c} dog"]),
        ):
            single = [model.encode_text(token_ids([prompt]))[0].double() for prompt in prompts]
            mean = torch.stack([normalize(vector, dim=0) for vector in single]).mean(dim=0)
            assert_close(found[row].double(), normalize(mean, dim=0), rtol=1e-5, atol=1e-6)
    assert found.shape == (3, 16)


def write_data_set(folder, **files):
    content = {
        "classnames.txt": "cat\n dog \n\ncow\n",
        "zeroshot_classification_templates.txt": "a photo of a {c}.\n{c}\n",
        "test/nshards.txt": "2\n",
    } | files
    for name, text in content.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_a_data_set_is_read_in_clip_benchmarks_layout(tmp_path):
    found = open_data_set("toys", write_data_set(tmp_path), "test")
    assert found == DataSet(
        "toys",
        ("cat", "dog", "cow"),
        ("a photo of a {c}.", "{c}"),
        (str(tmp_path / "test/0.tar"), str(tmp_path / "test/1.tar")),
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("classnames.txt", None, r"zero-shot data set toys: cannot read .*classnames\.txt"),
        ("classnames.txt", "\n \n", r"zero-shot data set toys: .*classnames\.txt is empty"),
        ("classnames.txt", b"\xff\xfe", r"cannot read .*classnames\.txt"),
        ("zeroshot_classification_templates.txt", "a photo", r"template 'a photo' in .* lacks \{c\}"),
        ("test/nshards.txt", "many", r"nshards\.txt says 'many', expected a count"),
        ("test/nshards.txt", "²", r"nshards\.txt says '²', expected a count"),
        ("test/nshards.txt", "0", r"nshards\.txt says '0', expected a count"),
        ("test/nshards.txt", None, r"cannot read .*nshards\.txt"),
    ],
)
def test_a_data_set_that_makes_no_sense_is_refused_by_the_file(tmp_path, name, text, expected):
    with pytest.raises(DataError, match=expected):
        open_data_set("toys", write_data_set(tmp_path, **{name: text}), "test")


def write_labelled(folder, labels):
    values = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    ids = [f"a/{i}" for i in range(len(labels))]
    columns = [pa.array(ids), pa.array(["safe"] * len(labels)), pa.array(labels, pa.string()), vector_column(values)]
    write_statistics(
        folder / FOLDER / "000000.parquet", [pa.RecordBatch.from_arrays(columns, schema=embeddings_schema(3))]
    )
    return values


def test_images_come_with_their_class_numbers(tmp_path):
    values = write_labelled(tmp_path, ["2", "0", "1"])
    images, labels = read_labelled(tmp_path, 3, "toys")
    assert torch.equal(images, values)
    assert labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("label", [None, "cat", "-1", "3", "1.0", "", "²"])
def test_a_class_number_that_is_none_is_refused_with_its_sample(tmp_path, label):
    write_labelled(tmp_path, ["0", label, "1"])
    with pytest.raises(
        DataError, match=r"zero-shot data set toys: sample a/1 has class .*, expected KEY\.cls with 0 to 2"
    ):
        read_labelled(tmp_path, 3, "toys")
