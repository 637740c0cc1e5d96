# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training without truth: blind spots in one frame, or pairs of exposures.

A pixel that the network cannot see has to be predicted from its neighbours, which
know the sky but not its noise (Krull et al. 2019, Noise2Void). What replaces it is
the median of what is not hidden (Höck et al. 2022, N2V2), so no hidden value finds a
way into the input, not even through another hidden pixel.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn import functional

__all__ = ['blind_loss', 'blind_mask', 'hide', 'pair_loss']

Axis = Literal['row', 'column'] | None


def blind_mask(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator,
    cell: int = 8,
) -> torch.Tensor:
    """
    Choose pixels to hide, one in each cell, at a random place.

    Parameters
    ----------
    shape : tuple of int
        Shape of the images, ``(n, 1, ny, nx)``.
    generator : `torch.Generator`
        Source of random numbers.
    cell : int, optional
        Side of the cells in pixels.

    Returns
    -------
    Tensor of bool
        True for hidden pixels.
    """
    n, _, ny, nx = shape
    cells = (n, 1, -(-ny // cell), -(-nx // cell))
    place = torch.randint(
        cell * cell, cells, generator=generator, device=generator.device
    )
    place = place.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[:, :, :ny, :nx]
    rows, columns = (
        torch.arange(size, device=place.device) % cell for size in (ny, nx)
    )
    return place == rows[:, None] * cell + columns


def hide(
    images: torch.Tensor,
    mask: torch.Tensor,
    *,
    axis: Axis = None,
    radius: int = 2,
) -> torch.Tensor:
    """
    Replace hidden pixels by the median of their neighbours that are not hidden.

    Parameters
    ----------
    images : Tensor
        Images, ``(n, 1, ny, nx)``.
    mask : Tensor of bool
        Hidden pixels.
    axis : {'row', 'column'}, optional
        Noise that is shared along rows or columns: four neighbours to both sides
        along them are hidden too.
    radius : int, optional
        How far neighbours are, in pixels.

    Returns
    -------
    Tensor
        Images of which no value under the mask has any influence.
    """
    covered = _widen(mask, axis)
    known = torch.where(covered, torch.nan, images)
    image, _, y, x = covered.nonzero(as_tuple=True)
    # Where all neighbours are hidden too, take them from farther away.
    for reach in (radius, 2 * radius + 1):
        padded = functional.pad(known, (reach,) * 4, value=torch.nan)
        steps = torch.arange(2 * reach + 1, device=images.device)
        rows = y[:, None, None] + steps[:, None]
        columns = x[:, None, None] + steps
        around = padded[image[:, None, None], 0, rows, columns].flatten(1)
        median = around.nanmedian(dim=1).values
        if not median.isnan().any():
            break
    result = images.clone()
    result[covered] = median.nan_to_num(0.0)
    return result


def _widen(mask: torch.Tensor, axis: Axis) -> torch.Tensor:
    """Hide neighbours along an axis too."""
    if axis is None:
        return mask
    kernel, padding = ((1, 9), (0, 4)) if axis == 'row' else ((9, 1), (4, 0))
    wide = functional.max_pool2d(mask.float(), kernel, stride=1, padding=padding)
    return wide > 0.5


def blind_loss(
    model: Any,
    images: torch.Tensor,
    *,
    generator: torch.Generator,
    axis: Axis = None,
) -> dict[str, torch.Tensor]:
    """
    Return the error of the predictions of hidden pixels.

    Parameters
    ----------
    model : callable
        Network that predicts the noise.
    images : Tensor
        Noisy images in standard deviations above their local level.
    generator : `torch.Generator`
        Source of random numbers.
    axis : {'row', 'column'}, optional
        As in `hide`.

    Returns
    -------
    dict of Tensor
        ``loss``, only over hidden pixels.
    """
    mask = blind_mask(images.shape, generator=generator)
    seen = hide(images, mask, axis=axis)
    predicted = seen - model(seen)[:, :1].float()
    return {'loss': functional.huber_loss(predicted[mask], images[mask], delta=4.0)}


def pair_loss(
    model: Any, first: torch.Tensor, second: torch.Tensor
) -> dict[str, torch.Tensor]:
    """
    Return the error against another exposure of the same (Noise2Noise).

    Parameters
    ----------
    model : callable
        Network that predicts the noise.
    first, second : Tensor
        Two exposures of the same sky, in standard deviations above one level.

    Returns
    -------
    dict of Tensor
        ``loss``.

    References
    ----------
    Lehtinen, J. et al. 2018, ICML, arXiv:1803.04189
    """
    predicted = first - model(first)[:, :1].float()
    return {'loss': functional.huber_loss(predicted, second, delta=4.0)}
