# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flat, sky and levels of the frames by robust, reweighted least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._kll_frames import scratch_array
from astroflat.selfcal._kll_layout import Interpolation, SkyLayout
from astroflat.selfcal._kll_noise import NoiseModel
from astroflat.selfcal._kll_operator import SkyOperator
from astroflat.selfcal._kll_solve import Preconditioner, Solved, solve

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['FitOptions', 'SkyFit']

# Rows of all frames that are read at a time, in samples.
_BAND = 2**22
# Samples fainter than this share of the level have no logarithm worth having.
_DARK = 0.02
# How many samples tell the noise and the levels.
_SAMPLES = 600_000
# What float16 holds.
_HUGE = 6e4
# A pixel of sky that others see with at least this weight is shared.
_SHARED = 32
# A pixel that has lost more of its samples begins anew, per frame.
_FEW = 64
# The share of the samples of a pixel that must agree.
_MAJORITY = 0.4


@dataclass(frozen=True)
class FitOptions:
    """
    How to fit.

    Attributes
    ----------
    interpolation : {'nearest', 'linear', 'cubic'}
        Of the sky.

    clip : float or None
        The limit of the robust weights in standard deviations.

    tolerance : float
        The rms error of the logarithm of the flat that may be left.

    max_iterations : int
        Of the conjugate gradients, each time.

    passes : int
        How often samples are weighed anew.

    free_levels : bool
        Whether the brightness of the frames is fitted.

    threads : int
        The number of threads.

    ridge : float
        The weight of a flat of one, in units of that of all frames.

    mem_limit : float
        Beyond this many bytes, weights and residuals lie in a scratch file.
    """

    interpolation: Interpolation = 'cubic'
    clip: float | None = 5.0
    tolerance: float = 1e-4
    max_iterations: int = 300
    passes: int = 4
    free_levels: bool = True
    threads: int = 1
    ridge: float = 0.0
    mem_limit: float = np.inf


class SkyFit:
    """
    The model of the frames, fitted step by step.

    Parameters
    ----------
    frames : Frames
        The frames, read once per pass.

    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    groups : `~numpy.ndarray` of int
        ``(n,)``.

    options : FitOptions
        How to fit.

    weights : `~numpy.ndarray` or None, optional
        What the weights of the samples are multiplied by, from 0 to 1: of the
        shape ``(n,)``, ``(ny, nx)`` or ``(n, ny, nx)``.

    layout : SkyLayout, optional
        Where the sky is, with room for more frames than these.
    """

    def __init__(
        self,
        frames: Any,
        offsets: np.ndarray,
        groups: np.ndarray,
        options: FitOptions,
        weights: np.ndarray | None = None,
        *,
        layout: SkyLayout | None = None,
    ) -> None:
        self.frames = frames
        self.offsets = np.array(offsets, dtype=np.float64)
        self.options = options
        self.layout = layout or SkyLayout.of(frames.shape[1:], self.offsets, groups)
        self._given = weights
        n, shape = len(frames), frames.shape[1:]
        # Three bytes per sample in all.
        limit = options.mem_limit / 3
        self.weights = scratch_array(frames.shape, np.uint8, limit)
        self.residual = scratch_array(frames.shape, np.float16, 2 * limit)
        self.flat = np.zeros(shape, dtype=np.float32)
        blocks, block = len(self.layout.origins), self.layout.block
        self.sky = np.zeros((blocks * block[0], block[1]), dtype=np.float32)
        self.levels = np.zeros(n)
        self.noise: NoiseModel | None = None
        self.iterations = 0
        self.converged = True
        self.change = np.inf
        self.misfit = np.inf
        self._settled = False
        self._there = np.zeros(shape, dtype=np.int32)
        self.seen = np.ones(shape, dtype=bool)

    def run(self, each: Any = None) -> SkyFit:
        """
        Fit until the flat stays as it is.

        Parameters
        ----------
        each : callable, optional
            Called after every pass with the number of passes done.

        Returns
        -------
        fit : SkyFit
            Itself.
        """
        self.start()
        passes = self.options.passes if self.options.clip is not None else 2
        for i in range(passes):
            last = i == passes - 1
            factor = 1 if last else 5 if i else 10
            before = self.flat.copy()
            self.step(self.options.tolerance * factor)
            if each is not None:
                each(i)
            moved = float(np.std((self.flat - before)[self.seen], dtype=np.float64))
            if i and moved < self.options.tolerance and self.converged:
                break
        return self

    def start(self) -> None:
        """Measure the levels, and compare logarithms."""
        parts = [values for _, values, _ in self._sampled()]
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
        self.levels = np.nanmedian(logs, axis=1).astype(np.float64)
        if not self.options.free_levels:
            self.levels[:] = self.levels.mean()
        for first, last, values, bad in self._bands():
            for k, frame in enumerate(values):
                light = frame * np.float32(np.exp(-self.levels[k]))
                good = ~bad[k] & (light > _DARK)
                logs = np.log(light, out=np.zeros_like(light), where=good)
                self.residual[k, first:last] = logs
                share = np.where(good, np.clip(light, 0, 1), 0)
                self._weigh(k, first, last, share)

    def step(self, tolerance: float) -> Solved:
        """
        Solve once, with new weights if there is something to compare with.

        Parameters
        ----------
        tolerance : float
            The error of the logarithm of the flat to reach.

        Returns
        -------
        solved : Solved
            What was added to sky and levels.
        """
        if self.noise is not None:
            self._reweigh()
        operator = self.operator()
        solved, change = self.solve(operator, self.residual, tolerance)
        self.flat += change
        self.sky += solved.sky
        self.levels += solved.levels
        self.subtract(operator, solved, change)
        self.iterations += solved.iterations
        self.converged = solved.converged
        self.change = solved.change
        self.seen = operator.total > 0
        self._measure_noise(operator)
        return solved

    def operator(self, chosen: np.ndarray | slice = slice(None)) -> SkyOperator:
        """
        Return the normal equations, of all frames or some.

        Parameters
        ----------
        chosen : slice, optional
            The frames.

        Returns
        -------
        operator : SkyOperator
            With the weights as they are.
        """
        index = np.arange(len(self.frames))[chosen]
        return SkyOperator(
            self.layout.part(index),
            self.offsets[chosen],
            self.weights,
            index=index,
            interpolation=self.options.interpolation,
            threads=self.options.threads,
            ridge=self.options.ridge,
        )

    def solve(
        self,
        operator: SkyOperator,
        data: np.ndarray,
        tolerance: float,
        chosen: slice = slice(None),
        *,
        max_iterations: int | None = None,
    ) -> tuple[Solved, np.ndarray]:
        """
        Fit sky, levels and flat to data.

        Parameters
        ----------
        operator : SkyOperator
            The normal equations.

        data : `~numpy.ndarray`
            ``(n, ny, nx)``, of the chosen frames.

        tolerance : float
            The error to reach.

        chosen : slice, optional
            The frames.

        max_iterations : int, optional
            In place of that of the options.

        Returns
        -------
        solved : Solved
            Sky and levels.

        flat : `~numpy.ndarray`
            The logarithm of the flat that goes with them.
        """
        inverse = Preconditioner(operator, self.offsets[chosen])

        def given(k: int, a: int, b: int) -> np.ndarray:
            return data[k, a:b].astype(np.float32)

        mean, left = operator.mean(given)
        if operator.ridge:
            pull = operator.extra * self.flat / (operator.total + operator.extra)
            mean -= pull
            left += [_total(pull * w) for w in operator.weights]
        solved = solve(
            operator,
            inverse,
            (operator.gather(given, mean), left),
            tolerance=tolerance,
            max_iterations=max_iterations or self.options.max_iterations,
            free_levels=self.options.free_levels,
        )
        fitted, _ = operator.mean(
            lambda k, a, b: operator.look(k, solved.sky, a, b), solved.levels
        )
        return solved, mean - fitted

    def subtract(
        self, operator: SkyOperator, solved: Solved, change: np.ndarray
    ) -> None:
        """Leave in the residuals what the solution leaves."""

        def work(first: int, last: int) -> None:
            for k in range(len(self.frames)):
                fitted = operator.look(k, solved.sky, first, last) + change[first:last]
                fitted += np.float32(solved.levels[k])
                self.residual[k, first:last] -= fitted.astype(np.float16)

        operator.bands(self.flat.shape[0], work, 4)

    def _reweigh(self) -> None:
        """Compare the frames with the model, and weigh them anew."""
        operator = self.operator()
        clip = self.options.clip or np.inf
        for first, last, values, bad in self._bands():
            self._there[first:last] = np.sum(~bad, axis=0)
            lights = np.empty_like(values)
            lefts = np.empty_like(values)
            for k, frame in enumerate(values):
                eta = operator.look(k, self.sky, first, last) + self.flat[first:last]
                lights[k] = eta + np.float32(self.levels[k])
                left = frame * np.exp(-lights[k]) - 1
                left[bad[k] | ~np.isfinite(left)] = 0
                lefts[k] = np.clip(left, -_HUGE, _HUGE)
            # An outlier has moved the flat; beside the median of the frames it
            # still stands out, and the others do not.
            middle = np.zeros(lefts.shape[1:], dtype=np.float32)
            if np.isfinite(clip):
                lost = operator.total[first:last] < _FEW * len(lefts)
                lost |= not self._settled
                middle[lost] = np.median(lefts[:, lost], axis=0)
            for k, left in enumerate(lefts):
                share = self.noise.weights(left - middle, lights[k], clip)
                self.residual[k, first:last] = left
                self._weigh(k, first, last, np.where(bad[k], 0, share))
        self._settled = True

    def _weigh(self, k: int, first: int, last: int, share: np.ndarray) -> None:
        """Store weights from 0 to 1."""
        given = self._given
        if given is not None:
            rows = slice(first, last)
            share = share * (
                given[k]
                if given.ndim == 1
                else given[rows]
                if given.ndim == 2
                else given[k, rows]
            )
        self.weights[k, first:last] = np.rint(255 * share)

    def _measure_noise(self, operator: SkyOperator) -> None:
        """Measure the scatter of what is left on some rows."""
        left, light, steps = [], [], []
        for first, last in self._sample_rows():
            for k in range(len(self.frames)):
                used = self.weights[k, first:last] > 0
                eta = operator.look(k, self.sky, first, last) + self.flat[first:last]
                light.append((eta + np.float32(self.levels[k]))[used])
                row = self.residual[k, first:last].astype(np.float32)
                left.append(row[used])
                steps.append(np.diff(row, axis=1)[used[:, 1:] & used[:, :-1]])
        share = np.sqrt(self.freedom(operator))
        left, light, steps = (np.concatenate(v) for v in (left, light, steps))
        if left.size == 0:
            msg = 'no sample is left that counts; is everything masked or dark?'
            raise ValueError(msg)
        self.noise = NoiseModel.of(left, light, share)
        # 1 for noise, which neighbouring pixels do not share.
        step = max(float(np.median(np.abs(steps))), 1e-9) if steps.size else np.inf
        self.misfit = float(np.sqrt(2) * np.median(np.abs(left)) / step)

    def count(self) -> np.ndarray:
        """
        Return the number of samples that other frames can be compared with.

        Returns
        -------
        count : `~numpy.ndarray` of int32
            ``(ny, nx)``.
        """
        operator = self.operator()
        cover = operator.coverage()
        count = np.zeros(self.flat.shape, dtype=np.int32)
        for k, weights in enumerate(self.weights):
            others = operator.look(k, cover, 0, len(count)) - weights
            count += (weights > 0) & (others > _SHARED)
        return count

    def doubtful(self) -> np.ndarray:
        """
        Return the pixels most of whose samples were taken for outliers.

        Returns
        -------
        doubtful : `~numpy.ndarray` of bool
            ``(ny, nx)``.
        """
        used = np.zeros(self.flat.shape, dtype=np.int32)
        for weights in self.weights:
            used += weights > 0
        return used < _MAJORITY * self._there

    def freedom(self, operator: SkyOperator) -> float:
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
        samples = sum(np.count_nonzero(w) for w in self.weights)
        unknown = np.count_nonzero(operator.total)
        unknown += np.count_nonzero(operator.coverage() > 100)
        return max(1 - unknown / max(samples, 1), 0.05)

    def _bands(self) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Read all frames, band by band."""
        n, ny, nx = self.frames.shape
        step = max(1, _BAND // (n * nx))
        for first in range(0, ny, step):
            last = min(first + step, ny)
            yield first, last, *self.frames.rows(first, last)

    def _sample_rows(self) -> list[tuple[int, int]]:
        """Return rows that stand for all."""
        n, ny, nx = self.frames.shape
        wanted = int(np.clip(_SAMPLES // (n * nx), min(8, ny), ny))
        rows = np.unique(np.linspace(0, ny - 1, wanted).astype(int))
        return [(int(y), int(y) + 1) for y in rows]

    def _sampled(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Read some rows of all frames, NaN where they are bad."""
        n = len(self.frames)
        for first, last in self._sample_rows():
            values, bad = self.frames.rows(first, last)
            yield first, np.where(bad, np.nan, values).reshape(n, -1), bad


def _total(image: np.ndarray) -> float:
    return float(np.sum(image, dtype=np.float64))
