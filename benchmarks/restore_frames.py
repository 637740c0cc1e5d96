# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Blurred frames with truth at any resolution, for ``restore.py``.

Light is drawn on a grid three times finer than the pixels, stars at any place, and
blurred there by the point-spread function and by the one that is wanted: nothing
is shared with what the network was trained on but the kinds of extended scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from astroflat.degradation import draw_scene
from astroflat.psf import defocus_kernel, moffat_kernel, motion_kernel

FINE = 3
SIZE = 192
SKY, READNOISE = 300.0, 5.0
KINDS = ('stars', 'cluster', 'galaxies', 'emission_nebula', 'moon')
SHAPES = ('moffat', 'elliptical', 'motion', 'defocus')


@dataclass
class Case:
    """A frame, its truth and what is known of it."""

    kind: str
    shape: str
    fwhm: float
    snr: float
    wanted: float
    observed: np.ndarray
    truth: np.ndarray
    noiseless: np.ndarray
    kernel: np.ndarray
    stars: np.ndarray
    sigma: float


def point_spread(shape, fwhm, pixel=1.0, size=None):
    """
    Make a kernel of about this width, on pixels of any size.

    Parameters
    ----------
    shape : str
        One of `SHAPES`.
    fwhm : float
        Width in pixels of size 1.
    pixel : float
        Size of the pixels of the kernel.
    size : int, optional
        Side of the kernel.

    Returns
    -------
    ndarray
        Unit sum.
    """
    width = fwhm / pixel
    if shape == 'moffat':
        return moffat_kernel(width, beta=3.0, size=size)
    if shape == 'elliptical':
        return moffat_kernel(width, beta=3.5, ellipticity=0.2, theta=30, size=size)
    base = moffat_kernel(0.75 * width, beta=4.0, size=size)
    if shape == 'motion':
        other = motion_kernel(0.9 * width, angle=25.0)
    else:
        other = defocus_kernel(0.9 * width, obstruction=0.3)
    made = fftconvolve(base, other, mode='same' if size else 'full')
    made = np.maximum(made, 0.0)
    return made / made.sum()


def wanted_width(fwhm, strength=1.0):
    """Return the width that `astroflat.Restorer` aims at."""
    return min(fwhm, max(fwhm * (1.0 - 0.5 * strength), 1.8))


def measured_width(kernel):
    """Return the width of a kernel, pixels included."""
    from astroflat.neural._restore_filter import make_kernel

    return make_kernel(kernel).fwhm


def make_case(kind, shape, fwhm, snr, seed, strength=1.0):
    """
    Expose a scene.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    shape : str
        One of `SHAPES`.
    fwhm : float
        Width of the stars in pixels.
    snr : float
        Light of the brightest percent of the frame over the noise of the sky.
    seed : int
        Start of the random numbers.
    strength : float
        What the truth is made for.

    Returns
    -------
    Case
        Frame and truth in electrons over the sky.
    """
    rng = np.random.default_rng([seed, int(10 * fwhm), int(snr)])
    pad = 24
    side = FINE * (SIZE + 2 * pad)
    fine, stars = draw_light(kind, side, rng)
    pixels = np.ones((FINE, FINE)) / FINE**2
    spread = fftconvolve(point_spread(shape, fwhm, 1 / FINE), pixels)
    kernel = point_spread(shape, fwhm)
    width = measured_width(kernel)
    wanted = wanted_width(width, strength)
    sigma_t = FINE * wanted / 2.3548
    x = np.arange(-int(5 * sigma_t), int(5 * sigma_t) + 1)
    gauss = np.exp(-0.5 * (x / sigma_t) ** 2)
    gauss /= gauss.sum()
    came = sample(fftconvolve(fine, spread, mode='same'), pad)
    truth = fftconvolve(fine, gauss[:, None], mode='same')
    truth = sample(fftconvolve(truth, gauss[None], mode='same'), pad)
    noise = np.hypot(READNOISE, SKY**0.5)
    scale = snr * noise / np.percentile(came - np.median(came), 99.0)
    came, truth = np.maximum(came, 0.0) * scale, truth * scale
    observed = rng.poisson(came + SKY) + rng.normal(0, READNOISE, came.shape) - SKY
    stars = stars * (1, 1, scale)
    stars[:, :2] = (stars[:, :2] - (FINE - 1) / 2) / FINE - pad
    inside = ((stars[:, :2] > 12) & (stars[:, :2] < SIZE - 13)).all(axis=1)
    return Case(
        kind,
        shape,
        width,
        snr,
        wanted,
        observed,
        truth,
        came,
        kernel,
        stars[inside],
        noise,
    )


def draw_light(kind, side, rng):
    """Return light on the fine grid, and places and fluxes of stars."""
    light = np.zeros((side, side))
    n = {'stars': 60, 'cluster': 160, 'moon': 0}.get(kind, 25)
    if kind not in ('stars', 'cluster'):
        scene = draw_scene(
            (side // 2, side // 2),
            kind=kind,
            rng=rng,
            level=1.0,
            fwhm=1.5,
            aberration=0,
        )
        diffuse = np.asarray(scene.diffuse, float)
        if kind != 'moon':
            diffuse = diffuse - diffuse.min()
        diffuse = np.repeat(np.repeat(diffuse, 2, axis=0), 2, axis=1)
        light += diffuse / np.percentile(diffuse, 99)
    xy = rng.uniform(0, side - 1, (n, 2))
    if kind == 'cluster':
        xy[:100] = side * (0.5 + 0.12 * rng.standard_normal((100, 2)))
        xy %= side - 1
    flux = 30.0 * 10 ** (2.2 * rng.uniform(size=n) ** 1.5)
    if n:
        # To the nearest fine pixel: the catalogue says the same.
        xy = np.round(xy)
        np.add.at(light, (xy[:, 1].astype(int), xy[:, 0].astype(int)), flux)
    return light, np.column_stack((xy, flux))


def sample(fine, pad):
    """Take the middle of each pixel, without the margin."""
    start = FINE * pad + (FINE - 1) // 2
    cut = fine[start::FINE, start::FINE][:SIZE, :SIZE]
    return cut * FINE**2


def flux_error(image, truth):
    """
    Return the flux-weighted error.

    Parameters
    ----------
    image, truth : ndarray
        Light over the sky.

    Returns
    -------
    float
        Sum of absolute errors weighted by the light, over that of the light.
    """
    base = np.median(truth)
    light = np.maximum(truth - base, 0.0)
    return float((light * np.abs(image - truth)).sum() / (light * (truth - base)).sum())
