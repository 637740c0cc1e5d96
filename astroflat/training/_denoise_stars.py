# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stars of known flux in the squares of the denoiser, and apertures around them."""

from __future__ import annotations

import torch

__all__ = ['APERTURES', 'add_stars', 'aperture_errors']

_STARS, _EMPTY = 12, 4
_FAINTEST, _BRIGHTEST = 2.0, 200.0
#: Radii of the apertures in units of the width of the stars.
APERTURES = (0.7, 1.0, 1.5, 2.2)


def add_stars(
    electrons: torch.Tensor,
    fwhm: torch.Tensor,
    lit: torch.Tensor,
    readnoise: torch.Tensor,
    generator: torch.Generator,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    Add faint stars of known flux.

    Parameters
    ----------
    electrons : Tensor
        Mean electrons, ``(n, 1, ny, nx)``.
    fwhm : Tensor
        Width of the stars in pixels, ``(n,)``.
    lit : Tensor of bool
        Whether a square has a sky, ``(n,)``; the Sun and the Moon have no stars
        before them.
    readnoise : Tensor
        Electrons, ``(n, 1, 1, 1)``.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    tuple
        Electrons, and of the stars and some empty places ``places``
        ``(n, k, 2)``, ``snr`` of a fit of the profile, ``aperture``, the number
        of its radius in `APERTURES`, and ``radii`` in pixels, all ``(n, k)``.
    """
    n, _, ny, nx = electrons.shape
    k, device = _STARS + _EMPTY, electrons.device

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand((n, *shape), device=device, generator=generator)

    sky = electrons.flatten(1).median(1).values.reshape(n, 1)
    width = fwhm.reshape(n, 1) / 2.3548
    edge = torch.tensor([ny - 1, nx - 1], device=device)
    places = uniform(k, 2) * edge
    snr = _FAINTEST * (_BRIGHTEST / _FAINTEST) ** uniform(k)
    snr = snr * lit.reshape(n, 1)
    snr[:, _STARS:] = 0.0
    # Of a fit of the profile before this sky.
    noise = torch.sqrt(12.566 * width**2 * (sky + readnoise.reshape(n, 1) ** 2))
    wings = 0.35 * uniform(1)
    light = (1.0 - wings)[..., None] * _render(snr * noise, places, width, (ny, nx))
    light = light + wings[..., None] * _render(
        snr * noise, places, 2.2 * width, (ny, nx)
    )
    which = torch.randint(len(APERTURES), (n, k), device=device, generator=generator)
    radii = torch.tensor(APERTURES, device=device)[which] * fwhm.reshape(n, 1)
    stars = {
        'places': places,
        'snr': snr,
        'aperture': which,
        'radii': radii.clamp(1.5, 0.2 * min(ny, nx)),
    }
    return electrons + light[:, None], stars


def _render(
    flux: torch.Tensor,
    places: torch.Tensor,
    width: torch.Tensor,
    shape: tuple[int, int],
) -> torch.Tensor:
    """Sum of Gaussian profiles, ``(n, ny, nx)``."""
    profiles = []
    for axis, size in enumerate(shape):
        distance = torch.arange(size, device=flux.device) - places[:, :, axis, None]
        profile = torch.exp(-0.5 * (distance / width[..., None]) ** 2)
        profiles.append(profile / (2.5066 * width[..., None]))
    return torch.einsum('nk,nky,nkx->nyx', flux, *profiles)


def aperture_errors(
    errors: tuple[torch.Tensor, ...],
    variance: torch.Tensor,
    batch: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """
    Sum errors in apertures above the mean of a ring.

    Parameters
    ----------
    errors : tuple of Tensor
        Errors in electrons, each ``(n, 1, ny, nx)``.
    variance : Tensor
        Variance of the noise of the pixels.
    batch : dict
        With ``places`` and ``radii``.

    Returns
    -------
    tuple of Tensor
        Sums for each of the errors in standard deviations of the noise, ``(n, k)``.

    Notes
    -----
    A mean, and no median, of the ring: then sums of errors are errors of sums.
    """
    ny, nx = variance.shape[2:]
    places, radius = batch['places'], batch['radii'][..., None, None]
    y, x = (
        torch.arange(size, device=variance.device) - places[:, :, axis, None]
        for axis, size in enumerate((ny, nx))
    )
    distance = torch.hypot(y[:, :, :, None], x[:, :, None, :])
    inside = (distance < radius).float()
    ring = ((distance > 1.5 * radius + 2) & (distance < 2.5 * radius + 3)).float()
    area = inside.sum((2, 3), keepdim=True)
    weight = inside - ring * (area / ring.sum((2, 3), keepdim=True).clamp(min=1.0))
    sigma = torch.einsum('nyx,nkyx->nk', variance[:, 0], weight**2)
    sigma = sigma.clamp(min=1e-12).sqrt()
    return tuple(
        torch.einsum('nyx,nkyx->nk', error[:, 0], weight) / sigma for error in errors
    )
