# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whether the smooth part of a flat is too strong, too weak or bent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroflat.selfcal._blocks import (
    block_centers,
    block_medians,
    chebyshev_powers,
    chebyshev_terms,
)

__all__ = ['Strength', 'fit_smooth', 'measure_strength', 'smooth_part']

_DEGREE = 6
_TILES = 4
_CLIP = 4.0


@dataclass(frozen=True)
class Strength:
    """
    The exponent that the smooth part of a flat needs.

    Parameters
    ----------
    value : float
        1 if it is right; 0.8 if the flat is too strong by a quarter.

    sigma : float
        Its uncertainty, from leaving out frames and parts of the detector.

    gains : `~numpy.ndarray`
        The relative decrease of the variance of each frame left out.
    """

    value: float
    sigma: float
    gains: np.ndarray

    @property
    def significant(self) -> bool:
        """Whether it differs from 1 beyond doubt, and frames left out agree."""
        agreed = np.count_nonzero(self.gains > 0) >= 0.75 * self.gains.size
        return bool(abs(self.value - 1) > 3 * self.sigma and agreed)


def smooth_part(
    clean: np.ndarray, good: np.ndarray, box: int
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the logarithm of the smooth part of a flat.

    Parameters
    ----------
    clean : `~numpy.ndarray`
        The flat without dust.

    good : `~numpy.ndarray` of bool
        Where it may be used.

    box : int
        The size of the blocks.

    Returns
    -------
    image, blocks : `~numpy.ndarray`
        A polynomial of sixth degree on the pixels, and in blocks.
    """
    from astroflat.selfcal._blocks import evaluate_plane, fit_plane

    logarithm = np.log(np.where(good, clean, 1)).astype(np.float32)
    medians = block_medians(logarithm, good, box)
    matrix = fit_plane(medians, degree=_DEGREE)
    image = evaluate_plane(matrix, clean.shape, box)
    return image, block_medians(image, np.ones(image.shape, bool), box)


def measure_strength(
    blocks: np.ndarray, smooth: np.ndarray, shape: tuple[int, int], box: int
) -> Strength:
    """
    Measure the exponent of the smooth part of a flat.

    Parameters
    ----------
    blocks : `~numpy.ndarray`
        Medians of frames over flat, ``(n, by, bx)``.

    smooth : `~numpy.ndarray`
        The logarithm of the smooth part of the flat in the same blocks.

    shape : tuple of int
        The shape of the flat.

    box : int
        The size of the blocks.

    Returns
    -------
    strength : Strength
        The result.

    Notes
    -----
    The sky of each frame is a plane of its own. What is left of the logarithm
    of frames over flat is regressed on the logarithm of the flat. Structure
    of the sky that all frames share enters the uncertainty by leaving out
    each of 16 tiles of the detector in turn.
    """
    data, known = _logarithms(blocks)
    plane = _terms(smooth.shape, shape, box, chebyshev_powers(1))
    design = np.concatenate([plane, smooth[..., None]], axis=-1)
    each = np.array([_slope(d, k, design) for d, k in zip(data, known, strict=True)])
    tiles = _tile_numbers(smooth.shape)
    slopes = []
    for t in range(_TILES**2):
        part = known & (tiles != t)
        slopes.append(
            np.mean([_slope(d, k, design) for d, k in zip(data, part, strict=True)])
        )
    n = len(slopes)
    of_tiles = np.sqrt((n - 1) / n * np.sum((slopes - np.mean(slopes)) ** 2))
    of_frames = np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else 0.0
    gains = _held_out(data, known, design, each)
    return Strength(
        float(1 + np.mean(each)), float(np.hypot(of_tiles, of_frames)), gains
    )


def _logarithms(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms of blocks, and where they are known."""
    known = np.isfinite(blocks) & (blocks > 0)
    data = np.log(np.where(known, blocks, 1))
    for d, k in zip(data, known, strict=True):
        d -= np.median(d[k]) if k.any() else 0
    return np.where(known, data, 0), known


def _terms(
    size: tuple[int, int], shape: tuple[int, int], box: int, powers: list
) -> np.ndarray:
    """Return polynomials in the middles of blocks."""
    y, x = block_centers(size, shape, box)
    return chebyshev_terms(*np.meshgrid(y, x, indexing='ij'), powers)


def _slope(data: np.ndarray, known: np.ndarray, design: np.ndarray) -> float:
    """Return the robust coefficient of the last term."""
    return float(_robust(data, known, design)[-1])


def _robust(data: np.ndarray, known: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Fit with outliers left out."""
    keep = known
    solution = np.zeros(design.shape[-1])
    for _ in range(4):
        if keep.sum() < 2 * design.shape[-1]:
            break
        solution = np.linalg.lstsq(design[keep], data[keep], rcond=None)[0]
        off = np.abs(data - design @ solution)
        keep = known & (off <= _CLIP * 1.4826 * np.median(off[keep]) + 1e-12)
    return solution


def _held_out(
    data: np.ndarray, known: np.ndarray, design: np.ndarray, each: np.ndarray
) -> np.ndarray:
    """Return what the exponent of all other frames is worth in each frame."""
    n = len(data)
    gains = np.zeros(n)
    plane, smooth = design[..., :-1], design[..., -1]
    for j in range(n):
        others = np.mean(np.delete(each, j)) if n > 1 else 0.0
        spread = [_spread(data[j] - s * smooth, known[j], plane) for s in (0.0, others)]
        gains[j] = 1 - (spread[1] / spread[0]) ** 2 if spread[0] else 0.0
    return gains


def _spread(data: np.ndarray, known: np.ndarray, design: np.ndarray) -> float:
    """Return the robust scatter about a fit."""
    rest = (data - design @ _robust(data, known, design))[known]
    return float(1.4826 * np.median(np.abs(rest))) if rest.size else 0.0


def _tile_numbers(size: tuple[int, int]) -> np.ndarray:
    """Return the number of the tile of each block."""
    y, x = (np.minimum(np.arange(n) * _TILES // n, _TILES - 1) for n in size)
    return _TILES * y[:, None] + x


def fit_smooth(
    blocks: np.ndarray,
    shape: tuple[int, int],
    box: int,
    max_degree: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """
    Fit what all frames have left at large scale, without its plane.

    Parameters
    ----------
    blocks : `~numpy.ndarray`
        Medians of frames over flat, ``(n, by, bx)``.

    shape : tuple of int
        The shape of the flat.

    box : int
        The size of the blocks.

    max_degree : int
        The largest degree; a smaller one is taken where it predicts tiles of
        frames that were left out as well.

    Returns
    -------
    image, sigma : `~numpy.ndarray`
        The logarithm to add to that of the flat, and its standard deviation
        from the scatter between frames.

    degree : int
        The degree; 0 if nothing is worth it.
    """
    data, known = _logarithms(blocks)
    size = blocks.shape[1:]
    tiles = _tile_numbers(size)
    best, degree = np.inf, 0
    for trial in [0, *range(2, max_degree + 1)]:
        powers = chebyshev_powers(max(trial, 1))
        design = _terms(size, shape, box, powers)
        miss = _prediction(data, known, design, tiles)
        if miss < 0.95 * best:
            best, degree = miss, trial
    if degree == 0:
        return np.zeros(shape), np.zeros(shape), 0
    powers = chebyshev_powers(degree)
    design = _terms(size, shape, box, powers)
    each = np.array(
        [_robust(d, k, design)[3:] for d, k in zip(data, known, strict=True)]
    )
    y, x = (np.linspace(-1 + 1 / n, 1 - 1 / n, n) for n in shape)
    image = _grid(y, x, powers[3:], each.mean(axis=0))
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
    # The terms are nearly orthogonal: their errors add in quadrature.
    sigma = np.sqrt(
        sum(
            _grid(y, x, [p], np.array([e])) ** 2
            for p, e in zip(powers[3:], error, strict=True)
        )
    )
    return image - np.median(image), sigma, degree


def _prediction(
    data: np.ndarray, known: np.ndarray, design: np.ndarray, tiles: np.ndarray
) -> float:
    """Return the error in tiles that were left out, of frames that were, too."""
    half = np.arange(len(data)) % 2
    misses = []
    for part in (0, 1):
        seen = known[half != part]
        mean = data[half != part].sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        count = seen.any(axis=0)
        test = known[half == part]
        target = data[half == part].sum(axis=0) / np.maximum(test.sum(axis=0), 1)
        there = test.any(axis=0)
        for t in range(_TILES**2):
            solution = _robust(mean, count & (tiles != t), design)
            rest = target - design @ solution
            misses.append(rest[there & (tiles == t)])
    return float(np.mean(np.concatenate(misses) ** 2))


def _grid(y: np.ndarray, x: np.ndarray, powers: list, values: np.ndarray) -> np.ndarray:
    """Evaluate polynomials on a grid."""
    from numpy.polynomial.chebyshev import chebgrid2d

    top = max(max(p) for p in powers) + 1
    matrix = np.zeros((top, top))
    for power, value in zip(powers, values, strict=True):
        matrix[power] = value
    return chebgrid2d(y, x, matrix)
