# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the audit by injected stars: what it lets pass and what it exposes."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData
from scipy.ndimage import binary_dilation, gaussian_filter, shift
from scipy.special import ndtr

from astroflat import AstroflatWarning
from astroflat.quality import DetectionSettings, HarmLimits, inject_audit
from astroflat.quality._inject import (
    add_star,
    draw_places,
    flux_of_snr,
    matched_filter,
    star_profile,
)

SNR = (2, 4, 8, 15, 40)


def real_frame(seed=0, shape=(320, 360)):
    """Return a noisy field of stars."""
    rng = np.random.default_rng(seed)
    image = rng.normal(200, 6, shape)
    for place in rng.uniform(15, np.array(shape) - 15, (40, 2)):
        star = star_profile(None, 3.0, tuple(place))
        add_star(image, *star, 10 ** rng.uniform(2.5, 4.5))
    return image


def nothing(image):
    """Do nothing."""
    return image


def blur(image):
    """Smooth everything."""
    return gaussian_filter(image, 1.5)


def honest(image):
    """Smooth the empty sky only."""
    seen = np.abs(gaussian_filter(image, 1.0) - np.median(image)) > 5
    near = binary_dilation(seen, iterations=4)
    return np.where(near, image, gaussian_filter(image, 1.5))


def invent(image):
    """Add a dozen stars that nobody asked for."""
    out = image.copy()
    rng = np.random.default_rng(8)
    for place in rng.uniform(20, 300, (12, 2)):
        add_star(out, *star_profile(None, 3.0, tuple(place)), 500)
    return out


def audit(function, **options):
    """Run a small audit."""
    return inject_audit(function, real_frame(), n=12, snr=SNR, **options)


def test_doing_nothing_gains_nothing():
    """It is accepted with no gain, no loss, and all of the flux."""
    result = audit(nothing)
    numbers = result.report.numbers
    assert result.report.verdict == 'accept'
    assert numbers['completeness_gain'] == 0
    assert numbers['separability_gain'] == 0
    assert numbers['n_false'] == numbers['n_lost'] == numbers['n_new'] == 0
    assert numbers['snr_50_before'] == numbers['snr_50_after']
    assert np.allclose(result.table['response_percent'], 100, atol=1e-6)
    before = result.table['flux_bias_before_percent']
    assert np.allclose(before, result.table['flux_bias_after_percent'])
    assert len(result.stars) == 60
    assert (result.table['n'] == 12).all()


def test_measures_of_the_raw_frame():
    """Completeness, separability and flux are those of white noise."""
    frame = np.random.default_rng(3).normal(50, 5, (500, 500)).astype('f4')
    settings = DetectionSettings(method='segmentation', n_pixels=1)
    result = inject_audit(nothing, frame, n=90, snr=(1, 2, 3, 6), settings=settings)
    table = result.table
    # The probability that one of two normal variables, SNR apart, is larger.
    expected = ndtr(np.array([1, 2, 3, 6]) / np.sqrt(2))
    assert np.allclose(table['separability_before'], expected, atol=0.07)
    # The best pixel of several: a star of SNR 3 reaches 5 in a few per cent.
    assert table['completeness_before'][2] < 0.15
    assert table['completeness_before'][3] > 0.8
    assert result.report.numbers['threshold_snr'] == pytest.approx(5, abs=0.15)
    bright = table[3]
    assert abs(bright['flux_bias_before_percent']) < 4 * bright['flux_error_percent']


def test_an_honest_denoiser_is_accepted():
    """Smoothing the empty sky only keeps the stars and lowers the noise."""
    result = audit(honest)
    assert result.report.verdict == 'accept', result.report.reasons
    numbers = result.report.numbers
    assert numbers['noise_after'] < 0.5 * numbers['noise_before']
    assert numbers['completeness_gain'] >= -0.02


def test_smoothing_everything_is_exposed():
    """Stars are lost and their flux leaves the aperture."""
    result = audit(blur)
    assert result.report.verdict == 'reject'
    assert any('lost' in reason for reason in result.report.reasons)
    assert any('flux' in reason for reason in result.report.reasons)
    assert result.report.numbers['completeness_gain'] < 0
    assert result.report.numbers['response_bias_percent'] < -3


def test_invented_sources_are_exposed():
    """Invented stars away from real ones are counted; nothing else is wrong."""
    report = audit(invent).report
    assert report.verdict == 'reject'
    assert 8 <= report.numbers['n_false'] <= 12
    assert len(report.reasons) == 1
    assert 'false' in report.reasons[0]


def test_zeros_fail():
    """An empty image has no source, no flux, and tells nothing apart."""
    result = audit(np.zeros_like)
    assert result.report.verdict == 'reject'
    assert not result.table['completeness_after'].any()
    assert np.allclose(result.table['separability_after'], 0.5)
    assert np.allclose(result.table['response_percent'], 0)


def test_loss_of_flux_and_shift_are_measured():
    """A tenth of the flux, and a third of a pixel, come out as such."""
    report = audit(lambda image: 200 + 0.9 * (image - 200)).report
    assert report.numbers['response_bias_percent'] == pytest.approx(-10, abs=0.01)
    assert report.verdict == 'reject'
    report = audit(lambda image: shift(image, (0.3, 0), order=3)).report
    assert report.numbers['shift_pixels'] == pytest.approx(0.3, abs=0.05)
    assert any('shifted' in reason for reason in report.reasons)


def test_stars_that_pull_others_with_them():
    """Ghosts of the injected stars are new sources."""

    def ghosts(image):
        bright = np.where(image > 250, image - 200, 0)
        return image + 0.5 * np.roll(bright, 14, axis=1)

    report = audit(ghosts).report
    assert report.numbers['n_new'] > 3
    assert report.verdict == 'reject'


def test_results_that_are_not_numbers():
    """All NaN is rejected, a few bad pixels are only reported."""
    report = audit(lambda image: np.full_like(image, np.nan)).report
    assert report.verdict == 'reject'

    def spoil(image):
        image = image.copy()
        image[100:103, 100:103] = np.nan
        return image

    report = audit(spoil).report
    assert report.verdict == 'weak'
    assert report.numbers['n_new_bad'] == 9


def test_limits():
    """What is too much is up to the user."""
    dim = HarmLimits(flux_bias_percent=15)
    assert (
        audit(lambda im: 200 + 0.9 * (im - 200), limits=dim).report.verdict == 'accept'
    )
    strict = HarmLimits(flux_bias_percent=0.001)
    assert audit(honest, limits=strict).report.verdict != 'accept'
    with pytest.raises(ValueError, match='lost_percent'):
        HarmLimits(lost_percent=-1)


def test_container_and_input_are_kept():
    """The function gets its own copy in the container that came in."""
    frame = CCDData(real_frame(), unit='adu', meta={'FILTER': 'R'})
    frame.mask = np.zeros(frame.shape, bool)
    frame.mask[50:90, 50:90] = True
    kinds = []

    def overwrite(ccd):
        kinds.append((type(ccd), ccd.unit, ccd.meta['FILTER']))
        ccd.data[:] = 7
        return ccd

    before = frame.data.copy()
    result = inject_audit(overwrite, frame, n=3, snr=(5, 30))
    assert set(kinds) == {(CCDData, frame.unit, 'R')}
    assert np.array_equal(frame.data, before)
    inside = (np.abs(result.stars['y'] - 70) < 20) & (
        np.abs(result.stars['x'] - 70) < 20
    )
    assert not inside.any()


def test_same_seed_same_audit():
    """The stars depend on the seed alone."""
    a, b, c = (audit(nothing, rng=seed) for seed in (1, 1, 2))
    assert np.array_equal(a.stars['x'], b.stars['x'])
    assert a.report.to_json() == b.report.to_json()
    assert not np.array_equal(a.stars['x'], c.stars['x'])


@pytest.mark.parametrize('size', [15, 16, (15, 16)])
def test_psf_of_any_size(size):
    """The middle of an even number of pixels is between two of them."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in np.broadcast_to(size, 2))
    psf = 7 * np.exp(-(y[:, None] ** 2 + x**2) / 3.2)
    frame = np.random.default_rng(0).normal(100, 5, (200, 200))
    found = inject_audit(lambda image: image, frame, n=8, snr=(50,), psf=psf)
    assert found.table['shift_before'][0] < 0.15


@pytest.mark.parametrize('psf', [np.zeros((5, 5)), np.full((5, 5), np.nan), np.ones(5)])
def test_psf_that_is_none(psf):
    """What cannot be a star does not make a function look bad."""
    frame = np.random.default_rng(0).normal(100, 5, (60, 60))
    with pytest.raises(ValueError, match='psf must be a 2-D image of a star'):
        inject_audit(lambda image: image, frame, n=2, snr=(50,), psf=psf)


def test_photon_noise_and_psf():
    """The injected stars have the given image and, with a gain, photon noise."""
    y, x = np.mgrid[-10:11, -10:11]
    psf = (1 + (x**2 + y**2) / 4) ** -2.5
    moffat = audit(nothing, psf=psf, gain=0.5)
    assert moffat.report.verdict == 'accept'
    assert not np.array_equal(moffat.stars['flux'], audit(nothing).stars['flux'])


def test_room_for_stars():
    """Too few places are reported, none is an error."""
    small = np.random.default_rng(0).normal(100, 3, (90, 90))
    with pytest.warns(AstroflatWarning, match='max_rounds'):
        result = inject_audit(nothing, small, n=10, snr=(5, 10), max_rounds=1)
    assert 0 < len(result.stars) < 20
    with pytest.raises(ValueError, match='free place'):
        inject_audit(nothing, small[:30, :30], n=2, snr=(5,))


def test_wrong_input():
    """Functions that change the shape and impossible settings are refused."""
    with pytest.raises(ValueError, match='keep the shape'):
        audit(lambda image: image[1:])
    with pytest.raises(ValueError, match='noise='):
        inject_audit(nothing, np.ones((200, 200)))
    with pytest.raises(ValueError, match='snr'):
        inject_audit(nothing, real_frame(), snr=())


def test_stars_are_normalised():
    """A profile sums to 1 wherever the star lies, and has the stated SNR."""
    for place in ((5.0, 5.0), (5.3, 4.51)):
        profile, corner = star_profile(None, 3.0, place)
        assert profile.sum() == pytest.approx(1, rel=1e-12)
        rows = np.arange(profile.shape[0]) + corner[0]
        assert (profile.sum(axis=1) * rows).sum() == pytest.approx(place[0], abs=1e-3)
    flux = flux_of_snr(8.0, 2.0, None, 3.0)
    profile, _ = star_profile(None, 3.0, (0.0, 0.0))
    # The optimal estimate has the variance noise^2 / sum(profile^2).
    assert flux * np.sqrt((profile**2).sum()) / 2.0 == pytest.approx(8)
    image = np.zeros((60, 60))
    add_star(image, *star_profile(None, 3.0, (30.2, 29.7)), flux)
    places = np.array([[30.2, 29.7], [3.0, 3.0]])
    fluxes = matched_filter(image + 100, places, psf=None, fwhm=3.0)
    assert fluxes[0] == pytest.approx(flux, rel=1e-9)
    assert np.isnan(fluxes[1])


def test_star_at_the_edge_is_cut():
    """Only what is on the image is added."""
    image = np.zeros((20, 20))
    add_star(image, *star_profile(None, 3.0, (0.0, 19.0)), 100.0)
    assert 15 < image.sum() < 60
    add_star(image, *star_profile(None, 3.0, (-40.0, 5.0)), 100.0)
    assert image.sum() < 60


def test_places_keep_their_distance():
    """No two places are too close, and none is taken."""
    taken = np.zeros((100, 100), bool)
    taken[:50] = True
    places = draw_places(taken, 30, distance=10, rng=np.random.default_rng(0))
    gaps = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert gaps[~np.eye(len(places), dtype=bool)].min() >= 10
    assert places[:, 0].min() >= 49.5
    nowhere = draw_places(taken | True, 3, distance=1, rng=np.random.default_rng(0))
    assert len(nowhere) == 0


def test_functions_that_change_the_width_of_stars():
    """Smoothing keeps all light: of stars that may be wider it loses none."""
    wide = float(np.hypot(3.0, 1.5 * 2.3548))
    told = inject_audit(blur, real_frame(), n=12, snr=SNR, fwhm_after=wide)
    numbers = told.report.numbers
    assert told.report.verdict == 'accept'
    assert numbers['response_bias_percent'] == pytest.approx(0.0, abs=1.0)
    # One of a pair may be lost in the wider star.
    assert numbers['lost_percent'] < 2
    assert numbers['n_false'] == numbers['n_new'] == 0
    untold = inject_audit(blur, real_frame(), n=12, snr=SNR).report
    assert untold.verdict == 'reject'
    # What of a Gaussian of this width is outside of the old aperture.
    outside = np.exp(-0.5 * (4.5 * 2.3548 / wide) ** 2)
    assert untold.numbers['response_bias_percent'] == pytest.approx(
        -100 * outside, abs=1.5
    )
    assert untold.numbers['lost_percent'] > 10


def test_sources_made_up_where_the_width_changes_are_seen():
    """Stars invented where the width changes are false sources."""
    audit = inject_audit(
        lambda image: blur(invent(image)), real_frame(), n=4, snr=SNR, fwhm_after=4.6
    )
    assert audit.report.numbers['n_false'] >= 8
    assert audit.report.verdict == 'reject'
