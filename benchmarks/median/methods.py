# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
One method on one set of frames, in a process of its own.

``python methods.py METHOD RESULT THREADS FILE...`` prints a line of JSON: the
seconds of the step from closed files to a result on the disk, after imports
and compilation, and the anonymous memory before it.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np


def anonymous_memory() -> int:
    """Return the bytes of this process that are not in files."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1]) * 1024
    return 0


def ours(engine, uncertainty):
    """Return a method of astroflat, with the kernels compiled and loaded."""
    from astropy.io import fits

    from astroflat.combine import combine_stack
    from astroflat.io import open_frames

    def combine(files, threads, result):
        with open_frames(files[0] if len(files) == 1 else files) as stack:
            value, _, _ = combine_stack(
                stack, engine=engine, uncertainty=uncertainty, n_threads=threads
            )
        fits.PrimaryHDU(value).writeto(result)

    for dtype in ('u1', 'u2'):
        frames = np.zeros((3, 8, 8), dtype)
        # As a map of a file is: a view that cannot be written to.
        frames.flags.writeable = False
        combine_stack(frames, engine=engine, uncertainty=uncertainty)
        combine_stack(list(frames), engine=engine, uncertainty=uncertainty)
    return combine


def by_ccdproc(bottleneck):
    """Return `ccdproc.combine`, for files."""
    if not bottleneck:
        sys.modules['bottleneck'] = None
    import ccdproc

    def combine(files, threads, result):
        del threads
        names = [str(path) for path in files]
        flat = ccdproc.combine(names, method='median', mem_limit=2e9, unit='adu')
        flat.write(result)

    return combine


def by_numpy():
    """Return numpy on the whole stack in memory."""
    from astropy.io import fits

    from astroflat.io import open_frames

    def combine(files, threads, result):
        del threads
        with open_frames(files[0] if len(files) == 1 else files) as stack:
            value = np.median(stack.read_rows(0, stack.shape[1]), axis=0)
        fits.PrimaryHDU(value.astype(np.float32)).writeto(result)

    return combine


def reading():
    """Return a method that only reads the bytes once."""

    def read(files, threads, result):
        del result
        pieces = [
            (path, start)
            for path in files
            for start in range(0, path.stat().st_size, 1 << 24)
        ]

        def look(piece):
            path, start = piece
            buffer = np.empty(1 << 20, np.uint8)
            total = 0
            with path.open('rb', buffering=0) as file:
                file.seek(start)
                for _ in range(16):
                    count = file.readinto(buffer)
                    total |= int(
                        np.bitwise_or.reduce(buffer[: count // 8 * 8].view('u8'))
                    )
                    if count < len(buffer):
                        break
            return total

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(look, pieces))

    return read


METHODS = {
    'numba': lambda: ours('numba', None),
    'numba+sigma': lambda: ours('numba', 'mad'),
    'numpy': lambda: ours('numpy', None),
    'numpy+sigma': lambda: ours('numpy', 'mad'),
    'ccdproc+bottleneck': lambda: by_ccdproc(bottleneck=True),
    'ccdproc': lambda: by_ccdproc(bottleneck=False),
    'numpy.median': by_numpy,
    'reading': reading,
}


def main():
    """Run one method."""
    name, result, threads, *files = sys.argv[1:]
    combine = METHODS[name]()
    files = [Path(path) for path in files]
    before = anonymous_memory()
    start = time.perf_counter()
    combine(files, int(threads), Path(result))
    seconds = time.perf_counter() - start
    print(json.dumps({'seconds': seconds, 'memory_before': before}))


if __name__ == '__main__':
    main()
