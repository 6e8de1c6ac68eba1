import pytest
import torch

from data_specs.errors import ArtifactError
from tasks.manipulation.control import random_control
from tasks.manipulation.edit import Edit, LayerEdit, positions

LAYERS = {
    "text.out": ((40, 50), 60),
    "visual.fc": ((30, 30), 7),
    "visual.none": ((5, 5), 0),
    "visual.all": ((4, 3), 12),
}


def random_weights():
    generator = torch.Generator().manual_seed(0)
    return {layer: torch.randn(shape, generator=generator) for layer, (shape, _) in LAYERS.items()}


def edit_of(weights):
    layers = {layer: positions(torch.arange(n), weights[layer], "text") for layer, (_, n) in LAYERS.items()}
    return Edit("base", layers, {"text": -1.0}, {"text": "score_mass"}, {"text": 0.98})


def test_a_control_changes_equally_many_weights_of_the_same_layers_by_the_same_factor():
    weights = random_weights()
    edit = edit_of(weights)
    control = random_control(edit, weights, seed=0)
    assert list(control.layers) == list(LAYERS)
    assert (control.base_model, control.alpha, control.tau) == ("base", edit.alpha, edit.tau)
    assert control.rule == {"text": "random"}
    for layer, (_, n) in LAYERS.items():
        index = control.layers[layer].index
        assert len(set(index.tolist())) == n
        assert index.tolist() == sorted(index.tolist())
        assert all(0 <= position < weights[layer].numel() for position in index.tolist())
        assert torch.equal(control.layers[layer].original, weights[layer].reshape(-1)[index])
    assert control.layers["text.out"].index.tolist() != edit.layers["text.out"].index.tolist()


def test_the_same_seed_draws_the_same_weights_and_another_seed_others():
    weights = random_weights()
    edit = edit_of(weights)
    first, again, other = (random_control(edit, weights, seed=seed).layers["text.out"].index for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_layers_draw_does_not_depend_on_which_other_layers_there_are():
    weights = random_weights()
    edit = edit_of(weights)
    alone = Edit("base", {"visual.fc": edit.layers["visual.fc"]}, edit.alpha, edit.rule, edit.tau)
    expected = random_control(edit, weights, seed=0).layers["visual.fc"].index
    assert torch.equal(random_control(alone, weights, seed=0).layers["visual.fc"].index, expected)


def test_every_weight_is_drawn_about_equally_often():
    weights = {"text.out": torch.zeros(10, 10)}
    edit = Edit("base", {"text.out": positions(range(20), weights["text.out"], "text")}, {}, {}, {})
    drawn = torch.cat([random_control(edit, weights, seed=seed).layers["text.out"].index for seed in range(500)])
    counts = torch.bincount(drawn, minlength=100)
    # 500 draws of 20 of 100: mean 100, standard deviation 9.
    assert counts.min() > 60
    assert counts.max() < 140


def test_an_edit_that_is_not_of_these_weights_has_no_control():
    weights = random_weights()
    edit = edit_of(weights)
    n = weights["visual.all"].numel()
    more = LayerEdit("text", torch.arange(n + 1), torch.cat([weights["visual.all"].view(-1), torch.zeros(1)]))
    edit.layers["visual.all"] = more
    with pytest.raises(ArtifactError, match=f"layer visual.all has position {n}, but only {n} weights"):
        random_control(edit, weights, seed=0)
    edit = edit_of(weights)
    weights["visual.fc"] = -weights["visual.fc"]
    with pytest.raises(ArtifactError, match=r"layer visual\.fc .* \(7 of 7 values differ\)"):
        random_control(edit, weights, seed=0)
