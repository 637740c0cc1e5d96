# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How well the depth of a mote can be told from one frame, by who knows its shape.

The one who knows is told place and shape of the mote, all other fields, the noise,
which pixels hold stars, and how the scene around it varies, as a function of the
distance. He fits its depth and a plane by generalized least squares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.blindflat.motes import DEPTH, VISIBLE, mote_snr, shadows

# Depths of the motes that are asked for: their mean and scatter.
_USUAL, _SCATTER = 0.07, 0.045
# Light over that of the surroundings beyond which a pixel holds a star.
_STAR = 0.1
_EDGE = 0.002


class MoteFit(NamedTuple):
    """
    The fit of one mote.

    Attributes
    ----------
    shadow : `~numpy.ndarray`
        1 less its true transmission.

    depth : float
        What it really takes from its darkest pixel.

    fitted, sigma : float
        What was fitted, and its standard deviation.
    """

    shadow: np.ndarray
    depth: float
    fitted: float
    sigma: float

    @property
    def seen(self):
        """Whether noise and scene together let it stand out by five sigma."""
        return self.depth >= VISIBLE * self.sigma

    @property
    def best(self):
        """The depth, weighted with the depths that there usually are."""
        share = 1.0 / (1.0 + (self.sigma / _SCATTER) ** 2)
        return max(share * self.fitted + (1.0 - share) * _USUAL, 0.0)


def fit_motes(case):
    """
    Fit the depths of the motes of a frame that are deep and not hidden by noise.

    Parameters
    ----------
    case : Case
        A single frame.

    Returns
    -------
    list of MoteFit
        One for each, see `benchmarks.blindflat.motes.deep_motes`.
    """
    chosen = (
        shadow.astype(float)
        for shadow in shadows(case)
        if shadow.max() >= DEPTH and mote_snr(case, shadow) >= VISIBLE
    )
    return [_fit(case, shadow) for shadow in chosen]


def fitted_flat(case, fits):
    """
    Return the true flat with the motes at the depths that were fitted.

    Parameters
    ----------
    case : Case
        The frame.

    fits : list of MoteFit
        Its motes.

    Returns
    -------
    `~numpy.ndarray`
        The flat.
    """
    flat = case.flat.astype(float)
    for fit in fits:
        light = 1.0 - fit.shadow
        flat = flat * light ** (fit.best / fit.depth - 1.0)
    return flat


def seen_mask(fits, shape):
    """
    Mask the pixels under the motes that stand out of noise and scene.

    Parameters
    ----------
    fits : list of MoteFit
        The motes of a frame.

    shape : tuple of int
        Its shape.

    Returns
    -------
    `~numpy.ndarray` of bool
        True under such a mote.
    """
    mask = np.zeros(shape, bool)
    for fit in fits:
        if fit.seen:
            mask |= fit.shadow > _EDGE
    return mask


def _fit(case, shadow):
    """Fit one mote."""
    from scipy.ndimage import median_filter

    rows, columns = np.nonzero(shadow > _EDGE)
    radius = max(np.ptp(rows), np.ptp(columns)) / 2 + 1
    pad = int(1.2 * radius + 6)
    box = tuple(
        slice(max(places.min() - pad, 0), places.max() + pad + 1)
        for places in (rows, columns)
    )
    light, flat = case.light[0][box].astype(float), case.flat[box].astype(float)
    added, frame = case.gradients[0][box], case.frames[0].data[box].astype(float)
    meta, depth = case.frames[0].meta, float(shadow.max())
    variance = (light * flat + added) / meta['GAIN']
    variance += (meta['RDNOISE'] / meta['GAIN']) ** 2
    around = median_filter(light, 2 * int(np.clip(radius / 2, 3, 9)) + 1)
    good = np.abs(light / around - 1) < _STAR
    # Cosmic rays and hot pixels.
    good &= np.abs(frame - light * flat - added) < 6 * np.sqrt(variance)
    others = flat / (1.0 - shadow[box])
    seen = -np.log(np.maximum((frame - added) / others, 1e-3 * np.median(light)))
    images = seen, -np.log(light), -np.log1p(-shadow[box]) / depth
    images += (variance / (light * flat) ** 2,)
    step = max(1, int(radius // 7))
    counts = _sums(good.astype(float), step)
    means = [_sums(np.where(good, i, 0), step) / np.maximum(counts, 1) for i in images]
    return MoteFit(shadow, depth, *_least_squares(*means, counts, 0.3 * step**2))


def _sums(image, step):
    """Add up squares of pixels."""
    ny, nx = (size // step for size in image.shape)
    cut = image[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return cut.sum(axis=(1, 3))


def _least_squares(seen, scene, shape, variance, counts, least):
    """Fit the depth and a plane; return it and its sigma."""
    good = counts > least
    if good.sum() < 12:
        return 0.0, np.inf
    y, x = np.nonzero(good)
    plane = np.column_stack([np.ones(y.size), (y - y.mean()) / 10, (x - x.mean()) / 10])
    between, size = _covariance(scene, good, plane)
    noise = between[(y[:, None] - y) % size[0], (x[:, None] - x) % size[1]]
    noise += np.diag((variance / np.maximum(counts, 1))[good] + 1e-10)
    terms = np.column_stack([shape[good], plane])
    weighted = np.linalg.solve(noise, terms)
    inverse = np.linalg.inv(terms.T @ weighted)
    fitted = inverse @ (weighted.T @ seen[good])
    return float(fitted[0]), float(np.sqrt(inverse[0, 0]))


def _covariance(scene, good, plane):
    """Return how the scene less a plane varies together, by distance alone."""
    left = np.zeros(scene.shape)
    left[good] = (
        scene[good] - plane @ np.linalg.lstsq(plane, scene[good], rcond=None)[0]
    )
    size = tuple(2 * n for n in scene.shape)
    power = np.abs(np.fft.fft2(left, size)) ** 2 / good.sum()
    y, x = np.meshgrid(*(np.fft.fftfreq(n) for n in size), indexing='ij')
    ring = (2 * max(scene.shape) * np.hypot(y, x)).astype(int)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return np.fft.ifft2(mean[ring]).real, size
