# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The corrector of single frames: truth, symmetry, and what must not change."""

import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)

import astroflat as af
from astroflat.degradation import make_scene, sample_fields
from astroflat.neural import ModelError
from astroflat.neural._bins import bin_mean
from astroflat.neural._cells import Cells, grid_shape, sample_cells
from astroflat.neural._compose import _apportion, sky_share
from astroflat.neural._dust_levels import bin_factors, select_objects
from astroflat.neural._plane_images import chance_right
from astroflat.neural._smooth import SmoothFields, enlarge, gate
from astroflat.neural._symmetry import N_WAYS, turn, turn_back
from astroflat.quality import flat_residual

SHAPE = (256, 256)


@pytest.fixture(scope='module')
def corrector():
    """Return the corrector that comes with astroflat."""
    return af.FlatCorrector(device='cpu', n_threads=1)


def make_frame(seed, *, kinds=('vignetting', 'motes'), difficulty=0.8, shape=SHAPE):
    """Return a noisy star field with fields, and their truth."""
    rng = np.random.default_rng(seed)
    light = make_scene(shape, kind='starfield', rng=rng, level=3000.0)
    fields = sample_fields(shape, difficulty=difficulty, rng=rng, kinds=kinds)
    gradient = 3000 * fields.gradient
    frame = rng.poisson(light * fields.flat + gradient).astype(np.float32)
    return frame, fields


@pytest.fixture(scope='module')
def frame():
    """Return a frame and its truth."""
    return make_frame(3)


@pytest.fixture(scope='module')
def solution(corrector, frame):
    """Return the estimate of the frame."""
    return corrector.estimate(frame[0])


@pytest.fixture(scope='module')
def answers(corrector):
    """Return estimates of three frames with their truth."""
    frames = [make_frame(seed) for seed in (11, 12, 13)]
    return [(corrector.estimate(image).flat, truth) for image, truth in frames]


def test_better_than_nothing(answers):
    """Better than nothing."""
    left, before = [], []
    for flat, truth in answers:
        left.append(flat_residual(flat.data, truth.flat)['total_percent'])
        before.append(flat_residual(np.ones(SHAPE), truth.flat)['total_percent'])
    assert np.median(np.divide(left, before)) < 0.4
    assert np.all(np.less(left, before))


def test_uncertainty_covers(answers):
    """Uncertainty covers."""
    inside = []
    for flat, truth in answers:
        error = flat.data / truth.flat
        error = error / np.median(error) - 1
        inside.append(np.mean(np.abs(error) < flat.uncertainty.array / flat.data))
    assert 0.5 < np.mean(inside) < 0.95


def test_gradient_found(corrector):
    """Gradient found."""
    image, fields = make_frame(5, kinds=('linear',), difficulty=1.0)
    solution = corrector.estimate(CCDData(image, unit='adu'))
    assert solution.gradient.unit == u.adu
    truth = 3000 * fields.gradient
    truth -= truth.mean()
    corrected = solution.correct(image)
    even = corrected / (image - truth)
    # F and G share what cannot be told apart: the corrected sky is what counts.
    assert np.std(even) < 0.5 * np.std(truth) / 3000


@pytest.mark.parametrize('level', [1.0, 60_000.0])
def test_constant_stays(corrector, level):
    """Constant stays."""
    image = np.full(SHAPE, level, np.float32)
    solution = corrector.estimate(image)
    assert (solution.flat.data == 1).all()
    assert solution.gradient is None
    assert (solution.correct(image) == image).all()


def test_clean_frame_is_left_alone(corrector):
    """Clean frame is left alone."""
    image, _ = make_frame(31, difficulty=0.0)
    flat = corrector.estimate(image).flat.data
    assert np.abs(flat - 1).max() < 0.003


def test_galaxy_is_no_vignetting(corrector):
    """Galaxy is no vignetting."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    galaxy = 100 + 2000 * np.exp(-3 * np.hypot(x, y))
    image = np.random.default_rng(1).poisson(galaxy).astype('f4')
    solution = corrector.estimate(image)
    assert np.abs(solution.flat.data - 1).max() < 0.005
    assert solution.report.verdict != 'accept'


def test_gain_and_unit(corrector, frame, solution):
    """Gain and unit."""
    scaled = corrector.estimate(CCDData(7.25 * frame[0], unit='electron'))
    np.testing.assert_allclose(scaled.flat.data, solution.flat.data, atol=2e-5)


@pytest.mark.parametrize('way', [1, 4, 6])
def test_turns_with_the_frame(corrector, frame, solution, way):
    """Turns with the frame."""
    turned = corrector.estimate(np.ascontiguousarray(turn(frame[0], way)))
    np.testing.assert_allclose(
        turn_back(turned.flat.data, way), solution.flat.data, atol=2e-4
    )


@pytest.mark.parametrize('kind', [VarianceUncertainty, InverseVariance])
def test_kinds_of_uncertainty(corrector, kind):
    """Errors of the frame in any kind; those of the fields are deviations."""
    image, _ = make_frame(4, kinds=('linear',), shape=(128, 128))
    plain = corrector.estimate(CCDData(image, unit='adu'), mode='additive')
    error = kind(np.full(image.shape, 4.0, np.float32))
    ccd = CCDData(image, unit='adu', uncertainty=error)
    found = corrector.estimate(ccd, mode='additive')
    for field, same in ((found.flat, plain.flat), (found.gradient, plain.gradient)):
        assert type(field.uncertainty) is StdDevUncertainty
        np.testing.assert_array_equal(field.data, same.data)
        np.testing.assert_array_equal(field.uncertainty.array, same.uncertainty.array)
    assert type(found.correct(ccd).uncertainty) is kind


def test_input_is_not_changed(corrector, frame):
    """Input is not changed."""
    image = frame[0].copy()
    corrector.estimate(image, mask=image > np.quantile(image, 0.99))
    assert (image == frame[0]).all()


def test_bad_pixels_stay_local(corrector, frame, solution):
    """Bad pixels stay local."""
    image = frame[0].copy()
    image[40:60, 100:140] = np.nan
    found = corrector.estimate(image)
    assert found.flat.mask[45, 120]
    assert found.flat.data[45, 120] == 1
    assert np.isfinite(found.flat.data).all()
    away = np.ones(SHAPE, bool)
    away[20:80, 80:160] = False
    ratio = (found.flat.data / solution.flat.data)[away]
    assert np.std(ratio) < 0.005


def test_dust_alone_is_one_elsewhere(corrector, frame):
    """Dust alone is one elsewhere."""
    solution = corrector.estimate(frame[0], parts='dust')
    assert 0 < solution.changed_fraction < 0.5
    off = solution.flat.data == 1
    assert off.mean() > 0.5
    under = frame[1].dust_mask & ~off
    assert solution.flat.data[under].mean() < 0.99
    assert solution.gradient is None


def test_smooth_alone(corrector, frame):
    """Smooth alone."""
    flat = corrector.estimate(frame[0], parts='smooth').flat.data
    assert np.abs(np.diff(flat, axis=0)).max() < 0.02


def test_modes():
    """Modes."""
    rng = np.random.default_rng(1)
    v, g = rng.normal(0, 0.1, (2, 8, 8))
    cells = Cells(np.zeros((18, 16, 16), np.float32), 1.0, np.ones((16, 16)))
    small = np.full((8, 8), 0.01)
    fields = SmoothFields(v, g, small, small, (0.9, 0.9), 0.0, 1.0, cells)
    share = sky_share(fields.structure)
    both, gates = _apportion(fields, 'both', (1.0, 2.0))
    assert gates == (share, share)
    np.testing.assert_allclose(both[0], share * v)
    np.testing.assert_allclose(both[1], share * g)
    multiplicative, gates = _apportion(fields, 'multiplicative', (1.0, 2.0))
    assert gates == (share, 0)
    np.testing.assert_allclose(multiplicative[0], share * (v + g))
    additive, gates = _apportion(fields, 'additive', (1.0, 2.0))
    assert gates == (0, share)
    np.testing.assert_allclose(additive[1], share * (v + g))
    assert (additive[0] == 0).all()


def test_strength(corrector, frame, solution):
    """Strength."""
    none = corrector.estimate(frame[0], strength=0.0)
    assert (none.flat.data == 1).all()
    half = corrector.estimate(frame[0], strength=0.5)
    ratio = half.flat.data**2 / solution.flat.data
    assert np.std(ratio) < 1e-3


def test_colour(corrector, frame):
    """Colour."""
    image = np.stack([frame[0], 0.5 * frame[0], 2 * frame[0]], axis=-1)[64:192, 64:192]
    joint = corrector.estimate(image)
    assert joint.flat.shape == image.shape
    np.testing.assert_allclose(
        joint.flat.data[..., 0], joint.flat.data[..., 2], atol=1e-5
    )
    separate = corrector.estimate(image, channels='separate')
    np.testing.assert_allclose(
        separate.flat.data[..., 1], joint.flat.data[..., 1], atol=1e-3
    )


def test_mosaic(corrector):
    """Mosaic."""
    image, _ = make_frame(3, shape=(160, 192))
    image[::2, ::2] *= 0.3
    ccd = CCDData(image, unit='adu', meta={'BAYERPAT': 'RGGB'})
    flat = corrector.estimate(ccd).flat.data
    # A mosaic is not taken for structure.
    assert abs(flat[::2, ::2].mean() / flat[1::2, 1::2].mean() - 1) < 1e-3


def test_mosaic_of_odd_sides(corrector):
    """The planes of a mosaic of odd sides differ by a row or a column."""
    image, _ = make_frame(3, shape=(161, 191))
    image[::2, ::2] *= 0.3
    ccd = CCDData(image, unit='adu', meta={'BAYERPAT': 'RGGB'})
    flat = corrector.estimate(ccd).flat.data
    assert flat.shape == image.shape
    assert abs(flat[::2, ::2].mean() / flat[1::2, 1::2].mean() - 1) < 1e-3
    even = corrector.estimate(ccd[:160, :190]).flat.data
    assert abs(np.std(flat[:160, :190] / even)) < 3e-3


@pytest.mark.parametrize('name', ['NONE', 'TRUE', 'mono', ''])
def test_what_is_no_mosaic(corrector, name):
    """Cameras without colours write other words where the mosaic should stand."""
    image, _ = make_frame(3, shape=(96, 96))
    ccd = CCDData(image, unit='adu', meta={'BAYERPAT': name})
    flat = corrector.estimate(ccd).flat.data
    np.testing.assert_array_equal(flat, corrector.estimate(image).flat.data)


@pytest.mark.parametrize('worst', [np.inf, np.nan])
def test_stretched_frame_with_bad_pixels(corrector, worst):
    """The highest value of a stretched frame is that of its good pixels."""
    image, _ = make_frame(3, shape=(128, 128))
    image = (image / image.max()) ** (1 / 2.2)
    image[3, 4] = 0.5
    mask = np.zeros(image.shape, bool)
    mask[3, 4] = True
    expected = corrector.estimate(image, mask=mask, stretched=True).flat.data
    image[3, 4] = worst
    found = corrector.estimate(image, stretched=True).flat.data
    np.testing.assert_array_equal(found, expected)
    nothing = corrector.estimate(np.full_like(image, worst), stretched=True)
    assert nothing.report.verdict == 'reject'


def test_stretched_is_never_accepted(corrector, frame):
    """Stretched is never accepted."""
    image = (frame[0] / frame[0].max()) ** (1 / 2.2)
    solution = corrector.estimate(image, stretched=True)
    assert solution.report.verdict != 'accept'
    assert solution.gradient is None
    flat = corrector.estimate(frame[0], mode='multiplicative').flat.data
    assert np.corrcoef(solution.flat.data.ravel() ** 2.2, flat.ravel())[0, 1] > 0.99


@pytest.mark.parametrize('shape', [(64, 64), (70, 131), (300, 64)])
def test_any_size(corrector, shape):
    """Any size."""
    image = np.random.default_rng(1).poisson(500, shape).astype('f4')
    flat = corrector.estimate(image).flat
    assert flat.shape == shape
    assert np.abs(flat.data - 1).max() < 0.01


def test_confidence_is_that_of_student():
    """Two degrees of freedom, 68.27 % within one sigma; certain without any."""
    from scipy.stats import t

    sigma = np.array([[1e-4, 0.002, 0.005], [0.01, 0.03, np.inf]], np.float32)
    scale = t.ppf(0.5 + 0.6827 / 2, 2)
    expected = 2 * t.cdf(scale * 0.01 / sigma, 2) - 1
    np.testing.assert_allclose(chance_right(sigma), expected, rtol=1e-5, atol=1e-6)
    assert chance_right(np.full((1, 1), 0.01))[0, 0] == pytest.approx(0.6827)
    assert chance_right(np.zeros((1, 1)))[0, 0] == 1.0


def test_confidence_and_report(solution):
    """Confidence and report."""
    assert solution.confidence.shape == SHAPE
    assert 0 <= solution.confidence.min() <= solution.confidence.max() <= 1
    numbers = solution.report.numbers
    assert numbers['nothing_percent'] > numbers['expected_percent']
    assert solution.flat.meta['AFMETH'] == 'FlatCorrector'
    assert solution.flat.meta['AFMODEL'].startswith('flat-fields')
    assert len(solution.flat.meta['AFMODSH2']) == 16


def test_foreign_frame_is_rejected(corrector):
    """Foreign frame is rejected."""
    noise = np.random.default_rng(1).normal(0.05, 1, SHAPE)
    assert corrector.estimate(noise).report.verdict == 'reject'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'mode': 'sideways'}, 'mode='),
        ({'parts': 'some'}, 'parts='),
        ({'strength': 2}, 'strength=2'),
        ({'channels': 'odd'}, 'channels='),
    ],
)
def test_errors(corrector, options, message):
    """Errors."""
    with pytest.raises(ValueError, match=message):
        corrector.estimate(np.ones((64, 64)), **options)


def test_folders_of_networks(tmp_path, monkeypatch):
    """A folder that happens to be called 'default' is none; ~ is the home."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'default').mkdir()
    corrector = af.FlatCorrector(device='cpu', n_threads=1)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    for model in corrector._models:
        shutil.copy(model.path, tmp_path / 'default')
    same = af.FlatCorrector('~/default', device='cpu', n_threads=1)
    assert same.cards == corrector.cards
    with pytest.raises(ModelError, match='not for'):
        af.FlatCorrector(corrector._models[::-1], device='cpu', n_threads=1)


def test_too_small(corrector):
    """Too small."""
    with pytest.raises(ValueError, match='64 x 64'):
        corrector.estimate(np.ones((63, 200)))


def test_no_light(corrector):
    """No light."""
    solution = corrector.estimate(np.zeros((64, 64)))
    assert solution.report.verdict == 'reject'
    assert (solution.flat.data == 1).all()


# ------------------------------------------------------------------ pieces
def test_ways_are_undone():
    """Ways are undone."""
    array = np.arange(24).reshape(2, 3, 4)
    for way in range(N_WAYS):
        assert (turn_back(turn(array, way), way) == array).all()
    assert len({turn(array, way).tobytes() for way in range(N_WAYS)}) == N_WAYS


def test_enlarge_keeps_constants_and_planes():
    """Enlarge keeps constants and planes."""
    assert np.allclose(enlarge(np.full((5, 7), 2.5), (53, 91)), 2.5, atol=1e-6)
    rows = np.arange(6)[:, None] + np.zeros((1, 4))
    big = enlarge(rows, (60, 40), order=1)
    assert np.allclose(big[5:-5, 0], (np.arange(60) + 0.5)[5:-5] / 10 - 0.5, atol=1e-5)


def test_bins_leave_bad_pixels_out():
    """Bins leave bad pixels out."""
    image = np.arange(30.0).reshape(5, 6)
    bad = np.zeros((5, 6), bool)
    bad[0, 0] = bad[4] = True
    means, holes = bin_mean(image, bad, 2)
    assert means.shape == (3, 3)
    assert means[0, 0] == pytest.approx((1 + 6 + 7) / 3)
    assert holes.tolist() == [[False] * 3, [False] * 3, [True] * 3]


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        ((256, 256), (64, 64)),
        ((4000, 6000), (40, 64)),
        ((64, 640), (16, 64)),
        ((1024, 1536), (40, 64)),
    ],
)
def test_grid(shape, expected):
    """Grid."""
    assert grid_shape(shape) == expected


def test_cells_of_a_large_frame_have_the_level():
    """Cells of a large frame have the level."""
    cells = sample_cells(np.full((700, 900), 50.0), np.zeros((700, 900), bool))
    assert cells.level == 50
    assert np.allclose(cells.channels[:16], 0, atol=1e-6)
    assert (cells.valid == 1).all()


def test_bin_factors():
    """Bin factors."""
    assert bin_factors((400, 512)) == [1]
    assert bin_factors((1024, 1536)) == [4, 2, 1]
    assert bin_factors((4000, 6000)) == [16, 8, 4, 2]


def test_gate():
    """Gate."""
    field = np.array([[1.0, -1.0]])
    assert gate(field, np.ones((1, 2)), (1.0, 2.0)) == 0
    assert gate(field, np.full((1, 2), 0.4), (1.0, 2.0)) == 1
    assert gate(field, np.full((1, 2), 1 / 1.5), (1.0, 2.0)) == pytest.approx(0.5)


def test_objects_are_kept_or_dropped_whole():
    """Objects are kept or dropped whole."""
    value = np.zeros((40, 40))
    value[5:10, 5:10], value[20:25, 20:25], value[30:, :] = -0.1, -0.01, -0.1
    logit = np.where(value < 0, 5.0, -5.0)
    limits = {'min_chance': 0.9, 'min_significance': 1.0, 'max_area': 0.2}
    # The band is larger than max_area: it has to be 1.35 times as significant.
    for sigma, expected in ((0.08, (1, 2)), (0.07, (2, 1))):
        kept, *counts = select_objects(value, np.full((40, 40), sigma), logit, **limits)
        assert tuple(counts) == expected
        assert (kept[5:10, 5:10] == -0.1).all()
        assert (kept[20:25, 20:25] == 0).all()
        assert np.count_nonzero(kept[:30]) in (25, 25 + 2 * 40)
