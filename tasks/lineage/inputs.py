"""The artifacts among a recipe's inputs, and those that a digest in it stands for."""

from collections.abc import Callable, Iterable

from data_specs.manifest import ArtifactRef, MadeOf, Recipe
from tasks.lineage.base_weights import ModelInUse, models_behind

TAKEN_FROM = "taken_from"  # the role of artifacts whose files one has, in place of making the same


def made_of(
    recipe: Recipe,
    models: Iterable[ModelInUse],
    as_it_is: Callable[[ArtifactRef], MadeOf],
    taken_from: Iterable[ArtifactRef] = (),
) -> dict[str, list[MadeOf]]:
    """What an artifact is made of, by the roles of its recipe; the edit of an edited model under the model's role."""
    taken = [as_it_is(ref) for ref in taken_from]
    found: dict[str, list[MadeOf]] = {TAKEN_FROM: taken} if taken else {}
    for role, given in recipe.inputs.items():
        refs = [item for item in (given if isinstance(given, list) else [given]) if isinstance(item, ArtifactRef)]
        if refs:
            found[role] = [as_it_is(ref) for ref in refs]
    for role, model in models_behind(recipe, models).items():
        if model.edit is not None:
            found[role] = [as_it_is(model.edit)]
    return found
