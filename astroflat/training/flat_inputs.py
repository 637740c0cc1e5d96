# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What the networks for flats see of a frame, for batches on any device.

The same numbers as those of `astroflat.neural`, in PyTorch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from astroflat.neural._cells import BLOCK, N_SORTED, STRETCH

__all__ = ['describe_cells', 'describe_pixels']


def _stretch(relative: torch.Tensor) -> torch.Tensor:
    return torch.asinh(STRETCH * relative) / STRETCH


def _blocks(image: torch.Tensor, block: int) -> torch.Tensor:
    """Return the pixels of each block, ``(b, block ** 2, h, w)``."""
    return functional.pixel_unshuffle(image[:, None], block)


def _sorted_groups(image: torch.Tensor, block: int) -> torch.Tensor:
    """Return what `astroflat.neural._cells.sorted_groups` does, for a batch."""
    values = _sorted(_blocks(image, block))
    b, _, h, w = values.shape
    return values.reshape(b, N_SORTED, -1, h, w).mean(dim=2)


def _sorted(values: torch.Tensor) -> torch.Tensor:
    """Sort along the second axis; on the processor NumPy is seven times faster."""
    if values.is_cuda:
        return values.sort(dim=1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


def _spread(groups: torch.Tensor) -> torch.Tensor:
    """Return the channel of the noise: its logarithm, one number per frame."""
    spread = 0.5 * (groups[:, 12] - groups[:, 3]).flatten(1).median(dim=1).values
    return torch.log10(spread.clamp_min(1e-4))[:, None, None, None] + 2.0


def _level(image: torch.Tensor) -> torch.Tensor:
    """Return the medians of frames, or a quarter of the means if that is more."""
    rows = image.flatten(1)
    level = torch.maximum(rows.median(dim=1).values, 0.25 * rows.mean(dim=1))
    return level.clamp_min(1e-3)[:, None, None]


def describe_cells(
    image: torch.Tensor, valid: torch.Tensor, block: int
) -> torch.Tensor:
    """
    Make the input of `FieldsNet`.

    Parameters
    ----------
    image : torch.Tensor
        Frames over their level, less 1, ``(b, ny, nx)``.
    valid : torch.Tensor
        Share of valid pixels of each cell, ``(b, h, w)``.
    block : int
        Pixels along a cell.

    Returns
    -------
    torch.Tensor
        Shape ``(b, 21, h, w)``.
    """
    groups = _sorted_groups(_stretch(image), block)
    b, _, h, w = groups.shape
    noise = _spread(groups).expand(b, 1, h, w)
    groups = groups * (valid[:, None] > 0)
    half = 0.5 * math.hypot(h, w)
    y = (torch.arange(h, device=image.device) - 0.5 * (h - 1)) / half
    x = (torch.arange(w, device=image.device) - 0.5 * (w - 1)) / half
    y, x = torch.meshgrid(y, x, indexing='ij')
    place = torch.stack([x, y, x * x + y * y]).expand(b, 3, h, w)
    return torch.cat([groups, valid[:, None], noise, place.to(groups.dtype)], dim=1)


def describe_pixels(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """
    Make the input of `DustNet`.

    Parameters
    ----------
    image : torch.Tensor
        Frames over their level, less 1, free of smooth fields, ``(b, ny, nx)``.
    valid : torch.Tensor
        Share of valid pixels of each cell, ``(b, h, w)``.

    Returns
    -------
    torch.Tensor
        Shape ``(b, 34, h, w)``.
    """
    image = _stretch(image)
    groups = _sorted_groups(image, BLOCK)
    b, _, h, w = groups.shape
    noise = _spread(groups).expand(b, 1, h, w)
    seen = (valid[:, None] > 0).to(groups.dtype)
    raw = _blocks(image, BLOCK)
    return torch.cat([raw * seen, groups * seen, valid[:, None], noise], dim=1)
