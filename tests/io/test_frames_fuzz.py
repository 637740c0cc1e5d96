# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Damaged image files: frames, or an error that names the file; nothing else."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroflat.io import open_frames, write_image

tifffile = pytest.importorskip('tifffile')

IMAGE = np.random.default_rng(5).normal(1000, 30, (24, 30)).astype(np.uint16)
KINDS = ['fits', 'mef', 'gz', 'fz', 'tif', 'zip.tif', 'png', 'xisf']


def fits_bytes(*hdus):
    """Return HDUs as a file."""
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


class Files(dict):
    """The bytes of sound files; hypothesis prints it, so it prints little."""

    def __repr__(self):
        return f'Files({list(self)})'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return the bytes of a sound file of each kind, and a folder."""
    folder = tmp_path_factory.mktemp('fuzz')
    plain = fits_bytes(fits.PrimaryHDU(IMAGE, fits.Header({'BUNIT': 'adu'})))
    good = Files(
        fits=plain,
        gz=gzip.compress(plain, mtime=0),
        fz=fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(IMAGE)),
        mef=fits_bytes(
            fits.PrimaryHDU(IMAGE),
            fits.ImageHDU((IMAGE > 1050).astype('u1'), name='MASK'),
            fits.ImageHDU(np.sqrt(IMAGE), name='UNCERT'),
        ),
    )
    for name in ('tif', 'zip.tif', 'png', 'xisf'):
        path = folder / f'good.{name}'
        if name.endswith('tif'):
            packed = 'zlib' if name != 'tif' else None
            tifffile.imwrite(path, IMAGE, compression=packed, rowsperstrip=5)
        else:
            write_image(IMAGE, path)
        good[name] = path.read_bytes()
    # What is imported lazily must not count as memory that a file took.
    for name in KINDS:
        attempt(folder, name, good[name], limit=np.inf)
    good.folder = folder
    return good


def attempt(folder, name, data, limit=30_000_000):
    """Read a file; return its shape, None if it was refused, or a bad message."""
    path = folder / f'file.{name}'
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with open_frames(path) as stack:
                shape = stack.shape
                rows = min(8, shape[1])
                assert stack.read_rows(0, rows).shape == (shape[0], rows, *shape[2:])
                stack.mask_rows(0, rows)
                stack[0]
                stack.header(0)
                stack.ccd(0)
                return shape
    except (ValueError, TypeError, OSError) as error:
        # With a reason, and without where the user keeps the file.
        return None if str(error) and str(folder) not in str(error) else str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit


@pytest.mark.parametrize('name', KINDS)
def test_sound(files, name):
    """The files that are damaged below are sound."""
    assert attempt(files.folder, name, files[name]) == (1, 24, 30)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(KINDS), fraction=st.floats(0, 1))
def test_truncated(files, name, fraction):
    """A file cut anywhere is refused, or is whole but for its padding."""
    data = files[name][: int(fraction * len(files[name]))]
    assert attempt(files.folder, name, data) in (None, (1, 24, 30))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(KINDS),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
        min_size=1,
        max_size=4,
    ),
    head=st.booleans(),
)
def test_flipped_bits(files, name, flips, head):
    """Wrong bits, in the header or anywhere, do no more than wrong samples."""
    data = bytearray(files[name])
    size = min(len(data), 800) if head else len(data)
    for place, bit in flips:
        data[int(place * size)] ^= 1 << bit
    assert not isinstance(attempt(files.folder, name, bytes(data)), str)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    key=st.sampled_from(['BITPIX', 'NAXIS', 'NAXIS1', 'NAXIS2', 'BZERO', 'BSCALE']),
    value=st.sampled_from(
        [
            '0',
            '-1',
            '1',
            '3',
            '64',
            '-32',
            '999',
            '99999999999',
            '1E300',
            'T',
            "'x'",
            'NaN',
        ]
    ),
    name=st.sampled_from(['fits', 'mef', 'fz']),
)
def test_wrong_cards(files, key, value, name):
    """Any value of the cards that decide the layout is survived."""
    data = files[name]
    for prefix in ('Z', ''):
        start = data.find(f'{prefix + key:8s}= '.encode())
        if start >= 0:
            card = f'{prefix + key:8s}= {value:>20s}'.ljust(80).encode()
            data = data[:start] + card + data[start + 80 :]
            assert not isinstance(attempt(files.folder, name, data), str)
