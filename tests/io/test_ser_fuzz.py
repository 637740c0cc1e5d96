# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Damaged SER videos: an error that says why, or frames; nothing else."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroflat._exceptions import AstroflatWarning
from astroflat.io import SERError, SERFile, open_frames

FRAMES = (np.arange(4 * 9 * 11).reshape(4, 9, 11) * 37 % 4096).astype(np.uint16)
SIZE = 178 + 4 * 198 + 4 * 8


@pytest.fixture(scope='module')
def good(build_ser):
    """Return the bytes of a sound video."""
    data = build_ser(FRAMES, depth=12, trailer=[637134336000000000] * 4)
    assert len(data) == SIZE
    return data


@pytest.fixture(scope='module')
def folder(tmp_path_factory, good):
    """Return one folder for all examples."""
    folder = tmp_path_factory.mktemp('fuzz')
    # What is imported lazily must not count as memory that a file took.
    path = folder / 'good.ser'
    path.write_bytes(good)
    with open_frames(path) as stack:
        stack.ccd(0)
    return folder


def attempt(path, *, partial):
    """Read everything of a file; return whether it could be opened."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstroflatWarning)
            with SERFile(path, partial=partial) as video:
                assert video.shape[0] > 0
                video.read_rows(0, video.shape[1])
                video.flat_view()
                assert video.times is None or len(video.times) == len(video)
                assert isinstance(repr(video), str)
            with open_frames(path, partial=partial) as stack:
                assert 1 <= stack.header(0)['BITDEPTH'] <= 16
                stack.ccd(len(stack) - 1)
    except SERError as error:
        return path.name not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The file has a kilobyte; what it claims must not be believed.
        assert peak < 20_000_000
    return True


@settings(max_examples=60)
@given(size=st.integers(0, SIZE), partial=st.booleans())
def test_truncated(folder, good, size, partial):
    """A video cut anywhere is refused, or read as far as it goes."""
    path = folder / 'cut.ser'
    path.write_bytes(good[:size])
    opened = attempt(path, partial=partial)
    # Only the time stamps may be missing silently (with a warning).
    assert opened == (size >= 178 + 4 * 198 or (partial and size >= 178 + 198))


@settings(max_examples=150)
@given(
    flips=st.lists(
        st.tuples(st.integers(0, 177), st.integers(0, 7)), min_size=1, max_size=6
    ),
    partial=st.booleans(),
)
def test_flipped_bits(folder, good, flips, partial):
    """A header with wrong bits is refused, or believed where it makes sense."""
    data = bytearray(good)
    for position, bit in flips:
        data[position] ^= 1 << bit
    path = folder / 'flip.ser'
    path.write_bytes(bytes(data))
    attempt(path, partial=partial)


@settings(max_examples=60)
@given(
    numbers=st.lists(
        st.sampled_from([0, 1, -1, 8, 16, 100, 2**15, 2**31 - 1, -(2**31)]),
        min_size=7,
        max_size=7,
    ),
    partial=st.booleans(),
)
def test_extreme_numbers(folder, good, numbers, partial):
    """Any seven integers in the header are survived."""
    data = bytearray(good)
    data[14:42] = np.array(numbers, dtype='<i4').tobytes()
    path = folder / 'numbers.ser'
    path.write_bytes(bytes(data))
    attempt(path, partial=partial)
