# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The parts of the solver: operator, preconditioner, geometry.
"""

from __future__ import annotations

import numpy as np
import pytest

from astroflat.selfcal._kll_fit import SkyFit
from astroflat.selfcal._kll_frames import MergedFrames
from astroflat.selfcal._kll_geometry import study_dithers
from astroflat.selfcal._kll_layout import SkyLayout, taps
from astroflat.selfcal._kll_look import spread
from astroflat.selfcal._kll_noise import NoiseModel
from astroflat.selfcal._kll_operator import SkyOperator
from astroflat.selfcal._kll_options import FitOptions
from astroflat.selfcal._kll_park import Parked
from astroflat.selfcal._kll_precondition import symbol
from astroflat.selfcal._kll_weigh import start


def operator(offsets, shape=(30, 34), groups=None, **options):
    """Return an operator with random weights."""
    offsets = np.asarray(offsets, dtype=float)
    groups = np.zeros(len(offsets), dtype=int) if groups is None else groups
    layout = SkyLayout.of(shape, offsets, groups)
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 256, (len(offsets), *shape)).astype(np.uint8)
    return SkyOperator(layout, offsets, weights, **options)


OFFSETS = np.random.default_rng(0).uniform(-4, 4, (5, 2))


@pytest.mark.parametrize('kind', ['nearest', 'linear', 'cubic'])
@pytest.mark.parametrize('t', [0, 0.2, 0.5, 0.9])
def test_taps_keep_constants(kind, t):
    """The weights sum to 1, and all but the nearest keep slopes."""
    weights = taps(t, kind)
    assert sum(weights.values()) == pytest.approx(1)
    if kind != 'nearest':
        assert sum(i * c for i, c in weights.items()) == pytest.approx(t)


@pytest.mark.parametrize('kind', ['nearest', 'linear', 'cubic'])
def test_spread_is_the_transpose_of_look(kind):
    """The scalar product does not care which side the operator is on."""
    op = operator(OFFSETS, interpolation=kind)
    rng = np.random.default_rng(2)
    sky = rng.standard_normal(op.sky_shape).astype(np.float32)
    frame = rng.standard_normal(op.shape).astype(np.float32)
    for k in range(len(op)):
        out = np.zeros(op.sky_shape, dtype=np.float32)
        spread(op.taps[k], frame, 0, out)
        seen = op.look(k, sky, 0, op.shape[0])
        assert np.vdot(seen, frame) == pytest.approx(np.vdot(sky, out), rel=1e-4)


def test_look_shifts_by_the_offset():
    """What is at a place of the sky is at the place plus the offset."""
    op = operator([[0, 0], [3, -2]])
    sky = np.random.default_rng(3).standard_normal(op.sky_shape).astype(np.float32)
    still, moved = (op.look(k, sky, 0, 30) for k in range(2))
    np.testing.assert_array_equal(moved[3:, :-2], still[:-3, 2:])


def test_normal_equations_are_symmetric_and_semidefinite():
    """As they must be for conjugate gradients."""
    op = operator(OFFSETS, groups=np.array([0, 1, 0, 1, 1]))
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, *op.sky_shape)).astype(np.float32)
    la, lb = rng.standard_normal((2, 5))
    (qa, ra, _), (qb, rb, _) = op.normal(a, la), op.normal(b, lb)
    left, right = np.vdot(b, qa) + lb @ ra, np.vdot(a, qb) + la @ rb
    assert left == pytest.approx(right, rel=1e-3)
    assert np.vdot(a, qa) + la @ ra > 0


def test_known_null_space():
    """A constant, and a slope of flat and sky with levels, change nothing."""
    op = operator(np.rint(OFFSETS))
    y, x = np.mgrid[: op.sky_shape[0], : op.sky_shape[1]].astype(np.float32)
    size = np.abs(op.coverage()).max()
    for sky, levels in (
        (np.ones_like(y), np.zeros(5)),
        (0 * y, np.ones(5)),
        (y, np.rint(OFFSETS)[:, 0]),
        (x, np.rint(OFFSETS)[:, 1]),
    ):
        q, r, _ = op.normal(sky.astype(np.float32), levels)
        assert np.abs(q).max() < 1e-3 * size * max(1, sky.max() / 10)
        assert np.abs(r).max() < 1e-3 * size * 1000


def test_compiled_is_the_same():
    """With and without numba."""
    pytest.importorskip('numba')
    for offsets in (OFFSETS, np.rint(OFFSETS)):
        plain, fast = (
            operator(offsets, compiled=c, threads=2, ridge=0.1) for c in (False, True)
        )
        rng = np.random.default_rng(5)
        sky = rng.standard_normal(plain.sky_shape).astype(np.float32)
        levels = rng.standard_normal(5)
        for a, b in zip(
            plain.normal(sky, levels), fast.normal(sky, levels), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_dense_solution():
    """Flat and fit agree with a dense solution of the same equations."""
    offsets = np.array([[0, 0], [1, 0], [0, 1], [3, 2], [-2, 1], [2, -3]])
    rng = np.random.default_rng(8)
    frames = rng.uniform(500, 1500, (6, 12, 13)).astype(np.float32)
    fit = SkyFit(
        MergedFrames(frames),
        offsets,
        np.zeros(6, dtype=int),
        FitOptions(free_levels=False),
    )
    start(fit)
    logs, weights = fit.residual.astype(float), fit.weights.astype(float)
    fit.step(1e-7)
    gain = dense_flat(logs, weights, offsets)
    difference = fit.flat - gain
    assert np.std(gain) > 0.05
    assert np.std(difference) < 1e-4


def dense_flat(logs, weights, offsets):
    """Solve for flat and sky at once, without any elimination."""
    ny, nx = logs.shape[1:]
    wide = nx + 20
    k, y, x = (a.ravel() for a in np.indices(logs.shape))
    place = (y - offsets[k, 0] + 10) * wide + x - offsets[k, 1] + 10
    matrix = np.zeros((logs.size, ny * nx + (ny + 20) * wide))
    matrix[np.arange(logs.size), y * nx + x] = 1
    matrix[np.arange(logs.size), ny * nx + place] = 1
    root = np.sqrt(weights.ravel())
    fit = np.linalg.lstsq(matrix * root[:, None], logs.ravel() * root, rcond=1e-10)[0]
    return fit[: ny * nx].reshape(ny, nx)


def test_symbol():
    """Waves that fit the offsets are not told, opposite ones fully."""
    k = np.array([0, np.pi / 2, np.pi])
    share = symbol(np.array([[0.0, 0], [2, 0]]), k, np.zeros(1))
    np.testing.assert_allclose(share[:, 0], [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ('offsets', 'kind'),
    [
        (OFFSETS, ''),
        (OFFSETS * [1, 0], 'line'),
        (OFFSETS @ [[0.8, 0.6], [0, 0]], 'line'),
        (OFFSETS * 0.01, 'still'),
        (3 * np.rint(OFFSETS), 'lattice'),
        (np.vstack([3 * np.rint(OFFSETS), [[1, 0], [0, 1], [0, 0]]]), ''),
    ],
)
def test_geometry(offsets, kind):
    """Each kind of dithers is recognised."""
    assert study_dithers(np.asarray(offsets, float), (64, 64)).kind == kind


def test_geometry_counts_within_groups():
    """Between groups, the sky may have changed."""
    offsets = np.array([[0, 0], [1, 0], [2, 0], [0, 5], [1, 5], [2, 5.0]])
    whole = study_dithers(offsets, (64, 64))
    parts = study_dithers(offsets, (64, 64), groups=np.array([0, 0, 0, 1, 1, 1]))
    assert whole.kind != 'line'
    assert parts.kind == 'line'


def test_geometry_knows_the_error_of_offsets():
    """Measured positions of a line are not exactly on it."""
    rng = np.random.default_rng(6)
    offsets = np.column_stack([np.arange(9.0), rng.normal(0, 0.2, 9)])
    assert not study_dithers(offsets, (64, 64)).degenerate
    assert study_dithers(offsets, (64, 64), uncertainty=0.2).kind == 'line'


def test_noise_model_finds_the_noise():
    """Noise that falls with brightness is measured and weighed."""
    rng = np.random.default_rng(7)
    light = rng.uniform(0, 3, 50_000)
    sigma = 0.05 * np.exp(-light / 2)
    model = NoiseModel.of(sigma * rng.standard_normal(light.size), light, 1.0)
    np.testing.assert_allclose(model(light), sigma, rtol=0.12)
    weights = model.weights(np.zeros(3), np.array([0.1, 1.5, 2.9]), 5)
    expected = np.exp([0.1, 1.5, 2.9]) / np.exp(3)
    np.testing.assert_allclose(weights, expected, rtol=0.25)
    assert model.weights(np.array([1.0]), np.array([1.0]), 5)[0] == 0


def test_parked_images_come_back():
    """Bit for bit, of any type, from a file that is gone then."""
    rng = np.random.default_rng(3)
    images = [
        rng.standard_normal((5, 7)).astype(np.float32),
        rng.integers(0, 9, (3, 4, 2)).astype(np.uint16).swapaxes(0, 1),
    ]
    parked = Parked(images)
    for back, image in zip(parked.back(), images, strict=True):
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)
    with pytest.raises(ValueError, match='closed'):
        parked.back()
