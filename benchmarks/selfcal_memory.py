# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Memory of `astroflat.sky_flat` and `astroflat.solve_fields` by the number of frames.

Run ``python benchmarks/selfcal_memory.py [N] [SIZE]``. Frames are generated
when they are read, and never kept, so that all memory is that of the method;
its largest size is measured with `tracemalloc`.
"""

from __future__ import annotations

import sys
import tracemalloc
from functools import partial

import numpy as np

import astroflat as af


def lazy_frames(n, size, seed=0):
    """
    Return frames that are made when they are read.

    Parameters
    ----------
    n, size : int
        Number of frames, rows and columns.

    seed : int, optional
        Of the noise.

    Returns
    -------
    frames : `dask.array.Array`
        ``(n, size, size)``, float32, one chunk per frame.
    """
    import dask.array as da

    chunks = ((1,) * n, (size,), (size,))
    make = partial(_frame, n=n, size=size, seed=seed)
    empty = np.empty((0, 0, 0), np.float32)
    return da.map_blocks(make, chunks=chunks, dtype=np.float32, meta=empty)


def _frame(n, size, seed, block_info=None):
    """Make one frame."""
    k = block_info[None]['chunk-location'][0]
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    noise = np.random.default_rng((seed, k)).standard_normal((size, size), np.float32)
    level = np.float32(1000 * (1 + 0.5 * k / n))
    return (level * (1 - 0.4 * (x**2 + y**2)) + np.sqrt(level) * noise)[None]


def peak_of(function, n, size, mem_limit):
    """
    Return the largest memory of a method.

    Parameters
    ----------
    function : callable
        Makes a flat.

    n, size : int
        Frames.

    mem_limit : float
        Bytes for bands.

    Returns
    -------
    peak : float
        Bytes.

    flat : `~numpy.ndarray`
        What came out.
    """
    tracemalloc.start()
    found = function(
        lazy_frames(n, size), offsets=False, mem_limit=mem_limit, n_threads=1
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, found.flat.data


def main():
    """Print the table."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 512
    print('method        frames  stack MB  band limit MB  peak MB  same flat')
    for function in (af.sky_flat, af.solve_fields):
        first = None
        for frames, limit in ((n // 4, 16e6), (n, 16e6), (n, 64e6)):
            peak, flat = peak_of(function, frames, size, limit)
            if frames < n:
                same = ''
            else:
                first = flat if first is None else first
                same = str(np.array_equal(first, flat))
            print(
                f'{function.__name__:12s} {frames:7d} {4e-6 * frames * size**2:9.0f} '
                f'{limit / 1e6:14.0f} {peak / 1e6:8.0f}  {same}',
                flush=True,
            )


if __name__ == '__main__':
    main()
