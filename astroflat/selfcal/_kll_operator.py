# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The sky seen by every frame, and the least squares without the flat.

Frame ``k`` is modelled as ``g + A_k s + b_k`` in logarithms: the flat ``g``
stays with the detector, ``A_k`` moves the sky ``s`` by the offset of the frame
between the pixels, ``b_k`` is the level. For any ``s`` and ``b`` the best flat
is a mean over frames, so it is eliminated exactly and what is left costs one
pass over the frames instead of one over their pairs.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from astroflat.selfcal._kll_look import (
    absolute,
    frame_taps,
    look,
    spread,
    tap_tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.selfcal._kll_layout import Interpolation, SkyLayout

__all__ = ['SkyOperator', 'has_numba']

# Samples in the work space of a thread: about the size of its cache.
_BLOCK = 2**18
# Fewer samples are done before numba is imported.
_LARGE = 2_000_000


def has_numba() -> bool:
    """
    Tell whether numba is installed, without importing it.

    Returns
    -------
    found : bool
        Whether it is.
    """
    return importlib.util.find_spec('numba') is not None


class SkyOperator:
    """
    The normal equations of sky and levels, with the flat eliminated.

    Parameters
    ----------
    layout : SkyLayout
        Where the skies are.

    offsets : `~numpy.ndarray`
        ``(n, 2)``: what is at (y, x) of the sky is at (y + dy, x + dx).

    weights : `~numpy.ndarray`
        ``(m, ny, nx)`` uint8, zero for samples that do not count.

    index : `~numpy.ndarray` of int, optional
        ``(n,)``: which of the weights belong to the frames; all by default.

    interpolation : {'nearest', 'linear', 'cubic'}, optional
        How the sky is interpolated between its pixels.

    threads : int, optional
        The number of threads. The result does not depend on it.

    ridge : float, optional
        The weight of a flat of one, in units of that of all frames.

    compiled : bool, optional
        Whether to use numba; by default where it is installed and frames are
        large.
    """

    def __init__(
        self,
        layout: SkyLayout,
        offsets: np.ndarray,
        weights: np.ndarray,
        *,
        index: np.ndarray | None = None,
        interpolation: Interpolation = 'cubic',
        threads: int = 1,
        ridge: float = 0.0,
        compiled: bool | None = None,
    ) -> None:
        self.layout = layout
        self.shape = layout.shape
        index = np.arange(len(weights)) if index is None else index
        self.weights = [weights[i] for i in index]
        self.threads = threads
        self.taps = frame_taps(layout, offsets, interpolation)
        groups = len(layout.origins)
        self.sky_shape = (groups * layout.block[0], layout.block[1])
        self.total = self._total()
        self.ridge = ridge
        self.extra = np.float32(ridge * 255 * len(self.taps))
        if compiled is None:
            compiled = len(index) * self.total.size >= _LARGE and has_numba()
        self._compiled = None
        if compiled:
            tables = tap_tables(self.taps)
            self._compiled = (np.asarray(weights), np.asarray(index), tables)

    def __len__(self) -> int:
        return len(self.taps)

    def look(self, k: int, sky: np.ndarray, first: int, last: int) -> np.ndarray:
        """
        Return rows of the sky as a frame sees them.

        Parameters
        ----------
        k : int
            The frame.

        sky : `~numpy.ndarray`
            The sky.

        first, last : int
            The first row of the frame, and the one after the last.

        Returns
        -------
        rows : `~numpy.ndarray`
            ``(last - first, nx)`` float32.
        """
        return look(self.taps[k], self.shape[1], sky, first, last)

    def mean(
        self,
        source: Callable[[int, int, int], np.ndarray],
        levels: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the weighted mean over frames, and what it leaves of the levels.

        Parameters
        ----------
        source : callable
            Gives rows ``(last - first, nx)`` for a frame, first and last.

        levels : `~numpy.ndarray`, optional
            ``(n,)``, added to them.

        Returns
        -------
        mean : `~numpy.ndarray`
            ``(ny, nx)`` float32.

        left : `~numpy.ndarray`
            ``(n,)``: the weighted sum of each frame minus the mean.
        """
        n = len(self)
        out = np.zeros(self.shape, dtype=np.float32)
        levels = np.zeros(n) if levels is None else levels

        def work(first: int, last: int) -> np.ndarray:
            seen = np.empty((n, last - first, self.shape[1]), dtype=np.float32)
            for k in range(n):
                np.add(source(k, first, last), np.float32(levels[k]), out=seen[k])
            weights = [w[first:last] for w in self.weights]
            number = out[first:last]
            for k in range(n):
                number += seen[k] * weights[k]
            number /= np.maximum(self.total[first:last] + self.extra, 1)
            seen -= number
            return np.array([_dot(seen[k], weights[k]) for k in range(n)])

        return out, np.sum(self.bands(self.shape[0], work, n), axis=0)

    def gather(
        self, source: Callable[[int, int, int], np.ndarray], mean: np.ndarray
    ) -> np.ndarray:
        """
        Spread what frames hold above their mean over the sky.

        Parameters
        ----------
        source : callable
            As for `mean`, levels included.

        mean : `~numpy.ndarray`
            The mean over the frames.

        Returns
        -------
        sky : `~numpy.ndarray`
            The sum of ``A_k^T w_k (source_k - mean)``, float32.
        """

        def rows(k: int, first: int, last: int) -> np.ndarray:
            rows = source(k, first, last) - mean[first:last]
            rows *= self.weights[k][first:last]
            return rows

        return self._spread(rows, self.taps)

    def _spread(self, source: Callable, taps: list) -> np.ndarray:
        """Sum what frames hold over the sky."""
        out = np.zeros(self.sky_shape, dtype=np.float32)

        def work(first: int, last: int) -> None:
            for k, frame in enumerate(taps):
                reach = [i for i, _ in frame[0]]
                low = max(0, first - max(reach))
                high = min(self.shape[0], last - min(reach))
                if low < high:
                    spread(frame, source(k, low, high), low - first, out[first:last])

        self.bands(self.sky_shape[0], work, 4)
        return out

    def normal(
        self, sky: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        Multiply by the matrix of the normal equations.

        Parameters
        ----------
        sky : `~numpy.ndarray`
            The sky, float32.

        levels : `~numpy.ndarray`
            ``(n,)``.

        Returns
        -------
        sky, levels : `~numpy.ndarray`
            The product.

        mean : `~numpy.ndarray`
            ``(ny, nx)``: what the flat changes by is its negative.
        """
        if self._compiled is not None:
            return self._normal_compiled(sky, levels)

        def seen(k: int, first: int, last: int) -> np.ndarray:
            return self.look(k, sky, first, last) + np.float32(levels[k])

        mean, left = self.mean(lambda k, a, b: self.look(k, sky, a, b), levels)
        return self.gather(seen, mean), left, mean

    def _normal_compiled(
        self, sky: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do the same by numba."""
        from astroflat.selfcal._kll_numba import gather_rows, mean_rows

        given = (sky, levels.astype(np.float32), *self._compiled)
        mean = np.empty(self.shape, dtype=np.float32)
        out = np.zeros(self.sky_shape, dtype=np.float32)

        def average(first: int, last: int) -> np.ndarray:
            left = np.zeros(len(self))
            mean_rows(*given, self.total, self.extra, first, last, mean, left)
            return left

        left = np.sum(self.bands(self.shape[0], average, 1), axis=0)
        self.bands(
            self.sky_shape[0], lambda a, b: gather_rows(*given, mean, a, b, out), 1
        )
        return out, left, mean

    def coverage(self) -> np.ndarray:
        """
        Return the sum of the weights at each pixel of the sky.

        Returns
        -------
        coverage : `~numpy.ndarray`
            float32, positive where a frame looks.
        """

        def rows(k: int, first: int, last: int) -> np.ndarray:
            return self.weights[k][first:last].astype(np.float32)

        return self._spread(rows, [absolute(frame) for frame in self.taps])

    @property
    def sums(self) -> np.ndarray:
        """The sum of the weights of each frame."""
        return np.array([w.sum(dtype=np.int64) for w in self.weights], dtype=float)

    def _total(self) -> np.ndarray:
        """Return the sum of the weights of each pixel of the detector."""
        total = np.zeros(self.shape, dtype=np.float32)
        for weights in self.weights:
            total += weights
        return total

    def bands(self, rows: int, work: Callable, n: int) -> list:
        """
        Do some work band by band, in several threads.

        Parameters
        ----------
        rows : int
            The number of rows.

        work : callable
            Called with the first row of a band and the one after the last.

        n : int
            How many images the work needs room for.

        Returns
        -------
        results : list
            What the calls return, in order.
        """
        step = max(8, _BLOCK // (self.sky_shape[1] * max(n, 1)))
        edges = [(a, min(a + step, rows)) for a in range(0, rows, step)]
        if self.threads == 1 or len(edges) == 1:
            return [work(*edge) for edge in edges]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda edge: work(*edge), edges))


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Return the sum of products, row by row in float64."""
    return float(np.einsum('ij,ij->i', a, b, dtype=np.float32).sum(dtype=np.float64))
