# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A pool of point-spread functions of many kinds, made on the device."""

from __future__ import annotations

import math
from typing import Any

import torch

__all__ = ['CORE', 'SIZE', 'KernelPool', 'core', 'full_width', 'gaussian']

#: Side of the kernels in pixels.
SIZE = 64
#: Standard deviation in pixels of the light before the kernels: every scene has
#: this resolution, so that its pixels can follow it.
CORE = 0.6
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
_WIDTHS = (1.9, 7.0)
# Shares of the kinds: Moffat, Gaussian, trailed, out of focus, aberrated.
_SHARES = (0.35, 0.15, 0.12, 0.15, 0.23)
_CHUNK = 128


class KernelPool:
    """
    Point-spread functions with unit sum and their centroid on a pixel.

    Parameters
    ----------
    size : int
        How many.
    device : str
        Where.
    seed : int, optional
        Start of the random numbers.

    Attributes
    ----------
    kernels : Tensor
        ``(n, 64, 64)``, centred on pixel ``(32, 32)``. A star is a Gaussian of
        `CORE` convolved with one of these.
    widths : Tensor
        Full widths at half maximum of those stars, in pixels.
    kinds : Tensor
        0 to 4: Moffat, Gaussian, trailed, out of focus, aberrated.
    """

    def __init__(self, size: int, device: str, *, seed: int = 0) -> None:
        generator = torch.Generator(device=device).manual_seed(seed)
        kernels, widths, kinds = [], [], []
        found = 0
        while found < size:
            made, kind = _draw(min(_CHUNK, size + 8), generator)
            width = full_width(made)
            keep = (width > _WIDTHS[0]) & (width < _WIDTHS[1])
            kernels.append(made[keep])
            widths.append(width[keep])
            kinds.append(kind[keep])
            found += int(keep.sum())
        self.kernels = torch.cat(kernels)[:size]
        self.widths = torch.cat(widths)[:size]
        self.kinds = torch.cat(kinds)[:size]

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Take some at random, transposed half of the time.

        Parameters
        ----------
        count : int
            How many.
        generator : `torch.Generator`
            Source of random numbers.

        Returns
        -------
        tuple of Tensor
            Kernels, widths and kinds.
        """
        device = self.kernels.device
        which = torch.randint(
            len(self.kernels), (count,), device=device, generator=generator
        )
        turn = torch.rand((count, 1, 1), device=device, generator=generator) < 0.5
        kernels = self.kernels[which]
        kernels = torch.where(turn, kernels.mT, kernels)
        return kernels, self.widths[which], self.kinds[which]


def gaussian(size: int, sigma: Any, device: Any = None) -> torch.Tensor:
    """
    Sample round Gaussians around the first pixel, with unit sum.

    Parameters
    ----------
    size : int
        Side in pixels.
    sigma : float or Tensor
        Standard deviations in pixels, ``(n,)``.
    device : optional
        Where.

    Returns
    -------
    Tensor
        ``(n, size, size)``, periodic, centred on pixel ``(0, 0)``.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=device).reshape(-1, 1)
    x = torch.fft.fftfreq(size, 1.0 / size, device=sigma.device)
    profile = torch.exp(-0.5 * (x / sigma) ** 2)
    profile = profile / profile.sum(1, keepdim=True)
    return profile[:, :, None] * profile[:, None, :]


def core(size: int, device: Any) -> torch.Tensor:
    """
    Transform of the light of a star before any kernel.

    Parameters
    ----------
    size : int
        Side in pixels.
    device : optional
        Where.

    Returns
    -------
    Tensor
        ``(1, size, size // 2 + 1)``, complex.
    """
    return torch.fft.rfft2(gaussian(size, CORE, device))


def full_width(kernels: torch.Tensor, *, with_core: bool = True) -> torch.Tensor:
    """
    Measure widths: of a circle with the area above half of the maximum.

    Parameters
    ----------
    kernels : Tensor
        ``(n, size, size)``.
    with_core : bool, optional
        Convolve them with the Gaussian of `CORE` before.

    Returns
    -------
    Tensor
        Full widths at half maximum in pixels.
    """
    n, size = len(kernels), kernels.shape[-1]
    spectrum = torch.fft.rfft2(kernels)
    if with_core:
        spectrum = spectrum * core(size, kernels.device)
    fine = torch.zeros(
        (n, 4 * size, 2 * size + 1), dtype=spectrum.dtype, device=kernels.device
    )
    half = size // 2
    fine[:, :half, : half + 1] = spectrum[:, :half]
    fine[:, -half:, : half + 1] = spectrum[:, -half:]
    image = torch.fft.irfft2(fine, s=(4 * size, 4 * size)).flatten(1)
    peak = image.max(1, keepdim=True).values
    area = (image > 0.5 * peak).sum(1) / 16.0
    return 2.0 * torch.sqrt(area / math.pi)


def _draw(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw kernels of all kinds, and say of which."""
    device = generator.device
    u = torch.rand(n, device=device, generator=generator)
    edges = torch.tensor(_SHARES, device=device).cumsum(0)[:-1]
    kind = torch.bucketize(u, edges)
    base = torch.fft.rfft2(_moffat(n, kind, generator))
    spectrum = base * _trail(n, kind, generator) * _disc(n, kind, generator)
    lens = torch.fft.rfft2(_aberrated(n, generator))
    spectrum = torch.where((kind == 4)[:, None, None], base * lens, spectrum)
    kernels = torch.fft.irfft2(spectrum, s=(SIZE, SIZE)).clamp(min=0.0)
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    return _centre(kernels), kind


def _uniform(n: int, low: float, high: float, g: torch.Generator) -> torch.Tensor:
    u = torch.rand((n, 1, 1), device=g.device, generator=g)
    return low + (high - low) * u


def _grid(size: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns around the first pixel."""
    x = torch.fft.fftfreq(size, 1.0 / size, device=device)
    return x[None, :, None], x[None, None, :]


def _moffat(n: int, kind: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Elliptical Moffat or Gaussian profiles, averaged over the pixels."""
    wide = torch.exp(_uniform(n, math.log(1.2), math.log(6.2), g))
    narrow = torch.exp(_uniform(n, math.log(1.2), math.log(3.2), g))
    width = torch.where((kind >= 2)[:, None, None], narrow, wide)
    # Round often, as good optics are.
    ratio = 1.0 - 0.3 * _uniform(n, 0.0, 1.0, g) ** 2
    angle = _uniform(n, 0.0, math.pi, g)
    beta = torch.exp(_uniform(n, math.log(2.2), math.log(8.0), g))
    gauss = (kind == 1)[:, None, None]
    rows, columns = _grid(SIZE, g.device)
    total = 0.0
    for dy in (-1 / 3, 0.0, 1 / 3):
        for dx in (-1 / 3, 0.0, 1 / 3):
            y, x = rows + dy, columns + dx
            along = x * torch.cos(angle) + y * torch.sin(angle)
            across = y * torch.cos(angle) - x * torch.sin(angle)
            square = (along**2 * ratio + across**2 / ratio) * 4.0 / width**2
            moffat = (1.0 + (2.0 ** (1.0 / beta) - 1.0) * square) ** -beta
            total = total + torch.where(gauss, 0.5**square, moffat)
    return total / total.sum((1, 2), keepdim=True)


def _frequencies(device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Cycles per pixel along rows and columns."""
    v = torch.fft.fftfreq(SIZE, device=device)[None, :, None]
    u = torch.fft.rfftfreq(SIZE, device=device)[None, None, :]
    return v, u


def _trail(n: int, kind: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Transform of a straight line, for the kind 2."""
    v, u = _frequencies(g.device)
    length, angle = _uniform(n, 1.0, 7.0, g), _uniform(n, 0.0, math.pi, g)
    along = u * torch.cos(angle) + v * torch.sin(angle)
    line = torch.sinc(length * along)
    return torch.where((kind == 2)[:, None, None], line, torch.ones_like(line))


def _disc(n: int, kind: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Transform of a disc with a hole, for the kind 3."""
    radius = _uniform(n, 0.8, 3.2, g)
    hole = _uniform(n, 0.0, 1.0, g)
    hole = torch.where(hole < 0.5, -torch.ones_like(hole), 0.8 * (hole - 0.25))
    rows, columns = _grid(SIZE, g.device)
    ring = 0.0
    for dy in (-1 / 3, 0.0, 1 / 3):
        for dx in (-1 / 3, 0.0, 1 / 3):
            r = torch.sqrt((rows + dy) ** 2 + (columns + dx) ** 2)
            inside = torch.sigmoid(12.0 * (radius - r))
            ring = ring + inside * torch.sigmoid(12.0 * (r - hole * radius))
    ring = torch.fft.rfft2(ring / ring.sum((1, 2), keepdim=True))
    return torch.where((kind == 3)[:, None, None], ring, torch.ones_like(ring))


def _aberrated(n: int, g: torch.Generator) -> torch.Tensor:
    """Images of a point through an obstructed pupil with Zernike aberrations."""
    rows, columns = _grid(SIZE, g.device)
    # The width of the core is about SIZE / (2 radius) pixels.
    radius = _uniform(n, 8.0, 16.0, g)
    hole = 0.4 * _uniform(n, 0.0, 1.0, g)
    r2 = (rows**2 + columns**2) / radius**2
    r, angle = torch.sqrt(r2), torch.atan2(rows, columns)
    amplitude = torch.sigmoid(6.0 * radius * (1.0 - r))
    amplitude = amplitude * torch.sigmoid(6.0 * radius * (r - hole))
    terms = (
        (0.09, math.sqrt(3.0) * (2.0 * r2 - 1.0)),
        (0.06, math.sqrt(6.0) * r2 * torch.cos(2.0 * angle)),
        (0.06, math.sqrt(6.0) * r2 * torch.sin(2.0 * angle)),
        (0.06, math.sqrt(8.0) * (3.0 * r2 - 2.0) * r * torch.cos(angle)),
        (0.06, math.sqrt(8.0) * (3.0 * r2 - 2.0) * r * torch.sin(angle)),
        (0.025, math.sqrt(8.0) * r2 * r * torch.cos(3.0 * angle)),
        (0.03, math.sqrt(5.0) * (6.0 * r2 * (r2 - 1.0) + 1.0)),
    )
    phase = sum(_uniform(n, -size, size, g) * shape for size, shape in terms)
    pupil = amplitude * torch.exp(2j * math.pi * phase)
    image = torch.fft.fft2(pupil).abs() ** 2
    return image / image.sum((1, 2), keepdim=True)


def _centre(kernels: torch.Tensor) -> torch.Tensor:
    """Move the centroids to pixel (32, 32), with unit sum."""
    half = SIZE // 2
    kernels = torch.roll(kernels, (half, half), dims=(1, 2))
    for _ in range(4):
        x = torch.arange(SIZE, device=kernels.device, dtype=torch.float32) - half
        dy = (kernels.sum(2) * x).sum(1)[:, None, None]
        dx = (kernels.sum(1) * x).sum(1)[:, None, None]
        v, u = _frequencies(kernels.device)
        move = torch.exp(2j * math.pi * (v * dy + u * dx))
        kernels = torch.fft.irfft2(torch.fft.rfft2(kernels) * move, s=(SIZE, SIZE))
        kernels = kernels.clamp(min=0.0)
        kernels = kernels / kernels.sum((1, 2), keepdim=True)
    return kernels
