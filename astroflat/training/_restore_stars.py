# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stars at sub-pixel places, drawn on the device."""

from __future__ import annotations

import math

import torch

__all__ = ['COUNT', 'draw_stars', 'profiles', 'render']

#: Most stars of an image.
COUNT = 192
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
# Faintest peak over the noise of the sky, and the decades from there to the
# brightest.
_FAINTEST, _DECADES = 0.7, 4.4


def draw_stars(
    n: int,
    size: int,
    optics: dict[str, torch.Tensor],
    sigma: torch.Tensor,
    day: torch.Tensor,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """
    Draw places and fluxes of stars.

    Parameters
    ----------
    n : int
        Images.
    size : int
        Their side in pixels.
    optics : dict
        With the ``true_fwhm`` of the stars.
    sigma : Tensor
        Noise of the sky, ``(n, 1, 1)``.
    day : Tensor of bool
        Where there are none, ``(n, 1, 1)``.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    dict of Tensor
        ``y``, ``x``, ``flux``, ``full`` (fluxes of those that fill their pixels),
        ``snr``, all ``(n, COUNT)``, and ``limit``, the highest value of a pixel,
        ``(n,)``.
    """

    def _u(*shape: int) -> torch.Tensor:
        return torch.rand(shape, device=generator.device, generator=generator)

    place = _u(2, n, COUNT) * size
    # Half of the images have a cluster: pairs and crowds, not only single stars.
    crowd = (_u(n, 1) < 0.5) & (_u(n, COUNT) < 0.6)
    spread = size * (0.03 + 0.2 * _u(n, 1))
    normal = torch.randn((2, n, COUNT), device=generator.device, generator=generator)
    clustered = (_u(2, n, 1) * size + spread * normal) % size
    place = torch.where(crowd, clustered, place)
    many = (1.5 * (COUNT / 1.5) ** _u(n, 1)).floor()
    exists = torch.arange(COUNT, device=place.device) < many
    steep = 0.8 + 2.2 * _u(n, 1)
    peak = _FAINTEST * 10.0 ** (_DECADES * _u(n, COUNT) ** steep)
    # Height of the peak to flux, for a round profile of this width.
    area = 1.3 * optics['true_fwhm'][:, None] ** 2
    flux = peak * sigma[:, 0] * area * exists * ~day[:, 0]
    noise = sigma[:, 0] * torch.sqrt(2.27 * optics['true_fwhm'][:, None] ** 2)
    snr = flux / torch.sqrt(noise**2 + flux)
    limited = _u(n) < 0.2
    limit = sigma[:, 0, 0] * 10.0 ** (1.5 + 1.8 * _u(n))
    limit = torch.where(limited & ~day[:, 0, 0], limit, torch.full_like(limit, 1e9))
    full = flux > 0.7 * limit[:, None] * area
    zero = torch.zeros_like(flux)
    return {
        'y': place[0],
        'x': place[1],
        'flux': torch.where(full, zero, flux),
        'full': torch.where(full, flux, zero),
        'snr': torch.where(full, zero, snr),
        'limit': limit,
    }


def profiles(
    places: torch.Tensor, sigma: torch.Tensor, size: int, *, unit: bool = True
) -> torch.Tensor:
    """
    Sample Gaussians along one axis.

    Parameters
    ----------
    places : Tensor
        Coordinates in pixels, ``(n, k)``.
    sigma : Tensor
        Standard deviations in pixels, ``(n,)``.
    size : int
        Pixels; the axis is periodic if the profiles have unit sum.
    unit : bool, optional
        Give them unit sum instead of unit height.

    Returns
    -------
    Tensor
        ``(n, k, size)``.
    """
    apart = torch.arange(size, device=places.device) - places[..., None]
    if unit:
        apart = torch.remainder(apart + size / 2, size) - size / 2
    profile = torch.exp(-0.5 * (apart / sigma[:, None, None]) ** 2)
    return profile / profile.sum(-1, keepdim=True) if unit else profile


def render(
    stars: dict[str, torch.Tensor],
    sigma: torch.Tensor,
    flux: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """
    Draw stars as Gaussians.

    Parameters
    ----------
    stars : dict
        With ``y`` and ``x``.
    sigma : Tensor
        Standard deviations in pixels, ``(n,)``.
    flux : Tensor
        Fluxes, ``(n, k)``.
    size : int
        Side of the periodic images in pixels.

    Returns
    -------
    Tensor
        ``(n, size, size)``.
    """
    rows = profiles(stars['y'], sigma, size) * flux[..., None]
    return rows.mT @ profiles(stars['x'], sigma, size)
