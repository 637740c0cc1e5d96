# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How fast lights are calibrated: alone, by threads, by processes, on a cluster.

A night of one filter is written, then calibrated with flats that are taken as
they are. The rate is that of the lights, once all workers are at work: masters
and the start of processes are not in it. ``python -m benchmarks.night``.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from astropy.io import fits

from astroflat._progress import listen
from astroflat.pipelines import run_night


def write_night(folder: Path, shape: tuple[int, int], n: int) -> None:
    """Write bias, flats and lights of noise."""
    rng = np.random.default_rng(1)
    kinds = [('BIAS', 3, 500, 0.0), ('FLAT', 3, 20000, 2.0), ('LIGHT', n, 1500, 60.0)]
    for kind, count, level, exposure in kinds:
        for i in range(count):
            data = rng.normal(level, np.sqrt(level), shape).astype(np.uint16)
            header = fits.Header({'IMAGETYP': kind, 'EXPTIME': exposure})
            header['FILTER'] = 'R'
            fits.PrimaryHDU(data, header).writeto(folder / f'{kind}_{i:03d}.fits')


def measure(folder: Path, **options: object) -> tuple[float, float, float]:
    """Calibrate the night; return seconds per light, of this CPU, and in all."""
    shutil.rmtree(folder / 'calibrated', ignore_errors=True)
    moments = []

    def note(done: int, _: int, description: str) -> None:
        if description == 'lights':
            moments.append((time.perf_counter(), done, time.process_time()))

    start = time.perf_counter()
    with listen(note):
        report = run_night(folder, flats='given', **options)
    seconds = time.perf_counter() - start
    if not report.success or report.n_done == 0:
        msg = str(report)
        raise RuntimeError(msg)
    # The first quarter is where workers import and read their masters.
    first = moments[len(moments) // 4]
    last = moments[-1]
    wall, n, cpu = (b - a for a, b in zip(first, last, strict=True))
    return wall / n, cpu / n, seconds


def cluster(stack: ExitStack, n: int) -> object:
    """Start workers, one process each."""
    from distributed import Client, LocalCluster

    logging.getLogger('distributed').setLevel(logging.ERROR)

    started = stack.enter_context(
        LocalCluster(
            n_workers=n,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
    )
    return stack.enter_context(Client(started))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--side', type=int, default=1024, help='pixels')
    parser.add_argument('--lights', type=int, default=40)
    args = parser.parse_args()
    shape = (args.side, args.side)
    megapixels = args.side**2 / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_night(folder, shape, args.lights)
        print(f'{args.lights} lights of {megapixels:.2f} Mpx, {os.cpu_count()} cores')
        print(f'{"where":22s} {"s/light":>9s} {"s/Mpx":>9s} {"whole run":>10s}')
        for label, options in [
            ('in place', {'n_workers': 1}),
            ('2 threads', {'n_workers': 2}),
            ('1 process', {'n_workers': 1, 'processes': True}),
            ('2 processes', {'n_workers': 2, 'processes': True}),
            ('cluster of 1', {'cluster': 1}),
            ('cluster of 2', {'cluster': 2}),
        ]:
            with ExitStack() as stack:
                n = options.pop('cluster', None)
                if n is not None:
                    options['client'] = cluster(stack, n)
                one, cpu, whole = measure(folder, **options)
            print(f'{label:22s} {one:9.4f} {one / megapixels:9.4f} {whole:10.1f}')
            if label == 'in place':
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(
                    f'  {cpu / megapixels:.4f} s/Mpx of CPU; peak memory {peak:.0f} MB'
                )
        start = time.perf_counter()
        run_night(folder, flats='given')
        print(f'second run, nothing to do: {time.perf_counter() - start:.2f} s')


if __name__ == '__main__':
    main()
