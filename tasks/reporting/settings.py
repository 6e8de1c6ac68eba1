"""Settings that act, in words: those of an edit, and the axes of an experiment."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from data_specs.experiment import Experiment
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.run_config import ENCODERS
from data_specs.sign_filter import signs_of
from tasks.lineage.store import Store
from tasks.lineage.trace import manifests_behind
from tasks.tables.experiment_verdict import encoders_of, point_in_words

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
# Said elsewhere, or a number a shard.
_FIRST = ("scorer", "aggregation", "weight_by_magnitude")
_NOT_SAID = ("layers", "samples", "tags")


def settings_lines(edit: Manifest | None, behind: Mapping[ArtifactRef, Manifest], store: Store) -> list[str]:
    """A line an encoder: how its weights were scored, selected and changed, and which layers are its.

    Args:
        edit: the artifact of the edited model that a report is about; None where there is none.
        behind: manifests of what it was made of.
        store: holds them.

    Returns:
        The lines; none without an edit.
    """
    if edit is None:
        return []
    own = [*manifests_behind(store, [edit.ref], behind).values()]
    scored = {item.recipe.kind: item.recipe.settings for item in own if item.recipe.kind.startswith("layer_scores.")}
    signs = next((found for item in own if (found := signs_of(item.recipe.settings))), {})
    lines = []
    for encoder in ENCODERS:
        chosen = edit.recipe.settings.get(encoder)
        if not isinstance(chosen, dict):
            continue
        settings: dict[str, JsonValue] = {**scored.get(f"layer_scores.{encoder}", {})}
        layers = settings.get("layers")
        ordered = sorted(
            settings.items(), key=lambda item: (_FIRST.index(item[0]) if item[0] in _FIRST else len(_FIRST), item[0])
        )
        told: dict[str, JsonValue] = {
            name: value for name, value in ordered if name not in _NOT_SAID and value is not None
        }
        told |= {name: chosen[name] for name in ("rule", "tau", "alpha") if name in chosen}
        told |= {"sign": str(signs.get(encoder, "none"))}
        names = [str(name) for name in layers] if isinstance(layers, list) else []
        lines.append(f"{encoder} encoder: {in_words(told)}; {_layers_in_words(names)}")
    return lines


def experiment_line(experiment: Experiment) -> str:
    """What an experiment varied, over how many models, and what was chosen of it."""
    n_models = sum(row.role not in ("original", "paper") for row in experiment.rows)
    if experiment.kind == "comparison":
        roles = [row.role for row in experiment.rows]
        return f"comparison of {roles.count('method')} methods and {roles.count('control')} controls"
    axes = {
        name: [value for value in dict.fromkeys(row.axes.get(name) for row in experiment.points) if value is not None]
        for name in experiment.axes
    }
    varied = "; ".join(f"{name} {_values(values)}" for name, values in axes.items() if len(values) > 1)
    fixed = ", ".join(f"{name} {_values(values)}" for name, values in axes.items() if len(values) == 1)
    line = f"{experiment.kind} of {n_models} edit{'s' if n_models != 1 else ''}"
    line += f" over {varied}" if varied else ""
    line += f"; with {fixed}" if fixed else ""
    if experiment.kind == "sweep":
        line += f"; {encoders_of(experiment)}"
        if experiment.limits:
            line += f"; limits {', '.join(experiment.limits)}"
        line += f"; {_chosen(experiment)}"
    left_out = len(experiment.left_out)
    return f"{line}; {left_out} left out" if left_out else line


def _chosen(sweep: Experiment) -> str:
    if sweep.chosen is None:
        return "no point chosen"
    told, choice = f"chosen: {point_in_words(sweep.points[sweep.chosen])}", sweep.choice
    if choice is None or not choice.on_others:
        return told
    return f"{told}, on {sweep.n_pairs:,} pairs; figures of {choice.n_reported or 0:,} others"


def _values(values: Iterable[Any]) -> str:
    return ", ".join(
        f"{value:g}" if isinstance(value, int | float) else str(value) for value in values if value is not None
    )


def _layers_in_words(layers: Sequence[str]) -> str:
    """Layers that differ in one number as one pattern, such as `blocks.{0..11}.mlp.fc2`."""
    patterns: dict[str, list[int]] = {}
    for name in layers:
        numbers = _NUMBER.findall(name)
        patterns.setdefault(_NUMBER.sub("{}", name, count=1), []).extend(map(int, numbers[:1]))
    told = [pattern.replace("{}", _numbers(numbers), 1) for pattern, numbers in patterns.items()]
    return (
        f"{len(layers)} layer{'s' if len(layers) != 1 else ''}: {', '.join(told)}" if layers else "layers not recorded"
    )


def _numbers(numbers: Sequence[int]) -> str:
    ordered = sorted(numbers)
    if len(ordered) > 1 and ordered == [*range(ordered[0], ordered[-1] + 1)]:
        return f"{{{ordered[0]}..{ordered[-1]}}}"
    return str(ordered[0]) if len(ordered) == 1 else f"{{{','.join(map(str, ordered))}}}"


def in_words(value: JsonValue) -> str:
    """Settings on one line, such as `text (scorer uwm, tau 0.98), seed 0`."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({in_words(part)})" if isinstance(part, dict) else f"{name} {in_words(part)}"
            for name, part in value.items()
        )
    if isinstance(value, list):
        return " + ".join(in_words(part) for part in value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)
