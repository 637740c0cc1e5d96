# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Writing flats: finite, labelled, clipped pixels counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from hypothesis import given
from hypothesis import strategies as st

import astroflat as af
from astroflat import AstroflatWarning
from astroflat.io import ImageFormatError, WriteReport, read_ccd, read_image, write_flat
from astroflat.io._samples import to_samples

RNG = np.random.default_rng(7)


def dusty(shape=(40, 50)):
    """Return a flat that is exactly 1 but for two motes."""
    flat = np.ones(shape, np.float32)
    flat[5:15, 10:30] = RNG.uniform(0.6, 0.99, (10, 20)).astype(np.float32)
    flat[30:33, 40:44] = 0.25
    return flat


FLAT = dusty()


def test_fits_is_a_ccdproc_master_flat(tmp_path):
    """float32, dimensionless, labelled, with mask and uncertainty."""
    mask = np.zeros(FLAT.shape, bool)
    mask[0, :3] = True
    meta = fits.Header({'FILTER': 'R', 'DATE-OBS': '2026-11-20', 'NCOMBINE': 12})
    ccd = CCDData(
        FLAT, unit='', mask=mask, uncertainty=StdDevUncertainty(FLAT * 0.01), meta=meta
    )
    report = write_flat(ccd, tmp_path / 'flat.fits')
    assert report == WriteReport(
        str(tmp_path / 'flat.fits'), 'fits', 'float32', 1.0, FLAT.size
    )
    # Without naming a unit, as users read it.
    read = CCDData.read(tmp_path / 'flat.fits')
    assert read.unit == u.dimensionless_unscaled
    assert read.data.dtype.newbyteorder('=') == np.float32
    assert np.array_equal(read.data, FLAT)
    assert np.array_equal(read.mask, mask)
    assert np.array_equal(read.uncertainty.array, (FLAT * 0.01).astype(np.float32))
    assert read.header['IMAGETYP'] == 'FLAT'
    assert read.header['FLATNORM'] == 1.0
    assert 'norm_value' in read.header.comments['FLATNORM']
    assert (read.header['FILTER'], read.header['NCOMBINE']) == ('R', 12)
    assert 'AFVER' in read.header
    assert any('unity' in line for line in read.header['HISTORY'])


def test_the_input_is_not_touched(tmp_path):
    """Neither data nor mask nor header change."""
    data = FLAT.copy()
    data[3, 3] = np.nan
    ccd = CCDData(data, unit='', mask=np.zeros(data.shape, bool), meta={'A': 1})
    with pytest.warns(AstroflatWarning):
        write_flat(ccd, tmp_path / 'a.fits')
    assert np.array_equal(ccd.data, data, equal_nan=True)
    assert not ccd.mask.any()
    assert dict(ccd.meta) == {'A': 1}


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 0.0, -0.5])
def test_finite_and_positive_everywhere(tmp_path, value):
    """What no program can divide by is 1 and masked, counted and reported."""
    data = FLAT.copy()
    data[2, 7] = value
    with pytest.warns(AstroflatWarning, match='1 pixels of the flat') as record:
        report = write_flat(data, tmp_path / 'a.fits')
    assert record[0].filename == __file__
    assert report.n_filled == 1
    flat = read_ccd(tmp_path / 'a.fits')
    assert flat.data[2, 7] == 1
    assert np.argwhere(flat.mask).tolist() == [[2, 7]]
    assert any('1 bad pixels' in line for line in flat.header['HISTORY'])


def test_masked_pixels_are_one_without_a_warning(tmp_path):
    """Known bad pixels, NaN or not, are no news."""
    data = FLAT.copy()
    mask = np.zeros(data.shape, bool)
    mask[7, 12:15] = True
    data[7, 12] = np.nan
    unc = np.full(data.shape, 0.01, np.float32)
    unc[7, 12] = np.nan
    ccd = CCDData(data, unit='', mask=mask, uncertainty=VarianceUncertainty(unc))
    report = write_flat(ccd, tmp_path / 'a.fits')
    flat = read_ccd(tmp_path / 'a.fits')
    assert report.n_filled == 0
    assert (flat.data[mask] == 1).all()
    assert np.array_equal(flat.data[~mask], data[~mask])
    assert np.isfinite(flat.uncertainty.array).all()
    assert isinstance(flat.uncertainty, VarianceUncertainty)


def test_16_bit_tiff(tmp_path):
    """1.0 is 65535, clean pixels exactly, the rest within half a step."""
    report = write_flat(FLAT, tmp_path / 'flat.tif', dtype='uint16')
    assert (report.dtype, report.scale, report.n_clipped) == ('uint16', 65535.0, 0)
    stored = tifffile.imread(tmp_path / 'flat.tif')
    assert stored.dtype == np.uint16
    assert (stored[FLAT == 1] == 65535).all()
    assert np.array_equal(stored, np.rint(FLAT.astype(float) * 65535))
    back = read_ccd(tmp_path / 'flat.tif')
    assert back.unit == u.dimensionless_unscaled
    assert (back.data[FLAT == 1] == 1).all()
    assert np.abs(back.data - FLAT).max() <= 0.5 / 65535 + 1e-7


@pytest.mark.parametrize('suffix', ['.tif', '.xisf', '.png', '.fits', '.fit.gz'])
@pytest.mark.parametrize('scale', [65535, 60000, 32768, 1000.5])
def test_the_scale_is_in_the_file(tmp_path, suffix, scale):
    """Any scale comes back as 1.0."""
    path = tmp_path / f'flat{suffix}'
    report = write_flat(FLAT, path, dtype='uint16', scale=scale)
    assert report.scale == scale
    raw = read_image(path)
    assert raw.data.max() == round(scale)
    assert raw.meta['FLATNORM'] == scale
    back = read_ccd(path)
    assert back.header['FLATNORM'] == 1.0
    assert np.abs(back.data - FLAT).max() <= 0.5 / scale + 1e-7


def test_clipped_pixels_are_counted(tmp_path):
    """Values above the scale are clipped, counted, reported and warned about."""
    flat = FLAT.copy()
    flat[20, :7] = 1.25
    flat[21, 0] = 1 + 1e-6
    with pytest.warns(AstroflatWarning, match=r'7 of 2000 pixels \(0.35 %\)') as record:
        report = write_flat(flat, tmp_path / 'a.tif', dtype='uint16')
    assert record[0].filename == __file__
    assert report.n_clipped == 7
    assert report.clipped_fraction == 7 / 2000
    assert '7 of 2000' in str(report)
    assert (read_image(tmp_path / 'a.tif').data[20, :7] == 65535).all()
    # float32 keeps them.
    report = write_flat(flat, tmp_path / 'b.tif')
    assert report.n_clipped == 0
    assert np.array_equal(read_ccd(tmp_path / 'b.tif').data, flat)


@pytest.mark.parametrize(
    ('peak', 'scale'), [(1.0, 65535), (1.0000001, 65535), (1.5, 32768), (2.5, 16384)]
)
def test_automatic_scale(tmp_path, peak, scale):
    """'auto' clips nothing and keeps 65535 where that is possible."""
    flat = FLAT.copy()
    flat[20, 20] = peak
    report = write_flat(flat, tmp_path / 'a.tif', scale='auto')
    assert (report.scale, report.n_clipped) == (scale, 0)
    assert np.abs(read_ccd(tmp_path / 'a.tif').data - flat).max() <= 0.51 / scale


@pytest.mark.parametrize(
    ('suffix', 'scale', 'dtype'),
    [
        ('.fits', None, 'float32'),
        ('.fits', 65535, 'float32'),
        ('.tif', None, 'float32'),
        ('.tif', 65535, 'uint16'),
        ('.xisf', None, 'float32'),
        ('.xisf', 'auto', 'uint16'),
        ('.png', None, 'uint16'),
    ],
)
def test_default_type(tmp_path, suffix, scale, dtype):
    """Nothing is lost by default; a scale asks for integers."""
    report = write_flat(FLAT, tmp_path / f'a{suffix}', scale=scale)
    assert report.dtype == dtype
    assert report.scale == (1 if dtype == 'float32' else 65535)


@pytest.mark.parametrize('suffix', ['.fits', '.fits.gz', '.tif', '.xisf'])
def test_float32_round_trip(tmp_path, suffix):
    """All bits of a flat come back."""
    write_flat(FLAT, tmp_path / f'a{suffix}', compress=True)
    back = read_ccd(tmp_path / f'a{suffix}')
    assert back.data.dtype == np.float32
    assert np.array_equal(back.data, FLAT)
    assert back.unit == u.dimensionless_unscaled


@pytest.mark.parametrize('suffix', ['.fits', '.tif', '.png', '.xisf'])
def test_reversed_rows(tmp_path, suffix):
    """Rows may be written upside down for Siril; reading turns them back."""
    mask = FLAT < 0.3
    ccd = CCDData(FLAT, unit='', mask=mask, uncertainty=StdDevUncertainty(FLAT / 9))
    path = tmp_path / f'a{suffix}'
    write_flat(ccd, path, flip_rows=True)
    plain = np.where(mask, 1, FLAT)
    if suffix == '.tif':
        assert np.array_equal(tifffile.imread(path), plain[::-1])
    back = read_ccd(path)
    assert np.abs(back.data - plain).max() < 1e-5
    assert 'AFFLIP' not in back.header
    if suffix == '.fits':
        assert np.array_equal(back.mask, mask)
        assert np.array_equal(back.uncertainty.array, FLAT / 9)


def test_uncertainty_of_a_16_bit_fits_flat(tmp_path):
    """The uncertainty is in the scale of the samples, and comes back in that of 1."""
    ccd = CCDData(FLAT, unit='', uncertainty=StdDevUncertainty(FLAT / 100))
    write_flat(ccd, tmp_path / 'a.fits', dtype='uint16')
    raw = read_image(tmp_path / 'a.fits')
    assert raw.data.dtype == np.uint16
    assert np.allclose(raw.extras['uncertainty'].array, FLAT * 655.35, rtol=1e-6)
    back = read_ccd(tmp_path / 'a.fits')
    assert np.allclose(back.uncertainty.array, FLAT / 100, rtol=1e-6)


def test_text_in_the_tiff(tmp_path):
    """The description is JSON that other programs can read, in plain ASCII."""
    write_flat(FLAT, tmp_path / 'a.tif', scale=60000)
    with tifffile.TiffFile(tmp_path / 'a.tif') as tif:
        page = tif.pages[0]
        text = page.description
        assert page.tags['Software'].value.startswith('astroflat')
    assert text.isascii()
    cards = {card[0]: card[1] for card in json.loads(text)['cards']}
    assert cards['FLATNORM'] == 60000
    assert cards['IMAGETYP'] == 'FLAT'


def test_solution_and_other_containers(tmp_path):
    """A solution, a masked array, a Quantity and a list are flats, too."""
    wanted = FLAT[:3, :4]
    solution = af.FlatSolution(CCDData(wanted, unit=''), method='test')
    containers = {
        'solution': solution,
        'masked': np.ma.array(wanted, mask=wanted > 2),
        'quantity': wanted * u.dimensionless_unscaled,
        'percent': (wanted * 100) * u.percent,
        'list': wanted.tolist(),
        'big': wanted.astype('>f8'),
    }
    for name, flat in containers.items():
        write_flat(flat, tmp_path / f'{name}.fits')
        assert np.allclose(read_ccd(tmp_path / f'{name}.fits').data, wanted)
    report = solution.write(tmp_path / 'b.tif', dtype='uint16')
    assert report.scale == 65535


def test_the_method_is_kept(tmp_path):
    """Writing does not replace the name of the method that made the flat."""
    ccd = CCDData(FLAT, unit='', meta={'AFMETH': 'dust_flat'})
    write_flat(ccd, tmp_path / 'a.fits')
    assert read_ccd(tmp_path / 'a.fits').header['AFMETH'] == 'dust_flat'


def test_add_keyword(tmp_path):
    """As in ccdproc; what the samples mean is written in any case."""
    write_flat(FLAT, tmp_path / 'a.fits', add_keyword=False)
    header = read_ccd(tmp_path / 'a.fits').header
    assert 'AFVER' not in header
    assert 'HISTORY' not in header
    assert header['FLATNORM'] == 1.0
    write_flat(FLAT, tmp_path / 'b.fits', add_keyword='MYFLAT')
    assert read_ccd(tmp_path / 'b.fits').header['MYFLAT'] == 'write_flat'


@pytest.mark.parametrize(
    ('flat', 'match'),
    [
        (CCDData(FLAT, unit='adu'), 'adu'),
        (np.full((3, 3), np.nan), 'no pixel'),
        (np.zeros((3, 3)), 'no pixel'),
        (np.ones(5), 'shape'),
        (np.ones((0, 4)), 'shape'),
        (np.ones((2, 3, 4)), 'shape'),
    ],
)
def test_what_is_no_flat(tmp_path, flat, match):
    """Errors name the cause, and no file is left behind."""
    with pytest.raises(ValueError, match=match):
        write_flat(flat, tmp_path / 'a.fits')
    assert list(tmp_path.iterdir()) == []


def test_level_far_from_one(tmp_path):
    """A flat in counts is written with a warning."""
    with pytest.warns(AstroflatWarning, match='median of the flat is 3e'):
        write_flat(FLAT * 30000, tmp_path / 'a.fits')


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'scale': 0}, 'scale'),
        ({'scale': 70000}, 'scale'),
        ({'scale': float('nan')}, 'scale'),
        ({'scale': 'most'}, 'scale'),
        ({'dtype': 'int16'}, 'dtype'),
        ({'dtype': 'float64'}, 'dtype'),
    ],
)
def test_wrong_options(tmp_path, options, match):
    """Options out of range are named."""
    with pytest.raises(ValueError, match=match):
        write_flat(FLAT, tmp_path / 'a.tif', **{'dtype': 'uint16', **options})


@pytest.mark.parametrize('name', ['a.jpg', 'a', 'a.gz', 'a.fits.fz', 'a.bmp'])
def test_unknown_suffix(tmp_path, name):
    """The error lists the formats."""
    with pytest.raises(ImageFormatError, match=r'\.xisf'):
        write_flat(FLAT, tmp_path / name)


def test_overwrite(tmp_path):
    """An existing file is replaced only on demand, and kept on demand."""
    path = tmp_path / 'a.fits'
    write_flat(FLAT, path)
    with pytest.raises(FileExistsError, match='overwrite=True'):
        write_flat(FLAT, path)
    first = path.read_bytes()
    write_flat(FLAT * np.float32(0.9), path, overwrite='backup')
    second = path.read_bytes()
    write_flat(FLAT * np.float32(0.8), path, overwrite='backup')
    assert (tmp_path / 'a.fits.bak').read_bytes() == first
    assert (tmp_path / 'a.fits.bak1').read_bytes() == second
    write_flat(FLAT, path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3


def test_failure_leaves_the_old_file(tmp_path, monkeypatch):
    """A disk that fills up destroys nothing and leaves no temporary file."""
    path = tmp_path / 'a.tif'
    write_flat(FLAT, path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tifffile, 'imwrite', full)
    with pytest.raises(OSError, match='No space'):
        write_flat(FLAT, path, overwrite='backup')
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_same_flat_same_bytes(tmp_path):
    """FITS, gzip and TIFF files hold no time of writing."""
    for suffix in ('.fits', '.fits.gz', '.tif', '.png'):
        for name in 'ab':
            write_flat(FLAT, tmp_path / f'{name}{suffix}')
        first, second = (tmp_path / f'{name}{suffix}' for name in 'ab')
        assert first.read_bytes() == second.read_bytes()


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20),
    st.sampled_from(['u1', 'u2', 'i2', 'i4', 'u4']),
    st.sampled_from([1.0, 0.5, 255.0, 65535.0]),
)
def test_conversion_against_plain_python(values, dtype, scale):
    """Rounding, clipping and counting agree with one number at a time."""
    data = np.array([values], np.float32)
    samples = to_samples(data, dtype, scale=scale)
    limits = np.iinfo(dtype)
    exact = [round(float(v) * scale) for v in data[0]]
    clipped = [min(max(v, limits.min), limits.max) for v in exact]
    assert samples.data.dtype == np.dtype(dtype)
    assert samples.data[0].tolist() == clipped
    assert samples.n_clipped == sum(a != b for a, b in zip(exact, clipped, strict=True))


def test_conversion_at_the_ends_of_64_bits():
    """The largest integers are clipped, not wrapped around."""
    data = np.array([[1e30, -1e30, np.nan, 5.0]])
    samples = to_samples(data, np.int64)
    assert samples.data[0, 0] > 9.2e18
    assert samples.data[0, 1] == np.iinfo(np.int64).min
    assert samples.data[0, 2:].tolist() == [0, 5]
    assert (samples.n_clipped, samples.n_filled) == (2, 1)


def test_overflow_of_float32_is_counted():
    """What float32 cannot hold becomes infinite, and is counted."""
    samples = to_samples(np.array([[1e300, 1.0, np.inf]]), np.float32)
    assert samples.n_clipped == 1
    assert np.isinf(samples.data[0, 0])


def test_unknown_uncertainty_is_not_zero(tmp_path):
    """What is not known of a good pixel is not written as perfect."""
    unc = np.full(FLAT.shape, 0.01, np.float32)
    unc[3, 4] = np.nan
    for error, name in ((unc, 'a.fits'), (unc * np.nan, 'b.fits')):
        ccd = CCDData(FLAT, unit='', uncertainty=StdDevUncertainty(error))
        write_flat(ccd, tmp_path / name)
    found = read_ccd(tmp_path / 'a.fits').uncertainty.array
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 4]]
    assert read_ccd(tmp_path / 'b.fits').uncertainty is None
