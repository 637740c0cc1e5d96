# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the main job against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

import astroflat as af
from astroflat.io import write_ser
from astroflat.pipelines import DustFlatOptions
from astroflat.pipelines.dust_flat import LIMITS, _judge
from astroflat.quality import QualityReport

SHAPE = (120, 160)
SPECKS = [(30, 40, 5, 0.8), (80, 110, 7, 0.9), (60, 20, 3, 0.7)]


def true_flat(shape=SHAPE):
    """Return specks on an even field, and where they are."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    flat = np.ones(shape)
    for cy, cx, radius, value in SPECKS:
        flat[np.hypot(y - cy, x - cx) < radius] = value
    return flat, flat < 1


def make_frames(flat, n=25, level=2000, bias=0, seed=0):
    """Return noisy frames of an even source."""
    rng = np.random.default_rng(seed)
    return (rng.poisson(level * flat, (n, *flat.shape)) + bias).astype('u2')


def test_flat_is_the_truth():
    """The flat is the true one on the dust and exactly 1 off it."""
    flat, dust = true_flat()
    solution = af.dust_flat(make_frames(flat))
    error = solution.flat.data / flat - 1
    assert np.sqrt(np.mean(error[dust] ** 2)) < 0.01
    off = solution.stages['weight'] == 0
    assert (solution.flat.data[off] == 1).all()
    assert off.mean() > 0.9
    assert solution.report.verdict == 'accept'
    assert solution.report.numbers['n_dust'] == len(SPECKS)
    assert solution.report.numbers['n_frames'] == 25


def test_clean_pixels_keep_their_bits():
    """A frame is not changed by a single bit off the dust."""
    flat, _ = true_flat()
    frames = make_frames(flat)
    solution = af.dust_flat(frames)
    frame = frames[0].astype('f4')
    corrected = solution.correct(frame)
    off = solution.stages['weight'] == 0
    assert corrected[off].tobytes() == frame[off].tobytes()


def test_bias_decides_the_depth():
    """On a pedestal the dust is too shallow; subtracting it gives the truth."""
    flat, _ = true_flat()
    frames = make_frames(flat, level=1000, bias=1000)
    wrong = af.dust_flat(frames).flat.data[30, 40]
    right = af.dust_flat(frames, bias=np.full(SHAPE, 1000.0)).flat.data[30, 40]
    assert wrong == pytest.approx(0.9, abs=0.01)
    assert right == pytest.approx(0.8, abs=0.015)


def test_single_image():
    """One flat is taken as it is; its unit and header are kept."""
    flat, _ = true_flat()
    ccd = CCDData(
        make_frames(flat, n=400).mean(axis=0), unit='adu', meta={'FILTER': 'R'}
    )
    solution = af.dust_flat(ccd)
    assert solution.flat.data[30, 40] == pytest.approx(0.8, abs=0.01)
    assert solution.flat.meta['FILTER'] == 'R'
    assert solution.flat.unit == ''


def test_bias_of_a_single_image():
    """Its bad pixels are none of the dust; its errors count; its shape is checked."""
    flat, _ = true_flat()
    image = make_frames(flat, n=400, bias=100).mean(axis=0)
    ccd = CCDData(image, unit='adu', uncertainty=StdDevUncertainty(0 * image + 3))
    bad = np.zeros(SHAPE, bool)
    bad[80:90, 60:70] = True
    level = np.where(bad, 0.9 * np.median(image), 100)
    exact = af.dust_flat(ccd, bias=np.where(bad, np.nan, 100)).flat
    bias = CCDData(level, unit='adu', mask=bad)
    found = af.dust_flat(ccd, bias=bias).flat
    assert np.array_equal(found.data, exact.data)
    assert (found.data[bad] == 1).all()
    bias.uncertainty = StdDevUncertainty(np.full(SHAPE, 4.0))
    errors = [
        af.dust_flat(ccd, bias=b).flat.uncertainty.array[30, 40]
        for b in (np.full(SHAPE, 100.0), bias)
    ]
    assert errors[1] == pytest.approx(5 / 3 * errors[0], rel=0.05)
    with pytest.raises(ValueError, match=r'dark has the shape \(1, '):
        af.dust_flat(ccd, dark=level[:1])


def test_given_mask():
    """A mask of the user's takes the place of the detection."""
    flat, _dust = true_flat()
    mask = np.zeros(SHAPE, bool)
    mask[20:42, 30:52] = True
    solution = af.dust_flat(make_frames(flat), mask=mask)
    assert solution.flat.data[30, 40] == pytest.approx(0.8, abs=0.015)
    assert (solution.flat.data[70:, 90:] == 1).all()
    with pytest.raises(ValueError, match='mask has the shape'):
        af.dust_flat(make_frames(flat), mask=mask[1:])


def test_nan_stays_local():
    """A dead pixel is masked in the flat and changes nothing else."""
    flat, _ = true_flat()
    frames = make_frames(flat).astype('f4')
    expected = af.dust_flat(frames).flat
    frames[:, 100, 10] = np.nan
    solution = af.dust_flat(frames)
    assert np.isfinite(solution.flat.data).all()
    near = np.zeros(SHAPE, bool)
    near[95:106, 5:16] = True
    assert np.allclose(solution.flat.data[~near], expected.data[~near], atol=2e-3)
    assert (solution.flat.data[near] == 1).all()


@pytest.mark.parametrize('pattern', ['RGGB', 'GBRG'])
def test_bayer_video(tmp_path, pattern):
    """The planes of a Bayer video do not mix."""
    flat, _dust = true_flat((240, 320))
    y, x = np.mgrid[:240, :320]
    flat = np.where(np.hypot(y - 100, x - 140) < 12, 0.8, 1.0)
    colors = np.tile([[1.0, 0.5], [0.6, 0.3]], (120, 160))
    rng = np.random.default_rng(0)
    frames = rng.poisson(2500 * flat * colors, (21, 240, 320)).astype('u2')
    write_ser(tmp_path / 'a.ser', frames, color=pattern, bit_depth=12)
    solution = af.dust_flat(tmp_path / 'a.ser')
    core = solution.flat.data[94:106, 134:146]
    for j in (0, 1):
        for i in (0, 1):
            assert core[j::2, i::2].mean() == pytest.approx(0.8, abs=0.01)
    assert (solution.flat.data[:60] == 1).all()


def test_colour_video(tmp_path):
    """Every channel of a colour video has its own flat."""
    y, x = np.mgrid[:120, :160]
    speck = np.hypot(y - 60, x - 80) < 7
    depth = np.array([0.8, 0.85, 0.9])
    flat = np.where(speck[..., None], depth, 1.0)
    rng = np.random.default_rng(0)
    frames = rng.poisson(150 * flat, (41, 120, 160, 3)).clip(0, 255).astype('u1')
    write_ser(tmp_path / 'a.ser', frames, color='RGB')
    solution = af.dust_flat(tmp_path / 'a.ser')
    assert solution.flat.shape == (120, 160, 3)
    core = solution.flat.data[57:64, 77:84].mean(axis=(0, 1))
    assert np.allclose(core, depth, atol=0.015)


def test_stages_are_reused(tmp_path):
    """A second run reads the median; other settings redo what depends on them."""
    flat, _ = true_flat()
    write_ser(tmp_path / 'a.ser', make_frames(flat), bit_depth=12)
    kwargs = {'stage_dir': tmp_path / 'stages'}
    first = af.dust_flat(tmp_path / 'a.ser', **kwargs)
    second = af.dust_flat(tmp_path / 'a.ser', **kwargs)
    assert second.stages['reused'] == ['median', 'clean']
    assert np.array_equal(first.flat.data, second.flat.data)
    other = DustFlatOptions(margin=4)
    third = af.dust_flat(tmp_path / 'a.ser', options=other, **kwargs)
    assert third.stages['reused'] == ['median']


def test_no_dust():
    """Clean frames give a flat of ones, and the report says so."""
    solution = af.dust_flat(make_frames(np.ones(SHAPE)))
    assert (solution.flat.data == 1).all()
    assert solution.report.verdict == 'weak'
    assert 'no dust' in solution.report.reasons[0]


@pytest.mark.parametrize(
    ('fill', 'dust', 'touched', 'verdict'),
    [
        (0.5, 10.0, 5.0, 'accept'),
        (4.0, 10.0, 5.0, 'weak'),
        (2.5, 20.0, 5.0, 'weak'),
        (11.0, 10.0, 5.0, 'reject'),
        (0.5, 10.0, 30.0, 'weak'),
        (0.5, 10.0, 60.0, 'reject'),
        (0.5, 80.0, 5.0, 'reject'),
    ],
)
def test_verdict(fill, dust, touched, verdict):
    """The verdict follows the limits, and a failure has a reason."""
    numbers = {
        'n_dust': 3,
        'fill_percent': fill,
        'dust_percent': dust,
        'touched_percent': touched,
        'bright_percent': 0.0,
        'control_pixels': 100,
        'fill_chi': 1.0,
    }
    poor = _judge(QualityReport('dust flat', numbers | {'fill_chi': 9.0}, LIMITS))
    assert poor.verdict != 'accept'
    report = _judge(QualityReport('dust flat', numbers, LIMITS))
    assert report.verdict == verdict
    assert bool(report.reasons) == (verdict != 'accept')


@pytest.mark.parametrize(('bright', 'verdict'), [(1.0, 'weak'), (20.0, 'reject')])
def test_sources_are_no_dust(bright, verdict):
    """What shines on the same pixels is not accepted as dust."""
    rng = np.random.default_rng(1)
    image = rng.normal(1000, 3, (200, 260))
    y, x = np.mgrid[:200, :260]
    image *= 1 - 0.2 * (np.hypot(y - 90, x - 120) < 30)
    radius = 3 if verdict == 'weak' else 20
    image += 600 * (np.hypot(y - 150, x - 200) < radius)
    options = DustFlatOptions(detection={'polarity': 'both'})
    report = af.dust_flat(image, options=options).report
    assert report.verdict == verdict
    assert any('shines' in reason for reason in report.reasons)
    assert 0.2 * bright < report.numbers['bright_percent'] < 5 * bright


def test_report_predicts_the_error():
    """The error in the control holes is that under the dust."""
    y, x = np.mgrid[:200, :260]
    texture = 1 + 0.1 * np.sin(x / 4.0) * np.sin(y / 5.0)
    flat = np.ones(texture.shape)
    rng = np.random.default_rng(1)
    for cy, cx in rng.uniform(15, 185, (14, 2)):
        flat[np.hypot(y - cy, x - cx) < 7] = 0.6
    mask = flat < 1
    solution = af.dust_flat(CCDData(20_000 * flat * texture, unit='adu'), mask=mask)
    error = solution.flat.data[mask] / flat[mask] - 1
    measured = 100 * np.sqrt(np.mean(error**2))
    assert solution.report.numbers['fill_percent'] == pytest.approx(measured, rel=0.6)
