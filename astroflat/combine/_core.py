# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Combining a stack strip by strip, in threads, within a memory limit."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroflat._arrays import float_dtype
from astroflat._arrays import n_threads as count_threads
from astroflat.combine._calibration import Calibration
from astroflat.combine._columns import Strip
from astroflat.combine._estimate import make_estimator, useful_threads
from astroflat.combine._options import Options, choose_engine
from astroflat.combine._plan import Plan, make_plan
from astroflat.combine._spread import uncertainty as uncertainty_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from astroflat.combine._options import Engine, Method
    from astroflat.io import FrameStack

__all__ = ['CombineResult', 'Progress', 'combine_rows', 'combine_stack']

Progress = Callable[[int, int], None]


class CombineResult(NamedTuple):
    """
    What a stack was combined to.

    Attributes
    ----------
    value : `~numpy.ndarray` of float32
        Of the shape of a frame; NaN where no frame has a sample.

    sigma : `~numpy.ndarray` of float32 or None
        The standard deviation of ``value``; NaN where it is unknown.

    count : `~numpy.ndarray` of int32
        The number of samples used.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.combine import combine_stack
    >>> combine_stack(np.arange(6.0).reshape(3, 1, 2)).value
    array([[2., 3.]], dtype=float32)
    """

    value: np.ndarray
    sigma: np.ndarray | None
    count: np.ndarray


def combine_stack(
    source: FrameStack | Any,
    *,
    method: Method = 'median',
    factors: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    dark: ArrayLike | None = None,
    dark_factors: ArrayLike | None = None,
    sigma_clip: Any = None,
    uncertainty: str | None = 'auto',
    mem_limit: float = 256e6,
    n_threads: int | None = None,
    engine: Engine = 'auto',
    progress: Progress | None = None,
) -> CombineResult:
    """
    Combine the frames of a stack, arrays in and out.

    This is what `median_flat` computes, without its containers, units and
    headers.

    Parameters
    ----------
    source : FrameStack or anything that `open_frames` takes
        The frames ``(n, ny, nx)`` or ``(n, ny, nx, 3)``. Masked samples and
        NaN are left out.

    method : {'median', 'mean'}, optional
        How to combine.

    factors : array_like, optional
        One number per frame, by which it is multiplied.

    bias, dark : array_like, optional
        Images, or numbers, subtracted from every frame before that.

    dark_factors : array_like, optional
        One number per frame, by which ``dark`` is multiplied.

    sigma_clip : `~astropy.stats.SigmaClip` or float, optional
        Rejection of outliers along the frames of each pixel.

    uncertainty : {'auto', 'mad', 'std', None}, optional
        What the uncertainty is estimated from, see `median_flat`.

    mem_limit : float, optional
        Bytes of memory to work in, beside the result and the file cache.

    n_threads : int, optional
        The number of threads.

    engine : {'auto', 'numpy', 'numba'}, optional
        'auto' uses numba if it is installed and the stack is large. The
        results are identical.

    progress : callable, optional
        Called with the number of rows done and of all rows.

    Returns
    -------
    result : CombineResult
        Value, its standard deviation, and number of samples.

    Raises
    ------
    ValueError
        If an argument makes no sense, or one row of all frames does not fit
        into the memory allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.combine import combine_stack
    >>> frames = np.array([[[1, 5]], [[2, 4]], [[9, 3]]], dtype='uint16')
    >>> value, sigma, count = combine_stack(frames)
    >>> value, count
    (array([[2., 4.]], dtype=float32), array([[3, 3]], dtype=int32))
    """
    from astroflat.io.frames import FrameStack, open_frames

    stack = source if isinstance(source, FrameStack) else open_frames(source)
    try:
        options = Options.parse(
            method,
            uncertainty,
            sigma_clip,
            compiled=choose_engine(engine, math.prod(stack.shape)),
        )
        calibration = Calibration.of(stack.shape, factors, bias, dark, dark_factors)
        return combine_rows(
            stack,
            slice(0, stack.shape[1]),
            options,
            calibration,
            mem_limit=mem_limit,
            threads=count_threads(n_threads),
            progress=progress,
        )
    finally:
        if stack is not source:
            stack.close()


def combine_rows(
    stack: FrameStack,
    rows: slice,
    options: Options,
    calibration: Calibration,
    *,
    mem_limit: float,
    threads: int,
    progress: Progress | None = None,
) -> CombineResult:
    """
    Combine some rows of a stack.

    Parameters
    ----------
    stack : FrameStack
        The frames.

    rows : slice
        The rows, with start and stop.

    options : Options
        How to combine.

    calibration : Calibration
        What to do before; its images have these rows only.

    mem_limit : float
        Bytes of memory to work in.

    threads : int
        The most threads.

    progress : callable, optional
        Called with the number of rows done and of all rows.

    Returns
    -------
    result : CombineResult
        Of these rows.
    """
    job = _Job(stack, rows, options, calibration)
    return job.run(job.plan(mem_limit, threads), progress)


class _Job:
    """
    One stack to be combined.

    Parameters
    ----------
    stack : FrameStack
        The frames.

    rows : slice
        The rows of them that are meant.

    options : Options
        How to combine them.

    calibration : Calibration
        What to do with them before.
    """

    def __init__(
        self,
        stack: FrameStack,
        rows: slice,
        options: Options,
        calibration: Calibration,
    ) -> None:
        self.stack = stack
        self.shape = (len(stack), rows.stop - rows.start, *stack.shape[2:])
        self.first = rows.start
        self.across = math.prod(stack.shape[2:])
        self.options = options
        self.calibration = calibration
        self.dtype = _working_dtype(stack.dtype, calibrated=calibration.before)
        self.view = None
        if self.dtype == stack.dtype and not calibration.before:
            self.view = stack.flat_view()
        shape = self.shape[1:]
        self.result = CombineResult(
            np.empty(shape, np.float32),
            None if options.spread is None else np.empty(shape, np.float32),
            np.empty(shape, np.int32),
        )

    def plan(self, mem_limit: float, threads: int) -> Plan:
        """Cut the image into strips."""
        itemsize = self.stack.dtype.itemsize
        needed = 0 if self.view is not None else itemsize
        if self.stack.has_mask:
            needed += 2
        if self.dtype != self.stack.dtype or self.calibration.before:
            needed += self.dtype.itemsize
        return make_plan(
            self.shape,
            itemsize=itemsize,
            sample_bytes=needed,
            mem_limit=mem_limit,
            threads=threads if self.stack.has_mask else self._worth(threads),
        )

    def _worth(self, threads: int) -> int:
        """Return how many threads are worth it where no sample is masked."""
        return useful_threads(self.shape[0], self.dtype, self.options, threads)

    def run(self, plan: Plan, progress: Progress | None) -> CombineResult:
        """Combine all strips."""
        workers: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(plan.threads):
            workers.put(_Worker(self, plan))

        def combine(rows: slice) -> int:
            worker = workers.get()
            try:
                worker(rows)
            finally:
                workers.put(worker)
            return rows.stop - rows.start

        if plan.threads == 1:
            done = map(combine, plan.bands)
            _watch(done, self.shape[1], progress)
            return self.result
        with ThreadPoolExecutor(plan.threads) as pool:
            futures = [pool.submit(combine, rows) for rows in plan.bands]
            try:
                _watch(_completed(futures), self.shape[1], progress)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return self.result


class _Worker:
    """A thread's own memory."""

    def __init__(self, job: _Job, plan: Plan) -> None:
        stack = job.stack
        self._job = job
        self._estimator = make_estimator(
            len(stack),
            job.dtype,
            job.options,
            threads=plan.threads,
            block_bytes=plan.block_bytes,
        )
        self._buffer = None
        if job.view is None:
            size = len(stack) * plan.rows * job.across
            self._buffer = np.empty(size, stack.dtype)

    def __call__(self, rows: slice) -> None:
        """Combine some rows and store the result."""
        job = self._job
        value, spread, count = self._estimator(self._strip(rows))
        shape = (rows.stop - rows.start, *job.shape[2:])
        value = job.calibration.apply_after(value.reshape(shape), rows)
        count = count.reshape(shape)
        none = count == 0
        with np.errstate(over='ignore', invalid='ignore'):
            job.result.value[rows] = value
            job.result.count[rows] = count
            if none.any():
                job.result.value[rows][none] = np.nan
            if spread is not None:
                sigma = uncertainty_of(spread.reshape(shape), count, job.options.method)
                job.result.sigma[rows] = sigma

    def _strip(self, rows: slice) -> Strip:
        """Return the samples of some rows."""
        job, stack, n = self._job, self._job.stack, len(self._job.stack)
        first, last = job.first + rows.start, job.first + rows.stop
        mask = stack.mask_rows(first, last)
        if mask is not None:
            mask = mask.reshape(n, -1) if mask.any() else None
        if job.view is not None:
            return Strip(job.view, mask, first * job.across, last * job.across)
        size = (last - first) * job.across
        out = self._buffer[: n * size].reshape(n, last - first, *job.shape[2:])
        samples = stack.read_rows(first, last, out)
        if job.calibration.before:
            samples = job.calibration.apply(samples, rows, job.dtype)
        elif samples.dtype != job.dtype:
            samples = samples.astype(job.dtype)
        return Strip(samples.reshape(n, -1), mask, 0, size)


def _working_dtype(dtype: np.dtype, *, calibrated: bool) -> np.dtype:
    """Return the type in which samples are compared."""
    dtype = np.dtype(dtype)
    if dtype.kind in 'iu' and dtype.itemsize > 4:
        return np.dtype(np.float64)
    if not calibrated:
        return dtype
    # What float32 cannot hold exactly is calibrated in float64.
    exact = dtype.kind == 'f' or dtype.itemsize <= 2
    return float_dtype(dtype) if exact else np.dtype(np.float64)


def _completed(futures: list[Future]) -> Any:
    """Yield results in the order in which they come."""
    for future in as_completed(futures):
        yield future.result()


def _watch(done: Any, total: int, progress: Progress | None) -> None:
    """Go through results and report how far it is."""
    rows = 0
    for number in done:
        rows += number
        if progress is not None:
            progress(rows, total)
