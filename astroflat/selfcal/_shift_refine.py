# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Offsets to a hundredth of a pixel: flat, sky and offsets fitted together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from astroflat.selfcal._kll_fit import SkyFit
from astroflat.selfcal._kll_frames import MergedFrames
from astroflat.selfcal._kll_layout import SkyLayout
from astroflat.selfcal._kll_local import enlarge, local_mean
from astroflat.selfcal._kll_noise import biweight
from astroflat.selfcal._kll_operator import SkyOperator
from astroflat.selfcal._kll_options import FitOptions

__all__ = ['Refined', 'refine']

# So many frames make the sky, those farthest apart.
_FRAMES = 12
_ROUNDS = 16
# Patterns that offsets hardly tell belong to the sky: to the detector they
# would make all offsets too small. Less and less so.
_RIDGES = (0.3, 0.1, 0.03)
# A round after which no frame would move by more is the last, in pixels.
_STILL = 0.004
# Where frames move by less than a star is wide, pattern and sky explain each other,
# and each round takes away a part of the error only: at most so much stays.
_SLOWEST = 0.9
# A step of more pixels than this is not trusted.
_STEP = 1.5
_TIMES = 4
# The sky is made of the same frames, whose errors it shares: in simulated nights
# errors are this many times those that residuals tell.
_HONEST = 2.0
# Between pixels, stars are not known better than this.
_LEAST_ERROR = 0.015
# The median of chi squared of one degree of freedom.
_MEDIAN = 0.4549
# What is larger than this, in pixels, or than this share of the frame may be a
# gradient of the sky of one frame.
_LEAST, _LARGE = 6.0, 32
# Every so manieth sample tells what is usual.
_THIN = 4
# Blocks whose errors are independent, in pixels.
_BLOCK = 16


@dataclass(frozen=True)
class Refined:
    """
    Refined offsets.

    Attributes
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    uncertainty : `~numpy.ndarray`
        ``(n,)``.

    rotation, scale : `~numpy.ndarray`
        ``(n,)``, in radians and relative to 1, with their uncertainties as
        second columns.

    quality : `~numpy.ndarray`
        ``(n,)``, the correlation with the sky.
    """

    offsets: np.ndarray
    uncertainty: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    quality: np.ndarray


def refine(
    logs: np.ndarray, offsets: np.ndarray, reference: int, threads: int
) -> Refined:
    """
    Refine offsets by comparing each frame with the sky of all.

    Parameters
    ----------
    logs : `~numpy.ndarray`
        ``(n, ny, nx)``, as `prepare` returns.

    offsets : `~numpy.ndarray`
        ``(n, 2)``, right to about a pixel.

    reference : int
        The frame whose offset is zero.

    threads : int
        The number of threads.

    Returns
    -------
    refined : Refined
        Offsets and more.
    """
    chosen = _farthest(offsets, reference)
    frames = MergedFrames(np.exp(logs[chosen]))
    options = FitOptions(
        tolerance=1e-3, max_iterations=30, passes=2, threads=threads, clip=None
    )
    offsets = offsets.copy()
    before, slow = None, 0.0
    for i in range(_ROUNDS):
        options = replace(options, ridge=_RIDGES[min(i, len(_RIDGES) - 1)])
        layout = SkyLayout.of(
            logs.shape[1:], offsets, np.zeros(len(offsets), dtype=int)
        )
        groups = layout.groups[chosen]
        fit = SkyFit(
            frames, offsets[chosen], groups, options, layout=layout.part(chosen)
        ).run()
        cover = (fit.operator().coverage() > 100).astype(np.float32)
        steps = [
            _step(fit, layout, cover, logs[k], offsets[k], k) for k in range(len(logs))
        ]
        moves = np.array([step.move for step in steps])
        moves -= moves[reference]
        rate = _rate(moves, before)
        to_come = rate / (1 - rate) * moves
        if before is not None and np.abs(moves).max() > _STILL:
            slow = max(slow, rate)
        # All of it at once; the next round begins to watch anew.
        leap = before is not None
        before = None if leap or i < len(_RIDGES) - 1 else moves
        offsets += np.clip(moves + to_come if leap else moves, -_STEP, _STEP)
        if i >= len(_RIDGES) and np.abs(moves + to_come).max() < _STILL:
            break
    error = np.hypot(_HONEST * np.array([step.error for step in steps]), _LEAST_ERROR)
    return Refined(
        offsets - offsets[reference],
        error / (1 - slow),
        np.array([step.rotation for step in steps]),
        np.array([step.scale for step in steps]),
        np.array([step.quality for step in steps]),
    )


def _rate(moves: np.ndarray, before: np.ndarray | None) -> float:
    """Return which share of the error a round leaves, of two rounds that follow."""
    if before is None or not before.any():
        return 0.0
    share = float((moves * before).sum() / (before * before).sum())
    return min(max(share, 0.0), _SLOWEST)


def _farthest(offsets: np.ndarray, reference: int) -> np.ndarray:
    """Choose frames as far from each other as possible."""
    if len(offsets) <= _FRAMES:
        return np.arange(len(offsets))
    chosen = [reference]
    distance = np.full(len(offsets), np.inf)
    while len(chosen) < _FRAMES:
        new = np.hypot(*(offsets - offsets[chosen[-1]]).T)
        distance = np.minimum(distance, new)
        chosen.append(int(np.argmax(distance)))
    return np.sort(chosen)


@dataclass(frozen=True)
class _Step:
    move: np.ndarray
    error: float
    rotation: tuple[float, float]
    scale: tuple[float, float]
    quality: float


def _step(
    fit: SkyFit,
    layout: SkyLayout,
    cover: np.ndarray,
    log: np.ndarray,
    offset: np.ndarray,
    k: int,
) -> _Step:
    """Fit offset, rotation, scale and level of one frame, to first order."""
    ny, nx = log.shape
    full = np.full((1, ny, nx), 255, dtype=np.uint8)
    part = layout.part(np.array([k]))
    one = SkyOperator(part, offset[None], full, interpolation='cubic')
    good = np.isfinite(log) & (one.look(0, cover, 0, ny) > 0.99)
    model = one.look(0, fit.sky, 0, ny) + fit.flat
    left = np.where(good, log - model, 0)
    down, right = (one.look(0, g, 0, ny) for g in _gradients(fit.sky))
    # Gradients of the sky differ from frame to frame; what is small does not.
    left, down, right = _detail((left, down, right), good)
    y, x = np.mgrid[:ny, :nx]
    y, x = y - (ny - 1) / 2, x - (nx - 1) / 2
    # The sky moves by +offset, so that its value at a pixel changes by minus
    # the gradient.
    terms = np.stack(
        [-down, -right, y * right - x * down, -(y * down + x * right), np.ones_like(y)]
    )[:, good]
    left = left[good]
    across = nx // _BLOCK + 1
    j, i = np.nonzero(good)
    blocks = (j // _BLOCK) * across + i // _BLOCK
    fitted, covariance, weights = _robust(terms, left, blocks)
    sky = model[good] - fit.flat[good]
    return _Step(
        fitted[:2],
        float(np.sqrt(max(covariance[0, 0], covariance[1, 1]))),
        (float(fitted[2]), float(np.sqrt(covariance[2, 2]))),
        (float(fitted[3]), float(np.sqrt(covariance[3, 3]))),
        _alike(sky, sky + left, weights),
    )


def _detail(images: tuple, good: np.ndarray) -> list[np.ndarray]:
    """Return images without what is large, 0 where they are not good."""
    sigma = [max(_LEAST, max(good.shape) / _LARGE)] * 2
    out = []
    for image in images:
        image = np.where(good, image, 0)
        image -= enlarge(local_mean(image, good, sigma), good.shape)
        out.append(image)
    return out


def _gradients(sky: np.ndarray) -> list[np.ndarray]:
    """Return the gradient of the sky, as the cubic kernel has it."""
    return [g.astype(np.float32) for g in np.gradient(sky)]


def _robust(
    terms: np.ndarray, left: np.ndarray, blocks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Fit by least squares, weighted anew three times by what is left.

    Where the sky is steep, as in stars, the model itself is wrong by a share of
    the slope: such samples have more noise, and are no outliers because of it.
    """
    size = len(terms)
    if left.size < 20 * size:
        return np.zeros(size), np.full((size, size), np.inf), np.zeros(left.size)
    steep = terms[0] ** 2 + terms[1] ** 2
    fitted = np.zeros(size)
    fitted[-1] = np.median(left)
    for _ in range(_TIMES):
        rest = left - fitted @ terms
        variance = _variance(rest, steep)
        weights = biweight(rest / (5 * np.sqrt(variance))) / variance
        weighted = terms * weights
        normal = (weighted @ terms.T).astype(np.float64)
        inverse = np.linalg.pinv(normal)
        fitted = inverse @ (weighted @ left).astype(np.float64)
    # Errors of neighbours go together: from the scatter of blocks.
    score = weighted * (left - fitted @ terms)
    sums = np.stack([np.bincount(blocks, row) for row in score])
    covariance = inverse @ (sums @ sums.T) @ inverse
    return fitted, np.maximum(covariance, inverse * np.eye(size)), weights


def _variance(rest: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Return the variance of samples as a function of the slope of the sky."""
    square = rest * rest / _MEDIAN
    some = steep[::_THIN]
    noise = float(np.median(square[::_THIN][some <= np.median(some)])) + 1e-18
    high = steep > max(np.quantile(some, 0.98), 1e-12)
    share = np.median((square[high] - noise) / steep[high]) if high.any() else 0.0
    return np.float32(noise) + np.float32(max(float(share), 0.0)) * steep


def _alike(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Return the weighted correlation of two images."""
    total = float(weights.sum())
    if total <= 0:
        return 0.0
    a, b = (v - float((weights * v).sum()) / total for v in (a, b))
    product = float((weights * a * b).sum())
    return product / max(
        float(np.sqrt((weights * a * a).sum() * (weights * b * b).sum())), 1e-30
    )
