# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Combining on a cluster: dask arrays, and strips of any other stack."""

from __future__ import annotations

import functools
import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._arrays import n_threads as count_threads
from astroflat.combine._calibration import Calibration
from astroflat.combine._core import CombineResult, combine_rows, combine_stack
from astroflat.combine._levels import check_scale, level_of, sample_step, to_factors
from astroflat.combine._options import Options, choose_engine

if TYPE_CHECKING:
    from astroflat.combine._core import Progress
    from astroflat.combine._request import Request
    from astroflat.io import FrameStack

__all__ = ['combine_dask', 'combine_on_cluster', 'dask_scale_factors']

# Bytes of a chunk: large enough that the scheduler has little to do.
_CHUNK_BYTES = 64e6
# Tasks per worker, so that all finish at about the same time.
_TASKS = 4


def combine_on_cluster(
    request: Request, client: Any, progress: Progress | None, **options: Any
) -> CombineResult:
    """
    Combine a stack by dask.

    Parameters
    ----------
    request : Request
        The frames and their calibration.

    client : `dask.distributed.Client` or None
        Where to compute; `None`, for dask arrays, is where dask computes by
        default.

    progress : callable or None
        Called with the number of rows done and of all rows.

    **options
        Further arguments of `combine_stack`.

    Returns
    -------
    result : CombineResult
        The same as `combine_stack` returns.
    """
    array = request.stack.dask
    if array is None:
        return _Bands(request, client, options).run(progress)
    result = combine_dask(array, client, **request.planes(), **options)
    if progress is not None:
        progress(array.shape[1], array.shape[1])
    return result


def combine_dask(
    array: Any,
    client: Any = None,
    *,
    bias: np.ndarray | None = None,
    dark: np.ndarray | None = None,
    mem_limit: float = 256e6,
    n_threads: int | None = None,
    **options: Any,
) -> CombineResult:
    """
    Combine a dask array along its first axis, chunk by chunk.

    Parameters
    ----------
    array : `dask.array.Array`
        ``(n, ny, nx)`` or ``(n, ny, nx, 3)``; masked arrays are respected.

    client : `dask.distributed.Client`, optional
        Where to compute.

    bias, dark : `~numpy.ndarray`, optional
        Images to subtract.

    mem_limit : float, optional
        Chunks of the image are at most a quarter of this.

    n_threads : int, optional
        Ignored: dask decides how many chunks are worked on at a time.

    **options
        Further arguments of `combine_stack`.

    Returns
    -------
    result : CombineResult
        The same as `combine_stack` returns.
    """
    import dask
    import dask.array as da

    del n_threads
    limit = int(min(_CHUNK_BYTES, mem_limit / 4))
    chunks = {0: -1, 1: 'auto', 2: 'auto', **({3: -1} if array.ndim == 4 else {})}
    array = array.rechunk(chunks, block_size_limit=limit)
    rest = array.chunks[1:]
    planes = {
        name: da.from_array(np.asarray(plane)[None], chunks=((1,), *rest))
        for name, plane in (('bias', bias), ('dark', dark))
        if plane is not None
    }
    chunk = functools.partial(_combine_chunk, names=tuple(planes), options=options)
    packed = da.map_blocks(
        chunk,
        array,
        *planes.values(),
        dtype=np.float32,
        chunks=((3,), *rest),
        meta=np.empty((0,) * array.ndim, np.float32),
    )
    if client is None:
        (packed,) = dask.compute(packed)
    else:
        packed = client.compute(packed).result()
    return _unpack(packed, options.get('uncertainty', 'auto'))


def _combine_chunk(
    block: np.ndarray, *planes: np.ndarray, names: tuple[str, ...], options: dict
) -> np.ndarray:
    """Combine a chunk; value, sigma and count as one array."""
    images = {name: plane[0] for name, plane in zip(names, planes, strict=True)}
    # The limit was met by the size of the chunk.
    return _pack(
        combine_stack(block, mem_limit=math.inf, n_threads=1, **images, **options)
    )


def _pack(result: CombineResult) -> np.ndarray:
    """Put the results into one array; counts fit in float32 up to 2**24."""
    sigma = np.zeros_like(result.value) if result.sigma is None else result.sigma
    return np.stack([result.value, sigma, result.count.astype(np.float32)])


def _unpack(packed: np.ndarray, uncertainty: str | None) -> CombineResult:
    """Take it apart again."""
    value, sigma, count = packed
    return CombineResult(
        np.ascontiguousarray(value),
        None if uncertainty is None else np.ascontiguousarray(sigma),
        count.astype(np.int32),
    )


def dask_scale_factors(
    stack: FrameStack, scale: Any, calibration: Calibration
) -> np.ndarray:
    """
    Return what each frame of a dask array is to be multiplied by.

    Parameters
    ----------
    stack : FrameStack
        The frames, with their dask array.

    scale : {'median', 'mean'}, callable or array_like
        As in `median_flat`.

    calibration : Calibration
        What is subtracted before.

    Returns
    -------
    factors : `~numpy.ndarray`
        ``(n,)``.
    """
    if not callable(scale) and not isinstance(scale, str):
        return np.asarray(scale, dtype=np.float64)
    check_scale(scale)
    step = 1 if callable(scale) else sample_step(stack.shape)
    array = stack.dask[:, ::step, ::step]
    array = array.rechunk((1, *array.shape[1:]))

    def measure(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        i = block_info[0]['chunk-location'][0]
        mask = np.ma.getmaskarray(block)[0] if np.ma.isMaskedArray(block) else None
        frame = np.ma.getdata(block)[0]
        if calibration.offset is not None:
            frame = frame - calibration.offset[::step, ::step]
        if calibration.dark is not None:
            factor = calibration.dark_factors[i]
            frame = frame - factor * calibration.dark[::step, ::step]
        return np.array([level_of(frame, mask, scale)])

    axes = list(range(1, array.ndim))
    levels = array.map_blocks(
        measure, dtype=float, drop_axis=axes, chunks=((1,) * len(stack),)
    )
    return to_factors(np.asarray(levels.compute()), scale, stack.label)


class _Bands:
    """
    Bands of rows of a stack that is not a dask array.

    Parameters
    ----------
    request : Request
        The frames and their calibration.

    client : `dask.distributed.Client`
        Where to compute.

    options : dict
        Arguments of `combine_stack`.
    """

    def __init__(self, request: Request, client: Any, options: dict) -> None:
        self._request = request
        self._client = client
        options = dict(options)
        self._mem_limit = options.pop('mem_limit')
        options.pop('n_threads')
        compiled = choose_engine(options.pop('engine'), math.prod(request.stack.shape))
        self._options = Options.parse(**options, compiled=compiled)
        self._calibration = Calibration.of(request.stack.shape, **_renamed(request))

    def run(self, progress: Progress | None) -> CombineResult:
        """Combine all bands, a few more of them on their way than workers."""
        from dask.distributed import as_completed

        stack = self._request.stack
        parts: dict[int, np.ndarray] = {}
        bands = iter(self._cut())
        workers = max(1, len(self._client.ncores()))
        started = [self._submit(band) for band in islice(bands, 2 * workers)]
        running = as_completed(started, with_results=True)
        for future, (start, packed) in running:
            parts[start] = packed
            future.release()
            band = next(bands, None)
            if band is not None:
                running.add(self._submit(band))
            if progress is not None:
                progress(sum(p.shape[1] for p in parts.values()), stack.shape[1])
        packed = np.concatenate([parts[start] for start in sorted(parts)], axis=1)
        return _unpack(packed, self._options.spread)

    def _cut(self) -> list[slice]:
        """Return the bands."""
        stack = self._request.stack
        n, ny = stack.shape[:2]
        row_bytes = n * math.prod(stack.shape[2:]) * stack.dtype.itemsize
        workers = max(1, sum(self._client.ncores().values()))
        rows = math.ceil(ny / (_TASKS * workers))
        if self._request.paths is None:
            # These are sent, so their size counts here.
            rows = max(1, min(rows, int(self._mem_limit / (2 * workers) // row_bytes)))
        return [slice(y, min(y + rows, ny)) for y in range(0, ny, rows)]

    def _submit(self, rows: slice) -> Any:
        """Send one band to a worker."""
        stack, paths = self._request.stack, self._request.paths
        frames, mask = paths, None
        if paths is None:
            frames = stack.read_rows(rows.start, rows.stop)
            mask = stack.mask_rows(rows.start, rows.stop)
            if mask is not None:
                frames = np.ma.array(frames, mask=mask)
        return self._client.submit(
            _combine_band,
            frames,
            rows,
            self._options,
            self._calibration.cut(rows),
            self._mem_limit,
            pure=False,
        )


def _renamed(request: Request) -> dict[str, Any]:
    """Return the calibration under the names of the class."""
    planes = request.planes()
    planes['offset'] = planes.pop('bias')
    return planes


def _combine_band(
    frames: Any,
    rows: slice,
    options: Options,
    calibration: Calibration,
    mem_limit: float,
) -> tuple[int, np.ndarray]:
    """Combine a band on a worker: of files, or of the samples sent."""
    from astroflat.io.frames import open_frames

    sent = not isinstance(frames, (str, list))
    window = slice(0, frames.shape[1]) if sent else rows
    with open_frames(frames) as stack:
        result = combine_rows(
            stack,
            window,
            options,
            calibration,
            mem_limit=mem_limit,
            threads=count_threads(1),
        )
    return rows.start, _pack(result)
