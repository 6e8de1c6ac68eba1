import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.testing import assert_close

from data_specs.data_sets import ZeroShotConfig
from data_specs.errors import DataError, SpecError
from data_specs.schemas import embeddings_schema
from tasks.embeddings.observer import FOLDER
from tasks.evaluation.zero_shot import (
    DataSet,
    class_embeddings,
    classification_ranks,
    open_data_set,
    read_labelled,
)
from tasks.extraction.columns import vector_column
from tests.cases.evaluations import accuracies
from tests.cases.models import tiny_model
from tests.cases.statistics import write_statistics


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
    if len(classes) >= 5:
        metrics["acc5"] = 100 * sum(among_five) / len(among_five)
    return metrics


def metrics_of(images, labels, classes):
    return accuracies(classification_ranks(images, labels, classes), labels, len(classes))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_accuracies_equal_their_definition_with_many_ties(n, n_classes, width, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(-2, 3, (n, width), generator=generator).float()
    classes = torch.randint(-2, 3, (n_classes, width), generator=generator).float()
    labels = torch.randint(0, n_classes, (n,), generator=generator)
    found = metrics_of(images, labels, classes)
    assert found == pytest.approx(naive_metrics(images, labels, classes), rel=1e-12)


def test_classes_without_an_image_do_not_count_in_the_mean_over_classes():
    classes = torch.eye(4)
    labels = torch.tensor([0, 0, 0, 2])
    found = metrics_of(classes[[0, 0, 1, 2]], labels, classes)
    assert found == {"acc1": 75.0, "mean_per_class_recall": pytest.approx(100 * (2 / 3 + 1) / 2)}


@pytest.mark.parametrize(("n_images", "n_classes", "width"), [(8, 8, 2), (100, 10, 512), (4099, 7, 33)])
def test_of_classes_that_look_the_same_only_the_first_is_ever_chosen(n_images, n_classes, width):
    # In these shapes a plain matrix product gives some columns other last digits than the rest.
    generator = torch.Generator().manual_seed(n_images)
    images = normalize(torch.randn(n_images, width, generator=generator), dim=1)
    one = normalize(torch.randn(1, width, generator=generator), dim=1)
    labels = torch.arange(n_images) % n_classes
    assert torch.equal(classification_ranks(images, labels, one.repeat(n_classes, 1)), labels)


def test_the_rank_is_the_number_of_classes_that_come_before():
    classes = torch.tensor([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0], [0.6, 0.8]])
    ranks = classification_ranks(torch.tensor([[1.0, 0.0]]).repeat(4, 1), torch.arange(4), classes)
    assert ranks.tolist() == [3, 1, 0, 2]
    assert ranks.dtype == torch.int64


@pytest.mark.parametrize(("n_classes", "expected"), [(4, None), (5, 80.0), (6, 80.0)])
def test_accuracy_among_five_is_given_for_five_classes_or_more(n_classes, expected):
    ranks = torch.tensor([0, 4, 5, 1, 3])
    found = accuracies(ranks, torch.tensor([0, 1, 2, 3, 3]), n_classes)
    assert found.get("acc5") == expected
    assert found["acc1"] == 20.0
    assert found["mean_per_class_recall"] == 25.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["images", "classes"])
def test_embeddings_that_are_not_finite_are_not_ranked(side, value):
    sides = {"images": torch.eye(3), "classes": torch.eye(3)}
    sides[side][1, 1] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        classification_ranks(sides["images"], torch.arange(3), sides["classes"])


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


@pytest.mark.parametrize("prompts_at_once", [1, 2, 7, 12])
def test_classes_do_not_depend_on_how_many_prompts_are_encoded_at_once(prompts_at_once):
    model = tiny_model()
    sizes = []

    def counted(texts):
        sizes.append(len(texts))
        return token_ids(texts)

    data_set = DataSet("toys", ("cat", "dog", "cow", "hen"), ("a {c}", "the {c}.", "{c}"), ())
    with torch.inference_mode():
        expected = class_embeddings(model, token_ids, data_set, torch.device("cpu"))
        found = class_embeddings(model, counted, data_set, torch.device("cpu"), prompts_at_once=prompts_at_once)
    assert_close(found, expected, rtol=0, atol=1e-6)
    assert sum(sizes) == 12
    assert max(sizes) == prompts_at_once
    assert all(size == prompts_at_once for size in sizes[:-1])


def test_a_class_whose_embedding_is_not_finite_is_named():
    class BrokenAtDog(torch.nn.Module):
        def encode_text(self, ids):
            return torch.where(ids == ids.max(), torch.nan, 1.0)

    def lengths(texts):
        return torch.tensor([[float(len(text)), 1.0] for text in texts])

    data_set = DataSet("toys", ("cat", "doggy", "cow"), ("a {c}",), ())
    with pytest.raises(DataError, match=r"data set toys: the embedding of class 'doggy' is NaN or infinite"):
        class_embeddings(BrokenAtDog(), lengths, data_set, torch.device("cpu"))


def write_data_set(folder, **files):
    content = {
        "classnames.txt": "cat\n dog \ncow\n",
        "zeroshot_classification_templates.txt": "a photo of a {c}.\n\n{c}\n",
        "test/nshards.txt": "2\n",
        "test/0.tar": b"first",
        "test/1.tar": b"second",
    } | files
    for name, text in content.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def open_toys(folder, **settings):
    return open_data_set(ZeroShotConfig(**{"name": "toys", "path": str(folder), **settings}))


def test_a_data_set_is_read_in_clip_benchmarks_layout(tmp_path):
    assert open_toys(write_data_set(tmp_path)) == DataSet(
        "toys",
        ("cat", "dog", "cow"),
        ("a photo of a {c}.", "{c}"),
        (str(tmp_path / "test/0.tar"), str(tmp_path / "test/1.tar")),
    )


def test_another_split_is_read_from_its_own_folder(tmp_path):
    write_data_set(tmp_path, **{"train/nshards.txt": "1", "train/0.tar": b"x"})
    assert open_toys(tmp_path, split="train").shards == (str(tmp_path / "train/0.tar"),)


@pytest.mark.parametrize("text", ["cat\n{dog}\ncow\n\n \n", "\ufeffcat\r\n\t{dog}\r\ncow"])
def test_white_space_around_class_names_does_not_count_and_braces_are_text(tmp_path, text):
    assert open_toys(write_data_set(tmp_path, **{"classnames.txt": text})).class_names == ("cat", "{dog}", "cow")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("classnames.txt", None, r"zero-shot data set toys: cannot read .*classnames\.txt.*expected a folder with"),
        ("classnames.txt", "\n \n", r"zero-shot data set toys: .*classnames\.txt is empty"),
        ("classnames.txt", b"\xff\xfe", r"cannot read .*classnames\.txt"),
        ("classnames.txt", "cat\n \ncow\n", r"line 2 of .*classnames\.txt is blank"),
        ("classnames.txt", "\ncat\ncow\n", r"line 1 of .*classnames\.txt is blank"),
        ("zeroshot_classification_templates.txt", "a photo", r"template 'a photo' in .* lacks \{c\}"),
        ("zeroshot_classification_templates.txt", None, r"cannot read .*zeroshot_classification_templates\.txt"),
        ("test/nshards.txt", "many", r"nshards\.txt says 'many', expected a count"),
        ("test/nshards.txt", "²", r"nshards\.txt says '²', expected a count"),
        ("test/nshards.txt", "0", r"nshards\.txt says '0', expected a count"),
        ("test/nshards.txt", "2\n2\n", r"nshards\.txt says '2 2', expected a count"),
        ("test/nshards.txt", "9" * 5000, r"nshards\.txt says '9+…, expected a count"),
        ("test/nshards.txt", None, r"cannot read .*nshards\.txt"),
        ("test/0.tar", None, r"shard .*test/0\.tar is missing; nshards\.txt beside it says 2, so 0\.tar to 1\.tar"),
        ("test/nshards.txt", "999999999", r"shard .*test/2\.tar is missing"),
    ],
)
def test_a_data_set_that_makes_no_sense_is_refused_by_the_file(tmp_path, name, text, expected):
    with pytest.raises(DataError, match=expected):
        open_toys(write_data_set(tmp_path, **{name: text}))


def test_a_missing_data_set_is_named_with_its_path_and_what_is_expected_there(tmp_path):
    expected = (
        rf"zero-shot data set toys: {tmp_path}/gone does not exist; expected a folder with classnames\.txt,"
        r" zeroshot_classification_templates\.txt, val/nshards\.txt, val/0\.tar and so on"
    )
    with pytest.raises(DataError, match=expected):
        open_toys(tmp_path / "gone", split="val")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is no folder"):
        open_toys(tmp_path / "file")


def test_the_papers_template_takes_the_place_of_the_data_sets_own(tmp_path):
    write_data_set(tmp_path, **{"zeroshot_classification_templates.txt": None})
    assert open_toys(tmp_path, name="wds_vtab-dtd", templates="paper").templates == ("a photo of a {c} texture.",)
    with pytest.raises(DataError, match=r"does not exist; expected a folder with classnames\.txt, test/nshards\.txt"):
        open_toys(tmp_path / "gone", name="wds_vtab-dtd", templates="paper")


def test_the_papers_template_of_a_data_set_that_it_lacks_is_refused_with_those_it_has(tmp_path):
    with pytest.raises(
        SpecError, match=r"data set toys: templates is paper, .* only imagenet1k, .*, ucf101; name it so"
    ):
        open_toys(write_data_set(tmp_path), templates="paper")


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
    sample_ids, images, labels = read_labelled(tmp_path, 3, "toys")
    assert sample_ids == ["a/0", "a/1", "a/2"]
    assert torch.equal(images, values)
    assert labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("label", [None, "cat", "-1", "3", "1.0", "", "²", "1" * 5000])
def test_a_class_number_that_is_none_is_refused_with_its_sample(tmp_path, label):
    write_labelled(tmp_path, ["0", label, "1"])
    with pytest.raises(
        DataError, match=r"zero-shot data set toys: sample a/1 has class .*, expected KEY\.cls with 0 to 2"
    ):
        read_labelled(tmp_path, 3, "toys")


def test_a_data_set_of_which_no_image_could_be_read_is_refused(tmp_path):
    with pytest.raises(DataError, match="zero-shot data set toys: no image could be read"):
        read_labelled(tmp_path, 3, "toys")
    write_labelled(tmp_path, [])
    with pytest.raises(DataError, match="zero-shot data set toys: no image could be read"):
        read_labelled(tmp_path, 3, "toys")
