# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Time the reading of frames: bands of rows beside a plain read of the same files.

Run ``python benchmarks/frames.py`` (100 frames of 2048 x 2048 as SER video and
as FITS files, about 2 GB on disk in the folder for temporary files) or
``--quick``. The methods take turns; the median over the turns is printed, in
seconds and relative to reading the bytes of the files once into one buffer.
The file cache is warm unless ``--cold``, which asks the kernel to forget the
files before each turn (POSIX only, and only a request).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

from astroflat.io import open_frames, write_ser

FULL = (100, 2048, 2048)
QUICK = (40, 1024, 1024)


def make_files(folder, shape):
    """
    Write the same frames as a video and as FITS files.

    Parameters
    ----------
    folder : `pathlib.Path`
        Where.

    shape : tuple of int
        Frames, rows and columns.

    Returns
    -------
    video : `pathlib.Path`
        The SER video.

    paths : list of `pathlib.Path`
        The FITS files.
    """
    n, ny, nx = shape
    base = np.random.default_rng(1).integers(900, 1100, (ny, nx), dtype=np.uint16)
    video = folder / 'frames.ser'
    write_ser(video, (base + np.uint16(i) for i in range(n)))
    paths = [folder / f'frame{i}.fits' for i in range(n)]
    for i, path in enumerate(paths):
        fits.PrimaryHDU(base + np.uint16(i)).writeto(path)
    return video, paths


def read_once(paths, buffer):
    """Read all bytes of files into one buffer, the floor of what is possible."""
    for path in paths:
        with path.open('rb', buffering=0) as file:
            while file.readinto(buffer):
                pass


def read_bands(source, shape, rows):
    """Open a stack and read all of it by bands of rows."""
    n, ny, nx = shape
    out = np.empty((n, rows, nx), np.uint16)
    with open_frames(source) as stack:
        for start in range(0, ny - ny % rows, rows):
            stack.read_rows(start, start + rows, out)


def read_astropy(paths, shape, rows):
    """Read the same bands through ``section`` of astropy, files kept open."""
    n, ny, nx = shape
    out = np.empty((n, rows, nx), np.uint16)
    hdus = [fits.open(path, memmap=False) for path in paths]
    for start in range(0, ny - ny % rows, rows):
        for k, hdu in enumerate(hdus):
            out[k] = hdu[0].section[start : start + rows]
    for hdu in hdus:
        hdu.close()


def forget(paths):
    """Ask the kernel to drop files from its cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def measure(methods, paths, *, turns, cold):
    """
    Time methods in turns.

    Parameters
    ----------
    methods : dict of callable
        What to time.

    paths : list of `pathlib.Path`
        The files they read.

    turns : int
        How often.

    cold : bool
        Whether to empty the file cache before each.

    Returns
    -------
    seconds : dict of float
        The median of each.
    """
    seconds = {name: [] for name in methods}
    for _ in range(turns):
        for name, method in methods.items():
            if cold:
                forget(paths)
            start = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main(argv=None):
    """
    Run the benchmark.

    Parameters
    ----------
    argv : list of str, optional
        The command line.

    Returns
    -------
    code : int
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('--quick', action='store_true', help='40 frames of 1024^2')
    parser.add_argument('--cold', action='store_true', help='empty file cache')
    parser.add_argument('--rows', type=int, default=16, help='rows of a band')
    parser.add_argument('--turns', type=int, default=5)
    parser.add_argument('--json', help='write the numbers here')
    args = parser.parse_args(argv)
    shape = QUICK if args.quick else FULL
    with tempfile.TemporaryDirectory() as name:
        video, paths = make_files(Path(name), shape)
        buffer = memoryview(bytearray(1 << 20))
        results = {}
        for kind, files, methods in (
            (
                'SER',
                [video],
                {'open_frames': lambda: read_bands(video, shape, args.rows)},
            ),
            (
                'FITS',
                paths,
                {
                    'open_frames': lambda: read_bands(paths, shape, args.rows),
                    'astropy section': lambda: read_astropy(paths, shape, args.rows),
                    'opening alone': lambda: open_frames(paths).close(),
                },
            ),
        ):
            methods = {'bytes once': lambda f=files: read_once(f, buffer), **methods}
            seconds = measure(methods, files, turns=args.turns, cold=args.cold)
            results[kind] = seconds
            for method, value in seconds.items():
                ratio = value / seconds['bytes once']
                print(f'{kind:5s} {method:16s} {value:8.4f} s  {ratio:7.2f} x bytes')
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
