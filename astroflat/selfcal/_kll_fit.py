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
            What was added to the levels.
        """
        if self.noise is not None:
            reweigh(self)
        operator = self.operator()
        freedom = degrees_of_freedom(operator)
        solved, change = self.solve(
            operator,
            self.residual,
            tolerance,
            slope=self.options.free_levels,
            into=self.sky,
        )
        self.flat += change
        self.levels += solved.levels
        self.iterations += solved.iterations
        self.converged = solved.converged
        self.change = solved.change
        self.seen = operator.total > 0
        self.moved = float(np.std(change[self.seen], dtype=np.float64))
        self.noise, self.misfit = measure_noise(self, operator, freedom)
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
        slope: bool = False,
        into: np.ndarray | None = None,
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

        slope : bool, optional
            Whether the slope that levels tell is wanted as well.

        into : `~numpy.ndarray`, optional
            Where the sky is added to.

        Returns
        -------
        solved : Solved
            The levels.

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
            (operator.gather(given, mean), left, mean),
            tolerance=tolerance,
            max_iterations=max_iterations or self.options.max_iterations,
            free_levels=self.options.free_levels,
            offsets=self.offsets[chosen] if slope else None,
            into=into,
        )
        return solved, mean

    def subtract(
        self, operator: SkyOperator, sky: np.ndarray, levels: np.ndarray, flat: Any
    ) -> None:
        """Leave in the residuals what a solution leaves."""

        def work(first: int, last: int) -> None:
            for k in range(len(self.frames)):
                left = self.residual[k, first:last].astype(np.float32)
                left -= operator.look(k, sky, first, last)
                left -= flat[first:last]
                left -= np.float32(levels[k])
                self.residual[k, first:last] = left

        operator.bands(self.flat.shape[0], work, 4)

    def release(self) -> None:
        """Give the memory of residuals and weights back."""
        self.residual = self.weights = np.zeros(0)


def _total(image: np.ndarray) -> float:
    return float(np.sum(image, dtype=np.float64))
