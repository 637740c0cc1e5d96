# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Flat, sky and levels of the frames by robust, reweighted least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.selfcal._kll_frames import scratch_array
from astroflat.selfcal._kll_layout import SkyLayout
from astroflat.selfcal._kll_operator import SkyOperator
from astroflat.selfcal._kll_precondition import Preconditioner
from astroflat.selfcal._kll_solve import Solved, solve
from astroflat.selfcal._kll_weigh import (
    degrees_of_freedom,
    measure_noise,
    reweigh,
    start,
)

if TYPE_CHECKING:
    from astroflat.selfcal._kll_noise import NoiseModel
    from astroflat.selfcal._kll_options import FitOptions

__all__ = ['SkyFit']

# How much less exact the first passes are, whose weights will change.
_FIRST = (10, 3)


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
        self.given = weights
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
        self.moved = np.inf
        self._last: tuple[Solved, np.ndarray] | None = None
        self.settled = False
        self.there = np.zeros(shape, dtype=np.uint16)
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
        start(self)
        passes = self.options.passes
        # Without outliers, weights change no more after they are known.
        passes = passes if self.options.clip is not None else min(passes, 2)
        for i in range(passes):
            factor = _FIRST[i] if i + 1 < min(passes, len(_FIRST)) else 1
            self.step(self.options.tolerance * factor)
            if each is not None:
                each(i)
            if i and max(self.moved, self.change) < self.options.tolerance:
                break
        return self

    def settle(self) -> None:
        """Leave in the residuals what the last step leaves, not before it."""
        if self._last is not None:
            self.subtract(self.operator(), *self._last)
            self._last = None

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
        self._last = None
        if self.noise is not None:
            reweigh(self)
        operator = self.operator()
        cover = operator.coverage()
        freedom = degrees_of_freedom(operator, cover)
        solved, change = self.solve(
            operator,
            self.residual,
            tolerance,
            cover=cover,
            slope=self.options.free_levels,
        )
        del cover
        self.flat += change
        self.sky += solved.sky
        self.levels += solved.levels
        self._last = solved, change
        self.iterations += solved.iterations
        self.converged = solved.converged
        self.change = solved.change
        self.seen = operator.total > 0
        self.moved = float(np.std(change[self.seen], dtype=np.float64))
        self.noise, self.misfit = measure_noise(self, operator, freedom, self._last)
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
        cover: np.ndarray | None = None,
        slope: bool = False,
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

        cover : `~numpy.ndarray`, optional
            What `SkyOperator.coverage` returns; used up.

        slope : bool, optional
            Whether the slope that levels tell is wanted as well.

        Returns
        -------
        solved : Solved
            Sky and levels.

        flat : `~numpy.ndarray`
            The logarithm of the flat that goes with them.
        """
        inverse = Preconditioner(operator, self.offsets[chosen], cover)
        del cover

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
            offsets=self.offsets[chosen] if slope else None,
        )
        del inverse
        fitted, _ = operator.mean(
            lambda k, a, b: operator.look(k, solved.sky, a, b), solved.levels
        )
        mean -= fitted
        return solved, mean

    def subtract(
        self, operator: SkyOperator, solved: Solved, change: np.ndarray
    ) -> None:
        """Leave in the residuals what the solution leaves."""

        def work(first: int, last: int) -> None:
            for k in range(len(self.frames)):
                left = self.residual[k, first:last].astype(np.float32)
                left -= operator.look(k, solved.sky, first, last)
                left -= change[first:last]
                left -= np.float32(solved.levels[k])
                self.residual[k, first:last] = left

        operator.bands(self.flat.shape[0], work, 4)

    def release(self) -> None:
        """Give the memory of residuals and weights back."""
        self.residual = self.weights = np.zeros(0)


def _total(image: np.ndarray) -> float:
    return float(np.sum(image, dtype=np.float64))
