# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""AVI, MP4 and similar videos through PyAV."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from astroflat._exceptions import AstroflatWarning, ImageFormatError
from astroflat.io import open_frames

CUBE = np.random.default_rng(1).integers(0, 255, (5, 24, 36), dtype=np.uint8)


def encode(path, frames, codec, pix_fmt, **options):
    """Write a video with PyAV."""
    av = pytest.importorskip('av')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for array in frames:
            name = 'rgb24' if array.ndim == 3 else pix_fmt
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=name)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ('codec', 'suffix'), [('rawvideo', 'avi'), ('ffv1', 'mkv'), ('ffv1', 'avi')]
)
def test_grey(tmp_path, codec, suffix):
    """Lossless grey videos are read exactly, without the padding of rows."""
    # 36 pixels are padded to 64 in the memory of the decoder.
    path = encode(tmp_path / f'a.{suffix}', CUBE, codec, 'gray')
    with open_frames(path) as stack:
        assert stack.color == 'mono'
        assert stack.shape == CUBE.shape
        assert stack.dtype == np.uint8
        np.testing.assert_array_equal(stack.read_rows(3, 9), CUBE[:, 3:9])


def test_sixteen_bits(tmp_path):
    """Grey of 16 bits keeps all of them."""
    frames = CUBE.astype(np.uint16) * 257 + 1
    path = encode(tmp_path / 'a.mkv', frames, 'ffv1', 'gray16le')
    with open_frames(path) as stack:
        assert stack.dtype == np.uint16
        np.testing.assert_array_equal(stack.read_rows(0, 24), frames)


def test_color(tmp_path):
    """Colour is RGB; on demand it is turned into luminance."""
    rgb = np.stack([CUBE, CUBE[::-1], 255 - CUBE], axis=-1)
    path = encode(tmp_path / 'a.avi', rgb, 'rawvideo', 'bgr24')
    with open_frames(path) as stack:
        assert stack.color == 'RGB'
        np.testing.assert_array_equal(stack[2], rgb[2])
    with open_frames(path, color='mono') as stack:
        assert stack.shape == (5, 24, 36)
        expected = rgb[0] @ [0.299, 0.587, 0.114]
        assert np.abs(stack[0] - expected).mean() < 3


def test_pattern(tmp_path):
    """A grey video may be a mosaic, if the user says so."""
    path = encode(tmp_path / 'a.mkv', CUBE, 'ffv1', 'gray')
    with open_frames(path, color='RGGB') as stack:
        assert stack.color == 'RGGB'
        np.testing.assert_array_equal(stack[0], CUBE[0])


def test_lossy_warns(tmp_path):
    """A codec that loses information is named."""
    rgb = np.repeat(CUBE[..., None], 3, axis=-1)
    av = pytest.importorskip('av')
    with av.open(str(tmp_path / 'b.mp4'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.height, stream.width, stream.pix_fmt = 24, 36, 'yuv420p'
        for array in rgb:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array)))
        container.mux(stream.encode(None))
    with pytest.warns(AstroflatWarning, match='compressed with mpeg4'):
        stack = open_frames(tmp_path / 'b.mp4')
    assert stack.shape == (5, 24, 36, 3)
    stack.close()


def test_truncated(tmp_path):
    """A cut video gives an error, on demand the first frames and a warning."""
    frames = np.repeat(CUBE, 20, axis=0)
    path = encode(tmp_path / 'a.avi', frames, 'rawvideo', 'gray')
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageFormatError, match='cannot be decoded'):
        open_frames(path)
    with pytest.warns(AstroflatWarning, match='frames were read'):
        stack = open_frames(path, partial=True)
    assert 0 < len(stack) < 100
    np.testing.assert_array_equal(stack[0], CUBE[0])
    stack.close()
    path.write_bytes(data[:40])
    with pytest.raises(ImageFormatError, match=r"'a\.avi' cannot be decoded"):
        open_frames(path)


def test_without_pyav(tmp_path, monkeypatch):
    """Without PyAV the extra is named."""
    path = tmp_path / 'a.avi'
    path.write_bytes(b'RIFF\0\0\0\0AVI LIST')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ImportError, match=r'astroflat\[video\]'):
        open_frames(path)
