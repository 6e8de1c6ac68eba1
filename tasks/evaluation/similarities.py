"""How similar each pair's two texts are to its two images."""

import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError
from data_specs.schemas import SIMILARITIES
from tasks.embeddings.pairs import EmbeddedPairs

_NUMBERS_AT_ONCE = 1 << 19


def similarities(pairs: EmbeddedPairs) -> pa.Table:
    """Cosine similarities of each pair's two texts with its two images.

    Args:
        pairs: unit-norm embeddings.

    Returns:
        A row a pair: ss, su, us, uu in -1 to 1; the first letter is the text's side.

    Raises:
        DataError: a similarity is NaN or infinite; its pair is named.
    """
    texts, images = {"s": pairs.text_safe, "u": pairs.text_unsafe}, {"s": pairs.vision_safe, "u": pairs.vision_unsafe}
    found = {t + v: _cosines(texts[t], images[v]) for t in "su" for v in "su"}
    for name, values in found.items():
        # SQL takes NaN for the greatest number, so it would count as a preference.
        if not bool(torch.isfinite(values).all()):
            row = int((~torch.isfinite(values)).nonzero()[0])
            raise DataError(
                f"similarity {name} of pair {pairs.pair_ids[row]} is NaN or infinite; look at its embeddings"
            )
    cosines = {name: values.numpy() for name, values in found.items()}
    return pa.table(
        {"pair_id": pairs.pair_ids, "tag": pa.array(pairs.tags, pa.string()), **cosines}, schema=SIMILARITIES
    )


def _cosines(texts: Tensor, images: Tensor) -> Tensor:
    found = torch.empty(len(texts))
    n_rows = max(1, _NUMBERS_AT_ONCE // texts.shape[1])
    for start in range(0, len(texts), n_rows):
        rows = slice(start, start + n_rows)
        found[rows] = (texts[rows].double() * images[rows].double()).sum(dim=1).float()
    return found
