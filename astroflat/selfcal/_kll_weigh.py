# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What samples count: logarithms to begin with, and robust weights later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._kll_noise import NoiseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from astroflat.selfcal._kll_fit import SkyFit
    from astroflat.selfcal._kll_operator import SkyOperator

__all__ = [
    'count_samples',
    'degrees_of_freedom',
    'doubtful',
    'measure_noise',
    'reweigh',
    'settle',
    'start',
]

# Rows of all frames that are read at a time: samples, and the fewest rows.
_BAND, _ROWS = 2**21, 8
# Samples that a thread works on at a time.
_BLOCK = 2**17
# Samples fainter than this share of the level have no logarithm worth having.
_DARK = 0.02
# How many samples tell the noise and the levels.
_SAMPLES = 400_000
# What float16 holds.
_HUGE = 6e4
# A pixel of sky that others see with at least this weight is shared.
_SHARED = 32
# A pixel that has lost more of its samples begins anew, per frame.
_FEW = 64
# The share of the samples of a pixel that must agree.
_MAJORITY = 0.4


def start(fit: SkyFit) -> None:
    """
    Measure the levels, and compare logarithms.

    Parameters
    ----------
    fit : SkyFit
        Levels, residuals and weights are set.
    """
    parts = [values for _, values in _sampled(fit)]
    with np.errstate(invalid='ignore', divide='ignore'):
        logs = np.log(np.concatenate(parts, axis=1))
    logs[~np.isfinite(logs)] = np.nan
    if np.isnan(logs).all(axis=1).any():
        k = int(np.flatnonzero(np.isnan(logs).all(axis=1))[0])
        msg = (
            f'frame {k} has no positive samples: a flat needs light; is the bias '
            'too large?'
        )
        raise ValueError(msg)
    fit.levels = np.nanmedian(logs, axis=1).astype(np.float64)
    if not fit.options.free_levels:
        fit.levels[:] = fit.levels.mean()

    def work(first: int, last: int, values: np.ndarray, bad: np.ndarray) -> None:
        for k, frame in enumerate(values):
            light = frame * np.float32(np.exp(-fit.levels[k]))
            good = ~bad[k] & (light > _DARK)
            logs = np.log(light, out=np.zeros_like(light), where=good)
            fit.residual[k, first:last] = logs
            share = np.where(good, np.clip(light, 0, 1), 0)
            _weigh(fit, k, first, last, share)

    _each_band(fit, work)


def reweigh(fit: SkyFit) -> None:
    """
    Compare the frames with the model, and weigh them anew.

    Parameters
    ----------
    fit : SkyFit
        Residuals and weights are set.
    """
    operator = fit.operator()
    clip = fit.options.clip or np.inf

    def work(first: int, last: int, values: np.ndarray, bad: np.ndarray) -> None:
        fit.there[first:last] = np.sum(~bad, axis=0)
        lights, lefts = np.empty_like(values), np.empty_like(values)
        for k, frame in enumerate(values):
            lefts[k], lights[k] = _compare(fit, operator, k, first, last, frame, bad[k])
        # An outlier has moved the flat; beside the median of the frames it
        # still stands out, and the others do not.
        middle = np.zeros(lefts.shape[1:], dtype=np.float32)
        if np.isfinite(clip):
            lost = operator.total[first:last] < _FEW * len(lefts)
            lost |= not fit.settled
            middle[lost] = _median(lefts, lost)
        for k, left in enumerate(lefts):
            share = fit.noise.weights(left - middle, lights[k], clip)
            fit.residual[k, first:last] = left
            _weigh(fit, k, first, last, np.where(bad[k], 0, share))

    _each_band(fit, work)
    fit.settled = True


def settle(fit: SkyFit) -> None:
    """
    Compare the frames with the model once more.

    Parameters
    ----------
    fit : SkyFit
        Residuals are set, weights stay.
    """
    operator = fit.operator()

    def work(first: int, last: int, values: np.ndarray, bad: np.ndarray) -> None:
        for k, frame in enumerate(values):
            left, _ = _compare(fit, operator, k, first, last, frame, bad[k])
            fit.residual[k, first:last] = left

    _each_band(fit, work)


def _compare(
    fit: SkyFit,
    operator: SkyOperator,
    k: int,
    first: int,
    last: int,
    frame: np.ndarray,
    bad: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the model leaves of rows of a frame, and its own logarithm."""
    light = operator.look(k, fit.sky, first, last) + fit.flat[first:last]
    light += np.float32(fit.levels[k])
    left = frame * np.exp(-light)
    left -= 1
    left[bad | ~np.isfinite(left)] = 0
    return np.clip(left, -_HUGE, _HUGE, out=left), light


def measure_noise(
    fit: SkyFit, operator: SkyOperator, freedom: float
) -> tuple[NoiseModel, float]:
    """
    Measure the scatter of what is left on some rows.

    Parameters
    ----------
    fit : SkyFit
        The fit.

    operator : SkyOperator
        Its normal equations.

    freedom : float
        The degrees of freedom per sample.

    Returns
    -------
    noise : NoiseModel
        The scatter by brightness.

    misfit : float
        1 for noise, which neighbouring pixels do not share; more else.
    """
    left, light, steps = [], [], []
    for first, last in _sample_rows(fit):
        values, bad = fit.frames.rows(first, last)
        for k, frame in enumerate(values):
            used = fit.weights[k, first:last] > 0
            row, eta = _compare(fit, operator, k, first, last, frame, bad[k])
            light.append(eta[used])
            left.append(row[used])
            steps.append(np.diff(row, axis=1)[used[:, 1:] & used[:, :-1]])
    left, light, steps = (np.concatenate(v) for v in (left, light, steps))
    if left.size == 0:
        msg = 'no sample is left that counts; is everything masked or dark?'
        raise ValueError(msg)
    noise = NoiseModel.of(left, light, np.sqrt(freedom))
    step = max(float(np.median(np.abs(steps))), 1e-9) if steps.size else np.inf
    return noise, float(np.sqrt(2) * np.median(np.abs(left)) / step)


def degrees_of_freedom(operator: SkyOperator) -> float:
    """
    Return the degrees of freedom per sample.

    Parameters
    ----------
    operator : SkyOperator
        The normal equations.

    Returns
    -------
    share : float
        From 0 to 1.
    """
    samples = sum(np.count_nonzero(w) for w in operator.weights)
    unknown = np.count_nonzero(operator.total)
    unknown += np.count_nonzero(operator.coverage() > 100)
    return max(1 - unknown / max(samples, 1), 0.05)


def count_samples(fit: SkyFit) -> np.ndarray:
    """
    Return the number of samples that other frames can be compared with.

    Parameters
    ----------
    fit : SkyFit
        The fit.

    Returns
    -------
    count : `~numpy.ndarray` of uint16
        ``(ny, nx)``.
    """
    operator = fit.operator()
    cover = operator.coverage()
    count = np.zeros(fit.flat.shape, dtype=np.uint16)

    def work(first: int, last: int) -> None:
        for k in range(len(operator)):
            weights = fit.weights[k, first:last]
            others = operator.look(k, cover, first, last) - weights
            count[first:last] += (weights > 0) & (others > _SHARED)

    operator.bands(len(count), work, 4)
    return count


def doubtful(fit: SkyFit) -> np.ndarray:
    """
    Return the pixels most of whose samples were taken for outliers.

    Parameters
    ----------
    fit : SkyFit
        The fit.

    Returns
    -------
    doubtful : `~numpy.ndarray` of bool
        ``(ny, nx)``.
    """
    used = np.zeros(fit.flat.shape, dtype=np.uint16)
    for weights in fit.weights:
        used += weights > 0
    return used < np.float32(_MAJORITY) * fit.there


def _median(lefts: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return the medians over the frames of some pixels."""
    if not lost.any():
        return np.zeros(0, dtype=np.float32)
    return np.median(lefts[:, lost], axis=0, overwrite_input=True)


def _weigh(fit: SkyFit, k: int, first: int, last: int, share: np.ndarray) -> None:
    """Store weights from 0 to 1."""
    given = fit.given
    if given is not None:
        rows = slice(first, last)
        share = share * (
            given[k]
            if given.ndim == 1
            else given[rows]
            if given.ndim == 2
            else given[k, rows]
        )
    fit.weights[k, first:last] = np.rint(255 * share)


def _each_band(fit: SkyFit, work: Callable[..., None]) -> None:
    """Read all frames, band by band, and work on parts of bands in threads."""
    n, ny, nx = fit.frames.shape
    step = max(_ROWS, _BAND // (n * nx))
    few = max(2, _BLOCK // (n * nx))
    with ThreadPoolExecutor(fit.options.threads) as pool:
        for first in range(0, ny, step):
            last = min(first + step, ny)
            values, bad = fit.frames.rows(first, last)
            parts = [
                (a, min(a + few, last), values[:, a - first :][:, :few], bad)
                for a in range(first, last, few)
            ]
            done = pool.map(
                lambda p, top=first: work(*p[:3], p[3][:, p[0] - top : p[1] - top]),
                parts,
            )
            list(done)


def _sample_rows(fit: SkyFit) -> list[tuple[int, int]]:
    """Return bands of rows that stand for all."""
    n, ny, nx = fit.frames.shape
    wanted = int(np.clip(_SAMPLES // (n * nx), min(_ROWS, ny), ny))
    many = max(1, wanted // _ROWS)
    first = np.linspace(0, ny - min(_ROWS, ny), many).astype(int)
    return [(int(y), min(int(y) + _ROWS, ny)) for y in np.unique(first)]


def _sampled(fit: SkyFit) -> Iterator[tuple[int, Any]]:
    """Read some rows of all frames, NaN where they are bad."""
    n = len(fit.frames)
    for first, last in _sample_rows(fit):
        values, bad = fit.frames.rows(first, last)
        yield first, np.where(bad, np.nan, values).reshape(n, -1)
