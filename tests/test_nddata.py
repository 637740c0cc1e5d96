# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the door between containers and arrays."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astroflat._exceptions import AstroflatWarning
from astroflat._nddata import to_ccd, unpack

SHAPE = (4, 5)
UNCERTAINTIES = {
    'std': StdDevUncertainty,
    'var': VarianceUncertainty,
    'ivar': InverseVariance,
}


def full_ccd(kind='std'):
    """Return a CCDData with everything that one can carry."""
    rng = np.random.default_rng(1)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 10.0, 20.0
    header = fits.Header({'OBJECT': 'M57', 'EXPTIME': 30.0})
    header.add_history('taken')
    return CCDData(
        rng.normal(100, 5, SHAPE).astype('f4'),
        unit='adu',
        mask=rng.random(SHAPE) > 0.8,
        uncertainty=UNCERTAINTIES[kind](rng.uniform(1, 2, SHAPE).astype('f4')),
        wcs=wcs,
        meta=header,
        flags=np.arange(20).reshape(SHAPE),
        psf=np.eye(3),
    )


@pytest.mark.parametrize('kind', UNCERTAINTIES)
def test_nothing_is_lost(kind):
    """Everything a CCDData carries comes back, bit for bit."""
    ccd = full_ccd(kind)
    frame = unpack(ccd)
    back = frame.repack(frame.data)
    assert type(back) is CCDData
    assert np.array_equal(back.data, ccd.data)
    assert np.array_equal(back.mask, ccd.mask)
    assert type(back.uncertainty) is UNCERTAINTIES[kind]
    assert np.array_equal(back.uncertainty.array, ccd.uncertainty.array)
    assert back.unit == ccd.unit
    assert back.wcs.to_header() == ccd.wcs.to_header()
    assert back.header == ccd.header
    assert np.array_equal(back.flags, ccd.flags)
    assert np.array_equal(back.psf, ccd.psf)


def test_metadata_is_a_copy():
    """Writing to the metadata of a frame leaves the input alone."""
    ccd = full_ccd()
    before = ccd.header.copy()
    frame = unpack(ccd)
    frame.meta['OBJECT'] = 'changed'
    result = frame.repack(frame.data)
    result.header['EXPTIME'] = 0
    assert ccd.header == before


@pytest.mark.parametrize('kind', UNCERTAINTIES)
def test_variance(kind):
    """The variance is that of the uncertainty, whatever its kind."""
    ccd = full_ccd(kind)
    expected = ccd.uncertainty.represent_as(VarianceUncertainty).array
    assert np.allclose(unpack(ccd).variance, expected, rtol=1e-6)


@pytest.mark.parametrize('kind', UNCERTAINTIES)
def test_new_variance_keeps_its_kind(kind):
    """A new variance is written in the input's kind of uncertainty."""
    frame = unpack(full_ccd(kind))
    back = frame.repack(frame.data, variance=np.full(SHAPE, 4, 'f4'))
    expected = {'std': 2, 'var': 4, 'ivar': 0.25}[kind]
    assert type(back.uncertainty) is UNCERTAINTIES[kind]
    assert (back.uncertainty.array == expected).all()


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        ('u1', 'f4'),
        ('>u2', 'f4'),
        ('<i2', 'f4'),
        ('>i4', 'f4'),
        ('?', 'f4'),
        ('f2', 'f4'),
        ('>f4', 'f4'),
        ('>f8', 'f8'),
        ('g', 'f8'),
    ],
)
def test_dtype_rules(dtype, expected):
    """Integers become float32, float64 stays, the byte order is native."""
    frame = unpack(np.ones(SHAPE, dtype))
    assert frame.data.dtype == np.dtype(expected)
    assert frame.data.dtype.isnative


@pytest.mark.parametrize('dtype', ['c8', 'U1', 'O'])
def test_refused_dtypes(dtype):
    """What is not a real number is refused with a remedy."""
    with pytest.raises(TypeError, match='convert to real numbers'):
        unpack(np.ones(SHAPE).astype(dtype))


def test_unknown_uncertainty_is_said():
    """An uncertainty of an unknown kind is dropped with a warning."""
    ccd = CCDData(
        np.ones(SHAPE), unit='adu', uncertainty=UnknownUncertainty(np.ones(SHAPE))
    )
    with pytest.warns(AstroflatWarning, match='unknown kind'):
        assert unpack(ccd).uncertainty is None


def test_uncertainty_unit():
    """An uncertainty in another unit is converted to that of the data."""
    data = NDData(
        np.ones(SHAPE),
        unit='m',
        uncertainty=VarianceUncertainty(np.full(SHAPE, 4.0), unit='cm2'),
    )
    assert np.allclose(unpack(data).variance, 4e-4)


@pytest.mark.parametrize('kind', UNCERTAINTIES)
def test_unit_conversion(kind):
    """Converting the unit converts data and uncertainty."""
    one = np.full(SHAPE, 2.0)
    data = NDData(one, unit='m', uncertainty=UNCERTAINTIES[kind](one))
    frame = unpack(data, unit='cm')
    assert np.allclose(frame.data, 200)
    expected = {'std': 200, 'var': 2e4, 'ivar': 2e-4}[kind]
    assert np.allclose(frame.uncertainty, expected)


def test_wrong_unit():
    """A unit that cannot be converted is named."""
    with pytest.raises(u.UnitsError, match=r'flat is in adu.*to electron'):
        unpack(CCDData(np.ones(SHAPE), unit='adu'), name='flat', unit='electron')


def test_quantity():
    """A Quantity comes back as a Quantity of the same type."""
    data = np.ones(SHAPE, 'f4') * u.adu
    frame = unpack(data)
    back = frame.repack(frame.data * 2)
    assert back.unit == u.adu
    assert back.dtype == np.float32
    assert (back.value == 2).all()


def test_masked_array():
    """A masked array comes back with its mask."""
    data = np.ma.masked_greater(np.arange(20.0).reshape(SHAPE), 15)
    frame = unpack(data)
    back = frame.repack(frame.data)
    assert np.array_equal(back.mask, data.mask)
    assert np.array_equal(back.data, data.data)


def test_plain_array_holds_a_mask_as_nan():
    """In a plain array newly masked pixels become NaN, others stay."""
    mask = np.zeros(SHAPE, bool)
    mask[1, 2] = True
    frame = unpack(np.ones(SHAPE))
    back = frame.repack(frame.data, mask=mask)
    assert np.array_equal(np.isnan(back), mask)


def test_extra_mask_is_united():
    """A further mask is or-ed with the input's own."""
    ccd = full_ccd()
    extra = np.zeros(SHAPE, bool)
    extra[0] = True
    assert np.array_equal(unpack(ccd, mask=extra).mask, ccd.mask | extra)


def test_bad_pixels():
    """Bad pixels are the masked ones and those that are not finite."""
    data = np.ones(SHAPE)
    data[0, 0], data[1, 1] = np.nan, np.inf
    mask = np.zeros(SHAPE, bool)
    mask[2, 2] = True
    bad = unpack(np.ma.array(data, mask=mask)).bad
    assert set(zip(*np.nonzero(bad), strict=True)) == {(0, 0), (1, 1), (2, 2)}


@pytest.mark.parametrize('shape', [(5,), (2, 3, 4, 5), (0, 4)])
def test_wrong_shape(shape):
    """A wrong number of dimensions and an empty image are refused."""
    with pytest.raises(ValueError, match=r'image must be a 2-D image'):
        unpack(np.ones(shape), name='image')


def test_wrong_mask_shape():
    """A mask of another shape is refused."""
    with pytest.raises(ValueError, match=r'mask has the shape \(5, 4\)'):
        unpack(np.ones(SHAPE), mask=np.zeros(SHAPE, bool).T)


def test_mask_of_bytes():
    """A mask of 0 and 255 is refused instead of being guessed."""
    with pytest.raises(ValueError, match='other than 0 and 1'):
        unpack(np.ones(SHAPE), mask=np.full(SHAPE, 255, 'u1'))


def test_path(tmp_path):
    """A path is read and gives CCDData."""
    ccd = full_ccd()
    ccd.write(tmp_path / 'a.fits')
    frame = unpack(tmp_path / 'a.fits')
    back = frame.repack(frame.data)
    assert isinstance(back, CCDData)
    assert back.unit == u.adu
    assert np.array_equal(back.data, ccd.data)
    assert np.array_equal(back.mask, ccd.mask)
    assert np.array_equal(back.uncertainty.array, ccd.uncertainty.array)
    assert back.header['OBJECT'] == 'M57'


def test_to_ccd():
    """A plain array becomes CCDData, a CCDData stays the object it is."""
    ccd = full_ccd()
    assert to_ccd(ccd) is ccd
    assert to_ccd(np.ones(SHAPE), unit='adu').unit == u.adu


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(t) for t in ('u1', '>u2', '<i4', '>f4', '<f8')]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    )
)
def test_input_is_untouched(data):
    """The door never writes to its input."""
    before = data.copy()
    frame = unpack(data)
    frame.repack(frame.data + 1, mask=np.ones(data.shape, bool))
    assert np.array_equal(before, data, equal_nan=data.dtype.kind == 'f')


def test_uncertainty_is_copied_only_where_it_is_shared():
    """The input's uncertainty is copied, a new one is not."""
    array = np.ones((3, 4), 'f4')
    ccd = CCDData(np.ones((3, 4), 'f4'), unit='')
    ccd.uncertainty = VarianceUncertainty(array, copy=False)
    frame = unpack(ccd)
    new = np.full((3, 4), 2, 'f4')
    for changes in ({}, {'uncertainty': frame.uncertainty}, {'variance': array}):
        kept = frame.repack(frame.data, **changes).uncertainty.array
        assert not np.shares_memory(kept, array)
    result = frame.repack(frame.data, uncertainty=new).uncertainty.array
    assert np.shares_memory(result, new)
