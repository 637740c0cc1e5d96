# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames in groups, and the choice of a method."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

import astroflat as af
from astroflat.io import open_frames
from astroflat.quality import flat_residual
from astroflat.selfcal import group_frames, self_flat, self_flats
from astroflat.selfcal._choice import _exposures, _plan
from astroflat.selfcal._survey import Survey, survey

SHAPE = (72, 96)


def frame(level=1000.0, shape=SHAPE, **cards):
    """Return a frame with a header."""
    rng = np.random.default_rng(int(level))
    return CCDData(rng.normal(level, 10, shape), unit='adu', meta=cards)


def test_groups_by_filter_and_temperature():
    """Filters, temperatures and rotator angles make groups, small drifts do not."""
    cards = [
        {'FILTER': 'R', 'CCD-TEMP': -9.9},
        {'FILTER': 'R', 'CCD-TEMP': -10.3},
        {'FILTER': 'R', 'CCD-TEMP': 4.0},
        {'FILTER': 'B', 'CCD-TEMP': -10.0},
        {'FILTER': 'B', 'CCD-TEMP': -10.0, 'IMAGETYP': 'Dark Frame'},
    ]
    groups = group_frames([frame(**c) for c in cards])
    assert [len(g.frames) for g in groups] == [2, 1, 1]
    assert [g.label for g in groups] == ['R_T-10.0', 'R_T4.0', 'B_T-10.0']
    assert groups[0].settings['temperature'] == pytest.approx(-10.1, abs=0.15)
    turned = [frame(ROTATANG=a) for a in (10.0, 10.4, 55.0)]
    assert [g.label for g in group_frames(turned)] == ['rot10.2', 'rot55.0']
    wide = group_frames(turned, rotator_step=90)
    assert len(wide) == 1


@pytest.mark.parametrize('sign', [1, -1])
def test_rotators_beside_zero(sign):
    """359.9 degrees are next to 0, whether counted up or down."""
    angles = [359.9, 0.1, 359.8, 0.0, 40.0]
    groups = group_frames([frame(ROTATANG=sign * a) for a in angles])
    assert [len(g.frames) for g in groups] == [4, 1]
    middle = groups[0].settings['rotator']
    assert min(middle, 360 - middle) < 0.11


def test_groups_of_files(tmp_path):
    """Files of different size go to different groups; labels are file names."""
    for i, (shape, name) in enumerate(
        [(SHAPE, 'H a'), (SHAPE, 'H a'), ((36, 48), 'L')]
    ):
        header = fits.Header({'FILTER': name, 'IMAGETYP': 'LIGHT', 'OBJECT': f'M {i}'})
        data = np.ones(shape, 'u2')
        fits.PrimaryHDU(data, header).writeto(tmp_path / f'{i}.fits')
    pattern = str(tmp_path / '*.fits')
    for source in (tmp_path, sorted(tmp_path.glob('*.fits')), pattern):
        groups = group_frames(source)
        assert [g.label for g in groups] == ['H-a_96x72', 'L_48x36']
        assert groups[0].n_fields == 2
    with pytest.raises(ValueError, match='use self_flats'):
        self_flat(tmp_path)
    header = fits.Header({'IMAGETYP': 'Bias Frame'})
    (tmp_path / 'bias').mkdir()
    fits.PrimaryHDU(np.ones(SHAPE), header).writeto(tmp_path / 'bias' / 'b.fits')
    with pytest.raises(ValueError, match='none of the 1 frames is a light'):
        group_frames(tmp_path / 'bias')


def test_collections():
    """A ccdproc ImageFileCollection is asked for its files only."""

    class Collection:
        summary = None

        def files_filtered(self, include_path):
            return []

    (group,) = group_frames(Collection())
    assert group.label == 'all'


def test_arrays_are_one_group():
    """What has no headers is one group."""
    stack = np.ones((3, *SHAPE))
    (group,) = group_frames(stack)
    assert group.frames is stack
    assert group.label == 'all'


def test_survey():
    """Levels, dither and large objects are seen."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = rng.normal(500, 5, (4, *SHAPE)) * np.array([1, 1.2, 1.5, 2])[:, None, None]
    with open_frames(sky.astype('f4')) as stack:
        found = survey(stack, 100.0, one_field=False)
    assert found.filled == 0
    assert found.level_ratio == pytest.approx(900 / 400, rel=0.02)
    disc = np.where(np.hypot(x - 48, y - 36) < 30, 5000.0, 50.0)
    with open_frames(np.repeat(disc[None], 3, axis=0)) as stack:
        assert survey(stack, one_field=False).filled > 0.3


def make_survey(**changes):
    """Return a survey of a good dithered night."""
    offsets = np.random.default_rng(0).uniform(-20, 20, (10, 2))
    values = {
        'n_frames': 10,
        'video': False,
        'color': False,
        'levels': np.full(10, 1000.0),
        'filled': 0.0,
        'offsets': offsets,
    }
    return Survey(**{**values, **changes})


@pytest.mark.parametrize(
    ('changes', 'methods'),
    [
        ({}, ['sky', 'kll', 'dust']),
        ({'levels': np.linspace(500, 1500, 10)}, ['fields', 'sky', 'kll', 'dust']),
        ({'n_frames': 2}, ['dust']),
        ({'filled': 0.9}, ['kll', 'sky', 'dust']),
        ({'filled': 0.9, 'color': True}, ['kll', 'dust']),
        ({'offsets': None, 'trouble': 'no stars'}, ['sky', 'dust']),
        ({'video': True, 'color': True, 'offsets': None}, ['dust']),
        ({'offsets': np.outer(np.arange(10), [3.0, 4.0])}, ['sky', 'dust']),
    ],
)
def test_plan(changes, methods):
    """Each kind of night gets its methods, in order, with a reason each."""
    found = make_survey(**changes)
    plan = _plan(found)
    assert [method for method, _ in plan] == methods
    assert all(why for _, why in plan)
    assert f'{found.n_frames} frames' in found.in_words()


@pytest.fixture(scope='module')
def night():
    """Return a true flat and frames of even sky in different fields."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    truth = 1 - 0.1 * (x**2 + y**2) + 0.02 * x
    truth = truth / truth.mean()
    frames = [
        CCDData(
            rng.normal(800 * truth, 8).astype('f4'),
            unit='adu',
            meta={'FILTER': 'R', 'OBJECT': f'field {i}'},
        )
        for i in range(8)
    ]
    return truth, frames


def test_sky_is_chosen(night):
    """Frames of different fields give a sky flat; the choice is explained."""
    truth, frames = night
    solution = self_flat(frames, n_threads=1)
    assert solution.method == 'sky'
    words = solution.stages['choice']
    assert words[0] == 'group R: 8 frames'
    assert words[-1].startswith('chosen: sky, because')
    assert solution.report.numbers['choice'] == words[-1]
    assert isinstance(solution.stages['survey'], Survey)
    before, after = (
        flat_residual(f, truth)['total_percent'] for f in (1.0, solution.flat)
    )
    assert after < 0.35 * before


def test_repair_and_dust(night):
    """A given flat is repaired; two frames give the dust."""
    truth, frames = night
    solution = self_flat(frames, truth.astype('f4'), n_threads=1)
    assert solution.method == 'repair'
    assert (solution.flat.data == truth.astype('f4')).all()
    solution = self_flat(frames[:2], n_threads=1)
    assert solution.method == 'dust'
    assert 'nothing but dust' in solution.stages['choice'][-1]


def test_groups_get_their_own(night):
    """Flats and biases are taken by label."""
    truth, frames = night
    flats = {'R': truth.astype('f4')}
    solutions = self_flats(frames, flats, bias={'R': 0.0}, n_threads=1)
    assert list(solutions) == ['R']
    assert solutions['R'].method == 'repair'
    assert af.self_flat is self_flat


def test_errors(night):
    """Unknown methods and a repair without a flat are refused."""
    with pytest.raises(ValueError, match='method must be'):
        self_flat(night[1], method='best')
    with pytest.raises(ValueError, match='needs a flat'):
        self_flat(night[1], method='repair')


LEVELS = np.geomspace(300, 4000, 8)


def changing_night(levels, gain, **cards):
    """Return dithered frames of stars, glow and changing light, and the flat."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[-1:1:96j, -1:1:120j]
    flat = 1 - 0.12 * (x**2 + y**2) - 0.06 * np.exp(-((x + 0.3) ** 2 + y**2) / 0.01)
    flat /= flat.mean()
    glow = 60 * np.exp(-((x - 1) ** 2 + (y - 1) ** 2) / 0.3)
    places, flux = rng.uniform(-15, 130, (40, 2)), rng.exponential(400, 40)
    row, column = np.mgrid[:96, :120]
    frames = []
    for k, level in enumerate(levels):
        move = rng.uniform(-12, 12, 2)
        light = np.full(flat.shape, float(level))
        for (py, px), f in zip(places + move, flux, strict=True):
            away = (row - py) ** 2 + (column - px) ** 2
            light += f * gain[k] * np.exp(-away / 3.5)
        data = rng.poisson(light * flat + gain[k] * glow).astype('f4')
        meta = {name: float(values[k]) for name, values in cards.items()}
        frames.append(CCDData(data, unit='adu', meta={'FILTER': 'R', **meta}))
    return frames, flat


@pytest.mark.parametrize('kind', ['twilight', 'exposures'])
def test_changing_levels_choose_fields(kind):
    """From twilight to dark, and with short and long exposures."""
    times = np.array([20, 20, 60, 60, 180, 180, 20, 60])
    if kind == 'twilight':
        frames, flat = changing_night(LEVELS, np.ones(8))
    else:
        gain = times / times.mean()
        frames, flat = changing_night(10.0 * times, gain, EXPTIME=times)
    solution = self_flat(frames, n_threads=1)
    words = solution.stages['choice']
    assert any('the levels of the sky differ' in w or 'fields' in w for w in words)
    assert solution.method in ('fields', 'sky')
    before, after = (
        flat_residual(f, flat)['total_percent'] for f in (1.0, solution.flat)
    )
    assert after < 0.4 * before
    assert solution.report.verdict in ('accept', 'weak')


def test_exposures_of_headers():
    """Only times that differ matter, and all frames must have one."""

    def stack(*times):
        frames = [frame(**({} if t is None else {'EXPTIME': t})) for t in times]
        return open_frames(frames)

    assert _exposures(stack(10.0, 60.0, 30.0)) == [10, 60, 30]
    assert _exposures(stack(10.0, 11.0)) is None
    assert _exposures(stack(10.0, None)) is None
