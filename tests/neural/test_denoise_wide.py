# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Denoising of frames in which nothing is sharp."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

import astroflat as af
from astroflat.neural._denoise_wide import ask_wide, bin_side, narrowest_star

SKY, READ = 300.0, 4.0


@pytest.fixture(scope='module')
def denoiser():
    """Return the denoiser that comes with astroflat."""
    return af.Denoiser(device='cpu', n_threads=1)


def stars(fwhm, *, shape=(250, 301), snr=60.0, step=42, seed=3):
    """Return the light of stars on a jittered grid, and their places."""
    rng = np.random.default_rng(seed)
    sigma = fwhm / 2.3548
    flux = snr * np.sqrt(4 * np.pi * sigma**2 * (SKY + READ**2))
    grid = np.mgrid[step // 2 : shape[0] : step, step // 2 : shape[1] : step]
    y, x = grid.reshape(2, -1) + rng.uniform(-3, 3, (2, grid[0].size))
    rows, columns = (
        np.exp(-0.5 * ((np.arange(n) - place[:, None]) / sigma) ** 2)
        for n, place in zip(shape, (y, x), strict=True)
    )
    light = SKY + flux / (2 * np.pi * sigma**2) * rows.T @ columns
    return light, x, y


def expose(light, seed=1):
    """Return a frame in electrons."""
    rng = np.random.default_rng(seed)
    noise = READ * rng.standard_normal(light.shape)
    return (rng.poisson(light) + noise).astype(np.float32)


def options(**more):
    """Return what is known of the camera."""
    return {'gain': 1.0, 'readnoise': READ, 'offset': 0.0, **more}


def run(denoiser, frame, **more):
    """Denoise a frame; return the result and the side of the bins."""
    clean = denoiser.denoise(CCDData(frame, unit='electron'), **options(**more))
    return clean, clean.header['AFBIN']


@pytest.mark.parametrize('fwhm', [2.0, 3.0, 6.0, 9.0, 14.0])
def test_widths_of_stars(fwhm):
    """The narrowest stars are as wide as they are, or a little less."""
    light, _, _ = stars(fwhm, step=60, shape=(400, 400))
    assert narrowest_star(expose(light)) == pytest.approx(
        0.96 * fwhm, rel=0.07, abs=0.4
    )


def test_bins_follow_the_narrowest_stars():
    """Three pixels to a star; sharp stars, few stars and small images stay."""
    shape = (320, 301)
    widths = (3.0, 5.5, 6.6, 9.9, 15.0)
    sides = [bin_side(expose(stars(w, shape=shape)[0])) for w in widths]
    assert sides == [1, 1, 2, 3, 4]
    assert bin_side(expose(stars(9.9, shape=(100, 300))[0])) == 1
    assert bin_side(expose(stars(9.9, step=120)[0])) == 1
    assert bin_side(expose(np.full((256, 256), SKY))) == 1
    # One star in eight is sharp: that is what counts.
    light = stars(9.9, step=50)[0] + stars(2.5, step=80, seed=5)[0] - SKY
    assert bin_side(expose(light)) == 1


def test_wide_stars_gain_and_keep_their_flux(denoiser):
    """In bins less noise is left, also on the stars, and no flux is lost."""
    light, x, y = stars(10.0, step=50)
    frame = expose(light)
    plain, side = run(denoiser, frame, max_bin=1)
    assert side == 1
    clean, side = run(denoiser, frame)
    assert side == 3
    sigma = np.sqrt(light + READ**2)
    left = [np.std((c.data - light) / sigma) for c in (plain, clean)]
    assert left[1] < 0.75 * left[0] < 0.2
    bright = light > np.quantile(light, 0.95)
    left = [np.std(((c.data - light) / sigma)[bright]) for c in (plain, clean)]
    assert left[1] < left[0]
    # Fluxes, against those of the frame itself: the same noise, of which a part
    # is gone.
    grid = np.indices(light.shape)
    moved = []
    for place in zip(y, x, strict=True):
        near = np.hypot(*(axis - p for axis, p in zip(grid, place, strict=True))) < 15
        moved.append(np.sum((clean.data - frame)[near]) / np.sum((light - SKY)[near]))
    moved = np.array(moved)
    assert abs(moved.mean()) < 0.01
    assert abs(clean.data.mean() - frame.mean()) < 0.01 * frame.std()
    # What is stated is left.
    inside = np.abs(clean.data - light) < clean.uncertainty.array
    assert 0.55 < inside.mean() < 0.85


def test_spikes_are_not_spread(denoiser):
    """Hot pixels and hits stay sharp; their surroundings do not see them."""
    light, _, _ = stars(10.0, step=50)
    frame = expose(light)
    clean, _ = run(denoiser, frame)
    spiked = frame.copy()
    spiked[120, 77] += 4000.0
    spiked[40, 200:206] += 900.0
    again, side = run(denoiser, spiked)
    assert side == 3
    assert again.data[120, 77] > 0.9 * spiked[120, 77]
    assert (again.data[40, 201:205] > 0.8 * spiked[40, 201:205]).all()
    far = np.ones(frame.shape, bool)
    far[110:131, 67:88] = far[30:51, 190:217] = False
    assert np.abs((again.data - clean.data)[far]).max() < 0.5 * frame.std()


def test_what_is_sharp_after_all_is_seen():
    """Faint sharp stars among wide ones: the network sees the pixels."""

    def silent(values):
        return np.stack([0.0 * values, np.full(values.shape, 0.2)]).astype('f4')

    rng = np.random.default_rng(1)
    wide = (stars(10.0, step=50)[0] - SKY) / np.sqrt(SKY)
    noise = rng.standard_normal(wide.shape)
    values = (wide + noise).astype('f4')
    first = silent(values)
    assert ask_wide(silent, values, 3, first) is not None
    sharp = 4.0 * (stars(2.5, step=40, seed=7)[0] - SKY)
    values += (sharp / sharp.max() * 4.0).astype('f4')
    assert ask_wide(silent, values, 3, first) is None


def test_what_is_fine_sums_to_nothing():
    """With a network that finds nothing, means over the bins stay as they are."""

    def silent(values):
        return np.stack([0.0 * values, np.full(values.shape, 0.2)]).astype('f4')

    rng = np.random.default_rng(2)
    values = rng.standard_normal((240, 252)).astype('f4')
    found = ask_wide(silent, values, 4, silent(values))
    means = found[0].reshape(60, 4, 63, 4).mean(axis=(1, 3))
    # To a fifteenth of the noise of a mean, which is 1 / 4.
    assert means.std() < 1 / 60
    # The variance of means over sixteen pixels is left, and what the spline adds.
    assert 1 / 16 < np.var(values - found[0]) < 0.1
    np.testing.assert_allclose(found[1], 0.05, rtol=1e-3)


def test_holes_and_strength(denoiser):
    """Bad pixels stay, nothing changes at strength 0, and odd sizes are no matter."""
    light, _, _ = stars(10.0, step=50, shape=(251, 302))
    frame = expose(light)
    frame[100:104, 90:99] = np.nan
    clean, side = run(denoiser, frame)
    assert side == 3
    assert np.array_equal(np.isnan(clean.data), np.isnan(frame))
    same, _ = run(denoiser, frame, strength=0.0)
    np.testing.assert_array_equal(same.data, frame)
    # Without noise all that is fine is real.
    still, side = run(denoiser, light.astype(np.float32))
    assert side == 1
    assert np.abs(still.data - light).max() < 0.5 * np.sqrt(light.max())
    with pytest.raises(ValueError, match='max_bin'):
        denoiser.denoise(frame, max_bin=0)
