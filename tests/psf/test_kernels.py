# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of kernels in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import erf

from astroflat.psf import (
    defocus_kernel,
    gaussian_kernel,
    measure_kernel,
    moffat_kernel,
    motion_kernel,
)

KERNELS = {
    'moffat': lambda **k: moffat_kernel(3.2, beta=2.5, ellipticity=0.3, theta=25, **k),
    'gaussian': lambda **k: gaussian_kernel(3.2, ellipticity=0.3, theta=25, **k),
    'defocus': lambda **k: defocus_kernel(7.3, obstruction=0.4, **k),
    'motion': lambda **k: motion_kernel(6.7, angle=33.0, **k),
}


def moments(kernel):
    """Return the centroid and the second central moments (xx, xy, yy)."""
    y, x = np.indices(kernel.shape) - (np.array(kernel.shape)[:, None, None] - 1) / 2
    cx, cy = (kernel * x).sum(), (kernel * y).sum()
    x, y = x - cx, y - cy
    return (cx, cy), [(kernel * p).sum() for p in (x * x, x * y, y * y)]


@pytest.mark.parametrize('name', KERNELS)
@pytest.mark.parametrize('size', [41, 40, (35, 42)])
@pytest.mark.parametrize('offset', [(0.0, 0.0), (0.37, -0.21)])
def test_sum_and_centre(name, size, offset):
    """Kernels have the sum 1 and their centroid where it was asked for."""
    kernel = KERNELS[name](size=size, offset=offset)
    assert kernel.shape == (size if isinstance(size, tuple) else (size, size))
    assert abs(kernel.sum() - 1) < 1e-12
    (cx, cy), _ = moments(kernel)
    # Cut wings of a Moffat profile pull the centroid back by a little, and what has
    # sharp edges is moved when it is collected in pixels.
    tolerance = 1e-4 if name == 'gaussian' else 0.04
    assert abs(cx - offset[0]) < tolerance
    assert abs(cy - offset[1]) < tolerance


@pytest.mark.parametrize('name', KERNELS)
def test_odd_defaults_hold_the_light(name):
    """The default size is odd, and a larger one hardly gains."""
    small = KERNELS[name]()
    assert small.shape[0] % 2 == small.shape[1] % 2 == 1
    large = KERNELS[name](size=3 * small.shape[0] // 2 * 2 + 1)
    edge = (np.array(large.shape) - small.shape) // 2
    part = large[edge[0] : -edge[0], edge[1] : -edge[1]].sum()
    assert part > (0.97 if name == 'moffat' else 0.9999)


@pytest.mark.parametrize('fwhm', [0.7, 1.2, 2.0, 4.5])
def test_gaussian_is_integrated(fwhm):
    """A round Gaussian is the product of differences of error functions."""
    edges = (np.arange(24) - 11.5) / (fwhm / math.sqrt(4 * math.log(2)))
    line = np.diff(erf(edges))
    expected = np.outer(line, line) / line.sum() ** 2
    kernel = gaussian_kernel(fwhm, size=23)
    assert np.abs(kernel - expected).max() < 5e-6 * expected.max()


def test_moffat_is_integrated():
    """Pixels have what numerical integration of the profile gives."""
    fwhm, beta = 1.8, 2.7
    core = fwhm / 2 / math.sqrt(2 ** (1 / beta) - 1)

    def profile(y, x):
        return (1 + (x * x + y * y) / core**2) ** -beta

    kernel = moffat_kernel(fwhm, beta=beta, size=21)
    expected = [
        dblquad(profile, i - 0.5, i + 0.5, j - 0.5, j + 0.5)[0]
        for i, j in ((0, 0), (1, 0), (2, 1), (5, 3))
    ]
    found = [kernel[10 + j, 10 + i] for i, j in ((0, 0), (1, 0), (2, 1), (5, 3))]
    ratio = np.array(found) / expected
    assert np.abs(ratio / ratio[0] - 1).max() < 1e-5


def test_ellipse():
    """The second moments of a Gaussian give back its axes and angle."""
    fwhm, ellipticity, theta = 6.0, 0.35, 27.0
    _, (xx, xy, yy) = moments(
        gaussian_kernel(fwhm, ellipticity=ellipticity, theta=theta, size=61)
    )
    # A pixel adds 1/12 to the variance along each axis.
    values = np.linalg.eigvalsh([[xx - 1 / 12, xy], [xy, yy - 1 / 12]])
    axes = np.sqrt(8 * math.log(2) * values)
    assert math.sqrt(axes.prod()) == pytest.approx(fwhm, rel=1e-4)
    assert 1 - axes[0] / axes[1] == pytest.approx(ellipticity, abs=1e-4)
    assert math.degrees(0.5 * math.atan2(2 * xy, xx - yy)) == pytest.approx(theta)


@pytest.mark.parametrize('angle', [0, 20, 45, 90, 133, -60])
def test_motion_trail(angle):
    """A trail has the variance of a line of its length, at every angle."""
    _, (xx, xy, yy) = moments(motion_kernel(17.3, angle=angle))
    long = 17.3**2 / 12
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # Collecting light in pixels adds less than 1/6 along each axis.
    assert xx == pytest.approx(long * c * c, abs=0.17)
    assert yy == pytest.approx(long * s * s, abs=0.17)
    assert xy == pytest.approx(long * c * s, abs=0.17)
    point = motion_kernel(0.0, angle=angle)
    assert point.max() == 1


def test_defocus_area():
    """A pixel inside the ring has 1 over the area of the ring."""
    kernel = defocus_kernel(21.0, obstruction=0.5)
    area = math.pi * 10.5**2 * (1 - 0.25)
    assert kernel.max() == pytest.approx(1 / area, rel=1e-9)
    assert kernel[11, 11] == 0
    _, (xx, _, yy) = moments(kernel)
    expected = 10.5**2 * (1 + 0.25) / 4
    assert xx == pytest.approx(expected + 1 / 12, rel=1e-3)
    assert yy == pytest.approx(xx)


@pytest.mark.parametrize('beta', [1.8, 3.0, 6.0])
def test_measure_kernel(beta):
    """Width, shape and exponent of a kernel are found again."""
    kernel = moffat_kernel(2.6, beta=beta, ellipticity=0.25, theta=-70, size=41)
    fit = measure_kernel(kernel)
    # The level around it is free, and takes a little of strong wings.
    assert fit.fwhm == pytest.approx(2.6, rel=0.005)
    assert fit.ellipticity == pytest.approx(0.25, abs=0.002)
    assert fit.theta == pytest.approx(-70, abs=0.2)
    assert fit.beta == pytest.approx(beta, rel=0.02)
    assert fit.flux == pytest.approx(1, rel=0.03 if beta > 2 else 0.2)


@pytest.mark.parametrize(
    ('call', 'name'),
    [
        (lambda: moffat_kernel(0.0), 'fwhm'),
        (lambda: moffat_kernel(3.0, beta=1.0), 'beta'),
        (lambda: moffat_kernel(3.0, ellipticity=1.0), 'ellipticity'),
        (lambda: gaussian_kernel(math.nan), 'fwhm'),
        (lambda: gaussian_kernel(3.0, size=2.5), 'size'),
        (lambda: defocus_kernel(-1.0), 'diameter'),
        (lambda: defocus_kernel(5.0, obstruction=1.0), 'obstruction'),
        (lambda: motion_kernel(-1.0), 'length'),
        (lambda: motion_kernel(1.0, size=3, offset=(9.0, 0.0)), 'no light'),
        (lambda: measure_kernel(np.zeros((9, 9))), 'kernel'),
        (lambda: measure_kernel(np.ones((9, 9))), 'no Moffat'),
    ],
)
def test_errors(call, name):
    """What cannot be is refused by name."""
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.parametrize(('length', 'angle'), [(np.inf, 0), (np.nan, 0), (3, np.nan)])
def test_trails_that_are_not_finite(length, angle):
    """The message names both numbers."""
    with pytest.raises(ValueError, match='length must not be negative, and both'):
        motion_kernel(length, angle=angle)
