"""The sign filter: its settings, what it cannot run on, and what whoever reads its figures must know."""

from collections.abc import Mapping
from typing import Literal

Sign = Literal["none", "loss", "against"]

SIGN_FIELD = (
    "sign filter: none (the paper); loss: edit only weights whose negation lowers a loss on the calibration pairs to first"
    " order; against: only those that raise it, a control"
)
SIGN_NOTE = (
    "Sign filter (sign: loss): supervised one-step editing, not the paper's activation method. One backward pass over the"
    " calibration pairs leaves only weights whose negation lowers, to first order, a loss that is close to SafeGround's"
    " metrics. Most of the effect is the sign: on drawn data, over three models, GS rose by 60 points with UWM's ranking and by"
    " 51 with random weights of the right sign, which were more and did better for one model; as many as UWM's gained 17. Read"
    " it beside its controls, random + sign and the opposite sign. It turned round a cue that unsafe pairs share, and did"
    " nothing for subtle pairs without such a cue. Nothing is known about models that were trained on real data."
)


def is_filtered(settings: object) -> bool:
    """Whether settings as they are on record, of runs, methods or encoders, name a sign filter."""
    if isinstance(settings, list):
        return any(is_filtered(item) for item in settings)
    if not isinstance(settings, Mapping):
        return False
    own = settings.get("sign")
    return (own is not None and own != "none") or any(is_filtered(inner) for inner in settings.values())


def signs_of(settings: Mapping[str, object]) -> dict[str, object]:
    """The sign filters by encoder that the recipe of a `scores` artifact names; none where it has no filter."""
    found = settings.get("sign")
    return dict(found) if isinstance(found, Mapping) else {}


def require_lowered(sign: Sign, alpha: float) -> None:
    """Refuse a factor of which a filter says nothing.

    Raises:
        ValueError: weights would be raised.
    """
    if sign != "none" and alpha > 1:
        raise ValueError(
            f"sign is {sign}, which looks at weights that are lowered or negated, but alpha {alpha:g} raises them; give an"
            " alpha of at most 1, or sign: none"
        )


def require_usable(where: str, sign: Sign, *, paired: bool, precision: str) -> None:
    """Refuse settings under which a filter cannot be taken.

    Raises:
        ValueError: the calibration set is not paired, or gradients would vanish.
    """
    if sign != "none" and not paired:
        raise ValueError(
            f"{where}.sign is {sign}, which needs paired shards with both members of both modalities, but calibration gives"
            f" safe and unsafe lists; set {where}.sign: none"
        )
    if sign != "none" and precision == "fp16":
        raise ValueError(f"{where}.sign is {sign}, whose gradients vanish in fp16; set precision: bf16")
