# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Moving average of the weights of a network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ['WeightAverage']


class WeightAverage:
    """
    Exponential moving average of the weights of a network.

    Parameters
    ----------
    model : `torch.nn.Module`
        Network that is trained; it is copied, not kept.
    decay : float
        Weight of the past at each update. It rises to this value over the
        first updates, so that the random start is forgotten.

    Attributes
    ----------
    model : `torch.nn.Module`
        Network with the averaged weights.
    updates : int
        Number of updates so far.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.decay = decay
        self.updates = 0

    def update(self, model: torch.nn.Module) -> None:
        """
        Take the present weights into the average.

        Parameters
        ----------
        model : `torch.nn.Module`
            Network that is trained.
        """
        import torch

        self.updates += 1
        decay = min(self.decay, (1.0 + self.updates) / (10.0 + self.updates))
        mine = list(self.model.parameters())
        other = [parameter.detach() for parameter in model.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(mine, other, 1.0 - decay)
            for own, new in zip(self.model.buffers(), model.buffers(), strict=True):
                own.copy_(new)
