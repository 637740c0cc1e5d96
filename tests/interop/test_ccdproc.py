# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Flats in a ccdproc reduction: what ccdproc does with them, and what we do.

Tests of ccdproc's own behaviour are here on purpose: our advice to its users
rests on it, and a change there should be noticed here.
"""

from __future__ import annotations

import ccdproc
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    IncompatibleUncertaintiesException,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS

import astroflat as af
from astroflat.dust.synthetic import synthetic_flat
from astroflat.io import read_ccd, write_flat, write_image

SHAPE = (48, 64)
KINDS = [StdDevUncertainty, VarianceUncertainty, InverseVariance]
SQUARE = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}


def image(seed=0, **options):
    """Return a science frame in adu with a header and a WCS."""
    rng = np.random.default_rng(seed)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.crval = [283.4, 33.03]
    header = fits.Header({'OBJECT': 'M57', 'FILTER': 'R', 'EXPTIME': 30.0})
    data = rng.normal(1000, 30, SHAPE).astype(np.float32)
    return CCDData(data, unit='adu', meta=header, wcs=wcs, **options)


@pytest.fixture
def weight():
    """Return weights that are exactly 0 off two motes."""
    weight = np.zeros(SHAPE)
    weight[10:20, 12:30] = 1.0
    weight[9, 12:30] = weight[20, 12:30] = 0.5
    weight[40:42, 50:53] = 1.0
    return weight


@pytest.fixture
def flat(weight):
    """Return the synthetic flat of those motes."""
    clean = np.full(SHAPE, 2000.0)
    observed = clean * (1 - 0.3 * (weight > 0))
    return synthetic_flat(observed, clean, weight)


@pytest.mark.parametrize('norm', [1, np.float32(1)])
def test_clean_pixels_are_unchanged_to_the_bit(flat, weight, norm):
    """Through flat_correct with norm_value=1, the same numbers come out."""
    ccd = image()
    corrected = ccdproc.flat_correct(ccd, flat, norm_value=norm)
    clean = weight == 0
    assert np.array_equal(corrected.data[clean], ccd.data[clean])
    as_float32 = corrected.data.astype(np.float32)
    assert as_float32[clean].tobytes() == ccd.data[clean].tobytes()
    assert np.allclose(corrected.data[~clean], (ccd.data / flat.data)[~clean])
    assert corrected.unit == u.adu
    assert corrected.header['OBJECT'] == 'M57'
    assert corrected.wcs is not None


def test_type_of_the_norm_value(flat):
    """A Python number makes ccdproc's result float64; a float32 keeps float32."""
    ccd = image()
    wide = ccdproc.flat_correct(ccd, flat, norm_value=1)
    narrow = ccdproc.flat_correct(ccd, flat, norm_value=np.float32(1))
    assert (wide.data.dtype, narrow.data.dtype) == (np.float64, np.float32)
    assert af.FlatSolution(flat).correct(ccd).data.dtype == np.float32


def test_integers_are_unchanged_too(flat, weight):
    """A raw uint16 frame becomes floating point with the same numbers."""
    raw = CCDData(image().data.astype(np.uint16), unit='adu')
    corrected = ccdproc.flat_correct(raw, flat, norm_value=1)
    assert np.array_equal(corrected.data[weight == 0], raw.data[weight == 0])


def test_default_normalisation_scales_the_clean_area(flat, weight):
    """Without norm_value every pixel is multiplied by the mean of the flat."""
    ccd = image()
    default = ccdproc.flat_correct(ccd, flat)
    factor = flat.data.mean()
    assert factor < 0.99
    clean = weight == 0
    assert np.allclose(default.data[clean], ccd.data[clean] * factor, rtol=1e-6)
    ours = af.FlatSolution(flat).correct(ccd)
    assert ours.data[clean].tobytes() == ccd.data[clean].tobytes()


@pytest.mark.parametrize('dtype', ['float32', 'uint16'])
def test_flatnorm_is_the_norm_value(tmp_path, flat, weight, dtype):
    """The card in the file is what to pass, whatever the type of the samples."""
    write_flat(flat, tmp_path / 'flat.fits', dtype=dtype)
    master = CCDData.read(tmp_path / 'flat.fits')
    ccd = image()
    norm = master.header['FLATNORM']
    assert norm == (1.0 if dtype == 'float32' else 65535.0)
    corrected = ccdproc.flat_correct(ccd, master, norm_value=norm)
    clean = weight == 0
    assert corrected.data[clean].astype('f4').tobytes() == ccd.data[clean].tobytes()
    expected = af.FlatSolution(flat).correct(ccd).data
    assert np.allclose(corrected.data, expected, rtol=1e-7 if norm == 1 else 2e-5)


def test_masked_pixels_of_a_flat_enter_the_mean():
    """One masked pixel of a million scales the frame; in our file it is 1."""
    data = np.ones(SHAPE, np.float32)
    data[3, 3] = 1e6
    mask = data > 1
    flat = CCDData(data, unit='', mask=mask)
    ccd = image()
    corrected = ccdproc.flat_correct(ccd, flat)
    assert np.median(corrected.data[~mask] / ccd.data[~mask]) > 100


def test_masked_nan_of_a_flat_spreads():
    """One masked NaN makes the mean, and with it every pixel, NaN."""
    data = np.ones(SHAPE, np.float32)
    data[3, 3] = np.nan
    flat = CCDData(data, unit='', mask=np.isnan(data))
    corrected = ccdproc.flat_correct(image(), flat)
    # The masked pixel itself is set to 1 and survives; the others do not.
    assert np.isnan(corrected.data).sum() == data.size - 1


@pytest.mark.parametrize('bad', [np.nan, np.inf, 0.0, 1e6])
def test_a_written_flat_is_safe(tmp_path, bad):
    """What write_flat writes has neither trap, with and without norm_value."""
    data = np.ones(SHAPE, np.float32)
    data[3, 3] = bad
    flat = CCDData(data, unit='', mask=data != 1)
    write_flat(flat, tmp_path / 'flat.fits')
    master = CCDData.read(tmp_path / 'flat.fits')
    ccd = image()
    for norm in (None, 1):
        corrected = ccdproc.flat_correct(ccd, master, norm_value=norm)
        assert np.array_equal(corrected.data, ccd.data)
        assert np.argwhere(corrected.mask).tolist() == [[3, 3]]


@pytest.mark.parametrize('bad', [np.nan, np.inf, 0.0, 1e6])
def test_our_correction_keeps_a_bad_pixel_to_itself(bad):
    """Neither mask nor NaN of the flat reaches another pixel."""
    data = np.ones(SHAPE, np.float32)
    data[3, 3] = bad
    ccd = image()
    corrected = af.DegradationModel(CCDData(data, unit='', mask=data != 1)).correct(ccd)
    assert np.argwhere(corrected.mask).tolist() == [[3, 3]]
    assert np.array_equal(corrected.data[~corrected.mask], ccd.data[~corrected.mask])


@pytest.mark.parametrize('kind', KINDS)
def test_uncertainties_agree(kind, flat):
    """Same kind of uncertainty: ours and ccdproc's propagation are the same."""
    rng = np.random.default_rng(1)
    sigma = rng.uniform(20, 40, SHAPE)
    sigma_flat = rng.uniform(0.001, 0.02, SHAPE)
    power = SQUARE[kind]
    ccd = image(uncertainty=kind((sigma**power).astype('f4')))
    master = flat.copy()
    master.uncertainty = kind((sigma_flat**power).astype('f4'))
    theirs = ccdproc.flat_correct(ccd, master, norm_value=1)
    ours = af.DegradationModel(master).correct(ccd)
    assert type(ours.uncertainty) is type(theirs.uncertainty) is kind
    assert np.allclose(ours.data, theirs.data, rtol=1e-6)
    assert np.allclose(ours.uncertainty.array, theirs.uncertainty.array, rtol=1e-4)
    expected = np.hypot(sigma / flat.data, ccd.data * sigma_flat / flat.data**2)
    assert np.allclose(ours.uncertainty.array, expected**power, rtol=1e-4)


def test_mixed_kinds_of_uncertainty(flat):
    """In ccdproc variance beside standard deviation is an error; we convert."""
    variance = VarianceUncertainty(np.full(SHAPE, 900.0))
    ccd = image(uncertainty=variance)
    master = flat.copy()
    master.uncertainty = StdDevUncertainty(np.full(SHAPE, 0.02, 'f4'))
    with pytest.raises(IncompatibleUncertaintiesException):
        ccdproc.flat_correct(ccd, master, norm_value=1)
    ours = af.DegradationModel(master).correct(ccd)
    assert isinstance(ours.uncertainty, VarianceUncertainty)
    ratio = ours.data.astype(float)
    expected = (900 + (0.02 * ratio) ** 2) / flat.data.astype(float) ** 2
    assert np.allclose(ours.uncertainty.array, expected, rtol=1e-5)


def test_flags_and_psf_survive_only_here(flat):
    """Both are dropped by ccdproc, the second with a warning."""
    ccd = image(flags=np.arange(48 * 64).reshape(SHAPE), psf=np.ones((3, 3)))
    with pytest.warns(UserWarning, match='PSF|psf'):
        theirs = ccdproc.flat_correct(ccd, flat, norm_value=1)
    assert theirs.flags is None
    assert theirs.psf is None
    ours = af.DegradationModel(flat).correct(ccd)
    assert np.array_equal(ours.flags, ccd.flags)
    assert np.array_equal(ours.psf, ccd.psf)


def test_small_values_are_masked_not_replaced():
    """The min_value of ccdproc replaces flat values; ours masks the pixels."""
    data = np.ones(SHAPE, np.float32)
    data[5, 5] = 0.01
    flat, ccd = CCDData(data, unit=''), image()
    theirs = ccdproc.flat_correct(ccd, flat, min_value=0.05, norm_value=1)
    assert np.isclose(theirs.data[5, 5], ccd.data[5, 5] / 0.05)
    ours = af.DegradationModel(flat).correct(ccd, min_value=0.05)
    assert np.argwhere(ours.mask).tolist() == [[5, 5]]


def test_whole_reduction(tmp_path, flat, weight):
    """Overscan to flat by ccdproc, our flat in between, written and read back."""
    rng = np.random.default_rng(3)
    truth = image(4)
    bias = CCDData(rng.normal(300, 2, SHAPE).astype('f4'), unit='adu')
    raw = CCDData(
        truth.data * flat.data + bias.data, unit='adu', meta=truth.header, wcs=truth.wcs
    )
    raw = ccdproc.create_deviation(
        raw, gain=1.5 * u.electron / u.adu, readnoise=5 * u.electron
    )
    write_flat(flat, tmp_path / 'flat.fits')
    step = ccdproc.subtract_bias(raw, bias)
    master = CCDData.read(tmp_path / 'flat.fits')
    reduced = ccdproc.flat_correct(step, master, norm_value=1)
    assert np.allclose(reduced.data, truth.data, rtol=1e-5)
    ours = af.DegradationModel(master).correct(step)
    assert np.allclose(ours.data, reduced.data, rtol=1e-6)
    assert np.allclose(ours.uncertainty.array, reduced.uncertainty.array, rtol=1e-5)
    report = write_image(ours, tmp_path / 'reduced.fits')
    assert report.dropped == ()
    again = CCDData.read(tmp_path / 'reduced.fits')
    assert np.array_equal(again.data, ours.data)
    assert np.array_equal(again.uncertainty.array, ours.uncertainty.array)
    assert again.header['OBJECT'] == 'M57'
    assert np.allclose(again.wcs.wcs.crval, truth.wcs.wcs.crval)


@pytest.mark.filterwarnings('ignore:All-NaN slice:RuntimeWarning')
# Without bottleneck, NumPy warns of the pixel that is masked in all frames.
@pytest.mark.filterwarnings('ignore:Mean of empty slice:RuntimeWarning')
@pytest.mark.filterwarnings('ignore:All-NaN slice:RuntimeWarning')
@pytest.mark.filterwarnings('ignore:Degrees of freedom:RuntimeWarning')
def test_combiner(flat, weight):
    """Median and mean of synthetic flats are 1 off the dust; the mask is kept."""
    masked = flat.copy()
    masked.mask = np.zeros(SHAPE, bool)
    masked.mask[0, 0] = True
    combiner = ccdproc.Combiner([masked, masked, masked], dtype=np.float32)
    for combined in (combiner.median_combine(), combiner.average_combine()):
        clean = (weight == 0) & ~masked.mask
        assert (combined.data[clean] == 1).all()
        assert np.allclose(combined.data[~masked.mask], flat.data[~masked.mask])
        assert combined.mask[0, 0]
        assert combined.mask.sum() == 1
        assert combined.unit == flat.unit


def test_combiner_ignores_uncertainties():
    """Combiner replaces what the frames know by their scatter over sqrt(n)."""
    frames = [
        image(s, uncertainty=StdDevUncertainty(np.full(SHAPE, 99.0))) for s in range(5)
    ]
    combined = ccdproc.Combiner(frames).average_combine()
    scatter = np.std([f.data.astype(float) for f in frames], axis=0) / np.sqrt(5)
    assert np.allclose(combined.uncertainty.array, scatter, rtol=1e-5)


def test_image_file_collection(tmp_path, flat, weight):
    """A collection finds our flats and frames by their headers, and reads them."""
    write_flat(flat, tmp_path / 'flat_r.fits')
    for number in range(3):
        ccd = image(number)
        ccd.header['IMAGETYP'] = 'LIGHT'
        write_image(ccd, tmp_path / f'light_{number}.fits')
    collection = ccdproc.ImageFileCollection(tmp_path)
    assert len(collection.summary) == 4
    (path,) = collection.files_filtered(imagetyp='flat', include_path=True)
    assert np.array_equal(read_ccd(path).data, flat.data)
    (master,) = collection.ccds(imagetyp='FLAT')
    assert master.unit == u.dimensionless_unscaled
    for number, ccd in enumerate(collection.ccds(imagetyp='LIGHT')):
        corrected = ccdproc.flat_correct(ccd, master, norm_value=1)
        clean = weight == 0
        assert np.array_equal(corrected.data[clean], image(number).data[clean])


@pytest.mark.parametrize('suffix', ['.fits', '.fits.gz'])
def test_write_and_read_with_ccddata(tmp_path, flat, suffix):
    """Files go both ways between CCDData and us, unit and all."""
    rng = np.random.default_rng(5)
    ccd = image(
        mask=rng.random(SHAPE) < 0.1,
        uncertainty=InverseVariance(rng.random(SHAPE).astype('f4')),
    )
    write_image(ccd, tmp_path / f'ours{suffix}')
    ccd.write(tmp_path / f'theirs{suffix}')
    for read in (
        CCDData.read(tmp_path / f'ours{suffix}'),
        read_ccd(tmp_path / f'theirs{suffix}'),
    ):
        assert np.array_equal(read.data, ccd.data)
        assert np.array_equal(read.mask, ccd.mask)
        assert isinstance(read.uncertainty, InverseVariance)
        assert np.array_equal(read.uncertainty.array, ccd.uncertainty.array)
        assert read.unit == u.adu
        assert np.allclose(read.wcs.wcs.crval, ccd.wcs.wcs.crval)
        assert {k: read.header[k] for k in ccd.header} == dict(ccd.header)


def test_auto_logging_is_honoured(tmp_path, flat):
    """Switched off in ccdproc, it is off here."""
    with ccdproc.conf.set_temp('auto_logging', False):
        write_flat(flat, tmp_path / 'quiet.fits')
        corrected = af.DegradationModel(flat).correct(image())
    assert 'AFMETH' not in corrected.header
    quiet = read_ccd(tmp_path / 'quiet.fits').header
    assert not any('written' in line for line in quiet.get('HISTORY', []))
    assert quiet['FLATNORM'] == 1.0
    assert af.DegradationModel(flat).correct(image()).header['AFMETH'] == 'correct'


def test_units(flat):
    """A flat in counts needs normalising there and here; ours says so."""
    counts = CCDData(flat.data * 30000, unit='adu')
    ccd = image()
    theirs = ccdproc.flat_correct(ccd, counts)
    ours = af.DegradationModel(counts, normalize='mean').correct(ccd)
    assert np.allclose(ours.data, theirs.data, rtol=1e-5)
    with pytest.raises(u.UnitsError, match='normalize'):
        af.DegradationModel(counts).correct(ccd)
    with pytest.raises(ValueError, match='divide it by its level'):
        write_flat(counts, 'never.fits')
