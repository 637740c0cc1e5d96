# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames in which nothing is sharp: the network looks at means over pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, label, maximum_filter

from astroflat.neural._local_level import BLOCK, fill_bad, level_grid
from astroflat.neural._smooth import enlarge

__all__ = ['ask_wide', 'bin_side', 'narrowest_star']

# Stars of at least this width in bins, and the largest bins.
_WIDTH, _LARGEST = 3.0, 4
# Stars that have to be there, how many are looked at, and which share of them is
# taken for the narrowest.
_FEWEST, _MOST, _NARROW = 12, 300, 0.1
# Widths in pixels by which an image is smoothed until there are enough; height of a
# star in the noise; how far its profile is followed; what is narrower is no star.
_SEEN, _HEIGHT, _REACH, _PIXEL = (1.5, 3.0, 5.0), 8.0, 24, 1.5
# A pixel this far from the means around it is no noise of theirs.
_SPIKE = 5.0
# Fine structure counts as sharp this high above its noise; how often it may be.
_SHARP, _OFTEN = 5.5, 1e-4
# Side of an image below which bins are not worth it, and of the part in the middle
# in which stars are looked for.
_SMALLEST, _MIDDLE = 128, 1536
_TO_FWHM = 2.3548

Ask = Callable[[np.ndarray], np.ndarray]


def narrowest_star(image: np.ndarray) -> float | None:
    """
    Measure how wide the narrowest stars of an image are.

    Parameters
    ----------
    image : ndarray
        Plane ``(ny, nx)`` without holes, linear.

    Returns
    -------
    float or None
        Full width at half maximum in pixels that nine of ten stars exceed; None
        where there are too few to tell.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.neural._denoise_wide import narrowest_star
    >>> y, x = np.mgrid[:256, :256] % 32 - 16.0
    >>> image = 1000 * np.exp(-0.5 * (x**2 + y**2) / 4.0**2)
    >>> image += np.random.default_rng(1).normal(100, 5, image.shape)
    >>> abs(narrowest_star(image) - 4.0 * 2.3548) < 0.5
    True
    """
    image = np.asarray(image, np.float32)
    for seen in _SEEN:
        widths = _widths(image, seen)
        stars = widths[widths > _PIXEL]
        if len(stars) >= max(_FEWEST, len(widths) / 2):
            return float(np.quantile(stars, _NARROW))
    return None


def _widths(image: np.ndarray, seen: float) -> np.ndarray:
    """Return the widths of the brightest sources of an image, smoothed to see them."""
    smooth = gaussian_filter(image, seen)
    coarse = level_grid(smooth[::4, ::4])
    whole = tuple(4 * BLOCK * n for n in coarse.shape)
    smooth -= enlarge(coarse, whole)[: smooth.shape[0], : smooth.shape[1]]
    # Noise of pixels from their differences, as it is after the smoothing.
    noise = 1.4826 * float(np.median(np.abs(np.diff(image, axis=1)))) / 2**0.5
    noise /= 2.0 * np.pi**0.5 * seen
    peaks = smooth == maximum_filter(smooth, 2 * round(4 * seen) + 1)
    peaks &= smooth > _HEIGHT * noise
    inside = np.zeros_like(peaks)
    inside[_REACH:-_REACH, _REACH:-_REACH] = True
    rows, columns = np.nonzero(peaks & inside)
    order = np.argsort(smooth[rows, columns])[::-1][:_MOST]
    found = [_width(smooth, rows[i], columns[i]) for i in order]
    found = np.array([width for width in found if width is not None])
    return np.sqrt(np.maximum(found**2 - (_TO_FWHM * seen) ** 2, 0.0))


def _width(smooth: np.ndarray, row: int, column: int) -> float | None:
    """Return the width of a source from its mean profile, or None."""
    span = np.arange(-_REACH, _REACH + 1)
    stamp = smooth[
        row + span[0] : row + _REACH + 1, column + span[0] : column + _REACH + 1
    ]
    ring = np.rint(2 * np.hypot(span[:, None], span)).astype(int)
    counts = np.bincount(ring.ravel())
    profile = np.bincount(ring.ravel(), stamp.ravel()) / np.maximum(counts, 1)
    profile = profile[counts > 0]
    radii = np.flatnonzero(counts > 0) / 2.0
    below = np.flatnonzero(profile < 0.5 * profile[0])
    if not below.size or radii[below[0]] > _REACH:
        return None
    last = below[0] - 1
    step = (profile[last] - 0.5 * profile[0]) / (profile[last] - profile[last + 1])
    radius = radii[last] + step * (radii[last + 1] - radii[last])
    return 2.0 * float(radius)


def bin_side(image: np.ndarray) -> int:
    """
    Return over how many pixels an image may be averaged before it loses anything.

    Parameters
    ----------
    image : ndarray
        Plane ``(ny, nx)`` without holes, linear.

    Returns
    -------
    int
        Side of the bins, 1 to 4: stars keep a width of 3 bins. 1 where there
        are too few stars to tell, or the image is small.
    """
    if min(image.shape) < _SMALLEST:
        return 1
    middle = tuple(
        slice(max(0, (n - _MIDDLE) // 2), (n + _MIDDLE) // 2 + 1) for n in image.shape
    )
    width = narrowest_star(image[middle])
    if width is None:
        return 1
    return int(np.clip(width // _WIDTH, 1, min(_LARGEST, min(image.shape) // 64)))


def ask_wide(
    ask: Ask, values: np.ndarray, side: int, first: np.ndarray
) -> np.ndarray | None:
    """
    Find noise where nothing is sharper than means over some pixels.

    Parameters
    ----------
    ask : callable
        Gives, of an image whose noise is 1, the noise and the standard deviation
        of the error that it leaves, ``(2, ny, nx)``.
    values : ndarray
        Image ``(ny, nx)`` whose noise is 1.
    side : int
        Side of the bins in pixels.
    first : ndarray
        What it gives of the pixels themselves.

    Returns
    -------
    ndarray or None
        As ``ask`` gives it; None if there is something sharp after all.

    Notes
    -----
    The means have the noise of the network again when they are multiplied by the
    side of the bins. What is left of them is interpolated such that its means are
    these, so that no flux is lost; all else of the image is noise. Pixels that
    stand out by themselves (hot ones, hits of particles) are not used and stay as
    they are, and so do bright sources that the network leaves as they are.
    """
    means = _bins(values, side)
    fine = values - _finer(means, side, values.shape)
    spikes = _find_spikes(fine)
    if spikes.any():
        values = fill_bad(values, spikes)
        means = _bins(values, side)
        fine = values - _finer(means, side, values.shape)
    binned = np.float32(side) * means
    found = ask(binned)
    # 1 down to where half of the variance is left, 0 where all of it is.
    changed = _finer(2.0 - 2.0 * found[1] ** 2, side, values.shape, order=1)
    np.clip(changed, 0.0, 1.0, out=changed)
    fine[spikes] = 0.0
    if _is_sharp(fine, changed):
        return None
    noise = fine + _finer(found[0] / side, side, values.shape)
    left = _finer(found[1] / side, side, values.shape, order=1)
    error = np.sqrt(1.0 - changed + changed * np.minimum(left, 1.0) ** 2)
    result = np.stack([changed * noise, error]).astype(np.float32)
    result[:, spikes] = first[:, spikes]
    return result


def _find_spikes(fine: np.ndarray) -> np.ndarray:
    """Find pixels that are no noise of means, and what surrounds groups of them."""
    spikes = np.abs(fine) > _SPIKE
    labels, n = label(spikes, np.ones((3, 3), bool))
    if not n:
        return spikes
    sizes = np.bincount(labels.ravel())
    groups = (sizes > 1)[labels] & spikes
    return spikes | binary_dilation(groups, np.ones((3, 3), bool))


def _is_sharp(fine: np.ndarray, changed: np.ndarray) -> bool:
    """Whether the fine part of an image is more than noise."""
    smooth = gaussian_filter(fine, 1.0)
    sure = changed > 0.5
    if not sure.any():
        return True
    noise = 1.4826 * float(np.median(np.abs(smooth[sure])))
    return np.count_nonzero(np.abs(smooth[sure]) > _SHARP * noise) > _OFTEN * sure.sum()


def _bins(values: np.ndarray, side: int) -> np.ndarray:
    """Return means over squares of pixels."""
    pad = [(0, -n % side) for n in values.shape]
    padded = np.pad(values, pad, mode='reflect') if any(p[1] for p in pad) else values
    ny, nx = (n // side for n in padded.shape)
    return padded.reshape(ny, side, nx, side).mean(axis=(1, 3), dtype=np.float32)


def _finer(
    means: np.ndarray, side: int, shape: tuple[int, int], order: int = 3
) -> np.ndarray:
    """Interpolate means over squares so that they stay the means."""
    full = tuple(side * n for n in means.shape)
    result = enlarge(means, full, order=order)
    for _ in range(2 if order == 3 else 0):
        result += enlarge(means - _bins(result, side), full)
    return result[: shape[0], : shape[1]]
