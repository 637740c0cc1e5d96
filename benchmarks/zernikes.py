# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
How well Zernike coefficients are measured over the field.

Run ``python benchmarks/zernikes.py`` (minutes). Fields by wave optics, 80 stars over
1.5 decades of flux with photon noise; the rms of the errors over the image, in
thousandths of a wave, and what the errors say.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from astroflat.psf import measure_zernikes, simulate_field

OPTICS = {
    'pupil_diameter': 0.2,
    'wavelength': 550,
    'pixel_scale': 0.8,
    'obstruction': 0.3,
}
AIR, SHAPE = 2.2, (600, 900)
FIELDS = {
    'coma, out of focus': {'coma': 0.3, 'constant': {4: 0.3}},
    'astigmatism, out of focus': {'astigmatism': 0.3, 'constant': {4: 0.3}},
    'curvature': {'curvature': 0.5, 'constant': {4: 0.2}},
    'tilted detector, through the focus': {'tilt': (0.5, 0.2)},
    'all together': {
        'coma': 0.25,
        'astigmatism': 0.2,
        'curvature': 0.3,
        'tilt': (0.15, 0.0),
        'constant': {4: 0.25},
    },
    'coma, in focus': {'coma': 0.3},
}


def make_image(truth, rng, n):
    """Return an image with stars at random places."""
    image = np.full(truth.shape, 300.0)
    for x, y, flux in zip(
        rng.integers(22, SHAPE[1] - 22, n),
        rng.integers(22, SHAPE[0] - 22, n),
        10 ** rng.uniform(4, 5.5, n),
        strict=True,
    ):
        star = truth.kernel_at(x, y, size=41)
        image[y - 20 : y + 21, x - 20 : x + 21] += flux * star
    return rng.normal(image, np.sqrt(image + 30))


def compare(field, truth):
    """Return rms errors and errors over standard deviations, in the better sign."""
    x, y = np.meshgrid(np.linspace(30, 870, 9), np.linspace(30, 570, 7))
    found = []
    for one in (field, field.mirrored()):
        rows = []
        for a, b in zip(x.ravel(), y.ravel(), strict=True):
            true, mine = truth.coefficients_at(a, b), one.coefficients_at(a, b)
            rows.append([mine[j] - true.get(j, 0) for j in one.terms])
        found.append(np.sqrt(np.mean(np.square(rows), axis=0)))
    return min(found, key=np.sum)


def main():
    """Print a row for each field."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--stars', type=int, default=80)
    args = parser.parse_args()
    for name, aberrations in FIELDS.items():
        truth = simulate_field(SHAPE, seeing=AIR, **aberrations, **OPTICS)
        image = make_image(truth, np.random.default_rng(4), args.stars)
        for seeing in (AIR, None):
            start = time.process_time()
            field = measure_zernikes(image, seeing=seeing, gain=1.0, **OPTICS)
            seconds = time.process_time() - start
            errors = 1000 * compare(field, truth)
            stated = [
                1000 * field.report.numbers[f'z{j}_error_waves'] for j in field.terms
            ]
            print(
                f'{name:36s} {"given" if seeing else "found":6s}'
                f'{field.report.numbers["n_used"]:4d}',
                *(f'{e:6.1f}' for e in errors),
                '| stated',
                *(f'{e:5.1f}' for e in stated),
                f'| seeing {field.seeing:.3f}, {seconds:.0f} s',
                flush=True,
            )


if __name__ == '__main__':
    main()
