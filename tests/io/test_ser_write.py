# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Writing SER videos."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from astroflat._exceptions import AstroflatWarning
from astroflat.io import SERError, SERFile, open_frames, ticks_to_time, write_ser
from astroflat.io._ser_header import COLORS


def fields(path):
    """Return the integers of a header without the code under test."""
    block = path.read_bytes()[:178]
    names = ('lu', 'color', 'flag', 'width', 'height', 'depth', 'count')
    return dict(zip(names, struct.unpack_from('<7i', block, 14), strict=True))


@settings(max_examples=40)
@given(
    depth=st.integers(1, 16),
    color=st.sampled_from(sorted(COLORS.values())),
    order=st.sampled_from(['little', 'big']),
    flag=st.sampled_from(['common', 'standard']),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(tmp_path_factory, depth, color, order, flag, shape, seed):
    """What is written is read, for all depths, colours and byte orders."""
    path = tmp_path_factory.mktemp('ser') / 'a.ser'
    shape = (*shape, 3) if color in ('RGB', 'BGR') else shape
    dtype = np.uint8 if depth <= 8 else np.uint16
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 2**depth, shape).astype(dtype)
    write_ser(path, frames, color=color, bit_depth=depth, byteorder=order, flag=flag)
    with SERFile(path, byteorder=order) as video:
        assert video.color == ('RGB' if color == 'BGR' else color)
        assert video.bit_depth == depth
        np.testing.assert_array_equal(video[:], frames)


def test_bytes_of_the_file(make_ser, scene, tmp_path):
    """The file is byte for byte that of the format's text."""
    ticks = [637134336000000000 + i for i in range(5)]
    expected = make_ser(
        scene, color_id=8, depth=12, trailer=ticks, utc=ticks[0], local=ticks[0] - 7,
        names=(b'me', b'camera', b'tube'),
    )  # fmt: skip
    path = tmp_path / 'own.ser'
    write_ser(
        path,
        iter(scene),
        color='RGGB',
        bit_depth=12,
        times=ticks_to_time(ticks),
        start_local=ticks_to_time(ticks[0] - 7, scale='local'),
        observer='me',
        instrument='camera',
        telescope='tube',
    )
    assert path.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize(
    ('order', 'flag', 'value'),
    [
        ('little', 'common', 0),
        ('big', 'common', 1),
        ('little', 'standard', 1),
        ('big', 'standard', 0),
    ],
)
def test_flag(tmp_path, scene, order, flag, value):
    """The flag follows the convention asked for; the order is found anyway."""
    path = tmp_path / 'a.ser'
    write_ser(path, scene, byteorder=order, flag=flag)
    assert fields(path)['flag'] == value
    with SERFile(path) as video:
        assert video.byteorder == order
        np.testing.assert_array_equal(video[:], scene)


def test_default_depth(tmp_path):
    """The depth follows the type of the samples."""
    for dtype, depth in ((np.uint8, 8), (np.uint16, 16), (np.int32, 16), (bool, 8)):
        path = tmp_path / f'{np.dtype(dtype)}.ser'
        write_ser(path, np.ones((1, 2, 2), dtype))
        assert fields(path)['depth'] == depth


def test_frames_from_anywhere(tmp_path, scene):
    """Arrays, lists, containers, generators, stacks and paths give the same."""
    first = tmp_path / 'first.ser'
    write_ser(first, scene)
    kinds = {
        'list': list(scene),
        'ccd': [CCDData(frame, unit='adu') for frame in scene],
        'cube': CCDData(scene, unit='adu'),
        'generator': (frame for frame in scene),
        'big': scene.astype('>u2'),
        'path': first,
        'paths': [first],
        'stack': open_frames(scene),
        'wide stack': open_frames(scene.astype(int)),
        'int64': scene.astype(int),
    }
    for name, frames in kinds.items():
        path = tmp_path / f'{name}.ser'
        write_ser(path, frames)
        assert path.read_bytes() == first.read_bytes(), name


def test_single_image(tmp_path):
    """A 2-D image is a video of one frame."""
    path = tmp_path / 'a.ser'
    write_ser(path, np.ones((3, 4), np.uint8))
    assert fields(path)['count'] == 1


def test_copy_keeps_everything(make_ser, scene, tmp_path):
    """A video written from a video keeps colour, depth, names and times."""
    ticks = [637134336000000000 + 333_333 * i for i in range(5)]
    source = make_ser(
        scene, color_id=10, depth=12, names=(b'o', b'i', b't'), trailer=ticks,
        utc=ticks[0], local=ticks[0],
    )  # fmt: skip
    with SERFile(source) as video:
        write_ser(tmp_path / 'copy.ser', video)
    assert (tmp_path / 'copy.ser').read_bytes() == source.read_bytes()
    # A path and a stack know as much, and a part of a stack its own times.
    write_ser(tmp_path / 'path.ser', source)
    assert (tmp_path / 'path.ser').read_bytes() == source.read_bytes()
    with open_frames(source) as stack:
        write_ser(tmp_path / 'part.ser', stack[2:4])
    with SERFile(tmp_path / 'part.ser') as video:
        assert video.bit_depth == 12
        assert video.timestamps.tolist() == ticks[2:4]
    with SERFile(source) as video:
        write_ser(tmp_path / 'bare.ser', video, times=False, observer='')
    with SERFile(tmp_path / 'bare.ser') as video:
        assert video.times is None
        assert video.observer == ''
        assert video.instrument == 'i'


def test_rounding(tmp_path):
    """Floating-point frames are rounded on demand; clipping is counted."""
    frames = np.array([[[-3.2, 0.4, 0.6], [70000.0, 65535.4, 2.5]]])
    path = tmp_path / 'a.ser'
    with pytest.raises(SERError, match='rounding=True'):
        write_ser(path, frames)
    assert not path.exists()
    with pytest.warns(AstroflatWarning, match='2 of 6 samples'):
        write_ser(path, frames, rounding=True)
    with SERFile(path) as video:
        np.testing.assert_array_equal(video[0], [[0, 0, 1], [65535, 65535, 2]])
    with pytest.raises(SERError, match='not finite'):
        write_ser(tmp_path / 'b.ser', frames * np.nan, rounding=True)


@pytest.mark.parametrize(
    ('frames', 'options', 'error', 'reason'),
    [
        ([], {}, SERError, 'no frames to write'),
        (np.full((1, 2, 2), 4096), {'bit_depth': 12}, SERError, 'stores 0 to 4095'),
        (np.full((1, 2, 2), -1), {}, SERError, 'from -1 to -1'),
        (np.full((1, 2, 2), 300), {'bit_depth': 8}, SERError, '0 to 255'),
        (np.ones((1, 2, 2, 3), 'u1'), {'color': 'mono'}, ValueError, 'does not go'),
        (np.ones((1, 2, 2), 'u1'), {'color': 'RGB'}, ValueError, 'does not go'),
        (np.ones((1, 2, 2), 'u1'), {'color': 'XYZ'}, ValueError, 'color must be'),
        (np.ones((1, 2, 2), 'u1'), {'bit_depth': 17}, ValueError, '1 to 16'),
        (np.ones((1, 2, 2), 'u1'), {'byteorder': 'x'}, ValueError, 'byteorder'),
        (np.ones((1, 2, 2), 'u1'), {'observer': 'ä' * 21}, ValueError, '42 bytes'),
        (np.ones((1, 2, 2), 'c8'), {}, SERError, 'stores integers'),
        (np.ones((1, 0, 2), 'u1'), {}, SERError, 'frames must be'),
        ([np.ones((2, 2)), np.ones((3, 2))], {'rounding': True}, SERError, 'frame 1'),
        (np.ones((2, 2, 2), 'u1'), {'times': ['2020-01-01']}, ValueError, '1 elem'),
    ],
)
def test_refused(tmp_path, frames, options, error, reason):
    """What cannot be stored is named, and no file is left behind."""
    with pytest.raises(error, match=reason):
        write_ser(tmp_path / 'a.ser', frames, **options)
    assert list(tmp_path.iterdir()) == []


def test_overwrite(tmp_path):
    """An existing video is replaced only on demand, and only when complete."""
    path = tmp_path / 'a.ser'
    write_ser(path, np.zeros((2, 2, 2), np.uint8))
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match='overwrite=True'):
        write_ser(path, np.ones((1, 2, 2), np.uint8))

    def broken():
        yield np.ones((2, 2), np.uint8)
        msg = 'the source failed'
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='source failed'):
        write_ser(path, broken(), overwrite=True)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    write_ser(path, np.ones((1, 2, 2), np.uint8), overwrite=True)
    assert fields(path)['count'] == 1


def test_input_is_not_modified(tmp_path, scene):
    """Writing in any order leaves the frames as they are."""
    before = scene.copy()
    scene.flags.writeable = False
    for order in ('little', 'big'):
        write_ser(tmp_path / f'{order}.ser', scene, byteorder=order)
    np.testing.assert_array_equal(scene, before)


def test_times_in_any_form(tmp_path):
    """Times are taken as astropy takes them and written as UTC."""
    path = tmp_path / 'a.ser'
    tai = Time(['2020-01-01T00:00:37', '2020-01-01T00:00:38'], scale='tai')
    write_ser(path, np.zeros((2, 2, 2), np.uint8), times=tai)
    with SERFile(path) as video:
        assert video.times[0].isot == '2020-01-01T00:00:00.000'
        assert video.start_utc == video.times[0]
