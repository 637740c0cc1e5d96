# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The benchmark of blind flats: what can be known of a frame at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from astroflat.degradation._render import render_product
from astroflat.degradation.fields import DustMote2D
from benchmarks.blindflat import bounds, smooth_bounds
from benchmarks.blindflat.mote_bounds import fit_motes, fitted_flat, seen_mask
from benchmarks.blindflat.motes import mote_snr


def with_mote(case, depth, light):
    """Return a noisy frame of some light with one mote of radius 12."""
    mote = DustMote2D(depth=depth, x_0=60, y_0=48, radius=12, edge=2)
    ccd = case.frames[0].copy()
    ccd.meta['GAIN'], ccd.meta['RDNOISE'] = 1.0, 0.0
    flat = render_product([mote], case.flat.shape)
    ccd.data = np.random.default_rng(1).poisson(light * flat).astype(np.float32)
    return replace(
        case,
        fields=replace(case.fields, kinds=('motes',), models=(mote,)),
        flat=flat,
        frames=[ccd],
        light=[light],
        gradients=[np.zeros(flat.shape)],
    )


def test_depth_in_front_of_an_even_sky(single):
    """The error is that of the photons: depth over the ratio of the matched filter."""
    case = with_mote(single, 0.1, np.full(single.flat.shape, 1e4))
    (fit,) = fit_motes(case)
    usual = 0.1 / mote_snr(case, fit.shadow)
    # A plane is fitted as well, and the edges of the squares blur the shape.
    assert usual < fit.sigma < 1.5 * usual
    assert abs(fit.fitted - 0.1) < 4 * fit.sigma
    assert fit.seen
    left = fitted_flat(case, [fit]) / case.flat - 1
    assert np.abs(left).max() == pytest.approx(abs(fit.best - 0.1), rel=0.1)


def test_scene_hides_a_mote(single):
    """Clouds of its size and depth, told by how they vary, leave it in doubt."""
    from scipy.ndimage import gaussian_filter

    clouds = gaussian_filter(np.random.default_rng(2).normal(size=single.flat.shape), 8)
    light = 1e4 * np.exp(0.1 * clouds / clouds.std())
    (fit,) = fit_motes(with_mote(single, 0.05, light))
    assert fit.sigma > 5 * 0.05 / mote_snr(with_mote(single, 0.05, light), fit.shadow)
    assert not fit.seen
    assert not seen_mask([fit], light.shape).any()
    # What is not known is taken for the usual depth.
    assert abs(fit.best - 0.07) < abs(fit.fitted - 0.07)


def test_who_knows_the_sky_finds_the_vignetting(single, monkeypatch):
    """Better than nothing; better still with G, which one frame cannot tell from F."""
    monkeypatch.setattr(smooth_bounds, '_DRAWS', 60)
    smooth_bounds._moments.cache_clear()
    flats = smooth_bounds.smooth_oracles(single)
    truth = single.fields.component('vignetting').astype(float)
    error = {n: bounds._scatter(f / truth) for n, f in flats.items()}
    smooth_bounds._moments.cache_clear()
    nothing = bounds._scatter(1 / truth)
    assert error['told the sky pixels'] < 0.5 * nothing
    assert error['told the sky pixels, and G'] < 0.7 * error['told the sky pixels']


def test_tables_are_medians_by_scenes():
    """Scenes without a number do not count; counts of motes add up."""
    rows = [
        {'group': 'star fields', 'smooth': {'found': x}, 'motes': [2, 1]}
        for x in (1.0, 2.0, 6.0)
    ]
    rows.append({'group': 'nebulae', 'smooth': {}, 'motes': [1, 0]})
    rows[0]['deep'] = {'found': 4.0}
    table = bounds.summarize(rows)
    assert table['smooth']['found']['star fields'] == 2.0
    assert table['smooth']['found']['nebulae'] is None
    assert table['deep']['found']['all'] == 4.0
    assert table['motes'] == {'all': [7, 3], 'star fields': [6, 3], 'nebulae': [1, 0]}
    text = bounds.to_rst(table)
    assert '"found", "2.00", "2.00", "—"' in text
    assert 'star fields (6 motes)' in text
