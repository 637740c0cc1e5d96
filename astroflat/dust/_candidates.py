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
from astroflat.dust._whitening import pool, whiten

__all__ = ['CANDIDATE', 'find_candidates', 'plan_radii']

#: Columns of a table of candidates: significance, sign (+1 dark), position
#: and radius in pixels.
CANDIDATE = ('z', 'sign', 'x', 'y', 'radius')

_FINE = ((0, (1.2, 1.8, 2.7)), (1, (4.0, 6.0, 9.0, 13.5)))
_GROWTH = 1.5
# Calm is what has at this scale less than so many times its white noise.
_CALM_RADIUS, _CALM = 2.7, 1.6
# The outline of larger dust is no longer sharp compared with the pooling.
_WHITE_RADIUS = 24.0
# In units of the scatter; the plain filters see pure noise more often.
_PLAIN, _WHITE = 4.0, 3.5


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


class _Filter:
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
    white, redness = whiten(-image, floor=floor)
    # Without texture the whitened image is the image: once is enough.
    banks = [(-image, True, _PLAIN)]
    if redness > _RED:
        banks.append((white, False, _WHITE))
    rows, scatter = [], {}
    for level, radii in plan_radii(largest).items():
        for image_, surround, threshold in banks:
            if not surround and radii[0] > _WHITE_RADIUS:
                continue
            reduced = _reduce(image_, level)
            bank = _Filter(reduced, int(1.8 * radii[-1] / 2**level) + 3, workers)
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
                    spread = _without_dust(spread, scatter)
                rows += [
                    _peaks(response, centre, spread, sign, threshold, radius, level)
                    for sign in signs
                ]
    return np.concatenate(rows), scatter


# A texture is at work if a band is this much stronger than white noise.
_RED = 1.5


def _without_dust(spread: BlockMap, scatter: dict[float, BlockMap]) -> BlockMap:
    """
    Return the scatter that remains where there is no texture.

    In a flat only dust raises the scatter at large scales. What shows no
    texture at the finest scales is held to be noise at all of them.
    """
    first, *others = scatter
    noise = np.median(scatter[first].values)
    fine = next((r for r in others if r >= _CALM_RADIUS), None)
    if fine is None or np.median(scatter[fine].values) > _CALM * noise:
        return spread
    return BlockMap(np.minimum(spread.values, _CALM * noise), spread.shape)


def _reduce(image: np.ndarray, level: int) -> np.ndarray:
    """Pool an image several times."""
    for _ in range(level):
        image = pool(image)
    return image


def _peaks(
    response: np.ndarray,
    centre: BlockMap,
    spread: BlockMap,
    sign: int,
    threshold: float,
    radius: float,
    level: int,
) -> np.ndarray:
    """Return the local maxima of ``sign * response`` above the local threshold."""
    limit = BlockMap(sign * centre.values + threshold * spread.values, response.shape)
    high = sign * response > limit.steps(lowest=True)
    y, x = np.nonzero(high)
    value = response[y, x]
    best = np.ones(len(y), bool)
    for dy, dx in (
        (-1, -1),
        (-1, 0),
        (-1, 1),
        (0, -1),
        (0, 1),
        (1, -1),
        (1, 0),
        (1, 1),
    ):
        other = response[
            np.clip(y + dy, 0, response.shape[0] - 1),
            np.clip(x + dx, 0, response.shape[1] - 1),
        ]
        best &= sign * value >= sign * other
    y, x, value = y[best], x[best], value[best]
    z = (
        sign
        * (value - centre.at(y, x))
        / np.maximum(spread.at(y, x), np.finfo(np.float32).tiny)
    )
    keep = z > threshold
    scale = 2**level
    columns = (
        z[keep],
        np.full(keep.sum(), sign),
        (x[keep] + 0.5) * scale - 0.5,
        (y[keep] + 0.5) * scale - 0.5,
        np.full(keep.sum(), radius),
    )
    return np.stack(columns, axis=1).astype(np.float64)
