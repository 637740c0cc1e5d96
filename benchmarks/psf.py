# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Widths and shapes of stars against truth, one image after the other.

Run ``python benchmarks/psf.py`` (a minute). Stars are Moffat profiles at random places
with Poisson noise, and the truth is known for each. ``photutils`` is its ``fit_fwhm``,
a round Gaussian, given the true places; *area* is `astroflat.quality.measure_fwhm`.
The last table has fields by wave optics.
"""

from __future__ import annotations

import argparse
import json
import warnings

import numpy as np

from astroflat.psf import (
    measure_field,
    measure_stars,
    moffat_kernel,
    simulate_field,
)
from astroflat.quality import measure_fwhm

SHAPE = (600, 800)
WIDTHS = (1.5, 2.0, 3.0, 4.5, 6.0, 9.0)
FIELDS = {
    'coma': {'coma': 0.35},
    'astigmatism': {'astigmatism': 0.35},
    'curvature': {'curvature': 0.45},
    'tilted detector': {'tilt': (0.35, 0.1), 'constant': {4: 0.1}},
    'all together': {
        'coma': 0.2,
        'astigmatism': 0.15,
        'curvature': 0.25,
        'tilt': (0.1, 0.0),
        'constant': {7: 0.06},
    },
}
OPTICS = {
    'pupil_diameter': 0.2,
    'wavelength': 550,
    'pixel_scale': 0.8,
    'obstruction': 0.3,
    'seeing': 2.2,
}


def paint(shape, kernel_at, places, fluxes, *, sky, rng, reach):
    """Return an image of stars with Poisson noise, less its sky."""
    image = np.pad(np.full(shape, float(sky)), reach)
    for (x, y), flux in zip(places, fluxes, strict=True):
        column, row = round(x), round(y)
        kernel = kernel_at(x, y, 2 * reach + 1, (x - column, y - row))
        part = np.s_[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        image[part] += flux * kernel
    image = image[reach:-reach, reach:-reach]
    return rng.poisson(np.maximum(image, 0)).astype(np.float32)


def stars(fwhm, n, rng, shape=SHAPE):
    """Return places, and fluxes of which the faintest is hardly seen."""
    places = np.stack([rng.uniform(3, side - 4, n) for side in shape[::-1]], axis=1)
    return places, fwhm * 10 ** rng.uniform(2.7, 5.0, n)


def one_width(fwhm, n, seed):
    """Measure an image of stars that are all the same."""
    rng = np.random.default_rng(seed)
    shape = {
        'ellipticity': rng.uniform(0.02, 0.3),
        'theta': rng.uniform(-80, 80),
        'beta': rng.uniform(2.5, 4.5),
    }
    places, fluxes = stars(fwhm, n, rng)

    def kernel_at(_x, _y, size, offset):
        return moffat_kernel(fwhm, size=size, offset=offset, **shape)

    image = paint(
        SHAPE, kernel_at, places, fluxes, sky=300, rng=rng, reach=int(5 * fwhm) + 4
    )
    table = measure_stars(image)
    off = table['fwhm'] / fwhm - 1
    turned = (table['theta'] - shape['theta'] + 90) % 180 - 90
    return {
        'found': len(table),
        'width': 100 * float(np.median(off)),
        'scatter': 100 * 1.4826 * float(np.median(np.abs(off - np.median(off)))),
        'ellipticity': float(np.median(table['ellipticity']) - shape['ellipticity']),
        'angle': float(np.median(turned)) if shape['ellipticity'] > 0.1 else np.nan,
        'beta': 100 * (table.meta['beta'] / shape['beta'] - 1),
        'photutils': 100 * (gaussian_width(image, places, fluxes, fwhm) / fwhm - 1),
        'area': 100 * (measure_fwhm(image) / fwhm - 1),
    }


def gaussian_width(image, places, fluxes, fwhm):
    """Return the median width by photutils of the brightest stars."""
    from photutils.psf import fit_fwhm

    best = places[np.argsort(-fluxes)[:40]]
    size = 2 * int(2 * fwhm) + 3
    inside = (best > size).all(axis=1) & (best[:, ::-1] < np.array(SHAPE) - size).all(1)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = fit_fwhm(
            image - np.median(image), xypos=best[inside], fwhm=fwhm, fit_shape=size
        )
    return float(np.median(found))


def one_field(options, n, seed):
    """Measure an image of stars by wave optics."""
    rng = np.random.default_rng(seed)
    truth = simulate_field(SHAPE, **OPTICS, **options)
    places, fluxes = stars(3.0, n, rng)
    places = np.round(places)

    def kernel_at(x, y, size, _):
        return truth.kernel_at(x, y, size=size)

    image = paint(SHAPE, kernel_at, places, fluxes, sky=300, rng=rng, reach=22)
    found = measure_field(image)
    y, x = np.mgrid[0 : SHAPE[0] - 1 : 13j, 0 : SHAPE[1] - 1 : 17j]
    width, true = found.fwhm_at(x, y), truth.fwhm_at(x, y)
    long = truth.ellipticity_at(x, y)
    turned = (found.theta_at(x, y) - truth.theta_at(x, y) + 90) % 180 - 90
    return {
        'stars': found.report.numbers['n_used'],
        'degree': found.degree,
        'field': 100 * rms(width / true - 1),
        'constant': 100 * rms(true / np.median(true) - 1),
        'ellipticity': rms(found.ellipticity_at(x, y) - long),
        'without': rms(long),
        'angle': rms(turned[long > 0.1]) if (long > 0.1).any() else np.nan,
        'stated': found.report.numbers['fwhm_error_percent'],
    }


def rms(values):
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def average(rows):
    """Return the means of rows, and the rms for what has a sign."""
    return {
        name: float(np.nanmean([row[name] for row in rows]))
        if np.isfinite([row[name] for row in rows]).any()
        else np.nan
        for name in rows[0]
    }


def show(title, table):
    """Print a table."""
    print(f'\n{title}')
    names = list(next(iter(table.values())))
    print(f'{"":16s}' + ''.join(f'{name:>12s}' for name in names))
    for key, row in table.items():
        print(f'{key!s:16s}' + ''.join(f'{row[name]:12.3f}' for name in names))


def main():
    """Run all, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--seeds', type=int, default=4)
    parser.add_argument('--output', help='write the numbers as JSON')
    args = parser.parse_args()
    seeds = range(args.seeds)
    tables = {}
    for n, title in ((80, 'few stars'), (600, 'many stars')):
        rows = {w: average([one_width(w, n, s) for s in seeds]) for w in WIDTHS}
        tables[title] = rows
        show(f'{title} ({n}), by FWHM: errors of medians (%; angle in degrees)', rows)
    fields = {
        name: average([one_field(options, 150, s) for s in seeds])
        for name, options in FIELDS.items()
    }
    tables['fields'] = fields
    show('fields: rms over the image (%; angle in degrees)', fields)
    if args.output:
        with open(args.output, 'w', encoding='utf-8') as file:  # noqa: PTH123
            json.dump(tables, file, indent=1)


if __name__ == '__main__':
    main()
