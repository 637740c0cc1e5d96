# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
From an image to the logarithm of its light, without the illumination.

Dust takes a share of the light, so its depth is the same number wherever it
lies only in the logarithm. A true logarithm would blow up the noise of dark
pixels; the inverse hyperbolic sine turns linear there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from astroflat.dust._scatter import BlockMap, block_scatter
from astroflat.dust._whitening import fill_holes

__all__ = ['LogImage', 'log_image', 'quantum']

# The illumination is a polynomial of this total degree.
_DEGREE = 6
_SIDE = 140
# So many lines at each border may be unlike the rest.
_BORDER = 8
# Share of the median below which the logarithm turns linear, at least.
_SOFT = 1e-3
# Noise below this share of a step of quantised data does not hide the steps.
_TERRACE = 0.5


@dataclass(frozen=True)
class LogImage:
    """
    An image prepared for the search of dust.

    Parameters
    ----------
    data : `~numpy.ndarray` of float32
        Logarithm of the light, minus the large-scale illumination; finite.

    bad : `~numpy.ndarray` of bool
        Pixels that were filled.

    illumination : `~numpy.ndarray` of float32
        The large-scale illumination that was subtracted.

    soft : float
        The light at which the logarithm turns linear, in units of the median.

    noise : BlockMap
        Scatter of white noise per pixel, in ``data``.

    step : float
        The step of quantised data in units of the median, 0 if there is none.
    """

    data: np.ndarray
    bad: np.ndarray
    illumination: np.ndarray
    soft: float
    noise: BlockMap
    step: float

    def light(self, value: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """
        Return the light that belongs to values of ``data``.

        Parameters
        ----------
        value : array_like
            Values of ``data``.

        y, x : array_like of int
            The pixels, for the illumination.

        Returns
        -------
        light : `~numpy.ndarray`
            In units of the median of the image.
        """
        total = value + self.illumination[y, x]
        return 2 * self.soft * np.sinh(total + np.arcsinh(0.5 / self.soft))

    def share(self, drop: float, level: float, y: float, x: float) -> float:
        """
        Return the share of the light that a drop of the logarithm takes away.

        Parameters
        ----------
        drop : float
            Drop of ``data``; negative for a rise.

        level : float
            Value of ``data`` around the object.

        y, x : float
            The place, which may lie beyond the border.

        Returns
        -------
        share : float
            Positive where light is missing.
        """
        ny, nx = self.data.shape
        row, column = min(max(round(y), 0), ny - 1), min(max(round(x), 0), nx - 1)
        around = self.light(level, row, column)
        return float(1 - self.light(level - drop, row, column) / around)

    def least_drop(self, depth: float) -> Callable[[float, float, float], float]:
        """
        Return what an object has to drop by to count.

        Parameters
        ----------
        depth : float
            The least share of the light.

        Returns
        -------
        least_drop : callable
            Gives the least drop of ``data`` for a level and a place y, x.

        Notes
        -----
        Where the noise is smaller than half a step of quantised data, even
        light ends in terraces with sharp closed edges, one step high.
        """

        def least(level: float, y: float, x: float) -> float:
            drop = -np.log1p(-depth)
            if self.step > 0:
                ny, nx = self.data.shape
                row = min(max(round(y), 0), ny - 1)
                column = min(max(round(x), 0), nx - 1)
                step = self.step / max(float(self.light(level, row, column)), 1e-9)
                if self.noise.at([y], [x])[0] < _TERRACE * step:
                    drop = max(drop, 1.6 * step)
            return drop

        return least


def quantum(data: np.ndarray) -> float:
    """
    Return the step of quantised data, 0 if there is none.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Finite values.

    Returns
    -------
    step : float
        The smallest common distance between different values: 1 for integers
        in ADU, 0.5 for their median over an even number of frames.
    """
    values = data.ravel()[:: max(1, data.size // 200_000)]
    levels = np.unique(values)
    if len(levels) < 2 or len(levels) > 0.5 * len(values):
        return 0.0
    gaps = np.diff(levels)
    # Scaled integers differ by multiples of the step up to rounding errors.
    gaps = gaps[gaps > 1e-6 * max(abs(levels[0]), abs(levels[-1]))]
    return float(np.quantile(gaps, 0.02)) if len(gaps) else 0.0


def log_image(
    data: np.ndarray, bad: np.ndarray, sigma: np.ndarray | None = None
) -> LogImage:
    """
    Prepare an image for the search of dust.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image.

    bad : `~numpy.ndarray` of bool
        Pixels to ignore.

    sigma : `~numpy.ndarray`, optional
        Standard deviation of the pixels, where it is known.

    Returns
    -------
    image : LogImage
        The prepared image.

    Raises
    ------
    ValueError
        If the median of the good pixels is not positive.
    """
    bad = bad | _bad_border(data, bad)
    good = data[~bad]
    median = float(np.median(good)) if good.size else np.nan
    if not median > 0:
        msg = (
            f'the median of the good pixels is {median}, but dust is a share of '
            'the light: pass an image whose bias is subtracted, not its sky'
        )
        raise ValueError(msg)
    image = (data / median).astype(np.float32)
    if bad.any():
        image = fill_holes(image, bad)
    step = quantum(good) / median
    # Dark pixels of noise that is comparable with their light stay linear.
    soft = max(_SOFT, 2 * float(np.median(_white_noise(image).values)))
    logarithm = np.arcsinh(image / (2 * soft)) - np.arcsinh(0.5 / soft)
    illumination = _illumination(logarithm)
    logarithm -= illumination
    noise = _white_noise(logarithm)
    least = 0.29 * step
    if sigma is not None:
        with np.errstate(invalid='ignore', divide='ignore'):
            least = np.maximum(least, _typical(sigma / np.abs(data), bad))
    values = np.maximum(noise.values, max(float(least), np.finfo(np.float32).tiny))
    return LogImage(
        logarithm, bad, illumination, soft, BlockMap(values, data.shape), step
    )


def _bad_border(data: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """
    Mark rows and columns at the border that are unlike those next to them.

    The first and last lines of many detectors are darker or brighter than the
    rest, by charge that leaks in or by a smaller pixel; to any filter they are
    the sharpest edges of the image.
    """
    border = np.zeros(data.shape, bool)
    for axis in (0, 1):
        if data.shape[axis] < 8 * _BORDER:
            continue
        for turned in (False, True):
            side = np.s_[::-1] if turned else np.s_[:]
            lines = np.moveaxis(data, axis, 0)[side]
            masked = np.moveaxis(bad, axis, 0)[side]
            count = _odd_lines(lines, masked)
            np.moveaxis(border, axis, 0)[side][:count] = True
    return border


def _odd_lines(lines: np.ndarray, bad: np.ndarray) -> int:
    """Return how many of the first lines are unlike the next ones."""
    first = np.where(bad[: 3 * _BORDER], np.nan, lines[: 3 * _BORDER])
    seen = ~np.isnan(first).all(axis=1)
    medians = np.full(len(first), np.nan)
    medians[seen] = np.nanmedian(first[seen], axis=1)
    inner = np.arange(_BORDER, 3 * _BORDER)
    inner = inner[seen[inner]]
    if len(inner) < _BORDER:
        return 0
    slope = np.polyfit(inner, medians[inner], 1)
    rest = medians - np.polyval(slope, np.arange(len(medians)))
    spread = max(float(np.std(rest[inner])), 1e-3 * abs(float(slope[1])))
    odd = np.nonzero(np.abs(rest[:_BORDER]) > 8 * spread)[0]
    return int(odd[-1]) + 1 if len(odd) else 0


def _typical(sigma: np.ndarray, bad: np.ndarray) -> float:
    """Return the median of the known relative errors."""
    known = sigma[~bad & np.isfinite(sigma)]
    return float(np.median(known)) if known.size else 0.0


def _white_noise(image: np.ndarray) -> BlockMap:
    """Measure the pixel noise from second differences in both directions."""
    from scipy.ndimage import correlate1d

    kernel = np.array([-1, 2, -1], np.float32) / np.float32(np.sqrt(6))
    rough = correlate1d(correlate1d(image, kernel, 0), kernel, 1)
    return block_scatter(rough, 32, step=2)[1]


def _illumination(image: np.ndarray) -> np.ndarray:
    """Fit a polynomial to the medians of blocks, without those that stick out."""
    legendre = np.polynomial.legendre.legvander
    size = max(1.0, max(image.shape) / _SIDE)
    medians, _ = block_scatter(image, size, step=max(1, int(size / 8)))
    grid = medians.values.astype(np.float64)
    degree = min(_DEGREE, min(grid.shape) - 1)
    axes = [legendre((np.arange(n) + 0.5) * 2 / n - 1, degree) for n in (*grid.shape,)]
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    terms = np.stack([np.outer(axes[0][:, i], axes[1][:, j]).ravel() for i, j in pairs])
    coefficients = np.zeros((degree + 1, degree + 1))
    coefficients[tuple(np.transpose(pairs))] = _robust_fit(terms.T, grid.ravel())
    y, x = (legendre((np.arange(n) + 0.5) * 2 / n - 1, degree) for n in image.shape)
    return (y @ coefficients @ x.T).astype(np.float32)


def _robust_fit(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Solve a linear least-squares problem, clipping outliers."""
    keep = np.ones(len(values), bool)
    for _ in range(6):
        part = terms[keep]
        solution = np.linalg.lstsq(part.T @ part, part.T @ values[keep], rcond=None)[0]
        rest = values - terms @ solution
        centre = np.median(rest[keep])
        spread = 1.4826 * np.median(np.abs(rest[keep] - centre))
        clipped = np.abs(rest - centre) <= 2.5 * spread
        if clipped.sum() < 2 * terms.shape[1] or (clipped == keep).all():
            break
        keep = clipped
    return solution
