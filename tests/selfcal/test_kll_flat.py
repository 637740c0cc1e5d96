# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The flat of dithered frames: against truth, dense algebra and its own claims.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

import astroflat as af
from astroflat.degradation import simulate_video
from astroflat.selfcal import Shifts, _kll_weigh
from astroflat.selfcal._kll_fit import SkyFit
from astroflat.selfcal._kll_options import FitOptions

NOISE = 0.003


def true_flat(shape, rng):
    """Vignetting of 30 %, dust and 1 % pixel response."""
    y, x = (np.linspace(-0.5, 0.5, m) for m in shape)
    flat = 1 - 0.6 * (y[:, None] ** 2 + x**2)
    for _ in range(6):
        cy, cx = rng.uniform(-0.4, 0.4, 2)
        away = np.hypot(y[:, None] - cy, x - cx) / 0.03
        flat *= 1 - 0.1 * np.exp(-0.5 * away**2)
    flat *= 1 + 0.01 * rng.standard_normal(shape)
    return flat / flat.mean()


def dithered(shape, offsets, *, seed=1, noise=NOISE, sky=None, levels=None):
    """Return frames of a moving texture through a flat, and the flat."""
    rng = np.random.default_rng(seed)
    flat = true_flat(shape, rng)
    margin = int(np.abs(offsets).max()) + 4
    if sky is None:
        sky = gaussian_filter(rng.standard_normal([m + 2 * margin for m in shape]), 2.5)
        sky = 1 + 0.1 * sky / sky.std()
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float) + margin
    frames = []
    for k, (dy, dx) in enumerate(offsets):
        seen = map_coordinates(sky, [y - dy, x - dx], order=5)
        level = 1000 if levels is None else levels[k]
        error = noise * rng.standard_normal(shape)
        frames.append(level * seen * flat * (1 + error))
    return np.array(frames, dtype=np.float32), flat


def scatter(reach, n=9, seed=0):
    """Return offsets anywhere in a square."""
    return np.random.default_rng(seed).uniform(-reach, reach, (n, 2))


@pytest.fixture(scope='module')
def solved():
    """A typical case, and its solution."""
    offsets = scatter(6)
    frames, flat = dithered((96, 112), offsets)
    return frames, flat, offsets, af.kll_flat(frames, offsets)


@pytest.mark.parametrize(('reach', 'whole'), [(47, False), (4, False), (4, True)])
def test_small_dithers_reach_the_noise(reach, whole):
    """The residual is that of noise, at dithers of any size."""
    offsets = scatter(reach)
    offsets = np.rint(offsets) if whole else offsets
    frames, flat = dithered((256, 256), offsets)
    solution = af.kll_flat(frames, offsets)
    assert 100 * np.std(solution.flat.data / flat) < 0.12
    assert solution.report.numbers['converged']
    assert solution.report.verdict == 'accept'


def test_flat_is_a_flat(solved):
    """Dimensionless float32 of mean 1, finite, with uncertainty and coverage."""
    flat = solved[3].flat
    assert flat.data.dtype == np.float32
    assert flat.unit == ''
    assert flat.mask is None
    assert abs(flat.data.mean(dtype=float) - 1) < 1e-6
    assert np.isfinite(flat.uncertainty.array).all()
    assert solved[3].coverage.dtype == np.int32
    assert solved[3].coverage.max() == 9
    assert flat.meta['NCOMBINE'] == 9


def test_inputs_are_not_changed():
    """Frames and offsets stay as they are."""
    offsets = scatter(5)
    frames, _ = dithered((40, 40), offsets)
    copies = frames.copy(), offsets.copy()
    af.kll_flat(frames, offsets)
    np.testing.assert_array_equal(frames, copies[0])
    np.testing.assert_array_equal(offsets, copies[1])


def test_uncertainty_covers(solved):
    """Of a normal error, 68 % are within one standard deviation."""
    _, flat, _, solution = solved
    ratio = solution.flat.data / flat
    error = np.abs(ratio - ratio.mean())
    sigma = solution.flat.uncertainty.array
    assert 0.60 < np.mean(error < sigma) < 0.76
    # At the border, where fewer frames meet, as well as inside.
    border = np.ones(flat.shape, dtype=bool)
    border[10:-10, 10:-10] = False
    assert 0.58 < np.mean(error[border] < sigma[border]) < 0.78


def test_reported_error_is_the_true_error(solved):
    """What the report expects is what is left."""
    _, flat, _, solution = solved
    true = 100 * np.std(solution.flat.data / flat)
    assert solution.report.numbers['error_percent'] == pytest.approx(true, rel=0.12)
    nothing = 100 * np.std(flat)
    assert solution.report.numbers['flat_percent'] == pytest.approx(nothing, rel=0.02)


def test_one_direction_is_refused():
    """Stripes along the only direction are undetermined."""
    offsets = np.column_stack([2 * np.arange(9.0), np.arange(9.0)])
    frames, _ = dithered((64, 64), offsets)
    with pytest.raises(af.DegenerateDithersError, match='stripes along 63 deg') as info:
        af.kll_flat(frames, offsets)
    assert len(info.value.modes) == 1


@pytest.mark.parametrize(
    ('offsets', 'words'),
    [
        (np.zeros((6, 2)), 'everything'),
        (scatter(0.1), 'everything'),
        (10 * np.indices((3, 3)).reshape(2, -1).T, 'period of 10 px'),
        (2 * np.indices((3, 3)).reshape(2, -1).T, 'period of 2 px'),
        (np.array([[0, 0], [1, 1], [2, 0], [1, -1], [3, 1]]), 'period of 1.41 px'),
    ],
)
def test_still_and_periodic_dithers_are_refused(offsets, words):
    """Too small and periodic dithers are named."""
    frames = np.ones((len(offsets), 32, 32))
    with pytest.raises(af.DegenerateDithersError, match=words):
        af.kll_flat(frames, offsets)


def test_undetermined_stripes_are_left_out():
    """On request, with the stripes listed and in the uncertainty."""
    offsets = np.column_stack([np.zeros(9), scatter(8)[:, 1]])
    frames, flat = dithered((80, 80), offsets)
    with pytest.warns(af.AstroflatWarning, match='stripes along 0 deg'):
        solution = af.kll_flat(frames, offsets, on_degenerate='warn')
    assert solution.report.verdict == 'weak'
    assert solution.stages['modes'] == solution.report.numbers['undetermined']
    # Nothing of the rows, all of the rest.
    log = np.log(solution.flat.data)
    assert np.ptp(log.mean(axis=1)) < 1e-3
    across = np.log(flat) - np.log(flat).mean(axis=1, keepdims=True)
    left = log - log.mean(axis=1, keepdims=True) - across
    assert np.std(left) < 0.003
    ratio = solution.flat.data / flat
    sigma = solution.flat.uncertainty.array
    assert np.mean(np.abs(ratio - ratio.mean()) < sigma) > 0.55
    assert np.sqrt(np.mean(sigma**2)) > np.std(flat.mean(axis=1))


def test_undetermined_periods_are_left_out():
    """A pattern with the period of a grid of dithers stays in the frames."""
    steps = 4 * np.indices((3, 3)).reshape(2, -1).T
    frames, _ = dithered((64, 64), steps, noise=0.001)
    pattern = 1 + 0.02 * np.cos(2 * np.pi * np.arange(64) / 4)
    solution = af.kll_flat(frames * pattern, steps, on_degenerate='ignore')
    waves = np.fft.rfft(solution.flat.data.mean(axis=0))
    assert np.abs(waves[16]) / 64 < 1e-4
    assert solution.report.numbers['undetermined_percent'] > 1


def test_everything_undetermined_gives_one():
    """Frames that do not move leave the flat at 1."""
    frames, flat = dithered((32, 32), np.zeros((5, 2)))
    solution = af.kll_flat(frames, np.zeros((5, 2)), on_degenerate='ignore')
    np.testing.assert_allclose(solution.flat.data, 1, atol=1e-6)
    assert np.sqrt(np.mean(solution.flat.uncertainty.array**2)) > 0.9 * np.std(flat)
    assert solution.report.verdict == 'reject'


def test_levels_do_not_matter():
    """Clouds and extinction are not taken for a slope of the flat."""
    offsets = scatter(20)
    levels = 1000 * np.random.default_rng(3).uniform(0.5, 1, 9)
    frames, flat = dithered((128, 128), offsets, levels=levels)
    solution = af.kll_flat(frames, offsets)
    error = np.std(solution.flat.data / flat)
    found = np.ravel(solution.stages['levels'])
    ratio = found / levels
    # The slope is told by levels only, which differ by 20 %, and says so.
    plane = solution.report.numbers['plane_percent']
    assert 0.3 < plane < 40
    assert 100 * error < 3 * plane
    assert np.std(ratio / ratio.mean()) < 0.2
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    terms = np.stack([np.ones(y.size), y.ravel(), x.ravel()], axis=1)
    log = np.log(solution.flat.data / flat).ravel()
    left = log - terms @ np.linalg.lstsq(terms, log, rcond=None)[0]
    assert 100 * np.std(left) < 0.13


def test_outliers_and_masks():
    """Cosmic rays count for nothing, masked pixels are not used."""
    offsets = scatter(6)
    frames, flat = dithered((96, 96), offsets)
    rng = np.random.default_rng(5)
    hit = rng.random(frames.shape) < 0.01
    frames[hit] *= rng.uniform(1.5, 30, hit.sum())
    mask = np.zeros((96, 96), dtype=bool)
    mask[40:44, 50:60] = True
    frames[:, mask] = 1e9
    frames[2, 10, 10] = np.nan
    solution = af.kll_flat(frames, offsets, mask=mask)
    lost = solution.flat.mask
    assert lost[mask].all()
    # Few others are lost: those that no majority of the samples agrees on.
    assert np.count_nonzero(lost & ~mask) < 20
    assert (solution.flat.data[lost] == 1).all()
    mask = lost
    assert abs(solution.flat.data[~mask].mean(dtype=float) - 1) < 1e-6
    ratio = (solution.flat.data / flat)[~mask]
    assert 100 * np.std(ratio) < 0.15
    plain = af.kll_flat(frames, offsets, mask=mask, sigma_clip=None)
    assert np.std((plain.flat.data / flat)[~mask]) > 5 * np.std(ratio)


def test_pixels_without_partners_are_masked():
    """Two groups of frames that see different sky cannot be compared."""
    offsets = np.array([[0, 0], [40, 3], [2, 41], [41, 39], [20, 17], [3, 4]])
    frames, _ = dithered((48, 48), offsets, noise=0.001)
    solution = af.kll_flat(frames, offsets, on_degenerate='ignore')
    lonely = solution.coverage == 0
    if lonely.any():
        np.testing.assert_array_equal(solution.flat.mask, lonely)
        assert (solution.flat.data[lonely] == 1).all()
    assert solution.coverage.max() <= 6


def test_same_answer_for_any_number_of_threads_and_memory():
    """Bit for bit."""
    offsets = scatter(5)
    frames, _ = dithered((60, 64), offsets)
    first = af.kll_flat(frames, offsets, n_threads=1)
    second = af.kll_flat(frames, offsets, n_threads=3, mem_limit=1e4)
    np.testing.assert_array_equal(first.flat.data, second.flat.data)


def test_weights():
    """A frame without weight does not matter."""
    offsets = scatter(6, n=10)
    frames, _ = dithered((64, 64), offsets)
    broken = frames.copy()
    broken[4] = np.random.default_rng(0).uniform(500, 1500, (64, 64))
    weights = np.ones(10)
    weights[4] = 0
    a, b = (af.kll_flat(f, offsets, weights=weights) for f in (frames, broken))
    assert np.std(a.flat.data - b.flat.data) < 3e-4


def test_groups_have_skies_of_their_own():
    """A sky that changes between groups does not reach the flat."""
    offsets = scatter(8, n=12)
    shape = (64, 64)
    frames, flat = dithered(shape, offsets)
    sky = gaussian_filter(np.random.default_rng(8).standard_normal((90, 90)), 2.5)
    other, same = dithered(shape, offsets, sky=1 + 0.1 * sky / sky.std())
    np.testing.assert_allclose(flat, same)
    frames[6:] = other[6:]
    one = af.kll_flat(frames, offsets)
    two = af.kll_flat(frames, offsets, groups=2)
    assert 100 * np.std(two.flat.data / flat) < 0.15
    assert np.std(one.flat.data / flat) > 3 * np.std(two.flat.data / flat)
    assert two.stages['sky'][0].shape[0] == 2


def test_many_frames_are_averaged():
    """Frames of nearly the same offset become one, with nothing lost."""
    places = scatter(8, n=10)
    offsets = np.repeat(places, 4, axis=0)
    offsets += np.random.default_rng(1).uniform(-0.02, 0.02, offsets.shape)
    frames, flat = dithered((80, 80), offsets)
    solution = af.kll_flat(frames, offsets, max_frames=16)
    assert solution.report.numbers['n_merged'] < 40
    assert 100 * np.std(solution.flat.data / flat) < 0.07


def test_smooth_flat():
    """A flat believed to be smooth has less noise."""
    offsets = scatter(6)
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    smooth = 1 - 0.2 * (x**2 + y**2)
    sky = 1 + 0.1 * gaussian_filter(rng.standard_normal((116, 116)), 2.5) * 8
    frames, flat = dithered((96, 96), offsets, noise=0.01, sky=sky)
    frames *= (smooth / flat).astype(np.float32)
    rough = af.kll_flat(frames, offsets).flat.data / smooth
    fine = af.kll_flat(frames, offsets, smooth=3).flat.data / smooth
    assert np.std(fine) < 0.4 * np.std(rough)


def test_color_and_bayer_frames():
    """Colours do not mix."""
    offsets = 2 * np.rint(scatter(6))
    red, flat_red = dithered((48, 52), offsets / 2, seed=3)
    blue, flat_blue = dithered((48, 52), offsets / 2, seed=4)
    color = np.stack([red, blue, red], axis=-1)
    solution = af.kll_flat(color, offsets / 2)
    assert solution.flat.shape == (48, 52, 3)
    for c, flat in enumerate((flat_red, flat_blue, flat_red)):
        assert 100 * np.std(solution.flat.data[..., c] / flat) < 0.15
    mosaic = np.empty((9, 96, 104), dtype=np.float32)
    for j, i, part in ((0, 0, red), (0, 1, blue), (1, 0, blue), (1, 1, red)):
        mosaic[:, j::2, i::2] = part
    stack = af.open_frames(mosaic, color='RGGB')
    bayer = af.kll_flat(stack, offsets)
    assert 100 * np.std(bayer.flat.data[::2, ::2] / flat_red) < 0.15
    assert 100 * np.std(bayer.flat.data[::2, 1::2] / flat_blue) < 0.15


def test_calibration_is_subtracted():
    """Bias and dark leave nothing behind."""
    offsets = scatter(6)
    frames, flat = dithered((64, 64), offsets)
    rng = np.random.default_rng(3)
    bias, dark = rng.uniform(200, 300, (2, 64, 64)).astype(np.float32)
    solution = af.kll_flat(frames + bias + dark, offsets, bias=bias, dark=dark)
    plain = af.kll_flat(frames, offsets)
    assert np.std(solution.flat.data - plain.flat.data) < 3e-4
    assert 100 * np.std(solution.flat.data / flat) < 0.13


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'levels': 'some'}, 'levels must be'),
        ({'interpolation': 'sinc'}, 'interpolation must be'),
        ({'on_degenerate': 'hope'}, 'on_degenerate must be'),
        ({'sigma_clip': -1}, 'sigma_clip must be positive'),
        ({'weights': np.ones(3)}, 'weights must have the shape'),
        ({'weights': -np.ones(9)}, 'not negative'),
        ({'groups': 20}, 'groups must be from 1 to 9'),
        ({'offsets': np.zeros((4, 2))}, r'must have the shape \(9, 2\)'),
        ({'offsets': np.full((9, 2), np.nan)}, 'not finite'),
    ],
)
def test_bad_arguments(options, words):
    """Errors name the argument and the value."""
    options = {'offsets': scatter(5), **options}
    with pytest.raises(ValueError, match=words):
        af.kll_flat(np.ones((9, 16, 16)), **options)


def test_too_few_or_dark_frames():
    """Two frames, or no light, are no basis for a flat."""
    with pytest.raises(ValueError, match='give at least 4'):
        af.kll_flat(np.ones((2, 8, 8)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match='frame 0 has no positive samples'):
        af.kll_flat(-np.ones((9, 16, 16)), Shifts.given(scatter(4)))


@pytest.mark.parametrize('kind', ['granulation', 'moon'])
def test_video_in_one_call(tmp_path, kind):
    """Straight from SER: better than nothing by far, and it says so."""
    video = simulate_video(
        12,
        (80, 96),
        kind=kind,
        drift=8,
        pattern='random',
        seeing=0.2,
        gradient=np.zeros((80, 96)),
        rng=5,
    )
    video.write(tmp_path / 'video.ser')
    solution = af.kll_flat(tmp_path / 'video.ser', bias=video.camera.bias)
    nothing, left = np.std(video.flat), np.std(solution.flat.data / video.flat)
    assert left < 0.25 * nothing
    numbers = solution.report.numbers
    assert numbers['error_percent'] < 0.5 * numbers['flat_percent']
    assert solution.report.verdict in ('accept', 'weak')
    assert solution.stages['shifts'].method == 'phase'


def night(bend, seed=3, n=12, drift=False):
    """Return frames with gradients of their own, in step with offsets or not."""
    rng = np.random.default_rng(seed)
    offsets = scatter(8, n=n, seed=seed)
    if drift:
        offsets[:, 1] = np.linspace(-10, 10, n)
    frames, flat = dithered((96, 96), offsets, seed=seed)
    x = np.linspace(-1, 1, 96)
    slopes = bend * (offsets[:, 1] / 8 if drift else rng.standard_normal(n))
    return frames * (1 + slopes[:, None, None] * x), flat, offsets


@pytest.mark.parametrize('seed', [3, 4])
def test_gradients_leave_the_bend_open(seed):
    """Gradients of single frames are no flat, and no flat is accepted for them."""
    frames, flat, offsets = night(0.08, seed=seed)
    solution = af.kll_flat(frames, offsets)
    numbers = solution.report.numbers
    true = 100 * np.std(solution.flat.data / flat)
    assert 0.3 * true < numbers['error_percent'] < 3 * true
    assert numbers['bend_percent'] > 1
    assert solution.report.verdict != 'accept'
    even = af.kll_flat(*night(0, seed=seed)[::2])
    assert even.report.numbers['bend_percent'] < 0.1
    assert even.report.verdict == 'accept'


def test_gradients_in_step_with_a_drift():
    """What cannot be told from the flat is not believed to be one."""
    frames, flat, offsets = night(0.02, drift=True)
    y = np.linspace(-1, 1, 96)[:, None]
    rng = np.random.default_rng(2)
    frames = frames * (1 + 0.004 * rng.standard_normal((12, 1, 1)) * y)
    solution = af.kll_flat(frames, offsets)
    numbers = solution.report.numbers
    true = 100 * np.std(solution.flat.data / flat)
    assert true < 3 * numbers['error_percent']
    assert solution.report.verdict != 'accept'


def test_islands_share_the_flat():
    """Frames of two fields far apart; one frame overlaps with no other."""
    offsets = np.concatenate([scatter(6, n=6), scatter(6, n=6, seed=1) + 5000])
    near = offsets - 5000 * (offsets > 2500)
    frames, flat = dithered((64, 64), near)
    solution = af.kll_flat(frames, offsets)
    assert 100 * np.std(solution.flat.data / flat) < 0.15
    assert solution.stages['sky'][0].shape[0] == 2
    offsets = np.concatenate([offsets, [[-4000, 0]]])
    frames = np.concatenate([frames, frames[:1]])
    with pytest.warns(af.AstroflatWarning, match=r'frames \[12\] overlap with no'):
        again = af.kll_flat(frames, offsets)
    assert 100 * np.std(again.flat.data / flat) < 0.15


class LazyFrames:
    """Frames that are made when they are read, and count what is held."""

    dtype = np.dtype('float32')

    def __init__(self, n, shape, flat):
        self.shape = (n, *shape)
        self.flat = flat
        self.largest = 0

    def __len__(self):
        return self.shape[0]

    def rows(self, first, last):
        """Return rows of all frames."""
        self.largest = max(self.largest, (last - first) * self.shape[0])
        n, _, nx = self.shape
        y, x = np.mgrid[first:last, :nx]
        moves = scatter(6, n=n)
        sky = [1 + 0.1 * np.sin((y - j) / 3) * np.cos((x - i) / 4) for j, i in moves]
        values = np.stack(sky) * self.flat[first:last]
        return values.astype(np.float32), np.zeros(values.shape, dtype=bool)


def test_same_answer_for_any_band(monkeypatch):
    """However many rows are read at a time, and never all of many frames."""
    flat = true_flat((96, 64), np.random.default_rng(0))
    found = []
    for band in (2**21, 2**15, 2**12):
        monkeypatch.setattr(_kll_weigh, '_BAND', band)
        frames = LazyFrames(8, (96, 64), flat)
        fit = SkyFit(frames, scatter(6, n=8), np.zeros(8, dtype=int), FitOptions())
        found.append(fit.run().flat)
        assert frames.largest <= max(band / 64, 8 * 8)
        assert np.std(fit.flat - np.log(flat)) < 5e-3
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
