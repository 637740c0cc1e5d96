# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the degradation model and its inverse."""

from __future__ import annotations

from pathlib import Path

import ccdproc
import numpy as np
import pytest
from astropy import units as u
from astropy.modeling.models import Polynomial2D
from astropy.nddata import (
    CCDData,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import astroflat as af
from astroflat._exceptions import AstroflatWarning
from astroflat.degradation import _apply

SHAPE = (40, 30)
KINDS = [StdDevUncertainty, VarianceUncertainty, InverseVariance]


def scene(seed=0, dtype='f8', kind=StdDevUncertainty):
    """Return an image with mask and uncertainty."""
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) > 0.95
    array = rng.uniform(1, 2, SHAPE).astype(dtype)
    return CCDData(
        rng.normal(1000, 50, SHAPE).astype(dtype),
        unit='adu',
        mask=mask,
        uncertainty=kind(array),
    )


def fields(seed=1):
    """Return a flat and a gradient with uncertainties."""
    rng = np.random.default_rng(seed)
    flat = CCDData(
        rng.uniform(0.5, 1.2, SHAPE),
        unit='',
        uncertainty=StdDevUncertainty(rng.uniform(0.001, 0.01, SHAPE)),
        mask=rng.random(SHAPE) > 0.98,
    )
    gradient = CCDData(
        rng.uniform(-20, 20, SHAPE),
        unit='adu',
        uncertainty=StdDevUncertainty(rng.uniform(0.1, 1, SHAPE)),
    )
    return flat, gradient


def as_variance(ccd):
    """Return the same image with a variance."""
    variance = ccd.uncertainty.represent_as(VarianceUncertainty)
    return CCDData(ccd.data, unit=ccd.unit, mask=ccd.mask, uncertainty=variance)


def test_variance_of_fields():
    """Fields with a variance stand for the same as with its root."""
    ccd = scene()
    flat, gradient = fields()
    expected = af.DegradationModel(flat, gradient)
    model = af.DegradationModel(as_variance(flat), as_variance(gradient))
    for name in ('correct', 'degrade'):
        one, two = getattr(model, name)(ccd), getattr(expected, name)(ccd)
        assert np.allclose(one.uncertainty.array, two.uncertainty.array, rtol=1e-14)


@pytest.mark.parametrize('dtype', ['f4', 'f8'])
@pytest.mark.parametrize('kind', KINDS)
def test_identity_is_bit_exact(dtype, kind):
    """F = 1 and G = 0 return data, uncertainty and mask to the bit."""
    ccd = scene(dtype=dtype, kind=kind)
    one, zero = np.ones(SHAPE, 'f4'), np.zeros(SHAPE, 'f4')
    for flat, gradient in [(one, zero), (1.0, None), (one, 0.0), (1, zero)]:
        model = af.DegradationModel(flat, gradient)
        for result in (model.correct(ccd), model.degrade(ccd)):
            assert result.data.tobytes() == ccd.data.tobytes()
            assert result.data.dtype == ccd.data.dtype
            assert np.array_equal(result.mask, ccd.mask)
            if kind is not InverseVariance:
                assert np.array_equal(result.uncertainty.array, ccd.uncertainty.array)


def test_inverse():
    """Correcting a degraded image returns the image, to rounding."""
    ccd = scene()
    flat, gradient = fields()
    model = af.DegradationModel(flat, gradient)
    back = model.correct(model.degrade(ccd))
    good = ~flat.mask
    assert np.allclose(back.data[good], ccd.data[good], rtol=1e-13)
    assert np.array_equal(back.mask, ccd.mask | flat.mask)


def test_against_ccdproc():
    """Values, uncertainties and masks are those of ccdproc with norm_value=1."""
    ccd = scene()
    flat, gradient = fields()
    expected = ccdproc.flat_correct(
        ccdproc.subtract_bias(ccd, gradient), flat, norm_value=1
    )
    result = af.DegradationModel(flat, gradient).correct(ccd)
    good = ~flat.mask
    assert np.allclose(result.data[good], expected.data[good], rtol=1e-14)
    assert np.array_equal(result.mask, expected.mask)
    assert np.allclose(
        result.uncertainty.array[good], expected.uncertainty.array[good], rtol=1e-12
    )


@pytest.mark.parametrize('kind', KINDS)
def test_kind_of_uncertainty(kind):
    """Every kind of uncertainty stands for the same variance."""
    ccd = scene()
    ccd.uncertainty = ccd.uncertainty.represent_as(kind)
    flat, gradient = fields()
    model = af.DegradationModel(flat, gradient)
    s, f = ccd.uncertainty.represent_as(VarianceUncertainty).array, flat.data
    vf, vg = flat.uncertainty.array**2, gradient.uncertainty.array**2
    result = model.correct(ccd)
    assert type(result.uncertainty) is kind
    variance = result.uncertainty.represent_as(VarianceUncertainty).array
    expected = (s + vg + result.data**2 * vf) / f**2
    good = ~flat.mask
    assert np.allclose(variance[good], expected[good], rtol=1e-12)
    degraded = model.degrade(ccd)
    variance = degraded.uncertainty.represent_as(VarianceUncertainty).array
    assert np.allclose(variance, f**2 * s + ccd.data**2 * vf + vg, rtol=1e-12)


def test_uncertainty_by_simulation():
    """The propagated uncertainty is the scatter of noisy realisations."""
    rng = np.random.default_rng(3)
    n, s, g, f = 200_000, 500.0, 40.0, 0.7
    shape = (n, 1)
    observed = CCDData(
        rng.normal(s * f + g, 5, shape),
        unit='adu',
        uncertainty=StdDevUncertainty(np.full(shape, 5.0)),
    )
    flat = CCDData(
        rng.normal(f, 0.005, shape),
        unit='',
        uncertainty=StdDevUncertainty(np.full(shape, 0.005)),
    )
    gradient = CCDData(
        rng.normal(g, 3, shape),
        unit='adu',
        uncertainty=StdDevUncertainty(np.full(shape, 3.0)),
    )
    result = af.DegradationModel(flat, gradient).correct(observed)
    assert result.data.mean() == pytest.approx(s, rel=1e-3)
    assert result.data.std() == pytest.approx(result.uncertainty.array.mean(), rel=0.01)


def test_unknown_uncertainty_stays_unknown():
    """An image without uncertainty gets none, whatever the flat has."""
    flat, gradient = fields()
    ccd = CCDData(np.ones(SHAPE), unit='adu')
    assert af.DegradationModel(flat, gradient).correct(ccd).uncertainty is None


def test_flat_without_uncertainty_is_said():
    """A flat without uncertainty is named in the history."""
    result = af.DegradationModel(np.ones(SHAPE)).correct(scene())
    assert 'no uncertainty' in ' '.join(result.meta['HISTORY'])


@pytest.mark.parametrize('bad', [0.0, -0.3, 0.049, np.nan])
def test_floor(bad):
    """Pixels below the floor are masked, not divided; the others are not touched."""
    flat = np.full(SHAPE, 0.5)
    flat[3, 4] = bad
    data = np.full(SHAPE, 10.0)
    result = af.DegradationModel(flat).correct(CCDData(data, unit='adu'))
    assert result.mask.sum() == 1
    assert result.mask[3, 4]
    assert result.data[3, 4] == 10
    assert np.isfinite(result.data).all()
    assert (np.delete(result.data.ravel(), 3 * 30 + 4) == 20).all()
    assert result.meta['AFNMASK'] == 1
    plain = af.DegradationModel(flat).correct(data)
    assert np.isnan(plain[3, 4])
    assert np.isnan(plain).sum() == 1


def test_nan_stays_local():
    """A NaN in the image touches its own pixel only."""
    data = np.full(SHAPE, 10.0)
    data[5, 6] = np.nan
    result = af.DegradationModel(np.full(SHAPE, 0.5)).correct(data)
    assert np.isnan(result).sum() == 1


@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)),
    hnp.arrays(np.float32, (3, 4), elements=st.floats(0.125, 4, width=32)),
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e3, 1e3, width=32)),
)
def test_round_trip(data, flat, gradient):
    """Degrade and correct are inverse for any finite image and fields."""
    model = af.DegradationModel(flat, gradient)
    back = model.correct(model.degrade(data))
    scale = np.abs(data) + np.abs(gradient) / flat
    assert (np.abs(back - data) <= 4e-7 * scale + 1e-30).all()


def test_inputs_are_untouched():
    """Neither the image nor the fields change."""
    ccd, (flat, gradient) = scene(), fields()
    before = [x.copy() for x in (ccd, flat, gradient)]
    af.DegradationModel(flat, gradient).correct(ccd)
    for old, new in zip(before, (ccd, flat, gradient), strict=True):
        assert np.array_equal(old.data, new.data)
        assert np.array_equal(old.uncertainty.array, new.uncertainty.array)
        assert old.meta == new.meta


def test_colour():
    """A mono flat corrects every channel, a colour flat its own."""
    rng = np.random.default_rng(0)
    image = rng.uniform(1, 2, (*SHAPE, 3))
    flat = rng.uniform(0.5, 1, SHAPE)
    result = af.DegradationModel(flat).correct(image)
    assert np.allclose(result, image / flat[..., None], rtol=1e-15)
    flat = rng.uniform(0.5, 1, (*SHAPE, 3))
    assert np.allclose(af.DegradationModel(flat).correct(image), image / flat)


def test_model_as_field():
    """An astropy model is evaluated at the pixel centres (x, y)."""
    plane = Polynomial2D(1, c0_0=1, c1_0=0.01, c0_1=0.02)
    result = af.DegradationModel(plane).correct(np.ones(SHAPE))
    y, x = np.mgrid[:40, :30]
    assert np.allclose(result, 1 / (1 + 0.01 * x + 0.02 * y))


@pytest.mark.parametrize('threads', [1, 2, 5])
def test_threads(threads):
    """The number of threads changes nothing."""
    ccd, (flat, gradient) = scene(), fields()
    model = af.DegradationModel(flat, gradient)
    result = model.correct(ccd, n_threads=threads)
    expected = model.correct(ccd, n_threads=1)
    assert result.data.tobytes() == expected.data.tobytes()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('dtype', ['f4', 'f8'])
def test_compiled_code_gives_the_same_bits(monkeypatch, kind, dtype):
    """Numba and NumPy agree to the bit in every combination."""
    pytest.importorskip('numba')
    from astroflat.degradation._apply_numba import divide_line

    flat, gradient = fields()
    plain = CCDData(gradient.data, unit='adu')
    for g in (None, gradient, plain):
        for f in (flat, as_variance(flat), CCDData(flat.data, unit='')):
            model = af.DegradationModel(f, g)
            ccd = scene(dtype=dtype, kind=kind)
            results = []
            for divide in (None, divide_line):
                monkeypatch.setattr(_apply, '_compiled', lambda *_, d=divide: d)
                results.append(model.correct(ccd))
            one, two = results
            assert one.data.tobytes() == two.data.tobytes()
            assert one.uncertainty.array.tobytes() == two.uncertainty.array.tobytes()
            assert np.array_equal(one.mask, two.mask)
            assert one.meta['AFNMASK'] == two.meta['AFNMASK']
            assert (one.meta['AFNMASK'] > 0) == (f.mask is not None)


def test_flat_in_counts():
    """A flat in counts is refused unless it is to be normalised."""
    flat = CCDData(np.full(SHAPE, 20_000.0), unit='adu')
    ccd = scene()
    with pytest.raises(u.UnitsError, match='normalize'):
        af.DegradationModel(flat).correct(ccd)
    result = af.DegradationModel(flat, normalize='mean').correct(ccd)
    assert np.array_equal(result.data, ccd.data)


def test_normalisation_ignores_bad_pixels():
    """One masked or infinite pixel does not scale the frame."""
    data = np.full(SHAPE, 2.0)
    data[0, 0], data[1, 1] = 1e6, np.inf
    mask = np.zeros(SHAPE, bool)
    mask[0, 0] = True
    flat = CCDData(data, unit='', mask=mask)
    result = af.DegradationModel(flat, normalize='mean').correct(np.ones(SHAPE))
    assert (result[2:] == 1).all()


@pytest.mark.parametrize(
    ('kwargs', 'match'),
    [
        ({'flat': np.ones((3, 3))}, r'flat has the shape \(3, 3\)'),
        ({'flat': 1, 'gradient': np.ones((3, 3))}, 'gradient has the shape'),
        ({'flat': np.zeros(SHAPE), 'normalize': 'mean'}, 'cannot be normalised'),
    ],
)
def test_wrong_fields(kwargs, match):
    """A field that does not fit is named."""
    with pytest.raises(ValueError, match=match):
        af.DegradationModel(**kwargs).correct(np.ones(SHAPE))


def test_wrong_arguments():
    """Wrong options are named with their value."""
    with pytest.raises(ValueError, match=r"normalize .* not 'max'"):
        af.DegradationModel(1.0, normalize='max')
    with pytest.raises(ValueError, match=r'min_value must be positive'):
        af.DegradationModel(1.0).correct(np.ones(SHAPE), min_value=0)


def test_gradient_unit_is_converted():
    """A gradient in a convertible unit is converted, another one refused."""
    ccd = CCDData(np.full(SHAPE, 2.0), unit='m')
    gradient = CCDData(np.full(SHAPE, 100.0), unit='cm')
    assert np.allclose(af.DegradationModel(1.0, gradient).correct(ccd).data, 1)
    with pytest.raises(u.UnitsError, match='gradient is in s'):
        af.DegradationModel(1.0, CCDData(gradient.data, unit='s')).correct(ccd)


def test_provenance():
    """The header says what was done; logging can be switched off."""
    result = af.DegradationModel(1.0).correct(scene())
    assert result.meta['AFMETH'] == 'correct'
    quiet = af.DegradationModel(1.0).correct(scene(), add_keyword=None)
    assert 'AFMETH' not in quiet.meta


@pytest.mark.parametrize('kind', [str, Path])
def test_path_as_field(tmp_path, kind):
    """A flat may be the name of a file."""
    flat = np.full(SHAPE, 0.5, 'f4')
    CCDData(flat, unit='').write(tmp_path / 'flat.fits')
    model = af.DegradationModel(kind(tmp_path / 'flat.fits'))
    assert (model.correct(np.ones(SHAPE)) == 2).all()


def test_counts_are_noticed():
    """A dimensionless flat at the level of counts draws a warning."""
    with pytest.warns(AstroflatWarning, match="level of 2e[+]04.*normalize='mean'"):
        af.DegradationModel(np.full(SHAPE, 20_000.0)).correct(np.ones(SHAPE))
