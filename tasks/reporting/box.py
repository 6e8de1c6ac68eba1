"""What a report reports on: model, data, settings and circumstances, as the manifests of its artifacts record them."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from data_specs.errors import ArtifactError
from data_specs.evaluation_files import read_by_tag, read_metrics
from data_specs.experiment import Kind
from data_specs.experiment_files import read_experiment
from data_specs.manifest import ArtifactRef, Circumstances, Manifest
from data_specs.run_config import ENCODERS, HUB
from data_specs.wording import last_part, one_line, printable, shortened
from tasks.lineage.checking.reuse import Comparison
from tasks.lineage.environment import environment_when_made
from tasks.lineage.store import Store
from tasks.lineage.trace import manifest_at_hand, manifests_behind
from tasks.reporting.caption_artifacts import caption_lines
from tasks.reporting.settings import experiment_line, settings_lines
from tasks.reporting.sources import BoxRow, Reported

_UNKNOWN = "not recorded"
_MOST_TAGS, _TAG_LENGTH, _COMMAND_LENGTH = 12, 40, 600
_SKIPPED, _USED = "samples_skipped", "samples_used"
# A user's name and password, and what follows the question mark, may let in whoever reads them.
_SECRETS = re.compile(r"(?<=://)[^/\s'\"@]*@|\?[^\s'\"]*(?=['\"\s]|$)")
_ADDRESS = re.compile(r"\w+://\S+")


def describe_subject(reported: Reported, store: Store) -> list[BoxRow]:
    """Gather what a report says on its first lines of what it is about.

    Date, commit and command are those of the newest artifact that the report shows, as its manifest has them; devices,
    precision and libraries are those of all artifacts behind the figures.

    Args:
        reported: the artifacts. One that is not there, as in a plan, or was removed since, says nothing.
        store: holds them.

    Returns:
        A row a thing, lines without markup.
    """
    shown = {role: found for role, ref in reported.inputs.items() if (found := manifest_at_hand(store, ref))}
    behind = manifests_behind(store, [item.ref for item in shown.values()])
    first = next(iter(reported.evaluations.values()), None)
    rows = {
        "Model": _model_lines(reported, behind.values()),
        "Edit": settings_lines(shown.get("edit"), behind, store),
        "Experiments": _experiment_lines(reported.experiments, store),
        "Calibration data": _calibration_lines(reported, behind, store),
        "Evaluation data": _evaluation_lines(first, store),
        "Zero-shot data": _zero_shot_lines(first, store),
        **(caption_lines(reported.captions, store) if reported.captions else {}),
        **_circumstance_rows([*shown.values()], [*behind.values()], store),
    }
    return [BoxRow(name, lines) for name, lines in rows.items() if lines]


def _model_lines(reported: Reported, behind: Iterable[Manifest]) -> list[str]:
    named = reported.model
    if named is None:
        found = next((str(item.counts["base_model"]) for item in behind if "base_model" in item.counts), None)
        return [f"weights {_name_of(found)}" if found else _UNKNOWN]
    weights = f", weights {_name_of(named.weights)}" if named.weights else ""
    lines = [f"{_name_of(named.architecture)}{weights}"]
    lines += [f"SHA-256 of the weights' file {named.file}"] if named.file else []
    return [*lines, f"SHA-256 over all tensors {named.tensors}"]


def _name_of(location: str) -> str:
    return printable(location if location.startswith(HUB) else last_part(location))


def _experiment_lines(experiments: Sequence[ArtifactRef], store: Store) -> list[str]:
    lines = []
    for ref in experiments:
        with suppress(ArtifactError):
            lines.append(experiment_line(read_experiment(store.path(ref), cast(Kind, ref.kind))))
    return lines


def _calibration_lines(reported: Reported, known: Mapping[ArtifactRef, Manifest], store: Store) -> list[str]:
    """Of the scores of the edit on top; where there is none, of all scores behind the experiments."""
    of_experiments = [ref for ref in known if ref.kind.startswith("layer_scores.")]
    behind = manifests_behind(store, [reported.scores] if reported.scores else of_experiments, known)
    if not behind:
        return []
    # Folded statistics name no parts, which are gone once they are joined, and the tags, where scores do not.
    folded = {f"activations.{encoder}" for encoder in ENCODERS}
    sets = [item for item in behind.values() if "parts" in item.recipe.inputs or item.recipe.kind in folded]
    asked: set[str] = set()
    for item in behind.values():
        names_tags = item.recipe.kind.startswith("layer_scores.") or item.recipe.kind in folded
        named = item.recipe.settings.get("tags") if names_tags else None
        asked |= {str(tag) for tag in named} if isinstance(named, list) else set()
    if not sets:
        return ["none: scores of the weights alone"]
    only = [f"only pairs tagged {_listed(sorted(asked))}"] if asked else []
    return [*_set_lines(sets), *only]


def _evaluation_lines(evaluation: ArtifactRef | None, store: Store) -> list[str]:
    found = manifest_at_hand(store, evaluation)
    if evaluation is None or found is None:
        return []
    lines = []
    with suppress(ArtifactError):
        n_pairs = int(read_metrics(store.path(evaluation))["n_pairs"])
        lines.append(f"{n_pairs:,} pairs with all four members")
    refs = [found.recipe.inputs.get(f"embeddings.{encoder}") for encoder in ENCODERS]
    sets = [item for ref in refs if isinstance(ref, ArtifactRef) and (item := manifest_at_hand(store, ref))]
    lines += _set_lines(sets)
    with suppress(ArtifactError):
        tags = Counter({row.tag: row.n_pairs for row in read_by_tag(store.path(evaluation))})
        told = [f"{_tag(tag)} {n:,}" for tag, n in tags.most_common(_MOST_TAGS)]
        more = f" and {len(tags) - _MOST_TAGS} more" if len(tags) > _MOST_TAGS else ""
        lines.append(f"tags: {', '.join(told)}{more}")
    return lines


def _zero_shot_lines(evaluation: ArtifactRef | None, store: Store) -> list[str]:
    found = manifest_at_hand(store, evaluation)
    lines = []
    for name in found.recipe.settings.get("zero_shot", []) if found else []:  # type: ignore[union-attr]
        inputs = found.recipe.inputs if found else {}
        images, classes = (inputs.get(f"zero_shot.{name}.{part}") for part in ("images", "classes"))
        image_set = manifest_at_hand(store, images) if isinstance(images, ArtifactRef) else None
        class_set = manifest_at_hand(store, classes) if isinstance(classes, ArtifactRef) else None
        settings = class_set.recipe.settings if class_set else {}
        n_classes, n_prompts = (len(_list(settings.get(part))) for part in ("class_names", "templates"))
        told = (
            f", {n_classes:,} classes, {n_prompts} prompt{'s' if n_prompts != 1 else ''} a class" if class_set else ""
        )
        lines.append(f"{printable(str(name))}: {_samples(image_set, 'images')}{told}")
    return lines


def _set_lines(sets: Iterable[Manifest]) -> list[str]:
    """A line for each encoder's set, one for both where they say the same."""
    told: dict[str, list[str]] = {}
    for item in sorted(sets, key=lambda item: item.recipe.kind):
        contents = _list(item.recipe.settings.get("contents"))
        unit = "pairs" if all(content is None for content in contents) else "samples"
        n_shards = len(_list(item.recipe.inputs.get("shards")))
        line = _samples(item, f"{unit} of {n_shards:,} shard{'s' if n_shards != 1 else ''}")
        encoder = item.recipe.kind.rpartition(".")[2]
        if encoder not in told.setdefault(line, []):
            told[line].append(encoder)
    return [f"{' and '.join(encoders)} encoder: {line}" for line, encoders in told.items()]


def _samples(item: Manifest | None, unit: str) -> str:
    if item is None or _USED not in item.counts:
        return f"{unit} {_UNKNOWN}"
    skipped = Counter(item.counts.get(_SKIPPED, {}))
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in skipped.most_common())
    without = f"{skipped.total():,} skipped ({reasons})" if skipped else "none skipped"
    return f"{item.counts[_USED]:,} {unit}, {without}"


def _circumstance_rows(shown: Sequence[Manifest], behind: Sequence[Manifest], store: Store) -> dict[str, list[str]]:
    if not shown:
        return {}
    newest = max(shown, key=lambda item: (item.circumstances.ended, item.version)).circumstances
    of_all = [item.circumstances for item in behind]
    return {
        "Date": [f"{newest.ended[:19].replace('T', ' ')} UTC"],
        "Device": [_each(of_all, "device")],
        "Precision": [f"{_each(of_all, 'precision')}; seed {_each(of_all, 'seed')}"],
        "Libraries": [_libraries(of_all)],
        "Environments": _environment_lines(newest, behind, store),
        "Commit": [_commit(newest)],
        "Command": [_command(newest.command)],
    }


def _environment_lines(newest: Circumstances, behind: Sequence[Manifest], store: Store) -> list[str]:
    """How many artifacts, parts too, were made otherwise than the newest one, and in what; none where none was."""
    comparison = Comparison(environment_when_made(newest))
    found = {ref: changes for item in behind for ref, changes in comparison.differing(item, store.root)}
    told = Counter(
        ", ".join(f"{name} {then} instead of {now}" for name, (then, now) in changes.items())
        for changes in found.values()
    )
    return [f"{n:,} artifact{'s' if n != 1 else ''} made with {printable(said)}" for said, n in told.most_common()]


def _each(circumstances: Sequence[Circumstances], name: str) -> str:
    """A value, or where artifacts differ each with the number of those that have it."""
    found = Counter(getattr(item, name) for item in circumstances)
    told = {("none" if value is None else printable(str(value))): n for value, n in found.most_common()}
    if len(told) == 1:
        return next(iter(told))
    return ", ".join(f"{value} ({n:,} of {len(circumstances):,} artifacts)" for value, n in told.items())


def _libraries(circumstances: Sequence[Circumstances]) -> str:
    found: dict[str, set[str]] = {}
    for item in circumstances:
        for name, version in item.libraries.items():
            found.setdefault(name, set()).add(version)
    return ", ".join(
        f"{printable(name)} {printable(' and '.join(sorted(versions)))}" for name, versions in found.items()
    )


def _commit(newest: Circumstances) -> str:
    if newest.git_commit is None:
        return "not run from a git checkout"
    return f"{newest.git_commit}{', with changes that were not committed' if newest.git_dirty else ''}"


def _command(command: Sequence[str] | None) -> str:
    if not command:
        return _UNKNOWN
    words = [Path(command[0]).name, *(_ADDRESS.sub(_without_secrets, word) for word in command[1:])]
    return one_line(shlex.join(words), _COMMAND_LENGTH)


def _without_secrets(address: re.Match[str]) -> str:
    return _SECRETS.sub(lambda found: "…@" if found.group().endswith("@") else "?…", address.group())


def _listed(names: Sequence[str]) -> str:
    told = [_tag(name) for name in names[:_MOST_TAGS]]
    return ", ".join(told) + (f" and {len(names) - _MOST_TAGS} more" if len(names) > _MOST_TAGS else "")


def _tag(tag: str | None) -> str:
    return "no tag" if tag is None else printable(shortened(tag, _TAG_LENGTH)) or "empty tag"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
