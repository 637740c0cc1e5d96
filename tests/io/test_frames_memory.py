# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Stacks of arrays, containers, iterators and dask arrays."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

from astroflat.io import _spool, open_frames


def containers(n=4, shape=(5, 7)):
    """Return frames with everything that a CCDData can carry."""
    rng = np.random.default_rng(0)
    wcs = WCS(naxis=2)
    wcs.wcs.crval = [1, 2]
    return [
        CCDData(
            rng.normal(100, 5, shape),
            unit='electron',
            mask=(rng.random(shape) > 0.7) if i % 2 else None,
            uncertainty=StdDevUncertainty(rng.random(shape)),
            meta={'FRAMENO': i, 'DATE-OBS': f'2020-01-01T00:00:0{i}'},
            wcs=wcs,
        )
        for i in range(n)
    ]


@pytest.mark.parametrize('kind', ['list', 'iterator'])
def test_ccddata(kind):
    """Masks, uncertainties, units, times and WCS come back, also when spooled."""
    frames = containers()
    with open_frames(frames if kind == 'list' else iter(frames)) as stack:
        assert stack.unit == u.electron
        assert stack.has_mask
        assert stack.has_uncertainty
        np.testing.assert_array_equal(
            stack.read_rows(1, 4), [f.data[1:4] for f in frames]
        )
        expected = [
            np.zeros((3, 7), bool) if f.mask is None else f.mask[1:4] for f in frames
        ]
        np.testing.assert_array_equal(stack.mask_rows(1, 4), expected)
        assert stack.times[3].isot == '2020-01-01T00:00:03.000'
        for i, frame in enumerate(frames):
            ccd = stack.ccd(i)
            np.testing.assert_array_equal(ccd.data, frame.data)
            np.testing.assert_array_equal(
                ccd.uncertainty.array, frame.uncertainty.array
            )
            assert isinstance(ccd.uncertainty, StdDevUncertainty)
            assert (ccd.mask is None) == (frame.mask is None)
            assert ccd.meta['FRAMENO'] == i
            assert ccd.wcs.wcs.crval[0] == 1
        np.testing.assert_array_equal(stack[1:2].mask_rows(0, 5), frames[1].mask[None])


def test_inputs_are_untouched():
    """Neither reading nor closing changes the arrays that were given."""
    frames = containers()
    before = [frame.data.copy() for frame in frames]
    with open_frames(frames) as stack:
        stack.read_rows(0, 5)[:] = 0
        ccd = stack.ccd(0)
        ccd.uncertainty.array[:] = -1
        ccd.meta['FRAMENO'] = 99
    np.testing.assert_array_equal([f.data for f in frames], before)
    assert frames[0].uncertainty.array.min() >= 0
    assert frames[0].meta['FRAMENO'] == 0


def test_masked_arrays():
    """Masked cubes and lists give masks; the values below stay."""
    cube = np.ma.masked_greater(np.arange(24).reshape(2, 3, 4), 20)
    for source in (cube, list(cube), iter(cube)):
        with open_frames(source) as stack:
            np.testing.assert_array_equal(stack.mask_rows(0, 3), cube.mask)
            np.testing.assert_array_equal(stack.read_rows(0, 3), cube.data)
            np.testing.assert_array_equal(stack.ccd(1).mask, cube.mask[1])
    with open_frames(np.ma.MaskedArray(np.zeros((2, 3, 4)))) as stack:
        assert stack.mask_rows(0, 3) is None


def test_nan_is_not_masked():
    """NaN stays in the samples and out of the mask."""
    cube = np.full((2, 3, 4), np.nan, dtype='f4')
    with open_frames(cube) as stack:
        assert stack.mask_rows(0, 3) is None
        assert np.isnan(stack[0]).all()


def test_units():
    """Quantities and NDData bring their unit; it can be overridden."""
    cube = np.ones((2, 3, 4)) * u.electron
    for source in (cube, list(cube), NDData(cube), iter(cube)):
        with open_frames(source) as stack:
            assert stack.unit == u.electron
            assert stack.shape == (2, 3, 4)
    with open_frames(cube, unit='adu') as stack:
        assert stack.unit == u.adu
        assert stack.ccd(0).unit == u.adu
    with open_frames(np.ones((2, 3, 4))) as stack:
        assert stack.unit is None


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ('?', 'u1'),
        ('f2', 'f4'),
        ('>f4', 'f4'),
        ('g', 'f8'),
        ('>i2', 'i2'),
        ('u8', 'u8'),
        ('i1', 'i1'),
    ],
)
def test_types(given, expected):
    """Types come out native; those that no kernel knows are widened."""
    cube = (np.arange(24).reshape(2, 3, 4) % 2).astype(given)
    for source in (cube, list(cube), iter(cube)):
        with open_frames(source) as stack:
            assert stack.dtype == np.dtype(expected)
            np.testing.assert_array_equal(stack.read_rows(0, 3), cube.astype(expected))


def test_strides():
    """Views with any strides are read without being made contiguous."""
    base = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    for cube in (base[::-1, ::2, ::3], base.transpose(1, 0, 2), base[..., ::-1]):
        with open_frames(cube) as stack:
            np.testing.assert_array_equal(stack.read_rows(0, cube.shape[1]), cube)
            assert stack.flat_view() is None


def test_color_arrays():
    """Four dimensions are colour; a list of (ny, nx, 3) as well."""
    cube = np.arange(2 * 4 * 5 * 3, dtype='u1').reshape(2, 4, 5, 3)
    for source in (cube, list(cube), iter(cube)):
        with open_frames(source) as stack:
            assert stack.color == 'RGB'
            np.testing.assert_array_equal(stack.read_rows(1, 3), cube[:, 1:3])
            np.testing.assert_array_equal(stack[1], cube[1])


def test_single_image():
    """An image is a stack of one."""
    for source in (np.ones((3, 4)), CCDData(np.ones((3, 4)), unit='adu')):
        with open_frames(source) as stack:
            assert stack.shape == (1, 3, 4)


@pytest.mark.parametrize(
    ('source', 'error', 'reason'),
    [
        ([], ValueError, 'the list is empty'),
        (iter(()), ValueError, 'yields no frame'),
        (np.zeros((0, 3, 4)), ValueError, 'at least one frame'),
        (np.zeros((2, 0, 4)), ValueError, r'\(0, 4\)'),
        (np.zeros(5), ValueError, r'shape \(5,\)'),
        (np.zeros((2, 3, 4, 2)), ValueError, r'\(3, 4, 2\)'),
        (np.zeros((2, 3, 4), complex), TypeError, 'complex128'),
        (np.full((2, 3, 4), 'x'), TypeError, 'frames are real numbers'),
        ([1.0, 2.0], TypeError, 'list of numbers'),
        (42, TypeError, 'cannot read frames from int'),
        (None, TypeError, 'cannot read frames from NoneType'),
        ({'a': 1}, TypeError, 'cannot read frames from dict'),
        ([np.ones((3, 4)), np.ones((3, 5))], ValueError, 'frame 1 of .* the shape'),
        ([np.ones((3, 4)), np.ones((3, 4), int)], ValueError, 'frame 1 .* the type'),
        ((np.ones((3, 4 + i)) for i in range(2)), ValueError, 'frame 1 of generator'),
        (
            [CCDData(np.ones((3, 4)), unit=unit) for unit in ('adu', 'electron')],
            ValueError,
            'frame 1 of .* the unit electron',
        ),
    ],
)
def test_refused(source, error, reason):
    """What cannot be a stack is refused with the reason."""
    with pytest.raises(error, match=reason):
        open_frames(source)


def test_iterator_is_dropped(monkeypatch):
    """An iterator is consumed one frame at a time, and its file closed on error."""
    closed = []
    real = _spool.Scratch.close
    monkeypatch.setattr(
        _spool.Scratch, 'close', lambda self: closed.append(self) or real(self)
    )

    def frames():
        for i in range(3):
            yield np.full((4, 5), i)
        msg = 'the camera stopped'
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='camera stopped'):
        open_frames(frames())
    assert len(closed) == 1


def test_dask():
    """A dask array stays lazy: a band computes its own chunks only."""
    da = pytest.importorskip('dask.array')
    cube = np.arange(4 * 12 * 10, dtype='>i2').reshape(4, 12, 10)
    computed = []

    def load(block, block_info=None):
        computed.append(block_info[0]['chunk-location'])
        return block

    source = da.from_array(cube, chunks=(2, 4, 10)).map_blocks(load, dtype=cube.dtype)
    computed.clear()
    with open_frames(source) as stack:
        assert computed == []
        assert stack.shape == (4, 12, 10)
        assert stack.dtype == np.int16
        assert stack.dask is source
        out = np.empty((4, 3, 10), np.int16)
        np.testing.assert_array_equal(stack.read_rows(4, 7, out), cube[:, 4:7])
        assert set(computed) == {(0, 1, 0), (1, 1, 0)}
        np.testing.assert_array_equal(stack[2], cube[2])
        np.testing.assert_array_equal(stack[::-1].read_rows(0, 3), cube[::-1, :3])
        np.testing.assert_array_equal(stack[1:3].dask.compute(), cube[1:3])
        assert stack.flat_view() is None
    with open_frames(cube) as stack:
        assert stack.dask is None
    with pytest.raises(ValueError, match='of known size'):
        open_frames(source[source[:, 0, 0] > 3])
    with pytest.raises(ValueError, match='a dask stack is'):
        open_frames(source[0])


@pytest.mark.parametrize('kind', [StdDevUncertainty, VarianceUncertainty])
def test_container_of_a_cube(kind):
    """Each frame has its part of the uncertainty, and header and sky of the whole."""
    rng = np.random.default_rng(3)
    data, spread = rng.normal(100, 3, (2, 3, 4, 5)).astype('f4')
    header = fits.Header({'OBJECT': 'M 57', 'EXPTIME': 30.0})
    wcs = WCS(naxis=3)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN', 'TIME']
    ccd = CCDData(
        data, unit='adu', uncertainty=kind(np.abs(spread)), meta=header, wcs=wcs
    )
    with open_frames(ccd) as stack:
        assert len(stack) == 3
        frame = stack.ccd(1)
        assert np.array_equal(frame.data, data[1])
        assert type(frame.uncertainty) is kind
        assert np.array_equal(frame.uncertainty.array, np.abs(spread[1]))
        assert frame.meta['OBJECT'] == 'M 57'
        assert list(frame.wcs.wcs.ctype) == ['RA---TAN', 'DEC--TAN']
    with open_frames(CCDData(data, unit='adu')) as stack:
        assert stack.ccd(2).uncertainty is None
        assert stack.ccd(2).wcs is None
