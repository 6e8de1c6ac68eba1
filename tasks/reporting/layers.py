"""How much of each layer an edit changes, and what other settings would select."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from data_specs.families import encoder_of
from data_specs.manifest import Manifest
from data_specs.reading import needed
from data_specs.run_config import ENCODERS

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class LayerShare:
    """How much of one layer was selected: count, share of its weights (0 to 1), and the rule where it is known."""

    encoder: str
    layer: str
    n_selected: int
    n_weights: int
    rule: str | None = None
    tau: float | None = None
    alpha: float | None = None

    @property
    def share(self) -> float:
        """Of the layer's weights, 0 to 1."""
        return self.n_selected / self.n_weights if self.n_weights else 0.0


def edited_layers(edit: Manifest | None) -> list[LayerShare]:
    """The layers of an `edit` artifact by encoder and depth; none without an edit."""
    counts = edit.counts.get("layers", {}) if edit else {}
    found = []
    for name in sorted(counts, key=depth_key):
        encoder = encoder_of(name) or ""
        chosen = edit.recipe.settings.get(encoder) if edit else None
        settings = chosen if isinstance(chosen, dict) else {}
        rule, tau, alpha = (settings.get(part) for part in ("rule", "tau", "alpha"))
        found.append(
            LayerShare(
                encoder=encoder,
                layer=name,
                n_selected=int(counts[name]["n_selected"]),
                n_weights=int(counts[name]["n_weights"]),
                rule=None if rule is None else str(rule),
                tau=None if tau is None else float(str(tau)),
                alpha=None if alpha is None else float(str(alpha)),
            )
        )
    return found


def selectable_layers(summary: Path | None, edited: Sequence[LayerShare]) -> list[LayerShare]:
    """What each rule and tau that the scores were tabulated for selects; none where that is only what was edited."""
    if summary is None:
        return []
    rows = [
        LayerShare(row["encoder"], row["layer"], row["n_selected"], row["n_weights"], row["rule"], row["tau"])
        for row in pq.read_table(needed(summary)).to_pylist()
    ]
    said = {(row.layer, row.rule, row.tau) for row in edited}
    return rows if any((row.layer, row.rule, row.tau) not in said for row in rows) else []


def depth_key(layer: str) -> tuple[int, list[tuple[int, str]]]:
    """Sorts layers by encoder, text first, and then by the numbers in their names."""
    encoder = encoder_of(layer)
    place = ENCODERS.index(encoder) if encoder in ENCODERS else len(ENCODERS)
    parts = _NUMBER.split(layer)
    return place, [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
