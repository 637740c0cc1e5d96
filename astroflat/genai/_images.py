# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""PNG out, and images from outside in, of which nothing is believed."""

from __future__ import annotations

import io

import numpy as np

from astroflat.genai._keys import clean_text
from astroflat.genai.errors import GeminiMalformedError

__all__ = ['decode_image', 'encode_png']

# The largest image that the models make has 24 million pixels.
_LARGEST = 50_000_000
_FORMATS = ('PNG', 'JPEG', 'WEBP')


def encode_png(image: np.ndarray) -> bytes:
    """
    Return a grey image as a PNG file.

    Parameters
    ----------
    image : `~numpy.ndarray` of uint8
        The image, ``(ny, nx)``.

    Returns
    -------
    png : bytes
        The same bytes for the same image; no metadata.
    """
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8)).save(
        stream, format='PNG', compress_level=6
    )
    return stream.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """
    Read an image that came from outside.

    Parameters
    ----------
    data : bytes
        A file. What it is is found from its content; names and MIME types
        that came with it are not used.

    Returns
    -------
    image : `~numpy.ndarray` of float32
        Grey, the mean of the colours, 0 to 1, ``(ny, nx)``.

    Raises
    ------
    GeminiMalformedError
        If it is no whole PNG, JPEG or WebP image, or unfolds to more pixels
        than any model makes.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            # Before any pixel is unfolded.
            width, height = image.size
            if width * height > _LARGEST:
                msg = f'an image of {width} x {height} pixels is no answer'
                raise GeminiMalformedError(msg)
            return _grey(image)
    except GeminiMalformedError:
        raise
    except Exception as error:  # noqa: BLE001
        # A parser fed with hostile bytes raises nearly anything.
        msg = (
            f'the image of the answer cannot be read ({len(data)} bytes): '
            f'{clean_text(error, longest=120)}'
        )
        raise GeminiMalformedError(msg) from None


def _grey(image: object) -> np.ndarray:
    """Return the mean of the colours, not rounded, from 0 to 1."""
    if image.mode in {'I;16', 'I;16B', 'I'}:
        return np.asarray(image).astype(np.float32) / 65535
    if image.mode in {'L', '1'}:
        return np.asarray(image.convert('L')).astype(np.float32) / 255
    colours = np.asarray(image.convert('RGB')).astype(np.float32)
    return colours.mean(axis=2, dtype=np.float32) / 255
