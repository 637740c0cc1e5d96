# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Flats of dithered frames against truth, beside the usual program, and the clock.

Run ``python benchmarks/selfcal.py`` (two minutes, 1.5 GB) or ``--quick``.

Truth: 9 frames of a textured sky with 0.3 % noise and a flat of 30 % vignetting,
dust and 1 % pixel response. The table gives the rms of ``F / F_true`` in per
cent for `astroflat.kll_flat` with the offsets given, and for the usual program:
whole pixels, means of pairs, ten Jacobi sweeps (written here after Kuhn, Lin &
Loranz 1991, as in SolarSoft). The noise alone leaves 0.1 %.

Sky: 30 frames of stars on a sky of 1800 electrons, the same kind of flat with
donuts, for `astroflat.sky_flat` and the median of the frames, not registered; the
parts of `astroflat.quality.flat_residual`. A tenth of a part is photon noise at
best: 0.43 % from pixel to pixel.

Time and memory: the same with frames of 2048 x 2048, in a process of its own;
memory is the growth of its largest resident size, without the frames.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

import astroflat as af

NOISE = 0.003
FRAMES = 9


def true_flat(size, rng):
    """
    Return a flat of vignetting, dust and pixel response, with the mean 1.

    Parameters
    ----------
    size : int
        Rows and columns.

    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    flat : `~numpy.ndarray`
        float64.
    """
    y, x = np.mgrid[:size, :size] / size - 0.5
    flat = 1 - 0.6 * (x**2 + y**2)
    for _ in range(12):
        centre, radius = rng.uniform(-0.45, 0.45, 2), rng.uniform(3, 12) / 256
        away = np.hypot(y - centre[0], x - centre[1]) / radius
        flat *= 1 - 0.1 * np.exp(-0.5 * away**2)
    flat *= 1 + 0.01 * rng.standard_normal(flat.shape)
    return flat / flat.mean()


def frames_of(size, offsets, rng):
    """
    Return frames of a moving texture through a flat, and the flat.

    Parameters
    ----------
    size : int
        Rows and columns.

    offsets : `~numpy.ndarray`
        ``(n, 2)``.

    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    frames : `~numpy.ndarray`
        ``(n, size, size)`` float32.

    flat : `~numpy.ndarray`
        The truth.
    """
    flat = true_flat(size, rng)
    margin = int(np.abs(offsets).max()) + 4
    wide = size + 2 * margin
    sky = gaussian_filter(rng.standard_normal((wide, wide)), 2.5)
    sky = 1 + 0.1 * sky / sky.std()
    y, x = np.mgrid[:size, :size].astype(float) + margin
    frames = np.empty((len(offsets), size, size), dtype=np.float32)
    for frame, (dy, dx) in zip(frames, offsets, strict=True):
        seen = map_coordinates(sky, [y - dy, x - dx], order=5)
        noise = 1 + NOISE * rng.standard_normal(seen.shape)
        frame[:] = 1000 * seen * flat * noise
    return frames, flat


def pairs_flat(frames, offsets, sweeps=10):
    """
    Return the flat of the usual program.

    Parameters
    ----------
    frames : `~numpy.ndarray`
        ``(n, ny, nx)``.

    offsets : `~numpy.ndarray`
        ``(n, 2)``; rounded to whole pixels.

    sweeps : int, optional
        How often pixels are set to the mean of what their partners say.

    Returns
    -------
    flat : `~numpy.ndarray`
        With the mean 1.
    """
    logs = np.log(frames.astype(np.float64))
    whole = np.rint(offsets).astype(int)
    shape = logs.shape[1:]
    constant, count = np.zeros(shape), np.zeros(shape)
    partners = []
    for i in range(len(logs)):
        for j in range(len(logs)):
            if i == j:
                continue
            # Pixel x of frame i sees what pixel x - move of frame j sees.
            move = whole[i] - whole[j]
            here = tuple(
                slice(max(0, d), min(m, m + d))
                for d, m in zip(move, shape, strict=True)
            )
            there = tuple(
                slice(s.start - d, s.stop - d) for s, d in zip(here, move, strict=True)
            )
            constant[here] += logs[i][here] - logs[j][there]
            count[here] += 1
            partners.append((here, there))
    count = np.maximum(count, 1)
    gain = constant / count
    for _ in range(sweeps):
        total = constant.copy()
        for here, there in partners:
            total[here] += gain[there]
        gain = total / count
        gain -= gain.mean()
    flat = np.exp(gain)
    return flat / flat.mean()


def dithers(name, rng):
    """
    Return the offsets of a case.

    Parameters
    ----------
    name : str
        One of the rows of the table.

    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    offsets : `~numpy.ndarray`
        ``(9, 2)``.
    """
    size = 47 if '47' in name else 4
    offsets = rng.uniform(-size, size, (FRAMES, 2))
    if 'whole' in name:
        offsets = np.rint(offsets)
    if 'line' in name:
        offsets[:, 0] = 0
    if 'grid' in name:
        steps = np.array([-10, 0, 10])
        offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return offsets.astype(float)


CASES = (
    '47 px, whole pixels',
    '47 px',
    '4 px, whole pixels',
    '4 px',
    '4 px on a line',
    'grid of 10 px',
)


def accuracy(size, seeds):
    """
    Compare with the truth.

    Parameters
    ----------
    size : int
        Rows and columns.

    seeds : sequence of int
        One run each.

    Returns
    -------
    rows : list of dict
        One for each case, means over the seeds.
    """
    rows = []
    for name in CASES:
        ours, usual, claimed, inside, verdicts = [], [], [], [], set()
        for seed in seeds:
            rng = np.random.default_rng(seed)
            offsets = dithers(name, rng)
            frames, flat = frames_of(size, offsets, rng)
            usual.append(100 * np.std(pairs_flat(frames, offsets) / flat))
            try:
                found = af.kll_flat(frames, offsets)
            except af.DegenerateDithersError as error:
                verdicts.add(f'refused: {error.modes[0].split(":")[0]}')
                continue
            ratio = found.flat.data / flat
            sigma = found.flat.uncertainty.array / found.flat.data
            ours.append(100 * np.std(ratio))
            claimed.append(found.report.numbers['error_percent'])
            inside.append(100 * np.mean(np.abs(ratio - ratio.mean()) < sigma))
            verdicts.add(found.report.verdict)
        rows.append(
            {
                'dithers': name,
                'astroflat %': np.mean(ours) if ours else None,
                'its own estimate %': np.mean(claimed) if ours else None,
                'in 1 sigma %': np.mean(inside) if ours else None,
                'ten sweeps %': np.mean(usual),
                'verdict': ', '.join(sorted(verdicts)),
            }
        )
    return rows


def star_flat(size, rng):
    """
    Return a flat of 30 % vignetting, fifteen donuts and 1 % pixel response.

    Parameters
    ----------
    size : int
        Rows and columns.

    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    flat, dust : `~numpy.ndarray`
        The flat, of mean 1, and where its dust is.
    """
    y, x = np.mgrid[:size, :size] / size - 0.5
    flat, dust = 1 - 0.6 * (x**2 + y**2), np.zeros((size, size), bool)
    for _ in range(15):
        centre, radius = rng.uniform(-0.45, 0.45, 2), rng.uniform(8, 22) / size
        away = np.hypot(y - centre[0], x - centre[1]) / radius
        ring = 1 / (1 + np.exp((away - 1) * 12)) - 1 / (1 + np.exp((away - 0.35) * 12))
        flat *= 1 - rng.uniform(0.02, 0.1) * ring
        dust |= away < 1.2
    flat *= 1 + 0.01 * rng.standard_normal(flat.shape)
    return flat / flat.mean(), dust


def star_frames(size, reach, nebula, rng):
    """
    Return thirty frames of stars on a sky of 1800 electrons, and the truth.

    Parameters
    ----------
    size : int
        Rows and columns.

    reach : float
        The largest offset along either axis.

    nebula : float
        The brightest part of a nebula in units of the sky. It is above a tenth of
        that on 30 % of the frame.

    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    frames, offsets, flat, dust : `~numpy.ndarray`
        Frames, ``(30, size, size)``, offsets, ``(30, 2)``, the flat, and where its
        dust is.
    """
    flat, dust = star_flat(size, rng)
    offsets = rng.uniform(-reach, reach, (30, 2))
    margin = int(reach) + 4
    wide = size + 2 * margin
    stars = np.zeros((wide, wide))
    places = rng.integers(0, wide, (2, 400))
    stars[tuple(places)] = 10 ** rng.uniform(3, 6, 400)
    scene = gaussian_filter(stars, 1.5)
    away = (np.mgrid[:wide, :wide] - wide * np.array([0.45, 0.56])[:, None, None]) ** 2
    sigma2 = 0.3 * size**2 / (2 * np.pi * np.log(10))
    scene += 1800 * nebula * np.exp(-away.sum(axis=0) / (2 * sigma2))
    y, x = np.mgrid[:size, :size].astype(float) + margin
    frames = np.empty((len(offsets), size, size), dtype=np.float32)
    for frame, (dy, dx) in zip(frames, offsets, strict=True):
        seen = map_coordinates(scene, [y - dy, x - dx], order=1)
        frame[:] = rng.poisson((seen + 1800) * flat)
    return frames, offsets, flat, dust


SKY_CASES = {
    'stars, 60 px': (60.0, 0.0),
    'and a nebula on 30 %': (60.0, 0.3),
    'stars, 3 px': (3.0, 0.0),
}


def sky_accuracy(size, seeds):
    """
    Compare sky flats with the truth, and with the superflat.

    Parameters
    ----------
    size : int
        Rows and columns.

    seeds : sequence of int
        One run each.

    Returns
    -------
    rows : list of dict
        One for each case and method, means over the seeds.
    """
    from astroflat.quality import flat_residual

    rows = []
    for name, (reach, nebula) in SKY_CASES.items():
        found = {'nothing': [], 'superflat': [], 'sky_flat': []}
        verdicts = set()
        for seed in seeds:
            rng = np.random.default_rng(seed)
            frames, offsets, flat, dust = star_frames(size, reach, nebula, rng)
            superflat = np.median([f / np.median(f) for f in frames], axis=0)
            solution = af.sky_flat(frames, offsets=offsets)
            verdicts.add(solution.report.verdict)
            flats = (np.ones_like(flat), superflat, solution.flat)
            for values, guess in zip(found.values(), flats, strict=True):
                values.append(flat_residual(guess, flat, dust_mask=dust))
        for method, values in found.items():
            row = {'dithers': name, 'method': method}
            for part in ('total', 'large', 'dust', 'pixel'):
                row[f'{part} %'] = np.mean([v[f'{part}_percent'] for v in values])
            said = ', '.join(sorted(verdicts)) if method == 'sky_flat' else ''
            rows.append(row | {'verdict': said})
    return rows


def cost(size, reach):
    """
    Measure time and memory, in this process.

    Parameters
    ----------
    size : int
        Rows and columns.

    reach : float
        The largest offset.

    Returns
    -------
    row : dict
        Seconds, memory over that of the frames, and the error.
    """
    import resource

    rng = np.random.default_rng(1)
    offsets = rng.uniform(-reach, reach, (FRAMES, 2))
    frames, flat = frames_of(size, offsets, rng)
    # Compilation and imports are not what is measured.
    af.kll_flat(frames[:, :512, :512], offsets)
    before = resident()
    start = time.perf_counter()
    found = af.kll_flat(frames, offsets)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        'size': size,
        'dithers': f'{reach:g} px',
        'seconds': seconds,
        'memory / frames': (peak - before) / frames.nbytes,
        'error %': 100 * float(np.std(found.flat.data / flat)),
        'iterations': found.report.numbers['iterations'],
    }


def resident():
    """
    Return the resident memory of this process.

    Returns
    -------
    size : int
        Bytes.
    """
    text = Path('/proc/self/statm').read_text(encoding='ascii')
    return int(text.split()[1]) * os.sysconf('SC_PAGE_SIZE')


def show(rows):
    """
    Print a table.

    Parameters
    ----------
    rows : list of dict
        With the same keys.
    """
    text = [list(rows[0])] + [[shown(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    for line in text:
        print('  '.join(f'{v:{w}s}' for v, w in zip(line, widths, strict=True)))
    print()


def shown(value):
    """
    Return a value as text.

    Parameters
    ----------
    value : object
        A number, text or None.

    Returns
    -------
    text : str
        Short.
    """
    if value is None:
        return '-'
    return f'{value:.3f}' if isinstance(value, float) else str(value)


def main():
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--quick', action='store_true', help='one seed, small frames')
    parser.add_argument('--cost', nargs=2, type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cost:
        print(json.dumps(cost(int(args.cost[0]), args.cost[1])))
        return
    print(f'astroflat {af.__version__}, {platform.machine()}, {os.cpu_count()} CPUs\n')
    show(accuracy(256, range(1 if args.quick else 3)))
    show(sky_accuracy(256 if args.quick else 512, range(1 if args.quick else 3)))
    sizes = (512,) if args.quick else (1024, 2048)
    show(
        [
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, '--cost', str(size), str(reach)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for size in sizes
            for reach in (47, 4)
        ]
    )


if __name__ == '__main__':
    main()
