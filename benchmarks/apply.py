# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Time the correction of one frame: astroflat beside ccdproc and a plain copy.

Run ``python benchmarks/apply.py`` (6000 x 4000 pixels, about two minutes and
3 GB) or ``--quick``. The cases take turns in one process, so that a busy
machine slows them all; what is compared is the fastest of the turns, because
whatever else runs on a machine makes a program slower, never faster.

The roofline is a threaded copy of as many bytes as the correction has to read
and write: once into memory that is already mapped, and once into new memory,
which every function that returns a new image has to ask the system for.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData, VarianceUncertainty

import astroflat as af

FULL = (4000, 6000)
QUICK = (1500, 2000)


def make_images(shape, *, flat_variance):
    """
    Return a frame, a flat and a gradient.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.

    flat_variance : bool
        Whether the flat has a variance.

    Returns
    -------
    frame, flat, gradient : `~astropy.nddata.CCDData`
        float32; the frame with variance and mask.
    """
    rng = np.random.default_rng(1)
    y, x = np.ogrid[: shape[0], : shape[1]]
    radius = np.hypot((y - shape[0] / 2) / shape[1], (x - shape[1] / 2) / shape[1])
    vignetting = (1 - 0.4 * radius**2).astype(np.float32)
    data = rng.normal(1000, 30, shape).astype(np.float32)
    frame = CCDData(
        data,
        unit='adu',
        mask=rng.random(shape, dtype=np.float32) < 0.001,
        uncertainty=VarianceUncertainty(np.full(shape, 900, np.float32)),
    )
    flat = CCDData(vignetting, unit='')
    if flat_variance:
        variance = np.full(shape, 1e-4, np.float32)
        flat.uncertainty = VarianceUncertainty(variance)
    slope = np.broadcast_to((10 + 0.001 * x).astype(np.float32), shape)
    return frame, flat, CCDData(np.ascontiguousarray(slope), unit='adu')


def traffic(frame, flat, gradient):
    """
    Return the bytes that a correction has to read and write.

    Parameters
    ----------
    frame, flat : `~astropy.nddata.CCDData`
        The images.

    gradient : `~astropy.nddata.CCDData` or None
        The additive field.

    Returns
    -------
    n_bytes : int
        Every input once and every output once.
    """
    own = frame.data.nbytes + frame.uncertainty.array.nbytes + frame.mask.nbytes
    fields = flat.data.nbytes + (0 if gradient is None else gradient.data.nbytes)
    if flat.uncertainty is not None:
        fields += flat.uncertainty.array.nbytes
    return 2 * own + fields


def copier(n_bytes, n_threads, *, fresh):
    """
    Return a function that moves a number of bytes with plain copies.

    Parameters
    ----------
    n_bytes : int
        Bytes read plus bytes written.

    n_threads : int
        The number of threads.

    fresh : bool
        Whether to copy into new memory each time.

    Returns
    -------
    copy : callable
        The function.
    """
    source = np.ones(n_bytes // 2, np.uint8)
    target = np.zeros_like(source)
    edges = np.linspace(0, source.size, 4 * n_threads + 1).astype(int)

    def copy():
        out = np.empty_like(source) if fresh else target
        with ThreadPoolExecutor(n_threads) as pool:
            list(
                pool.map(
                    lambda a, b: np.copyto(out[a:b], source[a:b]), edges[:-1], edges[1:]
                )
            )

    return copy


@contextmanager
def without_numba():
    """
    Hide numba from astroflat.

    Yields
    ------
    None
        Nothing.
    """
    module = sys.modules.get('numba')
    # An entry of None is how Python marks a module that must not be found.
    sys.modules['numba'] = None
    try:
        yield
    finally:
        del sys.modules['numba']
        if module is not None:
            sys.modules['numba'] = module


def by_ccdproc(frame, flat, gradient):
    """
    Correct a frame as ccdproc's users do.

    Parameters
    ----------
    frame, flat : `~astropy.nddata.CCDData`
        The images.

    gradient : `~astropy.nddata.CCDData` or None
        The additive field.

    Returns
    -------
    corrected : `~astropy.nddata.CCDData`
        The result.
    """
    import ccdproc

    if gradient is not None:
        frame = frame.subtract(gradient, handle_meta='first_found')
    return ccdproc.flat_correct(frame, flat, norm_value=np.float32(1))


def make_cases(frame, flat, gradient, n_threads):
    """
    Return the functions to time, by name.

    Parameters
    ----------
    frame, flat : `~astropy.nddata.CCDData`
        The images.

    gradient : `~astropy.nddata.CCDData` or None
        The additive field.

    n_threads : int
        The number of threads.

    Returns
    -------
    cases : dict
        Name and function.
    """
    model = af.DegradationModel(flat, gradient)
    n_bytes = traffic(frame, flat, gradient)

    def plain(threads):
        with without_numba():
            return model.correct(frame, n_threads=threads)

    cases = {
        'copy, mapped memory': copier(n_bytes, n_threads, fresh=False),
        'copy, new memory': copier(n_bytes, n_threads, fresh=True),
        'astroflat, numpy, 1 thread(s)': lambda: plain(1),
        f'astroflat, numpy, {n_threads} thread(s)': lambda: plain(n_threads),
    }
    if importlib.util.find_spec('numba') is not None:
        # Once it is imported, astroflat uses it for images of any size.
        importlib.import_module('numba')
        for threads in (1, n_threads):
            cases[f'astroflat, numba, {threads} thread(s)'] = partial(
                model.correct, frame, n_threads=threads
            )
    cases['ccdproc'] = lambda: by_ccdproc(frame, flat, gradient)
    return cases


def measure(cases, repeat):
    """
    Time the cases in turns.

    Parameters
    ----------
    cases : dict
        Name and function.

    repeat : int
        The number of turns after one for warming up.

    Returns
    -------
    seconds : dict
        Name and list of times.
    """
    seconds = {name: [] for name in cases}
    for turn in range(repeat + 1):
        for name, function in cases.items():
            start = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def agreement(frame, flat, gradient):
    """
    Return the largest relative difference from ccdproc.

    Parameters
    ----------
    frame, flat : `~astropy.nddata.CCDData`
        The images.

    gradient : `~astropy.nddata.CCDData` or None
        The additive field.

    Returns
    -------
    data, variance : float
        The differences.
    """
    ours = af.DegradationModel(flat, gradient).correct(frame)
    theirs = by_ccdproc(frame, flat, gradient)
    variances = ours.uncertainty.array, theirs.uncertainty.array
    return tuple(
        float(np.max(np.abs(a / b - 1)))
        for a, b in ((ours.data, theirs.data), variances)
    )


def table(result):
    """
    Return the results as a reStructuredText table.

    Parameters
    ----------
    result : dict
        What `run` has returned.

    Returns
    -------
    text : str
        The table.
    """
    ny, nx = result['shape']
    title = (
        f'Correction of {nx} x {ny} float32 with variance and mask, written by '
        f'``benchmarks/apply.py``: {result["processor"]}, {result["threads"]} threads, '
        f'fastest of {result["repeat"]} turns'
    )
    lines = [
        f'.. list-table:: {title}',
        '   :header-rows: 1',
        '',
        '   * - fields',
        '     - method',
        '     - time [ms]',
        '     - ccdproc / this',
        '     - this / copy, new memory',
        '     - GB/s',
    ]
    for part in result['parts']:
        fastest = {name: min(t) for name, t in part['seconds'].items()}
        for name, value in fastest.items():
            lines += [
                f'   * - {part["fields"]}',
                f'     - {name}',
                f'     - {1000 * value:.1f}',
                f'     - {fastest["ccdproc"] / value:.1f}',
                f'     - {value / fastest["copy, new memory"]:.2f}',
                f'     - {part["bytes"] / value / 1e9:.1f}',
            ]
    return '\n'.join(lines) + '\n'


def run(shape, repeat, n_threads):
    """
    Run the benchmark.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.

    repeat : int
        The number of turns.

    n_threads : int
        The number of threads.

    Returns
    -------
    result : dict
        Times, versions, agreement.
    """
    import astropy
    import ccdproc

    parts = []
    for fields, with_gradient, with_variance in (
        ('flat', False, False),
        ('flat ± σ, gradient', True, True),
    ):
        frame, flat, gradient = make_images(shape, flat_variance=with_variance)
        gradient = gradient if with_gradient else None
        seconds = measure(make_cases(frame, flat, gradient, n_threads), repeat)
        data, variance = agreement(frame, flat, gradient)
        parts.append(
            {
                'fields': fields,
                'bytes': traffic(frame, flat, gradient),
                'seconds': seconds,
                'difference': {'data': data, 'variance': variance},
            }
        )
    versions = {
        'python': platform.python_version(),
        'numpy': np.__version__,
        'astropy': astropy.__version__,
        'ccdproc': ccdproc.__version__,
        'astroflat': af.__version__,
    }
    if sys.modules.get('numba') is not None:
        versions['numba'] = sys.modules['numba'].__version__
    return {
        'shape': list(shape),
        'repeat': repeat,
        'threads': n_threads,
        'processor': processor(),
        'versions': versions,
        'parts': parts,
    }


def processor():
    """
    Return the name of the processor.

    Returns
    -------
    name : str
        As the system calls it.
    """
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(':', 1)[1] for line in lines if line.startswith('model name')]
    return names[0].strip() if names else platform.machine()


def main(argv=None):
    """
    Parse the command line, run, print and write.

    Parameters
    ----------
    argv : list of str, optional
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0].strip())
    parser.add_argument('--quick', action='store_true', help='2000 x 1500 pixels')
    parser.add_argument('--repeat', type=int, default=7)
    parser.add_argument('--threads', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--json', type=Path, help='write the times here')
    parser.add_argument('--rst', type=Path, help='write the table here')
    options = parser.parse_args(argv)
    shape = QUICK if options.quick else FULL
    result = run(shape, options.repeat, options.threads)
    text = table(result)
    print(text)
    for part in result['parts']:
        print(f'{part["fields"]}: largest difference from ccdproc {part["difference"]}')
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + '\n')
    if options.rst:
        # A page of its own for Sphinx, to be included in others.
        options.rst.write_text(f':orphan:\n\n.. tables start here\n\n{text}')


if __name__ == '__main__':
    main()
