"""Which of the pairs that flipped are shown, and what is shown of them."""

import random
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from data_specs.gallery import FlipGallery, FlippedPair, GalleryMember
from data_specs.run_config import CONTENTS, ENCODERS
from tasks.reporting.members import MemberKey
from tasks.tables.verdict import HEADLINE


def pick_flips(flips: Sequence[Mapping[str, Any]], seed: int, n: int) -> list[Mapping[str, Any]]:
    """Draw pairs at random, those whose GS flipped first: one that lost it and one that gained it by turns.

    Args:
        flips: rows of FLIPS.
        seed: of the draw.
        n: how many at most.

    Returns:
        The drawn rows.
    """
    drawn = random.Random(f"flips/{seed}").sample(flips, len(flips))
    lost, gained, others = ([row for row in drawn if row[HEADLINE] == way] for way in (-1, 1, 0))
    by_turns = [row for row in chain.from_iterable(zip_longest(lost, gained)) if row is not None]
    return [*by_turns, *others][:n]


def members_of(pairs: Sequence[Mapping[str, Any]]) -> dict[MemberKey, str | None]:
    """The four members of each pair, with its tag."""
    return {
        (row["pair_id"], encoder, content): row["tag"] for row in pairs for encoder in ENCODERS for content in CONTENTS
    }


def compose_flips(
    flips: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    found: Mapping[MemberKey, GalleryMember],
    seed: int,
) -> FlipGallery:
    """The record of the drawn pairs, from all that flipped and from what is shown of each member."""
    return FlipGallery(
        seed=seed,
        n_flipped=len(flips),
        pairs=[
            FlippedPair(
                pair_id=row["pair_id"],
                members=[found[row["pair_id"], encoder, content] for content in CONTENTS for encoder in ENCODERS],
            )
            for row in pairs
        ],
    )
