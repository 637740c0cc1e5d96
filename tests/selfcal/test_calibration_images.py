# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Bias and dark of the flats from science frames: masks, holes, units, colours."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal

import astroflat as af
from astroflat.degradation import sample_fields, simulate_night, simulate_video
from astroflat.selfcal._night import Night
from astroflat.selfcal._survey import survey

SHAPE = (96, 112)


@pytest.fixture(scope='module')
def video():
    """Frames without bias, and their offsets."""
    video = simulate_video(7, SHAPE, drift=8, pattern='random', seeing=0, rng=4)
    frames = video.array().astype(np.float32) - np.float32(video.camera.bias)
    return frames, video.shifts


@pytest.fixture(scope='module')
def night():
    """Frames of a dusty night."""
    fields = sample_fields(
        SHAPE, difficulty=0.9, rng=5, kinds=['vignetting', 'motes', 'response']
    )
    night = simulate_night(6, SHAPE, dither=15, flat=fields, rng=3)
    frames = np.stack([f.data for f in night.frames]).astype(np.float32)
    return night, frames


@pytest.fixture(scope='module')
def corner():
    """A mask of what no bias knows."""
    mask = np.zeros(SHAPE, bool)
    mask[10:16, 20:50] = True
    return mask


@pytest.mark.parametrize('name', ['bias', 'dark'])
def test_masked_pixels_of_bias_and_dark_are_masked(video, corner, name):
    """What is under the mask of a bias is not subtracted, and says nothing."""
    frames, offsets = video
    wrong = CCDData(np.where(corner, 1e3, 0), unit='adu', mask=corner)
    found = af.kll_flat(frames, offsets, **{name: wrong})
    wanted = af.kll_flat(frames, offsets, mask=corner)
    assert_array_equal(found.flat.mask, corner)
    assert_array_equal(found.flat.data, wanted.flat.data)


def test_masked_bias_of_a_sky_flat(night, corner):
    """The same for the sky between the stars."""
    night, frames = night
    bias = np.where(corner, 3e4, night.camera.bias)
    found = af.sky_flat(
        frames, offsets=night.offsets, bias=CCDData(bias, unit='adu', mask=corner)
    )
    wanted = af.sky_flat(
        frames, offsets=night.offsets, bias=night.camera.bias, mask=corner
    )
    assert_array_equal(found.flat.mask, corner)
    assert_allclose(found.flat.data, wanted.flat.data, rtol=1e-5)
    # Frames that are divided by it keep their mean over what is not masked.
    assert found.flat.data[~corner].mean(dtype=float) == pytest.approx(1, abs=1e-6)


def test_masked_bias_of_a_repair(corner):
    """Frames say nothing about a flat where the bias is masked."""
    frames = np.random.default_rng(0).normal(1100, 5, (4, *SHAPE)).astype(np.float32)
    bias = CCDData(np.where(corner, 900, 100), unit='adu', mask=corner)
    solution = af.repair_flat(np.ones(SHAPE), frames, bias=bias)
    assert_array_equal(np.isnan(solution.stages['ratio']), corner)
    assert (solution.flat.data == 1).all()


def test_unit_of_the_bias_of_a_repair():
    """Electrons are not subtracted from ADU."""
    frames = [CCDData(np.full(SHAPE, 1e3), unit='adu') for _ in range(3)]
    bias = CCDData(np.full(SHAPE, 100.0), unit='electron')
    with pytest.raises(u.UnitsError, match='bias is in electron'):
        af.repair_flat(np.ones(SHAPE), frames, bias=bias)


def test_a_hole_in_the_bias_hides_no_dust(night):
    """One pixel that is no number changes nothing elsewhere."""
    night, frames = night
    bias = np.full(SHAPE, night.camera.bias)
    whole = af.sky_flat(frames, offsets=night.offsets, bias=bias)
    bias[40, 50] = np.nan
    holed = af.sky_flat(frames, offsets=night.offsets, bias=bias)
    ratio = np.delete(holed.flat.data / whole.flat.data, 40 * SHAPE[1] + 50)
    assert ratio.std() < 1e-3


@pytest.mark.parametrize('function', [af.sky_flat, af.solve_fields])
def test_iterators(video, function):
    """Frames that come one by one are read once, and registered nevertheless."""
    frames, offsets = video
    solution = function(iter(frames[:4, :64, :64]), n_threads=1)
    truth = offsets[:4] - offsets[0]
    assert np.abs(solution.stages['offsets'] - truth).max() < 0.1


def test_offsets_are_measured_with_the_scaled_dark(video):
    """A dark of another exposure time would leave no light."""
    frames, offsets = video
    dark = 1e5 * (1 + np.random.default_rng(1).random(SHAPE, dtype=np.float32))
    share = np.linspace(0.001, 0.01, len(frames))
    solution = af.kll_flat(
        frames + share[:, None, None] * dark, dark=dark, dark_scale=share
    )
    truth = offsets - offsets[0]
    assert np.abs(solution.stages['offsets'] - truth).max() < 0.1


def test_mask_of_colour_frames(video, corner):
    """A mask holds for all colours."""
    frames, offsets = video
    color = np.stack([frames, 2 * frames, frames], axis=-1)
    found = af.kll_flat(color, offsets, mask=corner)
    for k in range(3):
        assert_array_equal(found.flat.mask[..., k], corner)
    shifts = af.selfcal.measure_shifts(color, mask=corner)
    assert np.abs(shifts.offsets - (offsets - offsets[0])).max() < 0.1


def test_bias_of_colour_frames(video):
    """One call for frames of three colours and their bias."""
    frames, offsets = video
    color = np.stack([frames + 40, 2 * frames + 50, frames + 60], axis=-1)
    bias = np.broadcast_to([40.0, 50.0, 60.0], (*SHAPE, 3))
    solution = af.self_flat(color, bias=bias)
    assert solution.method == 'kll'
    found = solution.stages['survey']
    assert np.abs(found.offsets - (offsets - offsets[0])).max() < 0.1


def test_survey_of_frames_with_holes(video):
    """Pixels that are bad or masked do not count."""
    frames, _ = video
    whole = survey(af.open_frames(frames), one_field=False)
    holed = frames.copy()
    holed[:, 3, 3] = np.nan
    found = survey(af.open_frames(holed), one_field=False)
    assert_allclose(found.levels, whole.levels, rtol=1e-3)
    mask = np.zeros(frames.shape, bool)
    mask[:, :40] = True
    masked = np.ma.MaskedArray(np.where(mask, 1e6, frames), mask)
    found = survey(af.open_frames(masked), one_field=False)
    assert found.filled <= whole.filled + 0.1


def test_exposure_times_that_are_no_numbers():
    """Words and nothing at all are as good as no card."""
    for value in ('n/a', None, 'inf'):
        frames = [
            CCDData(np.ones((40, 40)), unit='adu', meta={'EXPTIME': value})
            for _ in range(3)
        ]
        with Night(frames) as night:
            assert_array_equal(night.exposures(), 1)


def test_header_of_the_first_frame(video):
    """What describes its file is not told of the flat."""
    frames, offsets = video
    stale = {'BZERO': 32768, 'DATAMAX': 65535, 'CHECKSUM': 'x', 'DATASUM': '0'}
    cards = {**stale, 'FILTER': 'R', 'DATE-OBS': '2025-01-01T00:00:00'}
    ccds = [CCDData(frame, unit='adu', meta=cards) for frame in frames]
    meta = af.kll_flat(ccds, offsets).flat.meta
    assert not set(stale) & set(meta)
    assert (meta['FILTER'], meta['NCOMBINE']) == ('R', len(frames))


@pytest.mark.parametrize('function', [af.sky_flat, af.solve_fields])
def test_a_frame_without_a_good_pixel(night, function):
    """The message names it, and nothing else is said."""
    night, frames = night
    mask = np.zeros(frames.shape, bool)
    mask[2] = True
    masked = np.ma.MaskedArray(frames, mask)
    with pytest.raises(ValueError, match='has no good pixel'):
        function(list(masked), offsets=night.offsets, bias=night.camera.bias)
