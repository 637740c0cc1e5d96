# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noise of real detectors that the textbook leaves out, drawn on the device."""

from __future__ import annotations

import torch
from torch.nn import functional

from astroflat.training._noise import log_uniform

__all__ = ['add_defects', 'add_spikes', 'soften', 'uneven']

# Parts of the squares that have each defect.
_ROWS, _COLUMNS, _GLITCHES, _UNEVEN, _SHARED = 0.3, 0.2, 0.3, 0.3, 0.15
# Neighbours that a wide point spread reaches, in pixels.
_REACH = 24


def soften(
    images: torch.Tensor,
    fwhm: torch.Tensor,
    *,
    share: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Blur some images as a wide seeing or a telescope out of focus does.

    Parameters
    ----------
    images : Tensor
        Noise-free images, ``(n, 1, ny, nx)``.
    fwhm : Tensor
        Width of their stars in pixels, ``(n,)``.
    share : float
        Part of the images that is blurred.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    tuple of Tensor
        Images, and the width of their stars.
    """
    n, _, ny, nx = images.shape
    draw = {'like': images, 'generator': generator}
    radius = log_uniform(n, 1.0, 7.0, **draw)
    ring, chosen = (_uniform(radius, generator) < p for p in (0.4, share))
    reach = min(_REACH, ny - 1, nx - 1)
    padded = functional.pad(images, (reach,) * 4, mode='reflect')
    distance = _distance(padded)
    # A disc with the shadow of a secondary mirror, or a Gaussian.
    disc = torch.sigmoid(2.0 * (radius - distance))
    hole = torch.sigmoid(2.0 * (0.4 * radius - distance))
    kernel = torch.where(
        ring, disc - 0.9 * hole, torch.exp(-2.0 * (distance / radius) ** 2)
    )
    kernel = kernel / kernel.sum((2, 3), keepdim=True)
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel)
    blurred = torch.fft.irfft2(spectrum, s=padded.shape[2:])
    blurred = blurred[:, :, reach : reach + ny, reach : reach + nx].clamp(min=0.0)
    wide = torch.sqrt(
        fwhm**2 + torch.where(ring, 1.7, 1.18).flatten() ** 2 * radius.flatten() ** 2
    )
    chosen = chosen & (radius > 0)
    return (
        torch.where(chosen, blurred, images),
        torch.where(chosen.flatten(), wide, fwhm),
    )


def _distance(like: torch.Tensor) -> torch.Tensor:
    """Distance from the first pixel of images that go on on the other side."""
    axes = []
    for size in like.shape[2:]:
        place = torch.arange(size, device=like.device, dtype=like.dtype)
        axes.append(torch.minimum(place, size - place))
    return torch.hypot(axes[0][:, None], axes[1])[None, None]


def uneven(
    electrons: torch.Tensor, *, amount: float, generator: torch.Generator
) -> torch.Tensor:
    """
    Let pixels differ in response, by what a flat has left.

    Parameters
    ----------
    electrons : Tensor
        Mean electrons.
    amount : float
        1 for as many images as by default, 0 for none.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    Tensor
        Electrons of uneven pixels.
    """
    draw = {'like': electrons, 'generator': generator}
    size = log_uniform(len(electrons), 0.001, 0.01, **draw)
    size = _some(size, _UNEVEN * amount, generator)
    return (electrons * (1.0 + size * _normal(electrons, generator))).clamp(min=0.0)


def add_defects(
    observed: torch.Tensor,
    electrons: torch.Tensor,
    sigma: torch.Tensor,
    *,
    amount: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """
    Add noise that pixels share, and glitches of single pixels.

    Parameters
    ----------
    observed : Tensor
        Electrons with the noise of photons and readout.
    electrons : Tensor
        Their means.
    sigma : Tensor
        Noise of the sky, ``(n, 1, 1, 1)``.
    amount : float
        1 for as many images as by default, 0 for none.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    Tensor
        Electrons with more noise: rows, columns, neighbours and glitches, most of
        them downwards, since nothing in the sky is dark in a single pixel.
    """
    if not amount:
        return observed
    shared = _share(observed - electrons, _SHARED * amount, generator)
    result = electrons + shared
    for dim, part in ((3, _ROWS), (2, _COLUMNS)):
        result = result + sigma * _lines(observed, dim, part * amount, generator)
    return result + sigma * _glitches(sigma, observed, amount, generator)


def _share(
    noise: torch.Tensor, part: float, generator: torch.Generator
) -> torch.Tensor:
    """Let neighbours along rows share noise, whose size stays."""
    ask = torch.rand((len(noise), 1, 1, 1), device=noise.device, generator=generator)
    c = _some(0.3 * ask - 0.08, part, generator)
    reach = 1 + int(torch.randint(2, (), generator=generator, device=noise.device))
    pairs = noise.roll(reach, dims=3) + noise.roll(-reach, dims=3)
    return (noise + c * pairs) / torch.sqrt(1.0 + 2.0 * c**2)


def _lines(
    like: torch.Tensor,
    dim: int,
    part: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Offsets of whole rows (3) or columns (2), some alike over several."""
    n, shape = len(like), list(like.shape)
    shape[dim] = 1
    offsets = torch.randn(shape, device=like.device, generator=generator)
    flat = offsets.reshape(n, 1, -1)
    side = 1 + 2 * int(torch.randint(4, (), generator=generator, device=like.device))
    smooth = functional.avg_pool1d(flat, side, 1, side // 2) * side**0.5
    mix = torch.rand((n, 1, 1), device=like.device, generator=generator)
    flat = torch.sqrt(1.0 - mix) * flat + torch.sqrt(mix) * smooth
    size = log_uniform(n, 0.03, 0.5, like=like, generator=generator)
    return flat.reshape(shape) * _some(size, part, generator)


def _glitches(
    sigma: torch.Tensor,
    like: torch.Tensor,
    amount: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Values of single pixels that are wrong, in standard deviations."""
    draw = {'like': like, 'generator': generator}
    n = len(like)
    often = _some(log_uniform(n, 3e-4, 0.04, **draw), _GLITCHES * amount, generator)
    size = log_uniform(n, 2.0, 8.0, **draw)
    where = _uniform(like, generator) < often
    both = _uniform(sigma, generator) < 0.5
    value = size * _normal(like, generator).abs()
    upwards = both & (_uniform(like, generator) < 0.5)
    # Upwards only by what noise can be: above that it may be a star.
    value = torch.where(upwards, value.clamp(max=5.0), -value)
    return torch.where(where, value, torch.zeros_like(value))


def add_spikes(
    electrons: torch.Tensor, sigma: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """
    Add hot pixels and hits of particles: they are signal, not noise.

    Parameters
    ----------
    electrons : Tensor
        Mean electrons.
    sigma : Tensor
        Noise of the sky.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    Tensor
        Electrons with spikes of one to three pixels.
    """
    often = 6e-4 * _uniform(sigma, generator) ** 2
    where = _uniform(electrons, generator) < often
    height = 6.0 * 60.0 ** _uniform(electrons, generator)
    spikes = torch.where(where, height * sigma, torch.zeros_like(electrons))
    long = (_uniform(sigma, generator) < 0.3) * _uniform(sigma, generator)
    shift = (
        1 if bool(torch.rand((), generator=generator, device=sigma.device) < 0.5) else 0
    )
    return electrons + spikes + long * spikes.roll((1, shift), dims=(2, 3))


def _some(
    values: torch.Tensor, part: float, generator: torch.Generator
) -> torch.Tensor:
    """Keep a part of the values, and make the others 0."""
    return torch.where(
        _uniform(values, generator) < part, values, torch.zeros_like(values)
    )


def _uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(like.shape, device=like.device, generator=generator)


def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, device=like.device, generator=generator)
