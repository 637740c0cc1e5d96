# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the gate: what passes and what does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter, shift

from astroflat.quality import HarmLimits, QualityReport, do_no_harm
from astroflat.quality._inject import add_star, star_profile
from astroflat.quality.limits import judge


def scene(seed=0, shape=(260, 300), n=60):
    """Return a true sky of stars and a noisy image of it."""
    rng = np.random.default_rng(seed)
    truth = np.full(shape, 300.0)
    places = np.stack(
        np.meshgrid(np.arange(20, 245, 28), np.arange(20, 285, 30)), -1
    ).reshape(-1, 2)[:n]
    for place in places + rng.uniform(-6, 6, places.shape):
        star = star_profile(None, 3.0, tuple(place))
        add_star(truth, *star, 10 ** rng.uniform(2.6, 4.5))
    return truth, truth + rng.normal(0, 6, shape)


def has(report, text):
    """Tell whether a reason mentions a text."""
    return any(text in reason for reason in report.reasons)


def test_doing_nothing_does_no_harm():
    """It is accepted, and its gain is exactly 0."""
    truth, image = scene()
    report = do_no_harm(image, image, truth=truth)
    assert report.verdict == 'accept'
    assert report.numbers['changed_percent'] == 0
    assert report.numbers['error_ratio'] == 1
    assert report.numbers['gain_percent'] == 0
    assert report.numbers['n_lost'] == report.numbers['n_false'] == 0
    assert report.numbers['n_bright'] > 20
    json.loads(report.to_json())


def test_the_truth_is_a_perfect_result():
    """It has no error, and the noisy image does not hold it against it."""
    truth, image = scene()
    report = do_no_harm(image, truth, truth=truth)
    assert report.verdict == 'accept', report.reasons
    assert report.numbers['error_ratio'] == 0
    assert report.numbers['gain_percent'] == 100


def test_smoothing_lowers_the_error_and_is_rejected():
    """On a faint sky smoothing wins in rms; the stars tell otherwise."""
    rng = np.random.default_rng(1)
    truth = np.full((300, 300), 100.0)
    for place in rng.uniform(20, 280, (40, 2)):
        add_star(truth, *star_profile(None, 3.0, tuple(place)), 250)
    image = truth + rng.normal(0, 6, truth.shape)
    report = do_no_harm(image, gaussian_filter(image, 1.5), truth=truth)
    assert report.numbers['error_ratio'] < 0.5
    assert report.verdict == 'reject'
    assert has(report, 'lost')


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (np.zeros_like, 'no image'),
        (lambda im: np.full_like(im, 300), 'no image'),
        (lambda im: 300 + 0.9 * (im - 300), 'flux of bright stars'),
        (lambda im: im + 10, 'level of the sky'),
        (lambda im: shift(im, (0, 0.5), mode='nearest'), 'shifted'),
        (lambda im: np.minimum(im, 700), 'per magnitude'),
        (lambda im: np.where(np.arange(300) > 150, 300, im), 'lost'),
    ],
)
def test_harm_has_its_name(change, reason):
    """Each way of spoiling an image is rejected for what it is."""
    image = scene()[1]
    report = do_no_harm(image, change(image))
    assert report.verdict == 'reject'
    assert has(report, reason), report.reasons


def test_invented_sources():
    """A star that is not in the image before is false."""
    image = scene()[1]
    after = image.copy()
    for x in range(40, 280, 30):
        add_star(after, *star_profile(None, 3.0, (33.0, float(x))), 600)
    report = do_no_harm(image, after)
    assert report.numbers['n_false'] >= 5
    assert report.verdict == 'reject'
    assert has(report, 'not in the image before')


def test_little_harm_is_weak():
    """Between the limit and three times the limit a look is worth while."""
    image = scene()[1]
    report = do_no_harm(image, 300 + 0.98 * (image - 300))
    assert report.verdict == 'weak'
    assert report.reasons == ['the flux of bright stars changes by -2 % (limit 1 %)']
    wide = HarmLimits(flux_bias_percent=3)
    report = do_no_harm(image, 300 + 0.98 * (image - 300), limits=wide)
    assert report.verdict == 'accept'
    assert report.thresholds['flux_bias_percent'] == 3


def test_new_bad_pixels():
    """Pixels that are no numbers any more are reported, old ones are not."""
    image = scene()[1]
    after = image.copy()
    after[5, 5:9] = np.nan
    report = do_no_harm(image, after)
    assert report.numbers['n_new_bad'] == 4
    assert report.verdict == 'weak'
    assert do_no_harm(after, after).verdict == 'accept'
    masked = CCDData(np.where(np.isnan(after), 1e30, after), unit='adu')
    masked.mask = np.isnan(after)
    assert do_no_harm(masked, masked).numbers['n_new_bad'] == 0
    nothing_left = do_no_harm(image, np.full_like(image, np.nan), truth=image)
    assert nothing_left.verdict == 'reject'


def vignetted():
    """Return a true sky, a flat, and the image through it."""
    truth, _ = scene()
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    flat = 1 - 0.4 * ((x - 150) ** 2 + (y - 130) ** 2) / 150**2
    noise = np.random.default_rng(2).normal(0, 4, truth.shape)
    return truth, flat, truth * flat + noise


def test_a_flat_may_change_fluxes_but_not_spoil_the_background():
    """The right flat is accepted, its inverse and an invented one rejected."""
    truth, flat, image = vignetted()
    good = do_no_harm(image, image / flat, task='flat', truth=truth)
    assert good.verdict == 'accept', good.reasons
    assert good.numbers['flatness_ratio'] < 0.1
    assert good.numbers['error_ratio'] < 0.2
    scaled = do_no_harm(image, 7.5 * image / flat, task='flat', truth=truth)
    assert scaled.numbers['error_ratio'] == pytest.approx(good.numbers['error_ratio'])
    bad = do_no_harm(image, image * flat, task='flat', truth=truth)
    assert bad.verdict == 'reject'
    assert has(bad, 'uneven')
    assert has(bad, 'error')
    waves = 1 + 0.1 * np.sin(np.arange(300) / 8)
    invented = do_no_harm(truth, truth * waves, task='flat')
    assert invented.verdict == 'reject'
    same = do_no_harm(image, image, task='flat', truth=truth)
    assert same.verdict == 'accept'
    assert same.numbers['error_ratio'] == same.numbers['flatness_ratio'] == 1


def test_small_and_empty_images():
    """Images without stars, and of a few pixels, have a verdict too."""
    assert do_no_harm(np.ones((3, 3)), np.ones((3, 3))).verdict == 'accept'
    assert do_no_harm([[1.0]], [[1.0]], task='flat').verdict == 'accept'
    noise = np.random.default_rng(0).normal(10, 1, (50, 50))
    assert do_no_harm(noise, noise.mean() + 0.5 * (noise - noise.mean())).verdict


def test_wrong_input():
    """Other shapes and unknown tasks are refused."""
    image = scene()[1]
    with pytest.raises(ValueError, match='after has the shape'):
        do_no_harm(image, image[1:])
    with pytest.raises(ValueError, match='truth has the shape'):
        do_no_harm(image, image, truth=image[1:])
    with pytest.raises(ValueError, match='task'):
        do_no_harm(image, image, task='magic')


def test_judge():
    """Margins forgive, NaN does not, and ratios count from 1."""
    limits, empty = HarmLimits(), QualityReport('m')

    def verdict(name, value, margin=0.0):
        return judge(empty, limits, name, value, '{value}', margin=margin).verdict

    assert verdict('lost_percent', None) == 'accept'
    assert verdict('lost_percent', 2.0) == 'accept'
    assert verdict('lost_percent', -2.1) == 'weak'
    assert verdict('lost_percent', 6.1) == 'reject'
    assert verdict('lost_percent', 6.1, margin=1) == 'weak'
    assert verdict('lost_percent', float('nan')) == 'reject'
    assert verdict('lost_percent', 9.0, margin=float('nan')) == 'reject'
    assert verdict('error_ratio', 1.04) == 'weak'
    assert verdict('error_ratio', 1.06) == 'reject'
    assert verdict('flatness_ratio', 1.14) == 'weak'
