# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Inpainting against truth and against the clock, beside other libraries.

Run ``python benchmarks/inpainting.py`` (a few minutes, 3 GB) or ``--quick``.

Truth: a frame with known transmission, 10 % deep discs of one radius, goes
through weights, inpainting and synthetic flat. The table gives what is left,
the rms of ``F / F_true - 1`` in the dust in per cent, the same of the fill
alone, and the share of pixels whose error is below the stated uncertainty.

Time: thousands of holes in one frame, each case once per turn, all in one
process. scikit-image is called as it is meant to be, on the whole frame and
region by region; astropy's is the mean over good pixels with a Gaussian that
is wide enough for the largest hole, by FFT.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from astropy.convolution import (
    Gaussian2DKernel,
    convolve_fft,
    interpolate_replace_nans,
)
from scipy.ndimage import gaussian_filter
from skimage.restoration import inpaint_biharmonic

import astroflat as af
from astroflat.dust.inpainting import BiharmonicInpainter

SCENES = {
    'flat, noise 0.1 %': (0.0, 1.0, 0.001),
    'flat, noise 1 %': (0.0, 1.0, 0.01),
    'texture of 15 px, 4 %, noise 0.3 %': (0.04, 15.0, 0.003),
    'texture of 6 px, 4 %, noise 0.3 %': (0.04, 6.0, 0.003),
}
RADII = (2, 5, 12, 30, 60)


def scene(shape, contrast, length, rng):
    """
    Return a scene without dust and noise, vignetted by 30 % over 2000 pixels.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.

    contrast, length : float
        Relative rms and correlation length in pixels of the texture.

    rng : `numpy.random.Generator`
        The source of the texture.

    Returns
    -------
    image : `~numpy.ndarray`
        With a maximum of about 20000.
    """
    # Off the axis, and as steep whatever part of the detector is looked at.
    y, x = ((np.arange(side) + 200) / 2000 for side in shape)
    radius = (y[:, None] ** 2 + x**2) / 2
    image = 20000 * (1 - 0.3 * radius - 0.05 * radius**2)
    if contrast:
        texture = gaussian_filter(rng.standard_normal(shape), length / np.sqrt(2))
        image *= 1 + contrast * texture / texture.std()
    return image


def dusty(radius, holes_per_side, scene_options, rng):
    """
    Return an observed frame with dust on a lattice, and its parts.

    Parameters
    ----------
    radius : float
        The radius of the discs.

    holes_per_side : int
        The number of discs along each axis.

    scene_options : tuple
        Contrast and length of the texture, and the relative noise.

    rng : `numpy.random.Generator`
        The source of texture and noise.

    Returns
    -------
    observed, clean, transmission, weight : `~numpy.ndarray`
        The frame, its truth, and the weights of the correction.
    """
    contrast, length, noise = scene_options
    step = int(4 * radius + 40)
    shape = (holes_per_side * step,) * 2
    clean = scene(shape, contrast, length, rng)
    centres = np.zeros(shape, dtype=bool)
    centres[step // 2 :: step, step // 2 :: step] = True
    dust = af.dilate_mask(centres, radius)
    transmission = 1 - 0.1 * dust
    observed = clean * transmission * (1 + noise * rng.standard_normal(shape))
    weight = af.feather_mask(af.dilate_mask(dust, 1), 1.0)
    return observed, clean, transmission, weight


def methods(radius):
    """
    Return the methods to compare.

    Parameters
    ----------
    radius : float
        The radius of the holes.

    Returns
    -------
    methods : dict
        Arguments for ``method``.
    """
    kernel = Gaussian2DKernel(max(1.0, radius / 2))
    return {
        'gp': 'gp',
        'polynomial': 'polynomial',
        'biharmonic': 'biharmonic',
        'scikit-image': BiharmonicInpainter(0),
        'astropy': lambda data, _: gaussian_mean(data, kernel),
    }


def gaussian_mean(data, kernel):
    """
    Fill with astropy.

    Parameters
    ----------
    data : `~numpy.ndarray`
        NaN in the holes.

    kernel : `~astropy.convolution.Kernel2D`
        The weights of the mean.

    Returns
    -------
    filled : `~numpy.ndarray`
        The filled image.
    """
    convolve = partial(convolve_fft, allow_huge=True)
    return interpolate_replace_nans(data, kernel, convolve=convolve)


def rms(values):
    """
    Return the root mean square in per cent.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Relative errors.

    Returns
    -------
    rms : float
        In per cent.
    """
    return float(100 * np.sqrt(np.mean(values**2)))


def measure_truth(radii, holes_per_side, seed):
    """
    Return residuals against truth of all methods, scenes and sizes.

    Parameters
    ----------
    radii : sequence of float
        The radii of the holes.

    holes_per_side : int
        The number of holes along each axis of a frame.

    seed : int
        Of the scenes.

    Returns
    -------
    rows : list of dict
        One result each.
    """
    rows = []
    for name, options in SCENES.items():
        for radius in radii:
            n_side = max(4, holes_per_side if radius < 20 else holes_per_side // 2)
            rng = np.random.default_rng(seed)
            observed, clean, truth, weight = dusty(radius, n_side, options, rng)
            dust, hole = truth < 1, weight > 0
            for label, method in methods(radius).items():
                filled, sigma = af.inpaint(
                    observed, weight, method=method, return_uncertainty=True
                )
                error = (filled - clean)[hole]
                row = {'scene': name, 'radius': radius, 'method': label}
                row['fill'] = rms(error / clean[hole])
                row['inside'] = float(np.mean(np.abs(error) <= sigma[hole]))
                for smooth in (0.0, 1.5):
                    flat = af.synthetic_flat(observed, filled, weight, smooth=smooth)
                    left = rms((flat.data / truth - 1)[dust])
                    row['smoothed' if smooth else 'flat'] = left
                rows.append(row)
    return rows


def truth_table(rows):
    """
    Return the residuals as a reStructuredText table.

    Parameters
    ----------
    rows : list of dict
        As from `measure_truth`.

    Returns
    -------
    text : str
        The table.
    """
    lines = ['.. list-table::', '   :header-rows: 1', '']
    head = ['scene', 'radius', *methods(1), 'flat', 'smoothed', 'inside']
    table = [head]
    for scene_name in SCENES:
        for radius in sorted({row['radius'] for row in rows}):
            found = {
                row['method']: row
                for row in rows
                if (row['scene'], row['radius']) == (scene_name, radius)
            }
            cells = [scene_name, str(radius)]
            cells += [f'{found[label]["fill"]:.3f}' for label in methods(1)]
            best = found['gp']
            cells += [f'{best["flat"]:.2f}', f'{best["smoothed"]:.2f}']
            table.append([*cells, f'{best["inside"]:.2f}'])
    for row in table:
        lines += [f'   {"*" if i == 0 else " "} - {c}' for i, c in enumerate(row)]
    return '\n'.join(lines) + '\n'


def many_holes(shape, n_small, n_large, rng):
    """
    Return a noisy frame and a mask of specks and a few motes.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.

    n_small, n_large : int
        The numbers of holes of radius 1 to 5, and 15 to 40.

    rng : `numpy.random.Generator`
        The source of places, sizes and noise.

    Returns
    -------
    image, mask : `~numpy.ndarray`
        float32 and bool.
    """
    labels = np.zeros(shape, dtype=np.int32)
    n = n_small + n_large
    flat = rng.choice(labels.size, n, replace=False)
    labels.ravel()[flat] = np.arange(1, n + 1)
    radii = np.r_[rng.uniform(1, 5, n_small), rng.uniform(15, 40, n_large)]
    mask = af.dilate_mask(labels > 0, radii, labels=labels)
    noise = 1 + 0.003 * rng.standard_normal(shape)
    image = scene(shape, 0.0, 1.0, rng) * noise
    return image.astype(np.float32), mask


def timed_cases(image, mask):
    """
    Return what is timed.

    Parameters
    ----------
    image, mask : `~numpy.ndarray`
        The frame and its holes.

    Returns
    -------
    cases : dict
        Functions without arguments.
    """
    double = image.astype(float)
    whole = partial(inpaint_biharmonic, double, mask)
    kernel = Gaussian2DKernel(10)
    return {
        'astroflat gp': partial(af.inpaint, image, mask),
        'astroflat biharmonic': partial(af.inpaint, image, mask, method='biharmonic'),
        'astroflat biharmonic, ring as it is': partial(
            af.inpaint, image, mask, method=BiharmonicInpainter(0)
        ),
        'scikit-image': whole,
        'scikit-image, split': partial(whole, split_into_regions=True),
        'astropy': lambda: gaussian_mean(np.where(mask, np.nan, double), kernel),
    }


def measure_time(shape, n_small, n_large, repeat):
    """
    Return the median seconds of every case.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.

    n_small, n_large : int
        The numbers of holes.

    repeat : int
        The number of turns.

    Returns
    -------
    result : dict
        The frame and the seconds.
    """
    image, mask = many_holes(shape, n_small, n_large, np.random.default_rng(1))
    seconds = {name: [] for name in timed_cases(image, mask)}
    for _ in range(repeat):
        for name, function in timed_cases(image, mask).items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {
        'shape': shape,
        'holes': [n_small, n_large],
        'masked': float(mask.mean()),
        'seconds': {name: statistics.median(s) for name, s in seconds.items()},
    }


def main(argv=None):
    """
    Parse the command line, run, print and write.

    Parameters
    ----------
    argv : list of str, optional
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0].strip())
    parser.add_argument('--quick', action='store_true', help='small frames, one turn')
    parser.add_argument('--only', choices=('truth', 'time'), help='do half of it')
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--json', type=Path, help='write the results here')
    parser.add_argument('--rst', type=Path, help='write the table of residuals here')
    options = parser.parse_args(argv)
    result = {
        'versions': {
            name: sys.modules[name].__version__
            for name in ('numpy', 'scipy', 'skimage', 'astropy', 'astroflat')
        },
        'machine': platform.machine(),
    }
    if options.only != 'time':
        radii, n_side = (RADII[:3], 4) if options.quick else (RADII, 12)
        result['truth'] = measure_truth(radii, n_side, seed=1)
        text = truth_table(result['truth'])
        print(text)
        if options.rst:
            options.rst.write_text(text)
    if options.only != 'truth':
        frames = [((1024, 1024), 300, 5)]
        if not options.quick:
            frames = [((2048, 2048), 1000, 20), ((4000, 6000), 4000, 60)]
        repeat = 1 if options.quick else options.repeat
        result['time'] = [measure_time(*frame, repeat) for frame in frames]
        for part in result['time']:
            print(
                f'{part["shape"]}, holes {part["holes"]}, {part["masked"]:.1%} masked'
            )
            for name, seconds in part['seconds'].items():
                print(f'  {name:36s} {seconds:8.2f} s')
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()
