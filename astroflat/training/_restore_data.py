# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Blurred, noisy squares with truth for the restorer, made on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from astroflat.training._noise import local_level, log_uniform
from astroflat.training._restore_psf import CORE, SIZE, core, full_width, gaussian
from astroflat.training._restore_stars import draw_stars, render

if TYPE_CHECKING:
    from astroflat.training._restore_psf import KernelPool
    from astroflat.training.pools import ArrayPool

__all__ = ['EPSILONS', 'SquareMaker', 'filters', 'wanted_width']

#: Noise relative to the signal that the filters are made for; the first is for
#: the denoised image, the others for the restored ones.
EPSILONS = (0.1, 0.3, 3e-2, 2e-3, 1e-4)
#: No image is made sharper than this full width at half maximum in pixels.
SHARPEST = 1.8
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
_MARGIN = 16


def wanted_width(width: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """
    Return the width that stars shall have.

    Parameters
    ----------
    width : Tensor
        Their full width at half maximum in pixels.
    strength : Tensor
        0 for as they are, 1 for half.

    Returns
    -------
    Tensor
        Wanted width: at least `SHARPEST`, but never wider than they are.
    """
    return torch.minimum(width, (width * (1.0 - 0.5 * strength)).clamp(min=SHARPEST))


def filters(
    point: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Make the linear filters of a point-spread function.

    Parameters
    ----------
    point : Tensor
        Its transform, ``(n, ny, nx)`` complex.
    target : Tensor
        Transform of the wanted one.

    Returns
    -------
    filters : Tensor
        ``(n, 5, ny, nx)``: one that keeps the resolution, and four that change it.
    gains : Tensor
        ``(n, 5)``: what each does to the standard deviation of white noise.

    Notes
    -----
    Each is ``conj(P) T (1 + e) / (|P|**2 + e)``: what Wiener would take for a signal
    as strong at all frequencies, scaled so that the sum of the light stays.
    """
    power = point.abs() ** 2
    made = []
    for i, epsilon in enumerate(EPSILONS):
        wanted = point if i == 0 else target
        made.append(point.conj() * wanted * ((1.0 + epsilon) / (power + epsilon)))
    stacked = torch.stack(made, dim=1)
    # The columns of a half transform stand for two each, but for the first and last.
    twice = torch.full((power.shape[-1],), 2.0, device=power.device)
    twice[0] = twice[-1] = 1.0
    square = (stacked.abs() ** 2 * twice).sum((-2, -1)) / power.shape[-2] ** 2
    return stacked, torch.sqrt(square)


@dataclass
class SquareMaker:
    """
    Makes batches: sharp light of a pool and stars, blurred, exposed and filtered.

    Parameters
    ----------
    light : ArrayPool
        Extended light, as of `draw_extended`.
    kernels : KernelPool
        Point-spread functions.
    count : int
        Squares in a batch.
    size : int
        Their side in pixels, a multiple of 16.
    """

    light: ArrayPool
    kernels: KernelPool
    count: int
    size: int

    def __call__(self, generator: torch.Generator) -> dict[str, Any]:
        """
        Draw a batch.

        Parameters
        ----------
        generator : `torch.Generator`
            Source of random numbers.

        Returns
        -------
        dict of Tensor
            ``planes`` and ``dials``, what the network sees; ``target`` and
            ``clean``, what it has to find, ``weight``, where that is known; and of
            the stars ``rows``, ``columns`` (apertures), ``flux`` and ``snr``.
        """
        self.light.take(limit=4)
        optics = self._optics(generator)
        scene = self._scene(optics, generator)
        return _cut(_expose(scene, optics, generator), _MARGIN, self.size)

    def _optics(self, g: torch.Generator) -> dict[str, torch.Tensor]:
        """Draw point-spread functions, true and believed, and what is wanted."""
        size = self.size + 2 * _MARGIN
        kernels, width, kind = self.kernels.draw(self.count, g)
        narrow = core(size, kernels.device)
        spectrum = torch.fft.rfft2(_embed(kernels, size))
        believed, seen = _believed(kernels, width, kind, g)
        known = torch.fft.rfft2(_embed(believed, size)) * narrow
        u = _uniform(self.count, g)
        strength = (1.8 * u - 0.12).clamp(0.0, 1.0)
        wanted = wanted_width(seen, strength)
        same = (strength == 0)[:, None, None]
        target = torch.fft.rfft2(gaussian(size, wanted / _FWHM))
        return {
            'kernel': spectrum,
            'known': known,
            'target': torch.where(same, known, target.to(known.dtype)),
            'same': same,
            'fwhm': seen,
            'true_fwhm': width,
            'wanted': wanted,
            'narrow': narrow,
        }

    def _scene(
        self, optics: dict[str, torch.Tensor], g: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Draw light without noise: as it comes, and as it should be."""
        size = self.size + 2 * _MARGIN
        light, day = self._extended(size, g)
        n = self.count
        sky = log_uniform(n, 2.0, 4000.0, like=light, generator=g)[:, 0]
        readnoise = log_uniform(n, 0.7, 10.0, like=light, generator=g)[:, 0]
        sigma = torch.sqrt(sky + readnoise**2)
        snr = log_uniform(n, 0.5, 400.0, like=light, generator=g)[:, 0]
        bare = _uniform(n, g)[:, None, None] < 0.25
        night = torch.where(bare, torch.zeros_like(light), light * snr * sigma)
        bright = log_uniform(n, 300.0, 6e4, like=light, generator=g)[:, 0]
        extended = torch.where(day, light * bright, night)
        sky = torch.where(day, torch.zeros_like(sky), sky)
        stars = draw_stars(n, size, optics, sigma, day, g)
        return _blur(extended, stars, optics, size) | {
            'sky': sky,
            'readnoise': readnoise,
            'sigma': sigma,
            'stars': stars,
        }

    def _extended(
        self, size: int, g: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut squares out of the pool, turned and mirrored."""
        device, n = self.kernels.kernels.device, self.count
        pool, total = self.light.arrays['light'], self.light.size

        def _whole(high: int) -> torch.Tensor:
            return torch.randint(high, (n, 1), device=device, generator=g)

        which = _whole(self.light.filled('light'))[:, 0]
        steps = torch.arange(size, device=device)
        axes = []
        for _ in range(2):
            along = torch.where(_whole(2) == 1, steps, size - 1 - steps)
            axes.append(_whole(total - size + 1) + along)
        cut = pool[which[:, None, None], axes[0][:, :, None], axes[1][:, None]].float()
        cut = torch.where(_whole(2)[:, :, None] == 1, cut, cut.mT)
        return cut, self.light.arrays['day'][which][:, None, None] > 0.5


def _uniform(n: int, g: torch.Generator) -> torch.Tensor:
    return torch.rand((n,), device=g.device, generator=g)


def _embed(kernels: torch.Tensor, size: int) -> torch.Tensor:
    """Put kernels into periodic squares, their middle on the first pixel."""
    half = SIZE // 2
    if size < SIZE:
        start = half - size // 2
        kernels = kernels[:, start : start + size, start : start + size]
        kernels, half = kernels / kernels.sum((1, 2), keepdim=True), size // 2
    more = size - kernels.shape[-1]
    return torch.roll(
        functional.pad(kernels, (0, more, 0, more)), (-half, -half), (1, 2)
    )


def _believed(
    kernels: torch.Tensor, width: torch.Tensor, kind: torch.Tensor, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the user says the point-spread functions are, and their widths."""
    n = len(kernels)
    off = 0.05 * torch.randn((n,), device=g.device, generator=g)
    off = 1.0 + torch.where(_uniform(n, g) < 0.3, off, torch.zeros_like(off))
    off = off.clamp(0.85, 1.15)
    # A round Moffat of the same width, where only that is known.
    inner = torch.sqrt((width**2 - (_FWHM * CORE) ** 2).clamp(min=0.7))
    plain = _round_moffat(inner, 3.0)
    guess = (_uniform(n, g) < 0.25) & (kind < 2)
    shape = torch.where(guess[:, None, None], plain, kernels)
    theta = torch.zeros((n, 2, 3), device=kernels.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0 / off
    # Pixel 32 of 64 lies half a pixel from the middle of the grid.
    shift = (1.0 - 1.0 / off) / SIZE
    theta[:, 0, 2] = theta[:, 1, 2] = shift
    grid = functional.affine_grid(theta, (n, 1, SIZE, SIZE), align_corners=False)
    scaled = functional.grid_sample(
        shape[:, None], grid, mode='bicubic', align_corners=False
    )[:, 0].clamp(min=0.0)
    exact = (off == 1.0)[:, None, None]
    believed = torch.where(exact, shape, scaled)
    believed = believed / believed.sum((1, 2), keepdim=True)
    return believed, full_width(believed)


def _round_moffat(width: torch.Tensor, beta: float) -> torch.Tensor:
    """Round Moffat profiles centred on pixel (32, 32)."""
    x = torch.arange(SIZE, device=width.device) - SIZE // 2
    square = (x[:, None] ** 2 + x**2) * 4.0 / width[:, None, None] ** 2
    moffat = (1.0 + (2.0 ** (1.0 / beta) - 1.0) * square) ** -beta
    return moffat / moffat.sum((1, 2), keepdim=True)


def _blur(
    extended: torch.Tensor,
    stars: dict[str, torch.Tensor],
    optics: dict[str, torch.Tensor],
    size: int,
) -> dict[str, torch.Tensor]:
    """Blur the light as the optics do, and as is wanted."""
    narrow = torch.full_like(optics['wanted'], CORE)
    sharp = extended + render(stars, narrow, stars['flux'], size)
    full = render(stars, narrow, stars['full'], size)
    whole = torch.fft.rfft2(torch.stack((sharp, full), 1))
    blurred = torch.fft.irfft2(whole * optics['kernel'][:, None], s=(size, size))
    came, full = blurred.unbind(1)
    v = torch.fft.fftfreq(size, device=extended.device)[:, None]
    u = torch.fft.rfftfreq(size, device=extended.device)
    sigma = optics['wanted'][:, None, None] / _FWHM
    ratio = torch.exp(
        -2.0 * math.pi**2 * (sigma**2 - CORE**2).clamp(min=0) * (u**2 + v**2)
    )
    wide = torch.fft.irfft2(torch.fft.rfft2(extended) * ratio, s=(size, size))
    wide = wide + render(stars, sigma[:, 0, 0], stars['flux'], size)
    # Stars that are full are left as they are: nobody knows their light.
    target = torch.where(optics['same'], came, wide) + full
    came = (came + full).clamp(min=0.0)
    return {'came': came, 'target': target}


def _expose(
    scene: dict[str, torch.Tensor],
    optics: dict[str, torch.Tensor],
    g: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Expose light, and make what the network sees."""
    came, sky, readnoise = scene['came'], scene['sky'], scene['readnoise']
    stars = scene['stars']
    spikes = _spikes(came, scene['sigma'], g)
    # On a GPU a rate below 0 would end the run.
    light = (came + sky + spikes).nan_to_num(0.0).clamp(min=0.0)
    noise = torch.poisson(light, generator=g) - light
    noise = noise + readnoise * torch.randn(came.shape, device=g.device, generator=g)
    noisy = came + spikes + _correlated(noise, g)
    limit = stars['limit'][:, None, None]
    noisy = torch.minimum(noisy, limit)
    holes = _holes(noisy, g)
    bad = (noisy >= limit) | holes
    noisy = torch.where(holes, _mean_around(noisy, holes), noisy)
    level = local_level(noisy[:, None])[:, 0]
    believed = readnoise * torch.exp(0.1 * (_uniform(len(sky), g) - 0.5))[:, None, None]
    sigma = torch.sqrt((level + sky).clamp(min=0.0) + believed**2)
    # The noise is never quite what it is believed to be.
    sigma = sigma * torch.exp(0.2 * (_uniform(len(sky), g) - 0.5))[:, None, None]
    planes, gains = _filtered(noisy, optics)
    shot = torch.sqrt((planes[:, 1] + sky).clamp(min=0.0) + believed**2) / sigma
    scaled = (planes - level[:, None]) / sigma[:, None]
    shot = shot.clamp(0.1, 1e3)
    extra = torch.stack((torch.log2(shot), bad.float()), dim=1)
    target = torch.minimum(scene['target'] + spikes, limit)
    clean = torch.minimum(came + spikes, limit)
    dials = [torch.log2(optics['fwhm']) / 2.0, torch.log2(optics['wanted']) / 2.0]
    return {
        'planes': torch.cat((scaled, extra), dim=1),
        'dials': torch.stack([*dials, *torch.log2(gains[:, 1:]).unbind(1)], dim=1),
        'target': ((target - level) / sigma)[:, None],
        'clean': ((clean - level) / sigma)[:, None],
        'weight': _known(bad)[:, None],
        'shot': shot[:, None],
        'sigma': sigma[:, None],
        'fwhm': optics['true_fwhm'],
        'wanted': optics['wanted'],
        **{k: stars[k] for k in ('y', 'x', 'flux', 'snr')},
    }


def _correlated(noise: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Share the noise with a neighbour in a few images: they were resampled."""
    share = 0.5 * _uniform(len(noise), g)
    share = torch.where(_uniform(len(noise), g) < 0.12, share, torch.zeros_like(share))
    share = share[:, None, None]
    for axis in (1, 2):
        mixed = noise + share * torch.roll(noise, 1, axis)
        noise = mixed / torch.sqrt(1.0 + share**2)
    return noise


def _filtered(
    noisy: torch.Tensor, optics: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the image and its filtered versions, and the gains of the filters."""
    size = noisy.shape[-1]
    made, gains = filters(optics['known'], optics['target'])
    middle = noisy.flatten(1).median(1).values[:, None, None]
    spectrum = torch.fft.rfft2(noisy - middle)[:, None]
    planes = torch.fft.irfft2(spectrum * made, s=(size, size)) + middle[:, None]
    return torch.cat((noisy[:, None], planes), dim=1), gains


def _spikes(
    came: torch.Tensor, sigma: torch.Tensor, g: torch.Generator
) -> torch.Tensor:
    """Hot pixels and hits of particles in a few images: they stay."""
    often = 4e-4 * (_uniform(len(came), g)[:, None, None] - 0.7).clamp(min=0.0) / 0.3
    where = torch.rand(came.shape, device=g.device, generator=g) < often
    height = 4.0 * 50.0 ** torch.rand(came.shape, device=g.device, generator=g)
    return torch.where(where, height * sigma, torch.zeros_like(came))


def _holes(like: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Bad pixels and, in some images, a bad column or row."""
    n, size = len(like), like.shape[-1]
    often = 5e-3 * (_uniform(n, g)[:, None, None] - 0.7).clamp(min=0.0) / 0.3
    single = torch.rand(like.shape, device=g.device, generator=g) < often
    # Most images have it outside.
    place = (_uniform(n, g) * 8.0 * size).long()[:, None, None]
    steps = torch.arange(size, device=g.device)
    line = (steps >= place) & (steps < place + 2)
    lying = _uniform(n, g)[:, None, None] < 0.5
    return single | torch.where(lying, line.mT, line)


def _mean_around(values: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
    """Return means of good neighbours, or the values where there are none."""
    good = (~bad).float()[:, None]
    sums = functional.avg_pool2d(values[:, None] * good, 3, 1, 1)[:, 0]
    share = functional.avg_pool2d(good, 3, 1, 1)[:, 0]
    return torch.where(share > 0.1, sums / share.clamp(min=0.1), values)


def _known(bad: torch.Tensor) -> torch.Tensor:
    """Weights: nothing on pixels that are full, and one beside them."""
    grown = functional.max_pool2d(bad[:, None].float(), 3, 1, 1)[:, 0]
    return 1.0 - grown


def _cut(batch: dict[str, torch.Tensor], margin: int, size: int) -> dict[str, Any]:
    """Cut the margins, where the periodic light is seen, off the images."""
    part = slice(margin, margin + size)
    cut = {k: v[..., part, part] if v.ndim == 4 else v for k, v in batch.items()}
    cut['y'], cut['x'] = cut['y'] - margin, cut['x'] - margin
    return cut
