# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One reader for every format: dispatch, types, damage, imports."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import astroflat as af
from astroflat import AstroflatWarning
from astroflat.io import ImageFile, ImageFormatError, read_ccd, read_image, write_image
from astroflat.io.images import image_format

DATA = np.random.default_rng(6).integers(0, 65536, (12, 17)).astype(np.uint16)
SUFFIXES = ['.fits', '.fits.gz', '.tif', '.png', '.xisf']


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_the_content_decides_not_the_name(tmp_path, suffix):
    """A file with the wrong suffix is read as what it is."""
    write_image(DATA, tmp_path / f'a{suffix}')
    wrong = tmp_path / 'wrong.jpg'
    (tmp_path / f'a{suffix}').rename(wrong)
    assert image_format(wrong) == suffix.split('.')[1].replace('tif', 'tiff')
    assert np.array_equal(read_image(wrong).data, DATA)


def test_named_tuple(tmp_path):
    """The result unpacks into three and has names."""
    write_image(DATA, tmp_path / 'a.tif')
    image = af.read_image(str(tmp_path / 'a.tif'))
    data, meta, extras = image
    assert isinstance(image, ImageFile)
    assert data is image.data
    assert meta is image.meta
    assert extras is image.extras


@pytest.mark.parametrize('content', [b'', b'hello', b'LUCAM-RECORDER' + bytes(200)])
def test_unknown_format(tmp_path, content):
    """Text, empty files and videos are refused with a remedy."""
    (tmp_path / 'a.dat').write_bytes(content)
    assert image_format(tmp_path / 'a.dat') is None
    with pytest.raises(ImageFormatError, match='open_frames'):
        read_image(tmp_path / 'a.dat')


@pytest.mark.parametrize('reader', [read_image, read_ccd])
def test_missing_file(tmp_path, reader):
    """A file that is not there raises what Python raises."""
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / 'nothing.fits')


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_path_in_place_of_an_image(tmp_path, suffix):
    """Whatever takes an image takes the name of a file."""
    write_image(DATA, tmp_path / f'a{suffix}')
    corrected = af.DegradationModel(np.full(DATA.shape, 0.5)).correct(
        tmp_path / f'a{suffix}'
    )
    assert np.array_equal(corrected.data, DATA.astype(np.float32) / np.float32(0.5))
    assert str(corrected.unit) == 'adu'


def test_read_ccd_keeps_the_samples(tmp_path):
    """Integers stay integers; only astroflat's own scale is undone."""
    write_image(DATA, tmp_path / 'a.png')
    assert read_ccd(tmp_path / 'a.png').data.dtype == np.uint16
    write_image(DATA / 65535, tmp_path / 'b.png', dtype='uint16', scale=65535)
    raw = read_image(tmp_path / 'b.png')
    assert np.array_equal(raw.data, DATA)
    assert raw.meta['AFSCALE'] == 65535
    ccd = read_ccd(tmp_path / 'b.png')
    assert ccd.data.dtype == np.float32
    assert np.abs(ccd.data - DATA / 65535).max() < 1e-7
    assert 'AFSCALE' not in ccd.header


def test_scale_is_not_undone_on_floating_point(tmp_path):
    """A stale card in a file that another program made is not obeyed."""
    fits.writeto(
        tmp_path / 'a.fits', DATA.astype(np.float32), fits.Header({'AFSCALE': 10.0})
    )
    assert np.array_equal(read_ccd(tmp_path / 'a.fits').data, DATA)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES))
def test_any_damage_is_one_kind_of_error(tmp_path, data, suffix):
    """Cut or altered files give an image or an ImageFormatError, nothing else."""
    path = tmp_path / f'a{suffix}'
    write_image(DATA, path, overwrite=True, compress=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, min(len(content), 3000)))
        content[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
    path.write_bytes(bytes(content))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstroflatWarning)
        with contextlib.suppress(ImageFormatError):
            read_image(path)


def test_import_is_light():
    """Importing the package for files imports no reader."""
    code = (
        'import sys, astroflat.io\n'
        'heavy = {"astropy.io.fits", "astropy.nddata", "astropy.wcs", "tifffile", '
        '"PIL", "skimage", "ccdproc", "numcodecs", "numba", "av", "dask"}\n'
        'print(sorted(heavy & set(sys.modules)))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[]'
