# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The byte order of SER samples, and the evidence for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroflat.io import SERFile
from astroflat.io._ser_order import decide_byteorder

ORDERS = {'little': '<', 'big': '>'}


def camera(kind, shape=(3, 48, 64)):
    """Return 16-bit frames of different kinds of scenes."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: shape[1], : shape[2]]
    frames = {
        'bias': rng.normal(1000, 4, shape),
        'sky': rng.normal(20000, 140, shape),
        'disk': 30000 * (np.hypot(y - 24, x - 32) < 20) + rng.normal(900, 30, shape),
        'left': 16 * rng.normal(1000 + 10 * x, 9, shape).round(),
        'noisy': rng.normal(30000, 3000, shape),
    }[kind]
    return np.clip(frames, 0, 65535).astype(np.uint16)


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('flag', [0, 1])
@pytest.mark.parametrize('kind', ['bias', 'sky', 'disk', 'left', 'noisy'])
def test_flag_does_not_matter(make_ser, order, flag, kind):
    """The samples decide, whatever the header says, and the reason is told."""
    frames = camera(kind)
    path = make_ser(frames, order=ORDERS[order], flag=flag)
    with SERFile(path) as video:
        evidence = video.byteorder_evidence
        assert video.byteorder == evidence.order == order
        assert evidence.decided_by == 'roughness'
        assert evidence.declared == ('big' if flag else 'little')
        assert evidence.agrees == (order == evidence.declared)
        assert ('would mean' in evidence.reason) == (not evidence.agrees)
        assert str(evidence).startswith(f'{order}-endian')
        np.testing.assert_array_equal(video[0], frames[0])


@pytest.mark.parametrize('order', ORDERS)
def test_unused_bits_decide(make_ser, order):
    """Noise over all of 12 bits is told by the bits that must be empty."""
    frames = np.random.default_rng(0).integers(0, 4096, (2, 30, 30), dtype=np.uint16)
    with SERFile(make_ser(frames, depth=12, order=ORDERS[order])) as video:
        assert video.byteorder == order
        assert video.byteorder_evidence.decided_by == 'depth'
        assert '12 bits' in video.byteorder_evidence.reason


@pytest.mark.parametrize('flag', [0, 1])
@pytest.mark.parametrize(
    'frames',
    [
        np.full((2, 8, 8), 0, dtype=np.uint16),
        np.full((2, 8, 8), 0xABAB, dtype=np.uint16),
        # One byte per pixel, in the low or the high half: both are in use.
        np.arange(128, dtype=np.uint16).reshape(2, 8, 8),
        np.arange(128, dtype=np.uint16).reshape(2, 8, 8) * 256,
        np.arange(8, dtype=np.uint16).reshape(2, 4, 1) + 1000,
    ],
)
def test_undecidable(make_ser, frames, flag):
    """Where the samples cannot tell, the flag is taken as most programs do."""
    with SERFile(make_ser(frames, flag=flag)) as video:
        assert video.byteorder == ('big' if flag else 'little')
        assert video.byteorder_evidence.decided_by == 'flag'
        assert 'look alike' in video.byteorder_evidence.reason


def test_override(make_ser):
    """The argument wins, and is named."""
    frames = camera('sky')
    with SERFile(make_ser(frames), byteorder='big') as video:
        assert video.byteorder_evidence.decided_by == 'override'
        np.testing.assert_array_equal(video[0], frames[0].byteswap())


def test_eight_bits(make_ser):
    """Samples of one byte have no order."""
    with SERFile(make_ser(np.zeros((1, 4, 4), np.uint8))) as video:
        assert 'one byte' in video.byteorder_evidence.reason


def test_mosaic_compares_the_same_colour(make_ser):
    """Strong colours of a mosaic do not look like the wrong order."""
    frames = np.empty((1, 40, 60), dtype=np.uint16)
    x = np.arange(30)
    frames[:, :, 0::2] = 256 * 10 + x
    frames[:, :, 1::2] = 256 * 200 + x
    for name, order in ORDERS.items():
        with SERFile(make_ser(frames, color_id=8, order=order)) as video:
            assert video.byteorder == name


@given(
    seed=st.integers(0, 2**32 - 1),
    level=st.integers(2000, 60000),
    sigma=st.floats(1, 1500),
    big=st.booleans(),
    flag=st.integers(0, 1),
)
def test_any_noisy_frame(seed, level, sigma, big, flag):
    """Frames with noise up to 2 % of the range are always read correctly."""
    rng = np.random.default_rng(seed)
    samples = np.clip(rng.normal(level, sigma, (32, 64)), 0, 65535).astype('<u2')
    stored = samples.byteswap() if big else samples
    evidence = decide_byteorder(stored, bit_depth=16, flag=flag)
    if np.ptp(samples) > 1 and (samples % 256 != samples // 256).any():
        assert evidence.order == ('big' if big else 'little')
