# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""SER videos made byte by byte, without the code under test."""

from __future__ import annotations

import struct

import numpy as np
import pytest


def ser_bytes(
    frames,
    *,
    color_id=0,
    flag=0,
    depth=None,
    order='<',
    count=None,
    names=(b'', b'', b''),
    local=0,
    utc=0,
    trailer=(),
    width=None,
    height=None,
    magic=b'LUCAM-RECORDER',
):
    """Return a SER video by the text of the format."""
    frames = np.asarray(frames)
    depth = depth or 8 * frames.dtype.itemsize
    header = magic + struct.pack(
        '<7i',
        0,
        color_id,
        flag,
        frames.shape[2] if width is None else width,
        frames.shape[1] if height is None else height,
        depth,
        len(frames) if count is None else count,
    )
    header += b''.join(name.ljust(40, b'\0') for name in names)
    header += struct.pack('<2q', local, utc)
    assert len(header) == 178
    stored = frames.astype(frames.dtype.newbyteorder(order))
    return header + stored.tobytes() + struct.pack(f'<{len(trailer)}q', *trailer)


@pytest.fixture(scope='session')
def build_ser():
    """Return the function that makes the bytes of a SER video."""
    return ser_bytes


@pytest.fixture
def make_ser(tmp_path):
    """Return a function that writes a SER video and returns its path."""

    def make(frames, *, cut=None, add=b'', file='video.ser', **options):
        path = tmp_path / file
        path.write_bytes(ser_bytes(frames, **options)[:cut] + add)
        return path

    return make


@pytest.fixture
def scene():
    """Return smooth frames of 12 bits with noise, as a camera gives them."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:24, :32]
    level = 1800 + 20 * y - 10 * x
    return (level + rng.normal(0, 25, (5, 24, 32))).astype(np.uint16)
