"""Sums of many matrices that keep their digits, and cost nothing where there is one."""

from collections.abc import Sequence

from torch import Tensor


class Total:
    """Sum of float32 matrices: one alone stays as it is, further ones are added in float64.

    A matrix of a layer's size in float64 costs more time than the product that is added to it.
    """

    def __init__(self, matrix: Tensor | None = None) -> None:
        """Begin with nothing, or with what another total had come to."""
        self.matrix = matrix

    def add(self, matrix: Tensor) -> None:
        """Add a matrix [out, in] float32 or float64, which the total may keep."""
        if self.matrix is None:
            self.matrix = matrix
        else:
            self.matrix = self.matrix.double().add_(matrix)

    def mean(self, n: int) -> Tensor:
        """The sum over `n`, [out, in]; float32 or float64. At least one matrix must have been added."""
        if self.matrix is None:
            raise ValueError("nothing was added")
        return self.matrix / n


class Sums:
    """What a scorer adds up: a total and a count by name, which can be joined with those of later samples."""

    def __init__(self, names: Sequence[str]) -> None:
        """Begin with nothing under each name."""
        self.totals = {name: Total() for name in names}
        self.counts = dict.fromkeys(names, 0)

    def add(self, name: str, matrix: Tensor, n: int) -> None:
        """Add the sum [out, in] over `n` samples, which may be kept."""
        self.totals[name].add(matrix)
        self.counts[name] += n

    def mean(self, name: str) -> Tensor:
        """The mean over all samples of a name, of which there is at least one."""
        return self.totals[name].mean(self.counts[name])

    def join(self, later: "Sums") -> None:
        """Add what was added up over later samples, which is not to be used again."""
        for name, total in later.totals.items():
            if total.matrix is not None:
                self.add(name, total.matrix, later.counts[name])
