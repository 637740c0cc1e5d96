# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Where dust may be: peaks of matched filters of all sizes.

Two banks of filters look at the image. Discs against their surroundings find
what is dark as a whole, and are the best there is in white noise. Discs on
the whitened image (`astroflat.dust._whitening`) find what has a sharp closed
outline, also where the scene around it is rougher than the dust is deep. Both
are cheap and neither decides: their peaks are looked at one by one later.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from astroflat.dust._scatter import BlockMap, block_scatter
from astroflat.dust._whitening import pool

__all__ = ['CANDIDATE', 'Filter', 'find_candidates', 'plan_radii']

#: Columns of a table of candidates: significance, sign (+1 dark), position
#: and radius in pixels.
CANDIDATE = ('z', 'sign', 'x', 'y', 'radius')

_NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
_FINE = ((0, (1.2, 1.8, 2.7)), (1, (4.0, 6.0, 9.0, 13.5)))
_GROWTH = 1.5
# Calm is what has at this scale less than so many times its white noise.
_CALM_RADIUS, _CALM = 2.7, 1.6
# So many peaks of pure noise are let through per filter, and limits of the
# threshold that follows, in units of the scatter. Large filters have few
# independent places, and their scatter is that of the dust itself.
_FALSE = 5.0
_LEAST, _PLAIN, _WHITE = 2.0, 4.0, 3.2
# Around a deep shadow filters of all sizes ring; what is below this share of
# the strongest response nearby may be no more than that.
_RINGING = 0.05


def plan_radii(largest: float) -> dict[int, list[float]]:
    """
    Choose the radii to look for, and at which size of the image.

    Parameters
    ----------
    largest : float
        The largest radius in pixels.

    Returns
    -------
    plan : dict
        Level (the image is pooled by ``2**level``) to radii in pixels of the
        full image.
    """
    plan = {level: list(radii) for level, radii in _FINE}
    radius, level = _FINE[-1][1][-1] * _GROWTH, 2
    while radius < largest * _GROWTH**0.5:
        plan.setdefault(level, []).append(radius)
        if len(plan[level]) == 2:
            level += 1
        radius *= _GROWTH
    return plan


@lru_cache(maxsize=64)
def _disc(radius: float, surround: bool) -> np.ndarray:
    """Return a filter of unit norm: a disc, with or without a rim of opposite sign."""
    half, fine = int(np.ceil(1.8 * radius + 1)), 5
    n = 2 * half + 1
    t = (np.arange(n * fine) + 0.5) / fine - 0.5 - half
    rho = np.hypot(t[:, None], t)

    def share(inside: np.ndarray) -> np.ndarray:
        return inside.reshape(n, fine, n, fine).mean((1, 3))

    kernel = share(rho <= radius)
    if surround:
        rim = share((rho > 1.15 * radius) & (rho <= 1.8 * radius + 0.3))
        kernel = kernel - rim * (kernel.sum() / rim.sum())
    return (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)


class Filter:
    """Correlate one image with many small symmetric kernels."""

    def __init__(self, image: np.ndarray, margin: int, workers: int) -> None:
        from scipy import fft

        self._crop = tuple(slice(margin, margin + n) for n in image.shape)
        self._shape = tuple(
            fft.next_fast_len(n + 2 * margin, real=True) for n in image.shape
        )
        self._workers = workers
        # Images may be smaller than the margin, which symmetric padding allows.
        image = np.pad(image, margin, mode='symmetric')
        self._image = fft.rfft2(image, self._shape, workers=workers)

    def __call__(self, kernel: np.ndarray) -> np.ndarray:
        from scipy import fft

        half = kernel.shape[0] // 2
        wrapped = np.zeros(self._shape, np.float32)
        wrapped[: kernel.shape[0], : kernel.shape[1]] = kernel
        wrapped = np.roll(wrapped, (-half, -half), (0, 1))
        product = fft.rfft2(wrapped, workers=self._workers)
        product *= self._image
        return fft.irfft2(product, self._shape, workers=self._workers)[self._crop]


def find_candidates(
    image: np.ndarray,
    white: np.ndarray | None,
    *,
    largest: float,
    signs: tuple[int, ...] = (1, -1),
    floor: float = 0.0,
    workers: int = 1,
) -> tuple[np.ndarray, dict[float, BlockMap]]:
    """
    Find peaks of matched filters of all sizes.

    Parameters
    ----------
    image : `~numpy.ndarray` of float32
        The logarithm of the light, finite everywhere.

    white : `~numpy.ndarray` of float32 or None
        The whitened image, if there is a texture to suppress.

    largest : float
        The largest radius in pixels.

    signs : tuple of int, optional
        +1 for dark, -1 for bright objects.

    floor : float, optional
        The least noise per pixel.

    workers : int, optional
        Threads of the transforms.

    Returns
    -------
    candidates : `~numpy.ndarray`
        Rows of `CANDIDATE`.

    scatter : dict of float to BlockMap
        Local scatter of the plain filter of every radius, in units of the
        noise of a single pixel: constant in white noise.
    """
    banks = [(-image, True, _PLAIN)]
    if white is not None:
        banks.append((-white, False, _WHITE))
    rows, scatter = [], {}
    for level, radii in plan_radii(largest).items():
        for full, surround, highest in banks:
            reduced = _reduce(full, level)
            bank = Filter(reduced, int(1.8 * radii[-1] / 2**level) + 3, workers)
            for radius in radii:
                size = radius / 2**level
                response = bank(_disc(size, surround)) * np.float32(2**level)
                centre, spread = block_scatter(
                    response,
                    16,
                    step=max(1, int(size / 1.5)),
                    calm=radius > 8,
                    floor=floor,
                )
                if surround:
                    scatter[radius] = BlockMap(spread.values, image.shape)
                threshold = _threshold(radius, image.size, highest)
                least = _RINGING * _strongest(response, size)
                for sign in signs:
                    z, y, x = _peaks(response, centre, spread, sign, threshold, least)
                    rows.append(_as_rows(z, y, x, sign, radius, level))
    return np.concatenate(rows), scatter


def _reduce(image: np.ndarray, level: int) -> np.ndarray:
    """Pool an image several times."""
    for _ in range(level):
        image = pool(image)
    return image


def _threshold(radius: float, size: int, highest: float) -> float:
    """Return how significant a peak has to be."""
    from scipy.special import ndtri

    places = max(1.0, size / (np.pi * radius**2))
    chance = min(0.5, _FALSE / places)
    return float(np.clip(-ndtri(chance), _LEAST, highest))


def _strongest(response: np.ndarray, size: float) -> np.ndarray:
    """Return the strongest response of either sign around every pixel."""
    from scipy.ndimage import maximum_filter

    block = max(4, int(2 * size))
    ny, nx = response.shape
    by, bx = -(-ny // block), -(-nx // block)
    padded = np.zeros((by * block, bx * block), np.float32)
    np.abs(response, out=padded[:ny, :nx])
    top = padded.reshape(by, block, bx, block).max((1, 3))
    top = maximum_filter(top, 3, mode='nearest')
    return np.repeat(np.repeat(top, block, 0)[:ny], block, 1)[:, :nx]


def _peaks(
    response: np.ndarray,
    centre: BlockMap,
    spread: BlockMap,
    sign: int,
    threshold: float,
    least: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return significance and place of the local maxima of ``sign * response``."""
    limit = BlockMap(sign * centre.values + threshold * spread.values, response.shape)
    high = sign * response > np.maximum(limit.steps(lowest=True), least)
    y, x = np.nonzero(high)
    value = sign * response[y, x]
    best = np.ones(len(y), bool)
    for dy, dx in _NEIGHBOURS:
        other = response[
            np.clip(y + dy, 0, response.shape[0] - 1),
            np.clip(x + dx, 0, response.shape[1] - 1),
        ]
        best &= value >= sign * other
    y, x, value = y[best], x[best], value[best]
    tiny = np.finfo(np.float32).tiny
    z = (value - sign * centre.at(y, x)) / np.maximum(spread.at(y, x), tiny)
    keep = z > threshold
    return z[keep], y[keep], x[keep]


def _as_rows(
    z: np.ndarray, y: np.ndarray, x: np.ndarray, sign: int, radius: float, level: int
) -> np.ndarray:
    """Return peaks as candidates, in pixels of the full image."""
    scale = 2**level
    columns = (
        z,
        np.full(len(z), sign),
        (x + 0.5) * scale - 0.5,
        (y + 0.5) * scale - 0.5,
        np.full(len(z), radius),
    )
    return np.stack(columns, axis=1).astype(np.float64)
