"""What shards hold and what is wrong with them: every sample is decoded, and a broken shard does not stop the others."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_specs.errors import DataError, SpecError
from data_specs.run_config import CONTENTS, ENCODERS, Content, Encoder
from data_specs.samples import member_names, needed_contents
from data_specs.wording import first_line
from tasks.lineage.progress import advance, stage
from tasks.shards.elsewhere import shards_in_turn
from tasks.shards.inspection import Shard
from tasks.shards.location import set_of
from tasks.shards.plan import BadSample, plan_reading
from tasks.shards.reading import BatchStream
from tasks.shards.sides import unsafe_side_alone

_STAGE = "check shards"
_BATCH_SIZE = 64
# The side of an unpaired shard is the user's to say; both are read alike.
_UNPAIRED: Content = "safe"


@dataclass
class ShardCensus:
    """One shard's account. `error` is set where the shard is broken as a whole; then nothing else counts."""

    location: str
    error: str | None = None
    paired: bool | None = None
    side: Content | None = None  # of a paired shard that holds one alone
    encoders: tuple[Encoder, ...] = ()
    n_samples: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    n_untagged: int = 0
    bad: list[BadSample] = field(default_factory=list)
    n_bad_of: dict[Encoder, int] = field(default_factory=dict)

    @property
    def n_bad(self) -> int:
        """Samples with at least one fault."""
        return len({item.key for item in self.bad})

    @property
    def sound(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.error is None and not self.bad


def take_census(
    locations: Sequence[str], folder: Path, *, workers: int = 0, limit_bytes: int | None = None
) -> list[ShardCensus]:
    """Check every shard and decode every sample.

    A sample must hold what each encoder needs, for each encoder that its shard has members for: captions
    alone may lie beside pairs with pictures. Tags are counted over sound samples.

    Args:
        locations: shards, expanded.
        folder: takes copies of those that are not local.
        workers: processes that decode; 0 decodes in this one.
        limit_bytes: of all copies together, which are then fetched again for each encoder; None for no limit.

    Returns:
        An account for each location, in order.

    Raises:
        SpecError: a shard is larger than the limit.
    """
    censuses = [ShardCensus(location) for location in locations]
    with stage(_STAGE, None, "members"):
        shards = _opened(censuses, folder, limit_bytes)
        held = {index: _encoders_present([shard], shard.paired) for index, shard in shards.items()}
        readings: dict[int, dict[Encoder, _Reading]] = {index: {} for index in shards}
        for paired in (True, False):
            for encoder in ENCODERS:
                alike = {
                    index: shard for index, shard in shards.items() if shard.paired is paired and encoder in held[index]
                }
                for index, reading in _read(alike, encoder, workers).items() if alike else ():
                    readings[index][encoder] = reading
        for index, shard in shards.items():
            _fill(censuses[index], shard, readings[index])
    return censuses


@dataclass(frozen=True)
class SetCount:
    """What one encoder would meet in the shards that are called alike: a run judges each set and encoder by itself."""

    name: str
    encoder: Encoder
    n_samples: int
    n_bad: int

    def beyond(self, max_bad_fraction: float) -> bool:
        """Whether a run that tolerates a share of bad samples would refuse the set."""
        return self.n_bad > 0 and self.n_bad / self.n_samples > max_bad_fraction


def count_sets(censuses: Sequence[ShardCensus]) -> list[SetCount]:
    """Sound and bad samples by set and encoder, over shards that are not broken, in the order of their first shards."""
    found: dict[tuple[tuple[str, str], Encoder], SetCount] = {}
    for census in censuses:
        for encoder in census.encoders:
            place = set_of(census.location)
            before = found.get((place, encoder), SetCount(place[1] or place[0], encoder, 0, 0))
            found[place, encoder] = replace(
                before,
                n_samples=before.n_samples + census.n_samples,
                n_bad=before.n_bad + census.n_bad_of.get(encoder, 0),
            )
    return list(found.values())


def summary(censuses: Sequence[ShardCensus]) -> dict[str, Any]:
    """All accounts as one object for JSON, with their sums."""
    tags: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for census in censuses:
        for tag, n in census.tags.items():
            tags[tag] = tags.get(tag, 0) + n
        for item in census.bad:
            reasons[item.reason] = reasons.get(item.reason, 0) + 1
    return {
        "n_shards": len(censuses),
        "n_broken": sum(census.error is not None for census in censuses),
        "n_pairs": sum(census.n_samples for census in censuses),
        "n_bad": sum(census.n_bad for census in censuses),
        "reasons": reasons,
        "tags": dict(sorted(tags.items())),
        "n_untagged": sum(census.n_untagged for census in censuses),
        "sets": [vars(item) for item in count_sets(censuses)],
        "shards": [_as_json(census) for census in censuses],
    }


def _as_json(census: ShardCensus) -> dict[str, Any]:
    return {
        "shard": census.location,
        "error": census.error,
        "paired": census.paired,
        "side": census.side,
        "encoders": list(census.encoders),
        "n_pairs": census.n_samples,
        "n_bad": census.n_bad,
        "tags": dict(sorted(census.tags.items())),
        "n_untagged": census.n_untagged,
        "bad": [vars(item) for item in census.bad],
    }


@dataclass
class _Reading:
    tags: dict[str, str | None] = field(default_factory=dict)
    bad: list[BadSample] = field(default_factory=list)
    error: str | None = None


def _opened(censuses: Sequence[ShardCensus], folder: Path, limit_bytes: int | None) -> dict[int, Shard]:
    """The shards that can be read, by their place; of the others the accounts say why not."""
    shards: dict[int, Shard] = {}
    first: dict[str, str] = {}
    with closing(shards_in_turn([census.location for census in censuses], folder, limit_bytes)) as in_turn:
        for index, (census, opened) in enumerate(zip(censuses, in_turn, strict=True)):
            try:
                shards[index] = _sorted_out(opened(), census.location, first)
            except SpecError:
                raise
            except DataError as error:
                census.error = str(error)
            except Exception as error:  # whatever one shard holds, the others are checked
                census.error = f"shard {census.location} cannot be checked: {type(error).__name__}: {first_line(error)}"
    return shards


def _sorted_out(shard: Shard, location: str, first: dict[str, str]) -> Shard:
    """A shard with the side that its members are of."""
    if shard.sha256 in first:
        raise DataError(f"shard {location} holds the same bytes as {first[shard.sha256]}; name one of them")
    first[shard.sha256] = location
    if _encoders_present([shard], paired=True):
        return unsafe_side_alone([shard])[0]
    if _encoders_present([shard], paired=False):
        return replace(shard, content=_UNPAIRED)
    raise DataError(
        f"shard {location} holds no member that an encoder reads, only such as {_example(shard)}; expected"
        " KEY.safe.jpg, KEY.unsafe.txt and the like, or KEY.jpg and KEY.txt"
    )


def _example(shard: Shard) -> str:
    sample = shard.samples[0]
    return repr(".".join([sample.key, *sample.members[:1]]))


def _encoders_present(shards: Iterable[Shard], paired: bool) -> tuple[Encoder, ...]:
    samples = [sample for shard in shards for sample in shard.samples]
    endings = {ending for sample in samples for ending in sample.members}
    endings |= {member.ending for sample in samples for member in sample.unusable}
    return tuple(
        encoder
        for encoder in ENCODERS
        if any(endings.intersection(member_names(encoder, side, paired=paired)) for side in CONTENTS)
    )


def _nothing(_decoded: object) -> Tensor:
    return torch.empty(0)


def _read(shards: dict[int, Shard], encoder: Encoder, workers: int) -> dict[int, _Reading]:
    plans = plan_reading(list(shards.values()), encoder, None)
    stream = BatchStream(plans, encoder, _nothing, batch_size=_BATCH_SIZE, workers=workers)
    readings: dict[int, _Reading] = {}
    for plan_index, index in enumerate(shards):
        reading = readings[index] = _Reading(bad=list(plans[plan_index].bad))
        try:
            for batch in stream.batches(plan_index):
                reading.bad.extend(batch.bad)
                reading.tags.update(zip(batch.keys, batch.tags, strict=True))
                advance(_STAGE, (len(batch.keys) + len(batch.bad)) * len(needed_contents(shards[index].content)))
        except DataError as error:
            reading.error = str(error)
    return readings


def _fill(census: ShardCensus, shard: Shard, by_encoder: dict[Encoder, _Reading]) -> None:
    readings = [by_encoder[encoder] for encoder in ENCODERS if encoder in by_encoder]
    errors = [reading.error for reading in readings if reading.error is not None]
    if errors:
        census.error = errors[0]
        return
    places = {sample.key: place for place, sample in enumerate(shard.samples)}
    # What is wrong with a sample's place in the tar is found again by each encoder.
    faults = dict.fromkeys(item for reading in readings for item in reading.bad)
    census.paired, census.n_samples = shard.paired, len(shard.samples)
    census.side = shard.content if shard.paired else None
    census.encoders = tuple(encoder for encoder in ENCODERS if encoder in by_encoder)
    census.n_bad_of = {encoder: len({item.key for item in read.bad}) for encoder, read in by_encoder.items()}
    census.bad = sorted(faults, key=lambda item: places[item.key])
    faulty = {item.key for item in census.bad}
    tags = {key: tag for reading in readings for key, tag in reading.tags.items() if key not in faulty}
    for key in sorted(tags, key=places.__getitem__):
        tag = tags[key]
        if tag is None:
            census.n_untagged += 1
        else:
            census.tags[tag] = census.tags.get(tag, 0) + 1
