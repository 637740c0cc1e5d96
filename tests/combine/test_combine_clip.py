# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sigma clipping along the frames against astropy's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.stats import SigmaClip, mad_std

from astroflat.combine import combine_stack
from astroflat.combine._options import parse_clip

CLIPS = [
    SigmaClip(3.0),
    SigmaClip(2.0, maxiters=1),
    SigmaClip(2.5, maxiters=None, cenfunc='mean'),
    SigmaClip(sigma_lower=4, sigma_upper=2, stdfunc='mad_std'),
    SigmaClip(1.5, cenfunc='mean', stdfunc='mad_std'),
]


@pytest.fixture(params=['numpy', 'numba'])
def engine(request):
    """The engine; skipped where there is no numba."""
    if request.param == 'numba':
        pytest.importorskip('numba')
    return request.param


def make_frames(dtype, n, seed=5):
    """Return noise with outliers above and a few below."""
    rng = np.random.default_rng(seed)
    noise = 3 if np.dtype(dtype).itemsize == 1 else 200
    frames = rng.normal(40 * noise, noise, (n, 20, 30))
    frames += (
        noise * rng.exponential(7, frames.shape) * (rng.random(frames.shape) < 0.04)
    )
    frames -= 6 * noise * (rng.random(frames.shape) < 0.01)
    return frames.astype(dtype)


def clip_with_astropy(clip, frames, mask=False):
    """Return the samples that astropy leaves."""
    bad = mask | ~np.isfinite(frames)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return clip(np.ma.array(frames.astype(float), mask=bad), axis=0)


@pytest.mark.parametrize('clip', CLIPS)
@pytest.mark.parametrize(
    ('dtype', 'n'),
    [('u1', 130), ('u2', 1), ('u2', 2), ('u2', 25), ('i2', 10), ('f4', 41)],
)
def test_same_samples_as_astropy(dtype, n, clip, engine):
    """Median, mean and number of samples are those of astropy."""
    frames = make_frames(dtype, n)
    expected = clip_with_astropy(clip, frames)
    median = combine_stack(frames, sigma_clip=clip, engine=engine)
    left, count = median.count > 0, expected.count(axis=0)
    # Where clipping leaves nothing, astropy 7.1 keeps everything.
    assert np.isin(count[~left], (0, n)).all()
    assert left.mean() > 0.9
    np.testing.assert_array_equal(median.count[left], count[left])
    np.testing.assert_array_equal(
        median.value[left], np.ma.median(expected, axis=0)[left].astype(np.float32)
    )
    mean = combine_stack(frames, sigma_clip=clip, engine=engine, method='mean')
    np.testing.assert_allclose(mean.value[left], expected.mean(axis=0)[left], rtol=1e-6)


def test_masks_nan_and_infinity(engine):
    """Masked, NaN and infinite samples take no part."""
    frames = make_frames('f8', 30)
    frames[3:20, 0, 0] = np.nan
    frames[5, 1, 1] = np.inf
    frames[:, 2, 2] = np.nan
    mask = np.random.default_rng(0).random(frames.shape) < 0.2
    expected = clip_with_astropy(CLIPS[0], frames, mask)
    masked = np.ma.array(frames, mask=mask)
    result = combine_stack(masked, sigma_clip=3, engine=engine)
    np.testing.assert_array_equal(result.count, expected.count(axis=0))
    assert result.count[2, 2] == 0
    assert np.isnan(result.value[2, 2])
    known = result.count > 0
    expected = np.ma.median(expected, axis=0).filled(0).astype(np.float32)
    np.testing.assert_array_equal(result.value[known], expected[known])


def test_uncertainty_is_that_of_the_samples_left(engine):
    """Both estimates of sigma are taken from what is not rejected."""
    frames = make_frames('f4', 40)
    left = clip_with_astropy(SigmaClip(3.0), frames)
    count = left.count(axis=0)
    result = combine_stack(
        frames, sigma_clip=3, uncertainty='std', method='mean', engine=engine
    )
    expected = left.std(axis=0, ddof=1) / np.sqrt(count)
    np.testing.assert_allclose(result.sigma, expected, rtol=1e-6)
    result = combine_stack(frames, sigma_clip=3, engine=engine)
    mad = np.nanmedian(
        np.abs(left.filled(np.nan) - np.ma.median(left, axis=0).data), axis=0
    )
    expected = np.sqrt(np.pi / 2) * 1.4826022 * mad * count / (count - 0.8)
    np.testing.assert_allclose(result.sigma, expected / np.sqrt(count), rtol=1e-5)


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'f4'])
def test_engines_agree(dtype):
    """Compiled and plain clipping leave the same samples and deviations."""
    pytest.importorskip('numba')
    frames = np.ma.array(make_frames(dtype, 21))
    frames[np.random.default_rng(2).random(frames.shape) < 0.1] = np.ma.masked
    for clip in CLIPS:
        plain = combine_stack(frames, sigma_clip=clip, engine='numpy')
        fast = combine_stack(frames, sigma_clip=clip, engine='numba')
        np.testing.assert_array_equal(plain.value, fast.value)
        np.testing.assert_array_equal(plain.count, fast.count)
        np.testing.assert_allclose(plain.sigma, fast.sigma, rtol=1e-6)


def test_nothing_to_reject():
    """Equal samples have no spread, and are all kept."""
    result = combine_stack(np.full((9, 2, 2), 7, 'u2'), sigma_clip=1)
    assert (result.count == 9).all()
    assert (result.value == 7).all()


def test_everything_rejected_is_masked():
    """Limits so narrow that no sample lies within leave nothing."""
    frames = np.array([[[0.0]], [[10.0]]])
    result = combine_stack(frames, sigma_clip=0.1)
    assert result.count.tolist() == [[0]]
    assert np.isnan(result.value).all()
    assert np.isnan(result.sigma).all()


def test_functions_that_mean_the_same():
    """The functions of numpy and astropy are known by name and as objects."""
    clip = parse_clip(SigmaClip(3, cenfunc=np.mean, stdfunc=np.std))
    assert (clip.centre, clip.spread) == ('mean', 'std')
    assert parse_clip(2.5).lower == 2.5
    assert parse_clip(SigmaClip(3, maxiters=None)).maxiters == -1


@pytest.mark.parametrize(
    ('clip', 'error', 'message'),
    [
        (SigmaClip(3, stdfunc=mad_std), ValueError, 'stdfunc'),
        (SigmaClip(3, cenfunc=np.max), ValueError, 'cenfunc'),
        (SigmaClip(3, grow=1), ValueError, 'grow'),
        (-1, ValueError, 'positive'),
        ('three', TypeError, 'sigma_clip must be'),
    ],
)
def test_bad_settings(clip, error, message):
    """Settings that cannot be honoured are refused."""
    with pytest.raises(error, match=message):
        parse_clip(clip)
