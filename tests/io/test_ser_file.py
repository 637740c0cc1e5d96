# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Reading SER videos that were written byte by byte."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from astroflat._exceptions import AstroflatWarning
from astroflat.io import SERError, SERFile, SERHeader
from astroflat.io._ser_header import COLORS

MOSAICS = {code: name for code, name in COLORS.items() if 0 < code < 100}
NOON = 637134768000000000  # 2020-01-01T12:00:00


@pytest.mark.parametrize('depth', range(1, 17))
@pytest.mark.parametrize('order', ['<', '>'])
def test_every_depth_and_order(make_ser, depth, order):
    """Samples of all depths come out as written, in the smallest type."""
    dtype = np.uint8 if depth <= 8 else np.uint16
    rng = np.random.default_rng(depth)
    ramp = np.linspace(0, 2**depth - 1, 40)[:, None] + np.zeros(33)
    frames = np.clip(ramp + rng.normal(0, 2**depth / 100, (3, 40, 33)), 0, 2**depth - 1)
    frames = frames.astype(dtype)
    with SERFile(make_ser(frames, depth=depth, order=order)) as video:
        assert video.dtype == dtype
        assert video.bit_depth == depth
        assert video.shape == frames.shape
        np.testing.assert_array_equal(video[:], frames)


@pytest.mark.parametrize('code', MOSAICS)
def test_mosaics(make_ser, scene, code):
    """Bayer and CMY videos are read as they are, with their pattern named."""
    with SERFile(make_ser(scene, color_id=code, depth=12)) as video:
        assert video.color == MOSAICS[code]
        np.testing.assert_array_equal(video[2], scene[2])


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_rgb_and_bgr(make_ser, order, dtype):
    """BGR comes out as RGB, whole and by rows, without touching the file."""
    ramp = np.arange(10 * 12 * 3).reshape(1, 10, 12, 3) // 6
    rgb = np.concatenate([ramp, ramp + 5]).astype(dtype)
    for code, stored in ((100, rgb), (101, rgb[..., ::-1])):
        path = make_ser(stored, color_id=code, order=order)
        with SERFile(path, byteorder={'<': 'little', '>': 'big'}[order]) as video:
            assert video.color == 'RGB'
            assert video.shape == (2, 10, 12, 3)
            np.testing.assert_array_equal(video[1], rgb[1])
            np.testing.assert_array_equal(video.read_rows(3, 7), rgb[:, 3:7])


def test_rgb_byteorder_is_found(make_ser):
    """The order of colour samples is decided within one colour."""
    x = np.arange(64)
    # The colours differ by far more than neighbours of the same colour do.
    frame = np.stack([x * 3, 30000 + x * 3, 60000 - x * 3], axis=-1)
    frames = np.broadcast_to(frame, (2, 20, 64, 3)).astype(np.uint16)
    for order, name in (('<', 'little'), ('>', 'big')):
        with SERFile(make_ser(frames, color_id=100, order=order)) as video:
            assert video.byteorder == name
            np.testing.assert_array_equal(video[0], frames[0])


def test_names_are_cleaned(make_ser, scene):
    """Names end at NUL or blanks; text that is not UTF-8 is Latin-1."""
    names = (b'Hale  ', 'Caméra'.encode('latin-1'), 'Kuppel ß'.encode())
    with SERFile(make_ser(scene, names=names)) as video:
        assert (video.observer, video.instrument) == ('Hale', 'Caméra')
        assert video.telescope == 'Kuppel ß'
    with SERFile(make_ser(scene, names=(b'ab\0garbage', b'', b''))) as video:
        assert video.observer == 'ab'


def test_times(make_ser, scene):
    """Header and trailer become Time, exact to 100 ns; nothing is invented."""
    trailer = [NOON + 1 + i * 333_333 for i in range(5)]
    path = make_ser(scene, trailer=trailer, utc=NOON, local=NOON + 36_000_000_000)
    with SERFile(path) as video:
        np.testing.assert_array_equal(video.timestamps, trailer)
        times = video.times
        times.precision = 7
        assert times.scale == 'utc'
        assert times[0].isot == '2020-01-01T12:00:00.0000001'
        assert times[4].isot == '2020-01-01T12:00:00.1333333'
        assert video.start_utc.isot == '2020-01-01T12:00:00.000'
        assert video.start_local.scale == 'local'
        assert video.start_local.isot == '2020-01-01T13:00:00.000'
    with SERFile(make_ser(scene)) as video:
        assert video.times is None
        assert video.start_utc is None
        assert video.start_local is None


def test_unset_times_are_masked(make_ser, scene):
    """A time stamp that is no date is masked, not a date in the year 1."""
    trailer = [NOON, 0, -5, 2**62, NOON + 10]
    with SERFile(make_ser(scene, trailer=trailer)) as video:
        np.testing.assert_array_equal(video.times.mask, [0, 1, 1, 1, 0])
    with SERFile(make_ser(scene, trailer=[0] * 5)) as video:
        assert video.times is None


def test_header_fields(make_ser, scene):
    """The header survives packing and unpacking."""
    path = make_ser(scene, color_id=9, depth=12, names=(b'a', b'b', b'c'), utc=5)
    block = path.read_bytes()[:178]
    header = SERHeader.unpack(block, 'x')
    assert header.pack() == block
    assert header.frame_bytes == 24 * 32 * 2


def test_indexing(make_ser, scene):
    """Frames are counted like the items of a list."""
    with SERFile(make_ser(scene)) as video:
        assert len(video) == 5
        np.testing.assert_array_equal(video[-1], scene[4])
        np.testing.assert_array_equal(video[1:4:2], scene[1:4:2])
        np.testing.assert_array_equal(list(video), scene)
        with pytest.raises(IndexError, match='which has 5 frames'):
            video[5]
        assert 'SERFile' in repr(video)


def test_read_rows_into(make_ser, scene):
    """Rows are read into the caller's array, which must fit."""
    out = np.empty((5, 4, 32), dtype=np.uint16)
    with SERFile(make_ser(scene)) as video:
        assert video.read_rows(2, 6, out) is out
        np.testing.assert_array_equal(out, scene[:, 2:6])
        np.testing.assert_array_equal(
            video.read_rows(0, 3, frames=[4, 1]), scene[[4, 1], :3]
        )
        for wrong in (out[:, :3], out.astype('u4'), np.empty((5, 32, 4), 'u2').mT):
            with pytest.raises(ValueError, match='out must be'):
                video.read_rows(2, 6, wrong)


def test_views(make_ser, scene):
    """The samples are handed out without a copy where that is possible."""
    with SERFile(make_ser(scene)) as video:
        flat = video.flat_view()
        assert flat.shape == (5, 24 * 32)
        assert not flat.flags.writeable
        np.testing.assert_array_equal(flat.reshape(scene.shape), scene)
    with SERFile(make_ser(scene, order='>')) as video:
        assert video.flat_view() is None
        np.testing.assert_array_equal(video.data, scene)
    rgb = np.zeros((2, 4, 5, 3), np.uint8)
    with SERFile(make_ser(rgb, color_id=101)) as video:
        assert video.flat_view() is None


def test_color_override(make_ser, scene):
    """A wrong pattern can be replaced, a wrong number of planes cannot."""
    with SERFile(make_ser(scene, color_id=8), color='GBRG') as video:
        assert video.color == 'GBRG'
    with pytest.raises(ValueError, match='one plane'):
        SERFile(make_ser(scene), color='RGB')
    with pytest.raises(ValueError, match='three planes'):
        SERFile(make_ser(np.zeros((1, 4, 5, 3), 'u1'), color_id=100), color='mono')


def test_wrong_files(make_ser, scene, tmp_path):
    """Files that are no SER video are refused with the reason."""
    with pytest.raises(SERError, match='does not start with'):
        SERFile(make_ser(scene, magic=b'LUCAM-RECORDES'))
    with pytest.raises(SERError, match='a SER header has 178 bytes, the file has 60'):
        SERFile(make_ser(scene, cut=60))
    (tmp_path / 'empty.ser').touch()
    with pytest.raises(SERError, match='does not start with'):
        SERFile(tmp_path / 'empty.ser')
    with pytest.raises(FileNotFoundError):
        SERFile(tmp_path / 'absent.ser')
    with pytest.raises(ValueError, match='byteorder must be'):
        SERFile(make_ser(scene), byteorder='middle')


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'width': 0}, '0 x 24 pixels'),
        ({'height': -24}, '32 x -24 pixels'),
        ({'depth': 17}, '17 bits per sample'),
        ({'depth': -1}, '-1 bits per sample'),
        ({'color_id': 7}, 'the colour identifier 7'),
        ({'count': -1}, '-1 frames'),
    ],
)
def test_damaged_headers(make_ser, scene, changes, reason):
    """Fields that make no sense are named; partial reading does not help."""
    path = make_ser(scene, **changes)
    for partial in (False, True):
        with pytest.raises(SERError, match=reason):
            SERFile(path, partial=partial)


@pytest.mark.parametrize('changes', [{'width': 2**31 - 1, 'height': 2**31 - 1}])
def test_absurd_sizes(make_ser, scene, changes):
    """A header that promises exabytes is refused before anything is allocated."""
    with pytest.raises(SERError, match='0 complete frames'):
        SERFile(make_ser(scene, **changes), partial=True)


def test_truncated(make_ser, scene):
    """A cut video raises; on demand the complete frames are read, with a warning."""
    path = make_ser(scene, cut=178 + 3 * 1536 + 700)
    with pytest.raises(SERError, match=r'3 complete frames; pass partial=True'):
        SERFile(path)
    with pytest.warns(AstroflatWarning, match='reading 3'):
        video = SERFile(path, partial=True)
    assert video.shape == (3, 24, 32)
    assert video.times is None
    np.testing.assert_array_equal(video[:], scene[:3])
    video.close()


def test_zero_frames(make_ser, scene):
    """A count that was never written is found from the size, on demand."""
    path = make_ser(scene, count=0, trailer=[NOON + i for i in range(5)])
    with pytest.raises(SERError, match='promises 0 frames'):
        SERFile(path)
    with pytest.warns(AstroflatWarning, match='5 complete frames'):
        video = SERFile(path, partial=True)
    np.testing.assert_array_equal(video[:], scene)
    np.testing.assert_array_equal(video.timestamps, [NOON + i for i in range(5)])
    video.close()
    with pytest.raises(SERError, match='there is nothing to read'):
        SERFile(make_ser(scene[:0], width=32, height=24), partial=True)


def test_more_frames_than_promised(make_ser, scene):
    """Frames that the header does not know are read on demand."""
    path = make_ser(scene, count=2)
    with pytest.raises(SERError, match='5 complete frames'):
        SERFile(path)
    with pytest.warns(AstroflatWarning, match='reading 5'):
        video = SERFile(path, partial=True)
    np.testing.assert_array_equal(video[:], scene)
    video.close()
    # With an end of unknown length only the promised frames are sure.
    with pytest.warns(AstroflatWarning, match='reading 2'):
        video = SERFile(make_ser(scene, count=2, add=b'junk'), partial=True)
    assert len(video) == 2
    video.close()


def test_bytes_after_the_frames(make_ser, scene):
    """A cut trailer masks the missing times; other bytes are ignored."""
    path = make_ser(scene, trailer=[NOON] * 5, cut=-13)
    with pytest.warns(AstroflatWarning, match='27 bytes after its last frame'):
        video = SERFile(path)
    np.testing.assert_array_equal(video.timestamps > 0, [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(video.times.mask, [0, 0, 0, 1, 1])
    video.close()
    path = make_ser(scene, trailer=[NOON] * 5, add=b'made by a program')
    with pytest.warns(AstroflatWarning, match='57 bytes after its last frame'):
        video = SERFile(path)
    np.testing.assert_array_equal(video.timestamps, [NOON] * 5)
    np.testing.assert_array_equal(video[4], scene[4])
    video.close()


def test_shrinks_while_open(make_ser, scene):
    """A file that is cut while it is read gives an error, not old memory."""
    path = make_ser(scene)
    with SERFile(path) as video:
        with path.open('r+b') as file:
            file.truncate(1000)
        with pytest.raises(ValueError, match='bytes too early'):
            video[4]


def test_closed(make_ser, scene):
    """A closed video says so; frames read before stay."""
    video = SERFile(make_ser(scene))
    frame = video[0]
    video.close()
    video.close()
    with pytest.raises(ValueError, match='is closed'):
        video[0]
    np.testing.assert_array_equal(frame, scene[0])


def test_threads(make_ser):
    """Threads that read different rows at once do not disturb each other."""
    frames = np.arange(6 * 64 * 16, dtype=np.uint16).reshape(6, 64, 16)
    wrong = []
    with SERFile(make_ser(frames, order='>')) as video:
        barrier = threading.Barrier(4)

        def work(k):
            barrier.wait()
            for start in range(k, 60, 3):
                rows = video.read_rows(start, start + 4)
                if not np.array_equal(rows, frames[:, start : start + 4]):
                    wrong.append(start)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
