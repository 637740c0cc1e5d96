# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How well vignetting can be told from one frame, by who knows more than a method may.

The one who knows is told the means and covariances of vignetting and gradient at the
strength of the scene, from simulated fields, and which pixels are sky, or how the
cells of the scene vary together. His answer is the most probable pair of fields,
linear in the fields but for the logarithm. Told G as well, he shows what the doubt
between a slope of F and a slope of the sky costs.
"""

from __future__ import annotations

import functools

import numpy as np

from astroflat.degradation import NOISE_LEVELS, sample_fields
from astroflat.neural._smooth import enlarge

_LONG, _DRAWS, _ROUNDS = 20, 500, 6
_ADDED = ('linear', 'quadratic', 'moonlight', 'glow')
#: What stands on the sky adds less than this to a pixel that counts as sky.
_SKY = 0.005
# Seeds of fields that no scene has.
_SEED = 900_000


def smooth_oracles(case):
    """
    Find the vignetting of a single frame with knowledge of its scene.

    Parameters
    ----------
    case : Case
        The scene, of a difficulty above 0.

    Returns
    -------
    dict of `~numpy.ndarray`
        Flats of vignetting alone: ``told how the scene varies``, and ``and G``; for
        scenes of the night also ``told the sky pixels``, and ``and G``.
    """
    frame = np.maximum(np.asarray(case.frames[0].data, float), 1e-3)
    light, off = case.light[0].astype(float), ~case.dust_mask
    grid = _grid(case.flat.shape)
    base = np.median(light)
    added = _blocks(case.gradients[0] / base, grid, np.mean)
    told = added.ravel() - added.mean()
    prior = _prior(case, base)
    variation = np.log(np.maximum(_blocks(light, grid, np.median), 1e-3 * base))
    views = {'told how the scene varies': (off, _covariance(variation))}
    if case.at_night:
        share = 0.5 if case.entry['kind'] == 'dark_nebula' else 0.02
        sky = np.abs(light - np.quantile(light, share)) < _SKY * light
        views['told the sky pixels'] = (off & sky, 1e-6 * np.eye(added.size))
    flats = {}
    for name, (kept, scene) in views.items():
        seen = _observe(case, np.where(kept, frame, np.nan), grid)
        for known, label in ((None, name), (told, f'{name}, and G')):
            log_v = _solve(seen, scene, prior, known).reshape(grid)
            flats[label] = np.exp(enlarge(log_v, case.flat.shape)).astype(float)
    return flats


def _grid(shape):
    """Return the number of cells along the axes."""
    return tuple(max(8, round(_LONG * size / max(shape))) for size in shape)


def _blocks(image, grid, function):
    """Reduce the pixels of each cell to one number."""
    rows, columns = (
        np.linspace(0, size, n + 1).astype(int)
        for size, n in zip(image.shape, grid, strict=True)
    )
    return np.array(
        [
            [
                function(image[rows[i] : rows[i + 1], columns[j] : columns[j + 1]])
                for j in range(grid[1])
            ]
            for i in range(grid[0])
        ]
    )


def _observe(case, frame, grid):
    """Return the logarithm of the median of each cell, and its variance."""
    meta = case.frames[0].meta
    counts = _blocks(np.isfinite(frame), grid, np.sum)
    enough = counts >= 4
    levels = np.ones(grid)
    medians = _blocks(np.where(np.isfinite(frame), frame, -1.0), grid, _median_of_good)
    levels[enough] = medians[enough]
    light = case.light[0] * case.flat + case.gradients[0]
    noise = _blocks(light / meta['GAIN'] + (meta['RDNOISE'] / meta['GAIN']) ** 2, grid,
                    np.median)  # fmt: skip
    # A median of n values scatters by 1.57 / n times their variance.
    variance = 1.57 * noise / np.maximum(counts, 1) / levels**2 + 1e-8
    return np.log(levels).ravel(), variance.ravel(), np.flatnonzero(enough)


def _median_of_good(values):
    """Return the median of what is not left out."""
    values = values[values > 0]
    return np.median(values) if values.size else 1.0


def _covariance(variation):
    """Return the covariance of cells, by their distance, of this very scene."""
    centred = variation - variation.mean()
    size = tuple(2 * n for n in centred.shape)
    power = np.abs(np.fft.fft2(centred, size)) ** 2
    at = np.fft.ifft2(power).real / centred.size
    y, x = (index.ravel() for index in np.indices(centred.shape))
    return at[(y[:, None] - y) % size[0], (x[:, None] - x) % size[1]]


def _prior(case, base):
    """Return mean and covariance of log V and of G over the median of the light."""
    entry = case.entry
    mean, covariance = _moments(tuple(entry['shape']), entry['difficulty'])
    level = NOISE_LEVELS[entry['noise']].level / case.frames[0].meta['GAIN']
    scale = np.ones(mean.size)
    scale[mean.size // 2 :] = level * (1.0 if case.at_night else 0.2) / base
    return mean * scale, covariance * np.outer(scale, scale)


@functools.cache
def _moments(shape, difficulty):
    """Return mean and covariance of the fields of many draws, cell by cell."""
    grid = _grid(shape)
    rows = []
    for seed in range(_SEED, _SEED + _DRAWS):
        drawn = sample_fields(
            tuple(3 * n for n in grid), difficulty=difficulty, rng=seed
        )
        flat = _blocks(drawn.component('vignetting'), grid, np.mean)
        kinds = [kind for kind in _ADDED if kind in drawn.kinds]
        added = drawn.component(*kinds) if kinds else np.zeros(drawn.flat.shape)
        fields = np.log(flat).ravel(), _blocks(added, grid, np.mean).ravel()
        rows.append(np.concatenate([field - field.mean() for field in fields]))
    mean = np.mean(rows, axis=0)
    return mean, np.cov(np.transpose(rows), bias=True)


def _solve(seen, scene, prior, known):
    """Return the most probable log V, G being known or not."""
    values, variance, cells = seen
    mean, covariance = (part.copy() for part in prior)
    n = values.size
    if known is not None:
        mean[n:] = known
        covariance[n:] = 0
        covariance[:, n:] = 0
    if cells.size < 4:
        return mean[:n]
    noise = scene[np.ix_(cells, cells)] + np.diag(variance[cells])
    # Nothing is known of the level of the frame.
    noise += 100.0
    fields, rows = mean.copy(), np.arange(cells.size)
    for _ in range(_ROUNDS):
        flat = np.exp(fields[:n])
        light = np.maximum(flat + fields[n:], 0.05)
        slope = np.zeros((cells.size, 2 * n))
        slope[rows, cells] = (flat / light)[cells]
        slope[rows, n + cells] = (1 / light)[cells]
        left = (values - np.log(light))[cells] + slope @ (fields - mean)
        gain = covariance @ slope.T
        fields = mean + gain @ np.linalg.solve(slope @ gain + noise, left)
    return fields[:n]
