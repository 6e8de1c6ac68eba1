"""Whether two evaluations may be compared: measured with the same settings, in the same environment."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from data_specs.caption_metrics import UNSAFE_SHARE, find_caption_metric
from data_specs.errors import ArtifactError
from data_specs.manifest import OBSERVATION, ArtifactRef, Manifest
from data_specs.run_config import ENCODERS
from data_specs.wording import shortened
from tasks.lineage.environment import environment_changes, environment_when_made
from tasks.lineage.store import Store
from tasks.lineage.trace import manifest_at_hand

_SETTINGS = ("precision", "batch_size", "decoder")
_SHOWN_LENGTH = 120  # of a prompt
_NOT_SAID = {"decoder": "pillow"}


@dataclass(frozen=True)
class Origin:
    """Where the embeddings behind an evaluation come from."""

    manifest: Manifest  # of the evaluation
    # By what was embedded, such as `embeddings.vision`.
    sets: dict[str, Manifest] = field(default_factory=dict)

    @property
    def shards(self) -> list[str]:
        """SHA-256 of the shards of pairs, in order."""
        found = self.sets[f"embeddings.{ENCODERS[0]}"].recipe.inputs["shards"]
        return [str(sha) for sha in found] if isinstance(found, list) else []

    @property
    def environments(self) -> list[str]:
        """Digests of where its embeddings were made, sorted."""
        parts = (made.environment for of in self.sets.values() for made in of.inputs.get("parts", []))
        return sorted({digest for digest in parts if digest is not None})

    @property
    def code(self) -> str:
        """The code of evaluation and embeddings."""
        return " ".join([self.manifest.recipe.code, *sorted({of.recipe.code for of in self.sets.values()})])

    def parts(self) -> Iterator[tuple[tuple[str, str], ArtifactRef, str | None]]:
        """Of each part: what was embedded and the shard, the part, and the digest of where it was made."""
        for what, of in self.sets.items():
            shards = of.recipe.inputs["shards"]
            for sha, made in zip(shards if isinstance(shards, list) else [], of.inputs.get("parts", []), strict=False):
                yield (what, str(sha)), made.ref, made.environment

    @property
    def skipped(self) -> dict[str, int]:
        """How many samples could not be read, by reason; one that both encoders missed counts once."""
        found = {
            (item["shard"], item["key"], item["reason"]) for of in self.sets.values() for item in of.counts["skipped"]
        }
        return dict(Counter(reason for _, _, reason in sorted(found)))


def origin_of(store: Store, evaluation: ArtifactRef) -> Origin:
    """Read where an evaluation comes from; what is no longer in the store is left out."""
    manifest = store.manifest(evaluation)
    sets = {}
    for role, given in manifest.recipe.inputs.items():
        if isinstance(given, ArtifactRef) and (role.startswith("embeddings.") or role.endswith(".images")):
            with suppress(ArtifactError):
                sets[role] = store.manifest(given)
    return Origin(manifest, sets)


def what_differs(store: Store, current: Origin, baseline: Origin) -> list[str]:
    """Why the two may not be compared, a sentence each; empty where they may.

    Args:
        store: that holds both.
        current: of the model.
        baseline: of the baseline.
    """
    return [*_settings(current, baseline), *_environments(store, current, baseline)]


def captions_differ(store: Store, current: ArtifactRef, baseline: ArtifactRef, metric: str) -> list[str]:
    """Why a figure of captions of the two may not be compared, a sentence each; empty where it may.

    Args:
        store: that holds both.
        current: the model's `caption_evaluation`.
        baseline: the baseline's.
        metric: of captions; of a judge's share the judge counts, too.
    """
    both = [store.manifest(ref) for ref in (current, baseline)]
    captions = [_input_of(store, made, "captions") for made in both]
    reasons = []
    if None not in captions:
        own, other = (made for made in captions if made is not None)
        if own.recipe.inputs["captioner"] != other.recipe.inputs["captioner"]:
            reasons.append("the captioners differ: the language model or its own tower is another than the baseline's")
        here, there = (Origin(made, {"captions": made}) for made in (own, other))
        reasons += [*_settings(here, there, (*_SETTINGS, "prompt", "decoding")), *_environments(store, here, there)]
    if metric.startswith(UNSAFE_SHARE):
        judge = find_caption_metric(metric).outcome
        said = [_input_of(store, made, f"judgements.{judge}") for made in both]
        asked = [None if made is None else _asked(made) for made in said]
        if None not in asked and asked[0] != asked[1]:
            reasons.append(f"the judge {judge} is another than the baseline's, or was asked otherwise")
    return reasons


def _asked(judged: Manifest) -> dict[str, object]:
    """How a judge was asked, and who answered; what it answered is what is compared."""
    settings = judged.recipe.settings
    observed = settings.get(OBSERVATION)
    return {**settings, OBSERVATION: observed.get("served_by") if isinstance(observed, dict) else None}


def _input_of(store: Store, made: Manifest, role: str) -> Manifest | None:
    given = made.recipe.inputs.get(role)
    return manifest_at_hand(store, given if isinstance(given, ArtifactRef) else None)


def _settings(current: Origin, baseline: Origin, names: Sequence[str] = _SETTINGS) -> Iterator[str]:
    differing: dict[str, tuple[object, object]] = {}
    for what in current.sets.keys() & baseline.sets.keys():
        both = [side.sets[what].recipe.settings for side in (current, baseline)]
        for name in names:
            values = tuple(said.get(name, _NOT_SAID.get(name)) for said in both)
            if values[0] != values[1]:
                differing[name] = (values[0], values[1])
    for name, (own_value, other_value) in sorted(differing.items()):
        own, other = (shortened(str(value), _SHOWN_LENGTH) for value in (own_value, other_value))
        yield f"settings differ: {name} is {own}, of the baseline {other}"


def _environments(store: Store, current: Origin, baseline: Origin) -> Iterator[str]:
    others = {key: (ref, digest) for key, ref, digest in baseline.parts()}
    pairs = [
        (ref, others[key][0])
        for key, ref, digest in current.parts()
        if key in others and None not in (digest, others[key][1]) and digest != others[key][1]
    ]
    if not pairs:
        return
    n_shared = sum(key in others for key, _, _ in current.parts())
    said: dict[str, int] = {}
    for own, other in pairs:
        if words := _changes(store, own, other):
            said[words] = said.get(words, 0) + 1
    for words, n in said.items():
        yield f"environments differ: {n} of {n_shared} embedded shards were made with {words}"


def _changes(store: Store, own: ArtifactRef, other: ArtifactRef) -> str:
    try:
        here, there = (environment_when_made(store.manifest(ref).circumstances) for ref in (own, other))
    except ArtifactError:
        return "other libraries or hardware"
    changes = environment_changes(there, here)
    if not changes:
        return "something that only one of the two records"
    # Of the precision the settings tell.
    return ", ".join(
        f"{name} {now} (the baseline's with {then})" for name, (then, now) in changes.items() if name != "precision"
    )
