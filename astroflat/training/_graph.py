# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Steps of small networks without the time that launching their kernels takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ['CapturedStep']

# Passes before the capture: the libraries choose their kernels in them.
_WARM = 3


class CapturedStep:
    """
    Forward and backward pass of a batch, recorded once on a GPU and replayed.

    Parameters
    ----------
    function : callable
        ``function(batch)`` computes gradients and returns named tensors. What it
        does must not depend on the values in the batch.
    parameters : list of Tensor
        Their gradients are overwritten by each call, never added to: they must
        stay where they are, so nobody may set them to `None`.

    Notes
    -----
    A network of a million parameters is a thousand short kernels; started one by
    one they keep a GPU waiting (`CUDA graphs
    <https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs>`__). All
    batches must have the shapes of the first.
    """

    def __init__(
        self, function: Callable[[Any], dict[str, Any]], parameters: list[Any]
    ) -> None:
        self.function, self.parameters = function, parameters
        self.graph: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """
        Compute the gradients of a batch.

        Parameters
        ----------
        batch : dict of Tensor
            On the device.

        Returns
        -------
        dict of Tensor
            What the function returns, copied.
        """
        if self.graph is None:
            self._record(batch)
        for name, values in self.batch.items():
            values.copy_(batch[name])
        self.graph.replay()
        return {name: value.clone() for name, value in self.terms.items()}

    def _record(self, batch: dict[str, Any]) -> None:
        """Run the function some times aside, then record it."""
        import torch

        self.batch = {name: values.clone() for name, values in batch.items()}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM):
                self._forget()
                self.function(self.batch)
        torch.cuda.current_stream().wait_stream(aside)
        self._forget()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.terms = self.function(self.batch)

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
