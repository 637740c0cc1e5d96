# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noise of detectors drawn on the device, and the transform that levels it."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from astroflat.neural._stabilise import NoiseModel, expectation

__all__ = ['Stabiliser', 'local_level', 'log_uniform']

_HIGHEST = 400.0
_READNOISE = (0.3, 20.0)


class Stabiliser:
    """
    Generalised Anscombe transform of many images, each with its read noise.

    Parameters
    ----------
    device : str
        Where to compute.

    Notes
    -----
    The formula is that of `astroflat.neural._stabilise`; the expectation of
    the transform is interpolated in a table of mean and read noise.
    """

    def __init__(self, device: str) -> None:
        roots = np.linspace(0.0, _HIGHEST**0.5, 96)
        low, high = np.log(_READNOISE)
        rows = []
        for readnoise in np.exp(np.linspace(low, high, 24)):
            unit = NoiseModel(gain=1.0, readnoise=float(readnoise))
            means = expectation(roots**2, float(readnoise))
            rows.append(means - unit.forward(roots**2))
        table = torch.tensor(np.array(rows), dtype=torch.float32, device=device)
        self.table = table[None, None]

    @staticmethod
    def forward(electrons: torch.Tensor, readnoise: torch.Tensor) -> torch.Tensor:
        """
        Transform electrons.

        Parameters
        ----------
        electrons : Tensor
            Electrons.
        readnoise : Tensor
            Read noise in electrons, of a shape that broadcasts.

        Returns
        -------
        Tensor
            Values with noise of standard deviation 1.
        """
        c = 0.375 + readnoise**2
        return 2.0 * torch.sqrt(electrons.clamp(min=0.0) + c) + electrons.clamp(
            max=0.0
        ) / torch.sqrt(c)

    @staticmethod
    def inverse(values: torch.Tensor, readnoise: torch.Tensor) -> torch.Tensor:
        """
        Undo `forward`.

        Parameters
        ----------
        values : Tensor
            Transformed values.
        readnoise : Tensor
            Read noise in electrons, of a shape that broadcasts.

        Returns
        -------
        Tensor
            Electrons.
        """
        c = 0.375 + readnoise**2
        zero = 2.0 * torch.sqrt(c)
        below = (values - zero).clamp(max=0.0) * torch.sqrt(c)
        return torch.maximum(values, zero) ** 2 / 4.0 - c + below

    def expected(self, means: torch.Tensor, readnoise: torch.Tensor) -> torch.Tensor:
        """
        Return the expectation of the transform.

        Parameters
        ----------
        means : Tensor
            Mean electrons, ``(n, 1, ny, nx)``.
        readnoise : Tensor
            Read noise in electrons, ``(n, 1, 1, 1)``.

        Returns
        -------
        Tensor
            What the transform of noisy electrons is in the mean.
        """
        return self.forward(means, readnoise) + self._shift(means, readnoise)

    def unbiased(self, values: torch.Tensor, readnoise: torch.Tensor) -> torch.Tensor:
        """
        Undo `expected`.

        Parameters
        ----------
        values : Tensor
            Means of transformed values, ``(n, 1, ny, nx)``.
        readnoise : Tensor
            Read noise in electrons, ``(n, 1, 1, 1)``.

        Returns
        -------
        Tensor
            Electrons that have these means.
        """
        # The shift hardly changes, and its slope at no light has no end.
        with torch.no_grad():
            means, shift = self.inverse(values, readnoise), 0.0
            for _ in range(2):
                shift = self._shift(means.clamp(min=0.0), readnoise)
                means = self.inverse(values - shift, readnoise)
        return self.inverse(values - shift, readnoise)

    def _shift(self, means: torch.Tensor, readnoise: torch.Tensor) -> torch.Tensor:
        """Mean of the transform, less the transform of the mean."""
        low, high = np.log(_READNOISE)
        x = 2.0 * torch.sqrt(means / _HIGHEST).clamp(max=1.0) - 1.0
        y = 2.0 * (torch.log(readnoise) - low) / (high - low) - 1.0
        grid = torch.stack((x, y.expand_as(x)), dim=-1)[:, 0]
        table = self.table.expand(len(means), -1, -1, -1)
        shift = functional.grid_sample(
            table, grid, padding_mode='border', align_corners=True
        )
        # Beyond the table the shift falls as one over the root of the mean.
        return shift * torch.sqrt(_HIGHEST / means.clamp(min=_HIGHEST))


def local_level(values: torch.Tensor, block: int = 16) -> torch.Tensor:
    """
    Return the smooth local level of images: medians of blocks, interpolated.

    Parameters
    ----------
    values : Tensor
        Images, ``(n, 1, ny, nx)``, sides a multiple of the block.
    block : int, optional
        Side of the blocks in pixels.

    Returns
    -------
    Tensor
        Level of each pixel.
    """
    n, _, ny, nx = values.shape
    blocks = values.reshape(n, ny // block, block, nx // block, block)
    medians = blocks.transpose(2, 3).flatten(3).median(dim=3).values
    return functional.interpolate(
        medians[:, None], size=(ny, nx), mode='bilinear', align_corners=False
    )


def log_uniform(
    count: int, low: float, high: float, *, like: torch.Tensor, generator: object
) -> torch.Tensor:
    """
    Draw positive numbers whose logarithm is uniform.

    Parameters
    ----------
    count : int
        How many.
    low, high : float
        Range.
    like : Tensor
        On whose device.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    Tensor
        Numbers, ``(count, 1, 1, 1)``.
    """
    u = torch.rand((count, 1, 1, 1), device=like.device, generator=generator)
    return low * (high / low) ** u
