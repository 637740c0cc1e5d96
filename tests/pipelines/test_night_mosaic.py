# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Nights of a sensor with a mosaic of colours."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS
from night_folder import expose, flat_field, sky_scene, write

from astroflat.io.images import read_ccd
from astroflat.pipelines import run_night
from astroflat.pipelines._night_mosaic import grey_image

SHAPE = (192, 256)
COLORS = np.tile([[1.0, 1.6], [1.6, 0.7]], (SHAPE[0] // 2, SHAPE[1] // 2))
CARDS = {'BAYERPAT': 'RGGB'}
OLD = ((60, 70, 9, 0.08), (130, 180, 12, 0.06))
NEW = ((60, 70, 9, 0.08), (130, 200, 12, 0.06))


def make_mosaic_night(folder, *, n=6, flats=True, on_sky=OLD, seed=1):
    """Write a night; return the sky of each light, in the colours of the mosaic."""
    rng = np.random.default_rng(seed)
    true = flat_field(SHAPE, motes=on_sky)
    for i in range(3):
        data = expose(np.zeros(SHAPE), rng)
        write(folder, f'bias_{i}.fits', data, 'Bias Frame', EXPTIME=0.0, **CARDS)
    for i in range(4 if flats else 0):
        data = expose(flat_field(SHAPE, motes=OLD) * COLORS * 20000, rng)
        write(folder, f'flat_{i}.fits', data, 'Flat Field', EXPTIME=2.0, **CARDS)
    scenes = {}
    for i in range(n):
        scene = sky_scene(rng, SHAPE, level=2500, n=25) * COLORS
        data = expose(scene * true, rng)
        cards = {'EXPTIME': 60.0, 'minutes': i, **CARDS}
        path = write(folder, f'light_{i}.fits', data, 'Light Frame', **cards)
        scenes[path.name] = scene
    return scenes


def errors(output, scenes):
    """Return by how much the mean of all results is off the sky, in cells."""
    ratios = [read_ccd(output / name).data / s for name, s in scenes.items()]
    mean = np.mean(ratios, axis=0)
    ny, nx = (side // 8 for side in SHAPE)
    return mean.reshape(ny, 8, nx, 8).mean(axis=(1, 3)) - 1


def run(folder, tmp_path, **options):
    """Run a night on one worker."""
    return run_night(folder, output=tmp_path / 'out', n_workers=1, **options)


def test_right_flats_stay(tmp_path):
    """Flats of a mosaic are checked by the lights; right ones are kept to the bit."""
    scenes = make_mosaic_night(tmp_path / 'raw')
    report = run(tmp_path / 'raw', tmp_path)
    assert (report.verdict, report.n_done) == ('accept', 6)
    assert 'the flats are right' in str(report)
    assert np.abs(errors(tmp_path / 'out', scenes)).max() < 0.01
    given = run_night(
        tmp_path / 'raw', output=tmp_path / 'given', flats='given', n_workers=1
    )
    assert given.success
    for name in scenes:
        one, two = (fits.getdata(tmp_path / p / name) for p in ('out', 'given'))
        np.testing.assert_array_equal(one, two)


def test_mote_that_moved(tmp_path):
    """A mote that moved is mended in all colours; far from it nothing changes."""
    scenes = make_mosaic_night(tmp_path / 'raw', on_sky=NEW)
    run_night(tmp_path / 'raw', output=tmp_path / 'given', flats='given', n_workers=1)
    report = run(tmp_path / 'raw', tmp_path, keep_masters=True)
    assert 'the colours were taken together for this' in str(report)
    before, after = (errors(tmp_path / p, scenes) for p in ('given', 'out'))
    near = np.s_[14:19, 20:28]
    assert np.abs(before[near]).max() > 0.04
    assert np.std(after[near]) < 0.2 * np.std(before[near])
    one, two = (fits.getdata(tmp_path / p / 'light_0.fits') for p in ('out', 'given'))
    np.testing.assert_array_equal(one[:80, :160], two[:80, :160])


def test_flat_of_the_lights(tmp_path):
    """Without flats the lights make one; no colour is preferred."""
    scenes = make_mosaic_night(tmp_path / 'raw', n=12, flats=False)
    report = run(tmp_path / 'raw', tmp_path)
    assert 'chosen: sky' in str(report)
    off = errors(tmp_path / 'out', scenes)
    flat = flat_field(SHAPE, motes=OLD).reshape(24, 8, 32, 8).mean(axis=(1, 3))
    assert np.std(off) < 0.15 * np.std(flat)
    ratio = np.mean(
        [read_ccd(tmp_path / 'out' / n).data / s for n, s in scenes.items()], axis=0
    )
    means = [ratio[j::2, i::2].mean() for j in (0, 1) for i in (0, 1)]
    assert np.ptp(means) < 0.002


def test_one_of_two_is_a_mosaic(tmp_path):
    """Flats without colours are used for lights with colours, and not checked."""
    make_mosaic_night(tmp_path, n=2)
    for path in tmp_path.glob('flat_*.fits'):
        fits.delval(path, 'BAYERPAT')
    report = run_night(tmp_path, n_workers=1)
    assert 'of flats and lights one is a mosaic of colours' in str(report)


def test_grey_image():
    """Cells are averaged; noise, masks, saturation and places on the sky follow."""
    data = np.arange(24, dtype='f4').reshape(4, 6)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix = ['RA---TAN', 'DEC--TAN'], [3.0, 2.0]
    wcs.wcs.cdelt, wcs.wcs.crval = [-1e-3, 1e-3], [10.0, 40.0]
    mask = np.zeros(data.shape, bool)
    mask[0, 5] = True
    image = CCDData(
        data, unit='adu', wcs=wcs, mask=mask, meta=fits.Header(CARDS),
        uncertainty=StdDevUncertainty(np.full(data.shape, 2.0)),
    )  # fmt: skip
    image.meta['SATURATE'] = 23
    grey = grey_image(image, 'RGGB')
    np.testing.assert_allclose(grey.data, [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    assert grey.mask.tolist() == [[False, False, True], [False, False, True]]
    np.testing.assert_allclose(grey.uncertainty.array, 1.0)
    assert not set(CARDS) & set(grey.meta)
    here, there = wcs.pixel_to_world(2.5, 0.5), grey.wcs.pixel_to_world(1, 0)
    assert here.separation(there).arcsec < 1e-6
    with pytest.raises(ValueError, match='even sides'):
        grey_image(image[:3], 'RGGB')
