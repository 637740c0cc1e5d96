# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small nights with known truth, written as a camera would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

SHAPE = (96, 128)
GAIN, READNOISE, LEVEL = 1.6, 6.0, 400.0
START = Time('2025-03-01T20:00:00').mjd


def flat_field(shape=SHAPE, strength=0.15, motes=((60, 70, 9, 0.08),)):
    """Return a vignette with motes, of mean 1."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5)
    flat = np.exp(-strength * 4 * radius**2)
    for y0, x0, r, depth in motes:
        flat *= 1 - depth / (1 + np.exp((np.hypot(y - y0, x - x0) - r) / 0.8))
    return flat / flat.mean()


def sky_scene(rng, shape=SHAPE, level=900.0, n=12):
    """Return a sky with stars, in adu."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    scene = np.full(shape, float(level))
    for y0, x0, flux in zip(
        rng.uniform(0, shape[0], n),
        rng.uniform(0, shape[1], n),
        rng.uniform(300, 4000, n),
        strict=True,
    ):
        scene += flux * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / 4.5)
    return scene


def expose(light, rng, dark=0.0):
    """Return raw counts of light in adu above the bias."""
    electrons = rng.poisson(np.maximum(light + dark, 0) * GAIN)
    raw = LEVEL + (electrons + rng.normal(0, READNOISE, light.shape)) / GAIN
    return np.clip(np.rint(raw), 0, 65535).astype(np.uint16)


def write(folder, name, data, kind, **cards):
    """Write a frame with the header of a camera."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header()
    minutes = cards.pop('minutes', 0.0)
    header['DATE-OBS'] = Time(START + minutes / 1440, format='mjd').isot
    header['INSTRUME'], header['XBINNING'], header['CCD-TEMP'] = 'Cam', 1, -10.0
    if kind is not None:
        header['IMAGETYP'] = kind
    for key, value in cards.items():
        header[key.replace('_', '-')] = value
    if kind == 'Light Frame':
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
        wcs.wcs.crval, wcs.wcs.crpix = [10.0, 41.0], [64.0, 48.0]
        wcs.wcs.cdelt = [-3e-4, 3e-4]
        header.update(wcs.to_header())
    fits.PrimaryHDU(data, header).writeto(path)
    return path


def make_night(
    folder,
    *,
    n=5,
    n_bias=5,
    n_flat=5,
    filters=('R',),
    flat=None,
    flat_on_sky=None,
    flat_minutes=-60.0,
    seed=1,
):
    """
    Write lights, flats and bias frames; return what the sky was like by file.

    The flats show ``flat``, the lights ``flat_on_sky``: what was true when.
    """
    scenes = {}
    rng = np.random.default_rng(seed)
    flat = flat_field() if flat is None else flat
    true = flat if flat_on_sky is None else flat_on_sky
    for i in range(n_bias):
        data = expose(np.zeros(SHAPE), rng)
        write(folder, f'bias_{i}.fits', data, 'Bias Frame', EXPTIME=0.0, minutes=-90)
    for name in filters:
        for i in range(n_flat):
            data = expose(flat * (20000 - 1500 * i), rng)
            cards = {'FILTER': name, 'EXPTIME': 2.0, 'minutes': flat_minutes + i}
            write(folder, f'flats/flat_{name}_{i}.fits', data, 'Flat Field', **cards)
        for i in range(n):
            scene = sky_scene(rng)
            data = expose(scene * true, rng)
            cards = {'FILTER': name, 'EXPTIME': 60.0, 'OBJECT': 'M 1', 'minutes': i}
            path = write(folder, f'{name}_{i:03d}.fits', data, 'Light Frame', **cards)
            scenes[path.name] = scene
    return scenes
