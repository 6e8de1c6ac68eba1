"""A sum of many matrices that keeps its digits, and costs nothing where there is one."""

from torch import Tensor


class Total:
    """Sum of float32 matrices: one alone stays as it is, further ones are added in float64.

    A matrix of a layer's size in float64 costs more time than the product that is added to it.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, matrix: Tensor) -> None:
        """Add a matrix [out, in] float32, which the total may keep."""
        if self._sum is None:
            self._sum = matrix
        else:
            self._sum = self._sum.double().add_(matrix)

    def mean(self, n: int) -> Tensor:
        """The sum over `n`, [out, in]; float32 or float64. At least one matrix must have been added."""
        if self._sum is None:
            raise ValueError("nothing was added")
        return self._sum / n
