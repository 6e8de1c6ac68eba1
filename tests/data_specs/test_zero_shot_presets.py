import re
from collections import Counter

import pytest
import yaml
from pydantic import ValidationError

from data_specs.data_sets import ZeroShotConfig
from data_specs.zero_shot_presets import ZeroShotPreset, find_preset, zero_shot_presets
from tests.cases.places import ROOT

# The columns of the paper's table of zero-shot accuracies, and the prompts of its released code.
PAPER = {
    "ImageNet": "a photo of a {c}.",
    "ImageNetV2": "a photo of a {c}.",
    "ImageNet-R": "a photo of a {c}.",
    "ImageNet-A": "a photo of a {c}.",
    "ImageNet-Sketch": "a photo of a {c}.",
    "Caltech101": "a photo of a {c}.",
    "OxfordPets": "a photo of a {c}, a type of pet.",
    "Food101": "a photo of {c}, a type of food.",
    "Flowers102": "a photo of a {c}, a type of flower.",
    "CIFAR10": "a photo of a {c}.",
    "CIFAR100": "a photo of a {c}.",
    "EuroSAT": "a centered satellite photo of {c}.",
    "StanfordCars": "a photo of a {c}.",
    "FGVCAircraft": "a photo of a {c}, a type of aircraft.",
    "DTD": "a photo of a {c} texture.",
    "SUN397": "a photo of a {c}.",
    "UCF101": "a video of {c}.",
}


def test_presets_are_the_papers_data_sets_in_the_order_of_its_table():
    assert [(preset.column, preset.template) for preset in zero_shot_presets()] == list(PAPER.items())


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("ImageNet", ["imagenet1k", "imagenet", "ImageNet", "wds_imagenet1k", "wds/imagenet1k", "imagenet-1k"]),
        ("ImageNetV2", ["imagenetv2", "imagenet-v2", "wds_imagenetv2"]),
        ("ImageNet-R", ["imagenet-r", "imagenet_r", "ImageNetR", "wds_imagenet-r"]),
        ("ImageNet-A", ["imagenet-a", "wds_imagenet-a"]),
        ("ImageNet-Sketch", ["imagenet_sketch", "imagenet-sketch", "wds_imagenet_sketch"]),
        ("Caltech101", ["vtab/caltech101", "caltech101", "caltech-101", "wds_vtab-caltech101"]),
        ("OxfordPets", ["vtab/pets", "pets", "oxford_pets", "wds_vtab-pets"]),
        ("Food101", ["food101", "food-101", "wds_food101"]),
        ("Flowers102", ["vtab/flowers", "flowers", "flowers102", "oxford_flowers", "wds/vtab/flowers"]),
        ("CIFAR10", ["cifar10", "vtab/cifar10", "CIFAR-10", "wds_cifar10"]),
        ("CIFAR100", ["cifar100", "vtab/cifar100", "wds_vtab-cifar100"]),
        ("EuroSAT", ["vtab/eurosat", "eurosat", "wds_vtab-eurosat"]),
        ("StanfordCars", ["cars", "stanford_cars", "wds_cars"]),
        ("FGVCAircraft", ["fgvc_aircraft", "fgvc-aircraft", "aircraft", "wds_fgvc_aircraft"]),
        ("DTD", ["vtab/dtd", "dtd", "wds_vtab-dtd"]),
        ("SUN397", ["sun397", "wds_sun397"]),
        ("UCF101", ["ucf101", "UCF-101"]),
    ],
)
def test_a_preset_is_found_by_every_usual_spelling_of_its_name(column, names):
    for name in names:
        preset = find_preset(name)
        assert preset is not None, name
        assert preset.column == column, name


@pytest.mark.parametrize("name", ["mnist", "cifar", "cifar1000", "imagenet-o", "my-cars", "wds_", "vtab"])
def test_a_data_set_that_the_paper_lacks_has_no_preset(name):
    assert find_preset(name) is None


def test_no_two_presets_share_a_name():
    bare = [{re.sub("[-_/]", "", name.lower()) for name in preset.names} for preset in zero_shot_presets()]
    assert max(Counter(name for names in bare for name in names).values()) == 1
    for preset in zero_shot_presets():
        assert {find_preset(name) for name in preset.names} == {preset}


def test_a_preset_without_a_place_for_the_class_is_refused():
    with pytest.raises(ValidationError, match=r"template 'a photo' lacks \{c\}"):
        ZeroShotPreset(key="toys", column="Toys", template="a photo", aliases=())


@pytest.mark.parametrize("path", sorted((ROOT / "data_specs/presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_names_the_papers_data_sets_ready_to_be_taken(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    block = "\n".join(line[1:] for line in lines[lines.index("#   zero_shot:") :])
    entries = [ZeroShotConfig.model_validate(entry) for entry in yaml.safe_load(block)["zero_shot"]]
    assert [find_preset(entry.name) for entry in entries] == list(zero_shot_presets())
    assert len(entries) == 17
    assert {entry.templates for entry in entries} == {"paper"}
