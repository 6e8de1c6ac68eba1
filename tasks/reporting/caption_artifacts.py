"""What a report's captions are made of: folders of their artifacts, and in words how they were written and judged."""

from collections.abc import Mapping
from pathlib import Path

from data_specs.manifest import OBSERVATION, ArtifactRef, Manifest
from data_specs.wording import one_line, printable
from tasks.lineage.store import Store
from tasks.lineage.trace import manifest_at_hand
from tasks.reporting.sources import CaptionSources, ReportedCaptions

_PROMPT_LENGTH = 600
_CONTROL, _OTHER_TOWER = "control: as many weights, drawn at random", "the run's model put in as the vision tower"


def caption_sources(reported: ReportedCaptions, store: Store) -> CaptionSources:
    """The folders of the artifacts.

    Raises:
        ArtifactError: one is missing.
    """

    def folders(refs: Mapping[str, ArtifactRef]) -> dict[str, Path]:
        return {name: store.path(ref) for name, ref in refs.items()}

    return CaptionSources(
        captions=folders(reported.captions),
        differences=folders(reported.differences),
        lead=store.path(reported.lead) if reported.lead else None,
        gallery=store.path(reported.gallery) if reported.gallery else None,
        evaluations=folders(reported.evaluations),
        changes=folders(reported.changes),
        roles={name: _role(ref, store) for name, ref in reported.captions.items()},
    )


def caption_lines(reported: ReportedCaptions, store: Store) -> dict[str, list[str]]:
    """Lines of a report's box: how captions were written, and who judged them; none of an artifact that is not there."""
    evaluation = manifest_at_hand(store, next(iter(reported.captions.values()), None))
    captions = manifest_at_hand(store, _input(evaluation, "captions"))
    return {
        "Captions": [] if captions is None else _written(captions),
        "Judges": [] if evaluation is None else _judges(evaluation, store),
    }


def _written(captions: Manifest) -> list[str]:
    settings, used = captions.recipe.settings, captions.counts.get("samples_used")
    decoding = settings.get("decoding")
    most = decoding.get("max_new_tokens") if isinstance(decoding, dict) else None
    pairs = f"pictures of {used:,} pairs; " if isinstance(used, int) else ""
    return [
        f"{pairs}greedy, at most {most} tokens; {settings.get('precision')}, {settings.get('batch_size')} pictures at once",
        f"SHA-256 over the captioner's files {captions.recipe.inputs.get('captioner')}",
        f"asked: {printable(one_line(str(settings.get('prompt')), _PROMPT_LENGTH))}",
    ]


def _judges(evaluation: Manifest, store: Store) -> list[str]:
    lines = []
    for role, ref in evaluation.recipe.inputs.items():
        judged = manifest_at_hand(
            store, ref if isinstance(ref, ArtifactRef) and role.startswith("judgements.") else None
        )
        if judged is not None:
            lines.append(f"{role.removeprefix('judgements.')}: {printable(_judge_in_words(judged))}")
    return lines


def _judge_in_words(judged: Manifest) -> str:
    settings = judged.recipe.settings
    told = str(settings.get("kind"))
    if isinstance(words := settings.get("words"), list):
        return f"{told}, a list of {len(words):,}, which knows no meaning"
    if "classifier" in settings:
        told += f", files {str(settings['classifier'])[:16]}, unsafe from {settings.get('threshold')} on"
    observed = settings.get(OBSERVATION)
    if isinstance(observed, dict):
        told += f", {settings.get('model')}, served by {observed.get('served_by') or 'nobody'}; an observation: asked again it may answer otherwise"
    return told


def _role(evaluation: ArtifactRef, store: Store) -> str:
    captions = manifest_at_hand(store, _input(manifest_at_hand(store, evaluation), "captions"))
    edit = manifest_at_hand(store, _input(captions, "edit"))
    told = [_OTHER_TOWER] if captions is not None and "tower" in captions.recipe.inputs else []
    told += [_CONTROL] if edit is not None and "control" in edit.recipe.settings else []
    return "; ".join(told)


def _input(manifest: Manifest | None, role: str) -> ArtifactRef | None:
    found = manifest.recipe.inputs.get(role) if manifest else None
    return found if isinstance(found, ArtifactRef) else None
