# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Nights of dithered frames against their truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable
from numpy.testing import assert_allclose

from astroflat.degradation import (
    Camera,
    DegradationModel,
    sample_fields,
    simulate_night,
)
from astroflat.degradation._dither import dither_offsets

CLEAN = Camera('clean', gain=1.0, read_noise=0.0, bias=100.0, full_well=6e4, bits=16)


def test_frames_are_light_times_flat_plus_gradient():
    """Every frame agrees with its truth within the noise of the photons."""
    night = simulate_night(
        4, (80, 90), rng=3, camera=CLEAN, cosmic_rays=0.0, clouds=0.2, difficulty=0.8
    )
    for index, ccd in enumerate(night):
        light = night.light(index) * night.flat + night.gradient(index)
        light = np.minimum(light, 6e4)
        pull = (ccd.data - 100.0 - light) / np.sqrt(light)
        faint = light < 5e4
        assert abs(pull[faint].mean()) < 5 / np.sqrt(faint.sum())
        assert_allclose(pull[faint].std(), 1.0, atol=0.03)


def test_truth_corrects_a_frame():
    """The degradation model with the true fields gives the scene back."""
    night = simulate_night(2, (60, 70), rng=5, camera=CLEAN, cosmic_rays=0.0)
    truth = night.light(1)
    model = DegradationModel(night.flat, night.gradient(1))
    observed = night.frames[1].data - 100.0
    pull = (model.correct(observed) - truth) * night.flat / np.sqrt(observed + 1)
    assert_allclose(np.median(np.abs(pull)), 0.6745, atol=0.05)


def test_frames_do_not_depend_on_the_order():
    """A frame is the same alone, in a loop, and in another night of its seed."""
    night = simulate_night(5, (40, 50), rng=7)
    last = night.frames[-1].data
    frames = [ccd.data for ccd in night.frames]
    again = simulate_night(5, (40, 50), rng=np.random.default_rng(7))
    assert np.array_equal(last, frames[4])
    assert np.array_equal(again.frames[2].data, frames[2])
    assert np.array_equal(night.frames[1:3][1].data, frames[2])
    assert not np.array_equal(frames[0], frames[1])


def test_offsets_are_where_the_stars_are():
    """A star is found at its place plus the offset, in pixels and on the sky."""
    night = simulate_night(
        3,
        (120, 140),
        rng=2,
        camera=CLEAN,
        dither=8,
        difficulty=0,
        gradient=0,
        density=0,
        kind='open_cluster',
        aberration=0.0,
        cosmic_rays=0.0,
    )
    stars = night.scene.sources
    x, y = stars['x'].value, stars['y'].value
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    alone = (apart.min(axis=1) > 12) & (abs(x - 70) < 50) & (abs(y - 60) < 40)
    star = np.flatnonzero(alone)[0]
    world = night.wcs.pixel_to_world(x[star], y[star])
    for index in range(3):
        dy, dx = night.offsets[index]
        image = night.light(index) - night.sky[index]
        row, column = round(y[star] + dy), round(x[star] + dx)
        box = image[row - 4 : row + 5, column - 4 : column + 5]
        yy, xx = np.mgrid[-4:5, -4:5]
        centre = (box * xx).sum() / box.sum(), (box * yy).sum() / box.sum()
        assert_allclose(column + centre[0], x[star] + dx, atol=0.15)
        assert_allclose(row + centre[1], y[star] + dy, atol=0.15)
        place = night.frames[index].wcs.world_to_pixel(world)
        assert_allclose(place, (x[star] + dx, y[star] + dy), atol=1e-6)


def test_sky_drifts_and_gradient_turns():
    """The level changes over the night and the plane changes its direction."""
    night = simulate_night(
        10,
        (64, 64),
        rng=4,
        sky=2000.0,
        sky_drift=0.6,
        gradient=0.2,
        turn=90.0,
        kinds=['vignetting'],
    )
    assert_allclose(night.sky.mean(), 2000.0, rtol=0.1)
    assert np.ptp(night.sky) > 0.4 * 2000

    def direction(index):
        field = night.gradient(index) / night.sky[index]
        slope_y, slope_x = (np.diff(field, axis=axis).mean() for axis in (0, 1))
        return np.degrees(np.arctan2(slope_y, slope_x)), np.hypot(slope_y, slope_x)

    turn = abs((direction(9)[0] - direction(0)[0] + 180) % 360 - 180)
    assert_allclose(turn, 90.0, atol=8.0)
    assert_allclose(direction(5)[1] * np.hypot(64, 64), 0.2, rtol=0.35)


def test_headers_hold_what_is_needed():
    """Type, exposure, filter, gain, noise, time and coordinates are there."""
    night = simulate_night(2, (30, 40), rng=1, exposure=60.0, filter_name='Ha')
    header = night.frames[1].header
    expected = {'IMAGETYP': 'LIGHT', 'EXPTIME': 60.0, 'FILTER': 'Ha', 'RDNOISE': 1.6}
    assert {name: header[name] for name in expected} == expected
    assert header['DATE-OBS'] == '2025-03-01T20:01:08.000'
    assert night.frames[1].wcs.wcs.ctype[0] == 'RA---TAN'


def test_own_flat_is_used():
    """A flat that is given is the flat, and no other field is drawn."""
    flat = np.full((30, 40), 0.7)
    night = simulate_night(2, (30, 40), rng=1, flat=flat, gradient=0.0)
    assert_allclose(night.flat, 0.7)
    assert night.fields is None
    assert not night.dust_mask.any()
    assert_allclose(night.gradient(0), 0.0, atol=1e-6)


def test_whole_pixels():
    """Offsets can be rounded to whole pixels."""
    night = simulate_night(6, (30, 40), rng=1, whole_pixels=True)
    assert np.array_equal(night.offsets, np.rint(night.offsets))


def test_write_puts_frames_and_truth_into_a_folder(tmp_path):
    """Files read back as what was simulated, and are not replaced unasked."""
    night = simulate_night(2, (30, 40), rng=1)
    folder = night.write(tmp_path / 'night')
    ccd = CCDData.read(folder / 'light_0002.fits')
    assert np.array_equal(ccd.data, night.frames[1].data)
    assert ccd.header['FILTER'] == 'R'
    with fits.open(folder / 'truth' / 'flat.fits') as hdus:
        assert_allclose(hdus[0].data, night.flat)
    gradient = fits.getdata(folder / 'truth' / 'gradient_0002.fits')
    assert_allclose(gradient, night.gradient(1))
    table = QTable.read(folder / 'truth' / 'frames.ecsv')
    assert_allclose(table['dy'].value, night.offsets[:, 0])
    assert len(QTable.read(folder / 'truth' / 'fields.ecsv')) == len(
        night.fields.models
    )
    with pytest.raises(FileExistsError, match='overwrite'):
        night.write(folder)
    night.write(folder, overwrite=True)
    names = {path.name for path in folder.iterdir()}
    assert names == {'light_0001.fits', 'light_0002.fits', 'truth'}


def test_kinds_that_move_with_the_sky_are_refused():
    """A night makes its own gradients."""
    with pytest.raises(ValueError, match='turn='):
        simulate_night(2, (30, 40), rng=1, kinds=['linear'])


@pytest.mark.parametrize(
    'pattern', ['random', 'spiral', 'grid', 'line', 'drift', 'none']
)
def test_dither_patterns_stay_within_the_amplitude(pattern):
    """Offsets are finite and no larger than asked for."""
    offsets = dither_offsets(
        30, pattern=pattern, amplitude=7.0, rng=np.random.default_rng(1)
    )
    assert offsets.shape == (30, 2)
    assert np.abs(offsets).max() <= 7.0
    spread = np.linalg.svd(offsets - offsets.mean(axis=0))[1]
    assert (spread[1] > 1e-6) == (pattern not in ('line', 'none'))


def test_own_offsets_are_checked():
    """Offsets of the wrong shape or an unknown pattern are refused."""
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match='offsets'):
        dither_offsets(3, pattern=[[0, 0]], amplitude=1.0, rng=rng)
    with pytest.raises(ValueError, match='pattern'):
        dither_offsets(3, pattern='dance', amplitude=1.0, rng=rng)
    own = [[0, 1], [2, 3], [4, 5]]
    assert_allclose(dither_offsets(3, pattern=own, amplitude=1.0, rng=rng), own)


def test_sampled_fields_bring_their_truth():
    """Fields sampled before keep their mask, table and gradient."""
    fields = sample_fields((60, 70), difficulty=0.9, rng=3, kinds=['motes', 'glow'])
    night = simulate_night(2, (60, 70), rng=1, flat=fields, sky=500.0)
    assert night.fields is fields
    assert np.array_equal(night.flat, fields.flat)
    assert np.array_equal(night.dust_mask, fields.dust_mask)
    assert_allclose(night.fixed, 500.0 * fields.gradient)
