# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A stale flat against the truth, case by case."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

import astroflat as af
from astroflat.quality import flat_residual
from astroflat.selfcal import RepairOptions, repair_flat
from astroflat.selfcal._blocks import (
    block_medians,
    chebyshev_powers,
    evaluate_plane,
    fit_plane,
    upsample,
)
from astroflat.selfcal._repair_choice import convincing
from astroflat.selfcal._repair_frames import mask_sources
from astroflat.selfcal._repair_motes import Template, place, shifted
from astroflat.selfcal._repair_new import find_new
from astroflat.selfcal._repair_search import Motion, fit_motion

SHAPE = (192, 240)
MOTES = [(50, 60, 13, 0.06), (140, 75, 11, 0.05), (85, 170, 14, 0.055)]
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def mote(y0, x0, radius, depth):
    """Return the transmission of a donut."""
    distance = np.hypot(Y - y0, X - x0)
    disc = 1 / (1 + np.exp((distance - radius) / 1.2))
    hole = 0.5 / (1 + np.exp((distance - 0.35 * radius) / 1.2))
    return 1 - depth * (disc - hole)


def make(seed, *, shift=(0, 0), gone=(), new=(), strength=1.0, pedestal=0.0, n=6):
    """Return the true flat, the stale one, and frames with stars."""
    rng = np.random.default_rng(seed)
    vignette = np.exp(-0.15 * (((Y - 95) / 120) ** 2 + ((X - 115) / 120) ** 2))
    old, now = np.ones(SHAPE), np.ones(SHAPE)
    for k, (y0, x0, radius, depth) in enumerate(MOTES):
        old *= mote(y0, x0, radius, depth)
        if k not in gone:
            now *= mote(y0 + shift[0], x0 + shift[1], radius, depth)
    for values in new:
        now *= mote(*values)
    response = rng.normal(1, 0.003, SHAPE)
    true = vignette * now * response
    stale = (vignette**strength * old * response + pedestal) / (1 + pedestal)
    stale *= rng.normal(1, 0.0007, SHAPE)
    stars = rng.uniform(0, 1, (40, 3)) * [*SHAPE, 1]
    frames = []
    for _ in range(n):
        dy, dx = rng.uniform(-12, 12, 2)
        slope = rng.normal(0, 0.02, 2)
        scene = 1 + slope[0] * (Y / 96 - 1) + slope[1] * (X / 120 - 1)
        for y0, x0, flux in stars:
            distance = (Y - y0 - dy) ** 2 + (X - x0 - dx) ** 2
            scene += 3 * flux**6 * np.exp(-distance / 4.5)
        frames.append(1000 * scene * true * rng.normal(1, 0.006, SHAPE))
    return true, stale.astype('f4'), np.array(frames, 'f4')


def dust_percent(flat, true):
    """Return the error inside the dust."""
    return flat_residual(flat, true)['dust_percent']


def test_right_flat_is_left_alone():
    """A flat that is right comes back to the last bit, with its noise."""
    _, stale, frames = make(1)
    before = stale.copy(), frames.copy()
    solution = repair_flat(stale, frames, n_threads=1)
    assert solution.flat.data.tobytes() == stale.tobytes()
    np.testing.assert_array_equal(stale, before[0])
    np.testing.assert_array_equal(frames, before[1])
    report = solution.report
    assert report.numbers['n_changed_pixels'] == 0
    assert report.numbers['n_motes'] >= 3
    assert report.verdict == 'accept'
    assert (solution.stages['change'] == 1).all()
    assert (solution.stages['sigma'] == 0).all()


def test_noise_changes_nothing():
    """Frames in which nothing is seen change nothing, and the report says so."""
    _, stale, frames = make(1, shift=(3, 2), n=3)
    frames += np.random.default_rng(0).normal(0, 900, frames.shape).astype('f4')
    solution = repair_flat(stale, frames, n_threads=1)
    assert solution.flat.data.tobytes() == stale.tobytes()
    assert solution.report.verdict == 'weak'
    assert 'noisy' in ' '.join(solution.report.reasons)


@pytest.fixture(scope='module')
def moved():
    """Return a flat with motes that moved, and its repair."""
    true, stale, frames = make(2, shift=(5, -4))
    header = fits.Header({'FILTER': 'R'})
    mask = np.zeros(SHAPE, bool)
    mask[:5, :5] = True
    ccd = CCDData(
        stale,
        unit='',
        mask=mask,
        meta=header,
        uncertainty=StdDevUncertainty(np.full(SHAPE, 0.0007, 'f4')),
    )
    return true, ccd, frames, repair_flat(ccd, frames, n_threads=1)


def test_motes_that_moved(moved):
    """A shift that all motes share is found, and halves the error many times."""
    true, stale, _, solution = moved
    numbers = solution.report.numbers
    assert numbers['n_moved'] + numbers['n_followed'] >= 3
    assert numbers['motion_y_pixels'] == pytest.approx(5, abs=0.5)
    assert numbers['motion_x_pixels'] == pytest.approx(-4, abs=0.5)
    before, after = dust_percent(stale, true), dust_percent(solution.flat, true)
    assert before > 1.0
    assert after < 0.15 * before


def test_rest_is_untouched_to_the_bit(moved):
    """Pixels off the motes keep their bits; the number of others is reported."""
    _, stale, _, solution = moved
    touched = solution.flat.data != stale.data
    numbers = solution.report.numbers
    assert numbers['n_changed_pixels'] == np.count_nonzero(touched)
    assert 0.05 < touched.mean() < 0.3
    near = np.zeros(SHAPE, bool)
    for y0, x0, radius, _ in MOTES:
        near |= np.hypot(Y - y0 - 2, X - x0 + 2) < 1.6 * radius + 14
    assert not (touched & ~near).any()
    same = solution.flat.uncertainty.array == stale.uncertainty.array
    assert same[~touched].all()
    assert np.count_nonzero(same & touched) < 0.001 * np.count_nonzero(touched)
    assert solution.flat.meta['NPIXCHG'] == np.count_nonzero(touched)
    assert solution.flat.meta['FILTER'] == 'R'
    assert 'NPIXCHG' not in stale.meta
    np.testing.assert_array_equal(solution.flat.mask, stale.mask)


def test_uncertainty_covers_the_error(moved):
    """The uncertainty of changed pixels is of the size of their error."""
    true, _, _, solution = moved
    touched = solution.stages['change'] != 1
    error = np.log(solution.flat.data / true)
    error = error - np.median(error[~touched])
    sigma = solution.flat.uncertainty.array / solution.flat.data
    ratio = np.std(error[touched]) / np.sqrt(np.mean(sigma[touched] ** 2))
    assert 0.5 < ratio < 2
    assert (solution.flat.uncertainty.array[touched] > 0.0006).all()


def test_same_on_threads(moved):
    """Threads do not change a bit."""
    _, stale, frames, solution = moved
    again = repair_flat(stale, frames, n_threads=3)
    assert again.flat.data.tobytes() == solution.flat.data.tobytes()


def test_gone_and_new():
    """A mote that is gone is taken out, and one that came is put in."""
    true, stale, frames = make(3, gone=(1,), new=[(150, 190, 12, 0.05)])
    solution = repair_flat(stale, frames, n_threads=1)
    motes = solution.stages['motes']
    actions = [str(action) for action in motes['action']]
    assert sorted(a for a in actions if a != 'keep') == ['gone', 'new']
    assert actions.count('keep') >= 2
    new = motes[motes['action'] == 'new'][0]
    assert abs(new['x'].value - 190) < 1.5
    assert abs(new['y'].value - 150) < 1.5
    gone = motes[motes['action'] == 'gone'][0]
    assert abs(gone['x'].value - 75) < 1.5
    before, after = dust_percent(stale, true), dust_percent(solution.flat, true)
    assert after < 0.2 * before
    hole = np.hypot(Y - 140, X - 75) < 15
    error = np.std((solution.flat.data / true)[hole])
    assert error < 0.3 * np.std((stale / true)[hole])


def test_ghosts_of_undetected_motes():
    """A mote that the detector misses in the flat is mended by its ghosts."""
    rng = np.random.default_rng(9)
    stale = rng.normal(mote(60, 60, 9, 0.1), 0.0007).astype('f4')
    true = mote(65, 68, 9, 0.1)
    frames = rng.normal(1000 * true, 7, (5, *SHAPE)).astype('f4')
    excess = np.log(frames / stale)
    weight = np.full_like(excess, 1 / 0.007**2)
    (pair,) = find_new(excess, weight, flat=np.log(stale), options={})
    assert pair.action == 'pair'
    change = np.zeros(SHAPE)
    change[pair.box] = pair.values
    error = np.log(stale / true)
    assert np.std(error + change) < 0.25 * np.std(error)
    # Bright where the flat has nothing: a nebula that did not move.
    bright = excess - np.log(true / stale) - np.log(mote(120, 150, 12, 0.05))
    assert find_new(bright, weight, flat=np.log(stale), options={}) == []


@pytest.mark.parametrize('strength', [1.3, 0.7])
def test_strength(strength):
    """A vignette that is too strong or too weak gets its exponent."""
    true, stale, frames = make(4, strength=strength)
    solution = repair_flat(stale, frames, n_threads=1)
    numbers = solution.report.numbers
    assert numbers['vignette_strength'] == pytest.approx(1 / strength, rel=0.03)
    assert numbers['pedestal'] == 0
    before, after = (
        flat_residual(f, true)['large_percent'] for f in (stale, solution.flat)
    )
    assert after < 0.1 * before


def test_pedestal():
    """If vignette and motes need one factor, it is a pedestal."""
    true, stale, frames = make(5, pedestal=0.25)
    solution = repair_flat(stale, frames, n_threads=1)
    assert solution.report.numbers['pedestal'] == pytest.approx(0.2, abs=0.03)
    before, after = (
        flat_residual(f, true)['total_percent'] for f in (stale, solution.flat)
    )
    assert after < 0.2 * before


def test_depth_only_if_allowed():
    """Motes that are all deeper than in the flat are reported, scaled if asked."""
    true, stale, frames = make(6)
    ratio = np.ones(SHAPE)
    for values in MOTES:
        ratio *= mote(*values)
    frames *= ratio.astype('f4') ** 0.3
    true *= ratio**0.3
    kept = repair_flat(stale, frames, n_threads=1)
    assert kept.flat.data.tobytes() == stale.tobytes()
    assert kept.report.numbers['mote_strength'] == pytest.approx(1.3, abs=0.05)
    assert kept.report.verdict == 'weak'
    scaled = repair_flat(stale, frames, n_threads=1, changes=('depth',))
    assert scaled.report.verdict == 'accept'
    assert dust_percent(scaled.flat, true) < 0.2 * dust_percent(stale, true)


def test_smooth_correction():
    """A bend that all frames share is corrected only if asked for."""
    true, stale, frames = make(7)
    bend = 1 + 0.02 * np.cos(2 * Y / 192) * np.sin(3 * X / 240)
    stale = (stale * bend).astype('f4')
    options = RepairOptions(smooth_degree=5)
    solution = repair_flat(
        stale, frames, n_threads=1, changes=('moved',), options=options
    )
    assert solution.report.numbers['smooth_degree'] >= 3
    rest = np.log(solution.flat.data / true)
    terms = np.stack([np.ones(SHAPE), Y, X], axis=-1).reshape(-1, 3)

    def bent(image):
        plane = terms @ np.linalg.lstsq(terms, image.ravel(), rcond=None)[0]
        return np.std(block_medians(image - plane.reshape(SHAPE), true > 0, 8))

    assert bent(rest) < 0.25 * bent(np.log(stale / true))


def test_flat_in_counts_and_solutions():
    """A flat in counts is divided by its mean; a solution keeps its gradient."""
    _, stale, frames = make(1, n=3)
    counts = CCDData(30000 * stale, unit='adu')
    solution = repair_flat(counts, frames, n_threads=1, bias=0.0)
    assert solution.flat.unit == u.dimensionless_unscaled
    assert np.mean(solution.flat.data) == pytest.approx(1, abs=1e-4)
    gradient = CCDData(np.ones(SHAPE, 'f4'), unit='adu')
    given = af.FlatSolution(CCDData(stale, unit=''), gradient)
    assert repair_flat(given, frames, n_threads=1).gradient is gradient


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'frames': np.ones((1, *SHAPE))}, 'two are needed'),
        ({'frames': np.ones((3, 20, 20))}, 'frames have the shape'),
        ({'frames': -np.ones((3, *SHAPE))}, 'bias='),
        ({'bias': np.ones((3, 3))}, 'bias has the shape'),
        ({'changes': 'moved'}, 'changes must be'),
        ({'changes': ('moved', 'all')}, 'changes must be'),
        ({'flat': -np.ones(SHAPE)}, 'must be positive'),
    ],
)
def test_errors(change, text):
    """Errors name what is wrong."""
    rng = np.random.default_rng(0)
    even = rng.normal(1, 0.01, (3, *SHAPE)).astype('f4')
    arguments = {'flat': even[0], 'frames': even}
    arguments.update(change)
    flat, frames = arguments.pop('flat'), arguments.pop('frames')
    with pytest.raises(ValueError, match=text):
        repair_flat(flat, frames, n_threads=1, **arguments)


@pytest.mark.parametrize(
    'change', [{'smooth_degree': 1}, {'n_groups': 1}, {'reach': 0}, {'min_shift': -1}]
)
def test_option_errors(change):
    """Options that make no sense are refused."""
    with pytest.raises(ValueError, match=next(iter(change))):
        RepairOptions(**change)


def test_blocks():
    """Blocks and polynomials reproduce what they can represent."""
    image = 9 + 0.01 * Y - 0.02 * X
    blocks = block_medians(image, np.ones(SHAPE, bool), 16)
    assert blocks.shape == (12, 15)
    np.testing.assert_allclose(blocks[0, 0], image[:16, :16].mean(), rtol=1e-12)
    plane = evaluate_plane(fit_plane(blocks, degree=2), SHAPE, 16)
    np.testing.assert_allclose(plane, image, rtol=1e-9)
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(upsample(blocks, SHAPE, 16)[inner], image[inner])
    constant = block_medians(np.full(SHAPE, 7.0), np.ones(SHAPE, bool), 50)
    np.testing.assert_array_equal(upsample(constant, SHAPE, 50), 7)
    assert len(chebyshev_powers(4)) == 15


def test_sources_are_bright():
    """Stars and nebulae are masked, dust is not."""
    rng = np.random.default_rng(0)
    image = rng.normal(1, 0.02, SHAPE) * mote(60, 60, 14, 0.2)
    image += 2 * np.exp(-((Y - 120) ** 2 + (X - 150) ** 2) / 4)
    image += 0.2 * np.exp(-((Y - 60) ** 2 + (X - 180) ** 2) / 200)
    mask = mask_sources(image.astype('f4'), np.ones(SHAPE, bool))
    assert mask[120, 150]
    assert mask[np.hypot(Y - 60, X - 180) < 10].all()
    assert mask[np.hypot(Y - 60, X - 60) < 20].mean() < 0.05
    assert mask.mean() < 0.1


def make_template(y, x, radius=10.0):
    """Return a round template."""
    values = np.log(mote(y, x, radius, 0.1))
    values[np.hypot(Y - y, X - x) > 1.8 * radius] = 0
    box = tuple(slice(int(a.min()), int(a.max()) + 1) for a in np.nonzero(values))
    return Template(values[box], values[box], box, y, x, radius, 0)


def test_place():
    """A template moves by a fraction of a pixel, and out of the frame."""
    template = make_template(60.0, 70.0)
    box, values = place(template, (3.4, -2.6), SHAPE)
    image = np.zeros(SHAPE)
    image[box] = values
    np.testing.assert_allclose(
        image, np.log(mote(63.4, 67.4, 10, 0.1)) * (image != 0), atol=5e-4
    )
    assert image.sum() == pytest.approx(template.values.sum(), rel=1e-3)
    box, values = place(template, (0, -500), SHAPE)
    assert values.size == 0
    np.testing.assert_array_equal(shifted(template.values, 0, 0), template.values)


def test_motion():
    """Shift, rotation and tilt are told apart; one mote on its own is no matter."""
    rng = np.random.default_rng(5)
    places = rng.uniform(20, 180, (12, 2))
    sizes = rng.choice([8.0, 24.0], 12)
    templates = [
        Template(np.zeros((1, 1)), np.zeros((1, 1)), (), *p, r, 0)
        for p, r in zip(places, sizes, strict=True)
    ]
    sigma = np.full((12, 2), 0.1)
    for motion in (
        Motion('shift', (4.0, -3.0, 0.0)),
        Motion('rotation', (1.0, 2.0, 0.05), 8.0, (95.5, 119.5)),
        Motion('tilt', (2.0, -1.0, 0.0), float(np.median(sizes))),
    ):
        shifts = np.array([motion.of(t) for t in templates])
        shifts += rng.normal(0, 0.1, shifts.shape)
        shifts[3] += 40
        found = fit_motion(templates, shifts, sigma, SHAPE)
        assert found.kind == motion.kind
        np.testing.assert_allclose(found.values, motion.values, atol=0.2)
    still = fit_motion(templates, rng.normal(0, 0.1, (12, 2)), sigma, SHAPE)
    assert still.kind == 'none'
    assert fit_motion([], np.zeros((0, 2)), np.zeros((0, 2)), SHAPE).kind == 'none'


def test_convincing():
    """One good group does not outvote the others."""
    assert convincing(np.array([10.0, 9, 8, 7]))
    assert convincing(np.array([20.0, 19, 18, -1]))
    assert not convincing(np.array([100.0, -1, -1, -1]))
    assert not convincing(np.array([5.0, 5, 5, 5]))
