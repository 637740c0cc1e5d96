# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: what an answer is worth, also under deep motes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData

import astroflat as af
from astroflat.degradation._render import render_product
from astroflat.degradation.fields import DustMote2D
from benchmarks.blindflat import classical
from benchmarks.blindflat.motes import deep_motes, mote_snr
from benchmarks.blindflat.score import as_answer

ROOT = Path(__file__).parents[2]


def test_perfect_answer_scores_zero(single, night, scored):
    """The truth, in any scale and with any constant, has no error."""
    for case in (single, night):
        gradients = [gradient + 7 for gradient in case.gradients]
        scores = scored(case, (3 * case.flat, gradients))
        assert all(v is None or v < 1e-3 for v in scores.values()), scores
        assert scores['gradient'] is not None


def test_useless_answer_scores_as_nothing(single, night, scored):
    """A constant is worth as much as doing nothing: the spread of the flat."""
    for case in (single, night):
        nothing = scored(case, classical.nothing(case.frames))
        constant = scored(case, np.full(case.flat.shape, 250.0))
        assert constant.pop('gradient') is None
        assert nothing.pop('gradient') > 0
        deep, idle = constant.pop('deep'), nothing.pop('deep')
        assert deep == idle if deep is None else deep == pytest.approx(idle)
        assert constant == pytest.approx(nothing, rel=1e-9)
        ratio = 1 / case.flat.astype(float)
        ratio /= np.median(ratio[~case.dust_mask])
        rms = 100 * np.sqrt(np.mean((ratio - 1) ** 2))
        assert nothing['total'] == pytest.approx(rms, rel=1e-6)


def test_gradient_and_flatness_by_hand(single, scored):
    """With the true flat, what is left is the gradient over the flat."""
    scores = scored(single, (single.flat, 0.0))
    light, gradient = single.light[0].astype(float), single.gradients[0].astype(float)
    faint = light <= np.quantile(light, 0.6)
    level = light[faint].mean()
    assert scores['gradient'] == pytest.approx(100 * gradient.std() / level)
    left = ((gradient - gradient.mean()) / single.flat)[faint]
    # The free scale takes up the mean of what is left.
    expected = 100 * left.std() / level
    assert scores['flatness'] == pytest.approx(expected, rel=0.01)
    assert scores['total'] < 1e-3


def test_better_flats_score_better(single, scored):
    """The errors shrink in step with the correction."""
    totals = [
        scored(single, 1 + share * (single.flat - 1)) for share in (0.0, 0.5, 0.9, 1.0)
    ]
    for name in ('total', 'large', 'dust', 'pixel'):
        values = [scores[name] for scores in totals]
        assert values == sorted(values, reverse=True)
    assert totals[1]['total'] == pytest.approx(totals[0]['total'] / 2, rel=0.15)


def test_one_gradient_serves_all_frames(night, scored):
    """A single gradient is compared with that of every frame."""
    mean = np.mean(night.gradients, axis=0)
    scores = scored(night, (night.flat, mean))
    errors = [mean - g - (mean - g).mean() for g in night.gradients]
    level = [
        light[light <= np.quantile(light, 0.6)].astype(float).mean()
        for light in night.light
    ]
    expected = [np.mean(e**2) / v**2 for e, v in zip(errors, level, strict=True)]
    expected = 100 * np.sqrt(np.mean(expected))
    assert scores['gradient'] == pytest.approx(expected, rel=1e-4)
    stack = np.stack(night.gradients)
    assert scored(night, (night.flat, stack))['gradient'] < 1e-3


def test_solutions_masks_and_holes_are_read(single, scored):
    """A FlatSolution, a mask and NaN are taken as what they say."""
    flat = CCDData(single.flat.copy(), unit='')
    gradient = CCDData(single.gradients[0], unit='adu')
    plain = scored(single, (single.flat, single.gradients[0]))
    assert scored(single, af.FlatSolution(flat, gradient)) == plain
    holes = single.flat.copy()
    holes[:4] = np.nan
    masked = CCDData(single.flat.copy(), unit='', mask=np.isnan(holes))
    assert scored(single, holes) == scored(single, masked)
    answer = as_answer(holes, shape=holes.shape, n_frames=1)
    assert np.all(answer.flat[:4] == np.median(holes[4:]))


@pytest.mark.parametrize(
    ('result', 'words'),
    [
        (np.ones((3, 4)), 'shape'),
        (np.full((96, 120), np.nan), '0 %'),
        (-1.0, '0 %'),
        ((1.0, np.ones((3, 4))), 'one image'),
        ((1.0, np.full((96, 120), np.inf)), 'finite'),
        ((1.0, [np.zeros((96, 120))] * 2), 'one per frame'),
    ],
)
def test_wrong_answers_are_refused(single, result, words, scored):
    """Answers without meaning raise and say why."""
    with pytest.raises(ValueError, match=words):
        scored(single, result)


# ------------------------------------------------------------- deep, visible motes
def mote_case(single, depth, **changes):
    """Return an even frame with one mote of Gaussian edges, and its shadow."""
    mote = DustMote2D(depth=depth, x_0=60, y_0=48, radius=12, edge=2)
    drawn = replace(single.fields, kinds=('motes',), models=(mote,))
    ccd = single.frames[0].copy()
    ccd.meta['GAIN'], ccd.meta['RDNOISE'] = 2.0, changes.get('read', 0.0)
    flat = render_product([mote], single.flat.shape)
    light = np.full(flat.shape, changes.get('level', 400.0))
    case = replace(
        single,
        fields=drawn,
        flat=flat,
        frames=[ccd],
        light=[light],
        gradients=[np.zeros(flat.shape)],
    )
    return case, 1.0 - flat


def test_signal_to_noise_of_a_mote_by_hand(single):
    """Photons alone: the matched filter is the root of a sum over pixels."""
    case, shadow = mote_case(single, 0.1)
    electrons = 800.0 * (1.0 - shadow)
    expected = np.sqrt(np.sum((800.0 * shadow) ** 2 / electrons))
    # The light without the mote is 800 electrons; what is missing is 800 times it.
    assert mote_snr(case, shadow) == pytest.approx(expected, rel=1e-5)
    # An independent draw: weights of the filter applied to 400 noisy frames.
    rng = np.random.default_rng(1)
    weight = 800.0 * shadow / electrons
    seen = [np.sum(weight * (800.0 - rng.poisson(electrons))) for _ in range(400)]
    assert np.mean(seen) / np.std(seen) == pytest.approx(expected, rel=0.12)
    loud, _ = mote_case(single, 0.1, read=40.0)
    assert mote_snr(loud, shadow) < 0.7 * expected


def test_only_deep_and_visible_motes_are_asked_for(single, scored):
    """Shallow motes, and deep ones in noise, are left out; what is left counts."""
    case, shadow = mote_case(single, 0.05)
    mask = deep_motes(case)
    assert mask.sum() == (shadow > 0.002).sum() > 400
    assert deep_motes(mote_case(single, 0.029)[0]).sum() == 0
    assert deep_motes(mote_case(single, 0.05, level=1.0, read=9.0)[0]).sum() == 0
    idle = scored(case, np.ones(case.flat.shape))['deep']
    half = scored(case, 1 - shadow / 2)['deep']
    assert 3.0 < idle < 5.3
    assert half == pytest.approx(idle / 2, rel=0.03)
    assert scored(case, case.flat)['deep'] < 1e-4
    assert scored(mote_case(single, 0.02)[0], 1.0)['deep'] is None
    assert scored(replace(case, fields=None), 1.0)['deep'] is None
