# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a stack does, whatever it reads from."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from astroflat.io import SERFile, open_frames, write_ser

N, NY, NX = 6, 12, 10
CUBE = np.arange(N * NY * NX, dtype=np.uint16).reshape(N, NY, NX) * 7


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """Return the same frames in every kind of source."""
    folder = tmp_path_factory.mktemp('sources')
    write_ser(folder / 'little.ser', CUBE)
    write_ser(folder / 'big.ser', CUBE, byteorder='big')
    paths = []
    for i, frame in enumerate(CUBE):
        paths.append(folder / f'{i}.fits')
        fits.PrimaryHDU(frame).writeto(paths[-1])
    fits.PrimaryHDU(CUBE).writeto(folder / 'cube.fits')
    fits.CompImageHDU(CUBE).writeto(folder / 'cube.fits.fz')
    return {
        'little': folder / 'little.ser',
        'big': folder / 'big.ser',
        'fits': paths,
        'cube': folder / 'cube.fits',
        'fz': folder / 'cube.fits.fz',
        'array': CUBE,
        'swapped': CUBE.astype('>u2'),
        'list': list(CUBE),
    }


KINDS = ['little', 'big', 'fits', 'cube', 'fz', 'array', 'swapped', 'list', 'iterator']


@pytest.fixture(params=KINDS)
def stack(request, sources):
    """Return an open stack of each kind."""
    source = iter(CUBE) if request.param == 'iterator' else sources[request.param]
    with open_frames(source) as stack:
        yield stack


def test_basics(stack):
    """Shape, type, length and frames are those of the cube."""
    assert stack.shape == (N, NY, NX)
    assert stack.dtype == np.uint16
    assert stack.dtype.isnative
    assert len(stack) == N
    assert stack.color == 'mono'
    assert not stack.has_mask
    assert stack.mask_rows(0, NY) is None
    np.testing.assert_array_equal(list(stack), CUBE)
    np.testing.assert_array_equal(np.asarray(stack), CUBE)
    np.testing.assert_array_equal(np.asarray(stack, dtype=float), CUBE)
    assert 'FrameStack' in repr(stack)
    assert isinstance(stack.label(0), str)


def test_rows(stack):
    """Rows come in a new array or in the caller's, native and contiguous."""
    out = np.empty((N, 3, NX), np.uint16)
    for start in (0, 4, NY - 3):
        assert stack.read_rows(start, start + 3, out) is out
        np.testing.assert_array_equal(out, CUBE[:, start : start + 3])
    rows = stack.read_rows(2, 9)
    assert rows.flags.c_contiguous
    assert rows.flags.owndata or rows.base is not None
    assert stack.read_rows(5, 5).shape == (N, 0, NX)
    for start, stop in ((-1, 3), (4, 3), (0, NY + 1)):
        with pytest.raises(IndexError, match='rows'):
            stack.read_rows(start, stop)
    for wrong in (out[:2], out.astype('i4'), out.astype('>u2')):
        with pytest.raises(ValueError, match='out must be C-contiguous'):
            stack.read_rows(0, 3, wrong)


def test_frames_are_copies(stack):
    """Changing a frame changes nothing else."""
    frame = stack[0]
    frame[:] = 0
    rows = stack.read_rows(0, NY)
    rows[:] = 0
    np.testing.assert_array_equal(stack[0], CUBE[0])


def test_sub_stacks(stack):
    """Slices, lists and booleans give stacks of the chosen frames."""
    cases = [
        (slice(1, 4), CUBE[1:4]),
        (slice(None, None, -2), CUBE[::-2]),
        ([4, 0, -1], CUBE[[4, 0, -1]]),
        (np.array([True, False] * 3), CUBE[::2]),
        (slice(0, 0), CUBE[:0]),
    ]
    for item, expected in cases:
        part = stack[item]
        assert part.shape == expected.shape
        np.testing.assert_array_equal(part.read_rows(3, 7), expected[:, 3:7])
    nested = stack[1:][::2]
    np.testing.assert_array_equal(nested[1], CUBE[3])
    nested.close()  # does not close the files of the whole
    np.testing.assert_array_equal(stack[-1], CUBE[-1])
    with pytest.raises(IndexError, match='which has 6 frames'):
        stack[6]
    with pytest.raises(TypeError, match='frames are chosen by'):
        stack[0.5]
    with pytest.raises(TypeError, match='frames are chosen by'):
        stack[np.zeros((2, 2), int)]


def test_flat_view(stack):
    """A view, where there is one, is all samples without a copy."""
    view = stack.flat_view()
    if view is not None:
        assert view.shape == (N, NY * NX)
        np.testing.assert_array_equal(view, CUBE.reshape(N, -1))
        np.testing.assert_array_equal(stack[2:5].flat_view(), CUBE[2:5].reshape(3, -1))
        assert stack[[0, 1]].flat_view() is None


def test_which_have_views(sources):
    """Native SER videos, arrays and spooled frames have a view; it is no copy."""
    with open_frames(sources['array']) as stack:
        assert np.shares_memory(stack.flat_view(), CUBE)
    with open_frames(sources['little']) as stack:
        assert stack.flat_view() is not None
    with open_frames(iter(CUBE)) as stack:
        assert stack.flat_view() is not None
    for kind in ('big', 'fits', 'swapped', 'list'):
        with open_frames(sources[kind]) as stack:
            assert stack.flat_view() is None


def test_threads(stack):
    """Bands read at once by many threads are right, also while being decoded."""
    wrong = []
    barrier = threading.Barrier(4)

    def work(k):
        out = np.empty((N, 2, NX), np.uint16)
        barrier.wait()
        for start in [(k + j) % (NY - 1) for j in range(30)]:
            stack.read_rows(start, start + 2, out)
            wrong.append((out != CUBE[:, start : start + 2]).sum())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 120
    assert sum(wrong) == 0


def test_ccd(stack):
    """A frame as CCDData has a unit and metadata of its own."""
    ccd = stack.ccd(-1)
    assert ccd.unit == 'adu'
    np.testing.assert_array_equal(ccd.data, CUBE[-1])
    ccd.meta['NEW'] = 1
    assert 'NEW' not in stack.header(-1)
    assert ccd.mask is None
    assert ccd.uncertainty is None


@given(start=st.integers(0, NY), length=st.integers(0, NY), item=st.slices(N))
def test_any_part(sources, start, length, item):
    """Any rows of any slice are those of the array."""
    stop = min(NY, start + length)
    for kind in ('big', 'fits', 'swapped'):
        with open_frames(sources[kind]) as stack:
            np.testing.assert_array_equal(
                stack[item].read_rows(start, stop), CUBE[item, start:stop]
            )


def test_stack_of_a_stack(sources):
    """Opening a stack or an open video again does not take them over."""
    with open_frames(sources['little']) as stack:
        with open_frames(stack, unit='electron', color='RGGB') as again:
            assert again.unit == 'electron'
            assert again.color == 'RGGB'
        np.testing.assert_array_equal(stack[0], CUBE[0])
        assert stack.color == 'mono'
    with SERFile(sources['little']) as video:
        with open_frames(video) as stack:
            np.testing.assert_array_equal(stack[1], CUBE[1])
        np.testing.assert_array_equal(video[0], CUBE[0])


def test_ser_facts(sources, tmp_path):
    """A stack of a SER video knows times, evidence and header."""
    write_ser(
        tmp_path / 'a.ser',
        CUBE,
        times=[f'2020-01-01T00:00:0{i}' for i in range(N)],
        observer='me',
        color='GBRG',
    )
    with open_frames(tmp_path / 'a.ser') as stack:
        assert stack.color == 'GBRG'
        assert stack.evidence.order == 'little'
        assert stack[3:].times[0].isot == '2020-01-01T00:00:03.000'
        assert stack.header(2)['DATE-OBS'] == '2020-01-01T00:00:02.0000000'
        assert stack.headers[1]['OBSERVER'] == 'me'
    with open_frames(sources['fits']) as stack:
        assert stack.evidence is None
    with open_frames(sources['little'], byteorder='big') as stack:
        np.testing.assert_array_equal(stack[1], CUBE[1].byteswap())


def test_wrong_color(sources):
    """A colour that the frames cannot have is refused."""
    with pytest.raises(ValueError, match='color must be'):
        open_frames(CUBE, color='HSV')
    with pytest.raises(ValueError, match='does not go with'):
        open_frames(CUBE, color='RGB')
