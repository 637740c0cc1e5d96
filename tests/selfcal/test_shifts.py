# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Offsets between frames: against truth, and when they are refused.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS
from scipy.ndimage import rotate

from astroflat.degradation import simulate_night, simulate_video
from astroflat.selfcal import Shifts, measure_shifts
from astroflat.selfcal._shift_model import unexplained


def rms(found, truth):
    """Return the error of offsets against those of the first frame."""
    return float(np.sqrt(np.mean((found.offsets - (truth - truth[0])) ** 2)))


@pytest.mark.parametrize(
    ('kind', 'drift'), [('granulation', 8), ('granulation', 1.5), ('moon', 4)]
)
def test_textures_behind_a_dusty_flat(kind, drift):
    """Dust and vignetting do not pull offsets towards zero."""
    video = simulate_video(
        9, (96, 112), kind=kind, drift=drift, pattern='random', seeing=0, rng=4
    )
    found = measure_shifts(video.array(), bias=video.camera.bias)
    assert found.method == 'phase'
    assert rms(found, video.shifts) < 0.05
    assert found.quality.min() > 0.9
    assert (found.rotation == 0).all()


def test_hard_dust_on_a_faint_texture():
    """A detector pattern ten times as strong as the sky does not win."""
    rng = np.random.default_rng(1)
    video = simulate_video(
        9, (128, 128), drift=5, pattern='random', seeing=0, bits=16, rng=2
    )
    frames = video.array() - video.camera.bias
    dust = np.ones((128, 128))
    for y, x in rng.integers(6, 122, (40, 2)):
        dust[y - 3 : y + 3, x - 3 : x + 3] = 0.5
    found = measure_shifts(frames * dust)
    assert rms(found, video.shifts) < 0.05


def test_partial_overlap():
    """Drifts of most of a frame are found along the way."""
    truth = np.column_stack([np.linspace(0, 100, 9), np.linspace(0, -60, 9)])
    video = simulate_video(9, (128, 128), pattern=truth, seeing=0, rng=3)
    found = measure_shifts(video.array(), bias=video.camera.bias)
    assert rms(found, truth) < 0.05


def stars(offsets, size=160, seed=7, width=1.22):
    """Return frames of stars behind dust and vignetting."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    places = rng.uniform(-10, size + 10, (50, 2))
    flux = rng.uniform(100, 800, 50)
    flat = 1 - 0.3 * (np.hypot(y - size / 2, x - size / 2) / size) ** 2
    flat[40:50, 60:70] *= 0.7
    # Hot pixels do not move either.
    hot = np.zeros((size, size))
    hot[tuple(rng.integers(0, size, (2, 30)))] = 500
    frames = []
    for dy, dx in offsets:
        sky = np.full((size, size), 200.0)
        for (py, px), f in zip(places, flux, strict=True):
            away = (y - py - dy) ** 2 + (x - px - dx) ** 2
            sky += f * np.exp(-away / (2 * width**2))
        frames.append(rng.normal(sky * flat + hot, 2))
    return np.array(frames)


def test_stars():
    """Positions of stars agree with the truth, and so does all that is seen."""
    truth = np.random.default_rng(1).uniform(-9, 9, (5, 2))
    frames = stars(truth)
    found = measure_shifts(frames, method='stars')
    assert found.method == 'stars'
    assert rms(found, truth) < 0.05
    assert (found.uncertainty < 0.1).all()
    assert rms(measure_shifts(frames, method='phase'), truth) < 0.05


def shaped(size, offsets, shape, rng):
    """Return frames of stars of any shape behind dust, with hot pixels."""
    y, x = np.mgrid[:size, :size].astype(float)
    places, flux = rng.uniform(0, size, (50, 2)), 10 ** rng.uniform(3, 5, 50)
    flat = 1 - 0.3 * (np.hypot(y - size / 2, x - size / 2) / size) ** 2
    for cy, cx in rng.uniform(0, size, (8, 2)):
        flat[np.hypot(y - cy, x - cx) < 9] *= 0.9
    hot = np.zeros((size, size))
    hot[tuple(rng.integers(0, size, (2, 90)))] = 10 ** rng.uniform(1.5, 3.5, 90)
    frames = []
    for k, (dy, dx) in enumerate(offsets):
        sky = np.full((size, size), 300.0)
        for (py, px), f in zip(places + np.array([dy, dx]), flux, strict=True):
            part = tuple(
                slice(max(int(p) - 20, 0), max(int(p) + 21, 0)) for p in (py, px)
            )
            sky[part] += f * shape(y[part] - py, x[part] - px, k)
        frames.append(rng.poisson(sky * flat + hot).astype(np.float32))
    return np.array(frames)


def ring(y, x, k):
    """A lopsided star far out of focus, 13 pixels wide."""
    r = np.hypot(y, x)
    disc = 1 / (1 + np.exp(2 * (r - 6.5))) - 0.7 / (1 + np.exp(2 * (r - 2.5)))
    return 0.01 * disc * (1 + 0.6 * (0.8 * y + 0.4 * x) / 6.5)


def narrow(y, x, k):
    """A star of 1.4 pixels, summed over the pixel."""
    from scipy.special import erf

    y, x = (0.5 * (erf((a + 0.5) / 0.85) - erf((a - 0.5) / 0.85)) for a in (y, x))
    return y * x


@pytest.mark.parametrize(('shape', 'most'), [(ring, 0.08), (narrow, 0.02)])
def test_stars_that_are_no_gaussians(shape, most):
    """Knots of rings and hot pixels are not taken for stars."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(-9, 9, (4, 2))
    frames = shaped(256, truth, shape, rng)
    found = measure_shifts(frames, method='stars')
    error = found.offsets - (truth - truth[0])
    assert np.abs(error).max() < most
    assert (np.abs(error) < 3 * found.uncertainty[:, None]).all()
    assert found.uncertainty.max() < most


def test_stars_that_change_their_shape():
    """Where all stars change alike no scatter tells, and still the error is known."""

    def turning(y, x, k):
        angle = 2.4 * k
        lop = 1 + 0.5 * (y * np.sin(angle) + x * np.cos(angle)) / 6.5
        disc = 1 / (1 + np.exp(2 * (np.hypot(y, x) - 6.5)))
        return 0.01 * disc * np.maximum(lop, 0)

    rng = np.random.default_rng(6)
    truth = rng.uniform(-9, 9, (5, 2))
    frames = shaped(256, truth, turning, rng)
    # Where the light is, is not where the circles are.
    angle = 2.4 * np.arange(5)
    light = np.stack([np.sin(angle), np.cos(angle)], 1) * 0.5 * 6.5 / 4
    found = measure_shifts(frames, method='stars')
    error = (found.offsets - (truth + light) + (truth + light)[0])[1:]
    assert np.abs(error).max() < 0.1
    z = error / found.uncertainty[1:, None]
    assert 0.2 < np.sqrt((z**2).mean()) < 1.5
    # Stars of one shape are known better.
    assert found.uncertainty[1:].mean() > 0.05


def test_wide_stars_that_hardly_move():
    """Stars as wide as the drift are in the mean of the frames, and leave no ghosts."""
    truth = np.array([[0, 0], [1.4, -0.1], [-1.4, 0.4], [-4.8, 1.1], [-5.7, 1.7]])
    frames = stars(truth, size=176, seed=0, width=4.5)
    found = measure_shifts(frames, method='phase')
    error = np.abs(found.offsets - truth).max(axis=1)
    assert error.max() < 0.06
    assert (error < 4 * found.uncertainty).all()
    # Less sure than where stars leave their places.
    sure = measure_shifts(stars(3 * truth, size=176, seed=0), method='phase')
    assert (sure.uncertainty < found.uncertainty).all()


def test_wrong_offsets_explain_less():
    """A sky that moves and a pattern that stays leave noise, and wrong ones more."""
    rng = np.random.default_rng(4)
    truth = np.array([[0, 0], [3, 1], [-4, 2], [1, -5], [6, 3]])
    sky, pattern = rng.standard_normal((2, 64, 64))
    noise = 0.1 * rng.standard_normal((5, 64, 64))
    frames = noise + pattern + [np.roll(sky, t, (0, 1)) for t in truth]
    waves = np.fft.rfft2(frames)
    right = unexplained(waves, truth.astype(float), (64, 64))
    assert right < 0.03
    for k in range(1, 5):
        wrong = truth + 2.0 * np.eye(5)[k][:, None]
        assert unexplained(waves, wrong, (64, 64)) > 3 * right
    assert unexplained(waves, 0.0 * truth, (64, 64)) > 10 * right


def test_gradients_of_single_frames():
    """A sky that is brighter on one side, and on another later, moves nothing."""
    truth = np.random.default_rng(2).uniform(-7, 7, (7, 2))
    frames = stars(truth)
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    slopes = np.random.default_rng(3).normal(0, 0.08, (2, 7, 1, 1))
    found = measure_shifts(frames + 200 * (slopes[0] * x + slopes[1] * y))
    assert rms(found, truth) < 0.05


def test_uncertainty_holds():
    """Errors are about as large as they are said to be."""
    ratios = []
    for seed in range(2):
        truth = np.random.default_rng(seed).uniform(-6, 6, (7, 2))
        found = measure_shifts(stars(truth, size=128, seed=seed))
        error = found.offsets - (truth - truth[0])
        error -= np.median(error, axis=0)
        ratios.append(error / found.uncertainty[:, None])
    assert 0.5 < np.mean(np.abs(ratios) < 1) <= 1
    assert np.abs(ratios).max() < 5


def test_frames_that_do_not_move():
    """Nothing moves: that is what is found, not the best of chance."""
    found = measure_shifts(stars(np.zeros((7, 2))))
    assert np.abs(found.offsets).max() < 0.1


def with_wcs(offset, angle=0.0, shape=(60, 70)):
    """Return a frame with a WCS."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [150, 20]
    wcs.wcs.crpix = [35 + offset[1], 30 + offset[0]]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) / 3600
    return CCDData(np.ones(shape), unit='adu', wcs=wcs)


def test_wcs():
    """The WCS say it all."""
    truth = np.array([[0, 0], [3.25, -7.5], [-4, 2.125]])
    found = measure_shifts([with_wcs(o) for o in truth], method='wcs')
    np.testing.assert_allclose(found.offsets, truth, atol=2e-3)
    assert found.method == 'wcs'
    with pytest.raises(ValueError, match='celestial WCS'):
        measure_shifts(np.ones((3, 8, 8)), method='wcs')


def test_rotation_of_a_wcs_is_refused():
    """The message names the angle; on request it is only reported."""
    frames = [with_wcs((0, 0)), with_wcs((1, 2), angle=3)]
    with pytest.raises(ValueError, match=r'frame 1 .* rotated by -?3 deg'):
        measure_shifts(frames, method='wcs')
    found = measure_shifts(frames, method='wcs', max_distortion=None)
    assert abs(found.rotation[1]) == pytest.approx(3, abs=0.01)


def test_wcs_that_the_frames_contradict():
    """Headers that were turned around are not believed."""
    video = simulate_video(6, (96, 112), drift=8, pattern='random', seeing=0, rng=4)
    frames = video.array().astype(np.float32) - np.float32(video.camera.bias)
    found = measure_shifts(
        [
            CCDData(frame, unit='adu', wcs=with_wcs(-shift).wcs)
            for frame, shift in zip(frames, video.shifts, strict=True)
        ]
    )
    assert rms(found, video.shifts) < 0.05


@pytest.mark.parametrize('name', ['max_shift', 'fwhm', 'max_size'])
@pytest.mark.parametrize('value', [0, -1, np.nan])
def test_numbers_that_make_no_sense(name, value):
    """The message names the argument."""
    with pytest.raises(ValueError, match=f'{name} must be positive'):
        measure_shifts(np.ones((2, 40, 40)), **{name: value})


def test_a_single_frame():
    """It is where it is."""
    video = simulate_video(1, (64, 64), seeing=0, rng=4)
    found = measure_shifts(video.array(), bias=video.camera.bias)
    assert np.abs(found.offsets).max() < 1e-6


def test_one_wcs_in_all_headers():
    """Where the telescope was sent is not where it looked: stars move nevertheless."""
    night = simulate_night(6, (128, 160), dither=12, rng=3)
    wcs = with_wcs((0, 0)).wcs
    frames = [CCDData(f.data, unit='adu', wcs=wcs) for f in night.frames]
    found = measure_shifts(frames, bias=night.camera.bias)
    assert rms(found, night.offsets) < 0.3


def turned(angle):
    """Return frames of a texture, the last one turned."""
    video = simulate_video(
        6,
        (128, 128),
        drift=4,
        pattern='random',
        seeing=0,
        gradient=np.zeros((128, 128)),
        rng=6,
        flat=np.ones((128, 128)),
    )
    frames = video.array().astype(float) - video.camera.bias
    frames[-1] = rotate(frames[-1], -angle, reshape=False, order=3, mode='reflect')
    return frames


@pytest.mark.parametrize('angle', [1.2, 30])
def test_rotation_of_a_texture_is_refused(angle):
    """Small and large angles are named, roughly."""
    with pytest.raises(ValueError, match=r'frame 5 .* rotated by') as info:
        measure_shifts(turned(angle), method='phase')
    named = float(re.search(r'(-?[0-9.]+) deg', str(info.value)).group(1))
    assert named == pytest.approx(angle, rel=0.25)


def test_rotation_of_stars_is_refused():
    """Also when no shift brings them together."""
    frames = stars([[0, 0], [3, 2], [1, 4]])
    frames[2] = frames[2, ::-1, ::-1]
    with pytest.raises(ValueError, match=r'frame 2 .* rotated by about -?180.0 deg'):
        measure_shifts(frames, method='stars')


def test_frames_that_share_nothing_are_refused():
    """Noise has no offset."""
    video = simulate_video(6, (96, 96), drift=6, pattern='random', seeing=0, rng=3)
    frames = video.array().astype(float)
    rng = np.random.default_rng(9)
    frames[3] = rng.normal(frames[3].mean(), 0.1 * frames[3].std(), (96, 96))
    with pytest.raises(ValueError, match='frame 3'):
        measure_shifts(frames, method='phase')


def test_limits_and_arguments():
    """Too large offsets, and nonsense."""
    with pytest.raises(ValueError, match='more than max_shift=5'):
        measure_shifts([with_wcs((0, 0)), with_wcs((9, 0))], method='wcs', max_shift=5)
    with pytest.raises(ValueError, match='method must be one of'):
        measure_shifts(np.ones((3, 8, 8)), method='magic')
    with pytest.raises(ValueError, match='reference must be a frame'):
        measure_shifts(np.ones((3, 8, 8)), reference=7)
    with pytest.raises(ValueError, match=r'shape \(n, 2\)'):
        Shifts.given(np.zeros(3))


def test_reference():
    """Any frame may be the one that does not move."""
    truth = np.array([[0, 0], [3, -7], [-4, 2]])
    found = measure_shifts([with_wcs(o) for o in truth], method='wcs', reference=1)
    np.testing.assert_allclose(found.offsets, truth - truth[1], atol=2e-3)
    assert found.reference == 1
