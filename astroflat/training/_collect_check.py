# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whether a fetched file is an image, how large it is, and what it looks like."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ['Picture', 'digest', 'distance', 'look_at', 'refuse_markup']

_SIDE = 16
# Of the 256 differences of a look: copies in other sizes and formats differ in a
# few, other images in half of them.
SAME = 26
_MARKUP = (b'<!doctype html', b'<html', b'<head', b'<?xml', b'{')


@dataclass(frozen=True)
class Picture:
    """
    What a file holds.

    Parameters
    ----------
    format : str
        As in `astroflat.io.images.image_format`.
    width, height : int
        In pixels.
    look : str
        Hexadecimal digits: which of neighbouring blocks is brighter.
    """

    format: str
    width: int
    height: int
    look: str


def refuse_markup(path: Path, content_type: str) -> None:
    """
    Refuse a page that came in place of an image.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    content_type : str
        What the server called it.

    Raises
    ------
    ValueError
        If it is text.
    """
    with path.open('rb') as file:
        head = file.read(512).lstrip().lower()
    if head.startswith(_MARKUP):
        msg = f'the server sent a page ({content_type or "no type"}), not an image'
        raise ValueError(msg)


def digest(path: Path) -> str:
    """
    Return the SHA-256 of a file.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    Returns
    -------
    digest : str
        64 hexadecimal digits.
    """
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def look_at(path: Path) -> Picture:
    """
    Decode an image as a whole.

    Parameters
    ----------
    path : `pathlib.Path`
        The file.

    Returns
    -------
    picture : Picture
        Its format, size and look.

    Raises
    ------
    ValueError
        If it is not an image, or damaged.
    """
    from astroflat.io.images import image_format, read_image

    kind = image_format(path)
    if kind is None:
        msg = 'not an image that can be read'
        raise ValueError(msg)
    with warnings.catch_warnings():
        # Odd cards of foreign headers do not matter here.
        warnings.simplefilter('ignore')
        try:
            data = np.asarray(read_image(path)[0])
        except (OSError, ValueError, TypeError, IndexError) as error:
            msg = f'damaged: {error}'
            raise ValueError(msg) from error
    if data.ndim not in (2, 3):
        msg = f'not one image, but of shape {data.shape}'
        raise ValueError(msg)
    return Picture(kind, data.shape[1], data.shape[0], _look(data))


def distance(first: str, second: str) -> int:
    """
    Return in how many differences two looks are not the same.

    Parameters
    ----------
    first, second : str
        Looks.

    Returns
    -------
    n : int
        0 to 256.
    """
    return (int(first, 16) ^ int(second, 16)).bit_count()


def _look(data: np.ndarray) -> str:
    """Return which of neighbouring blocks is brighter, as hexadecimal digits."""
    rows, columns = (
        np.linspace(0, side, n + 1).astype(int)
        for side, n in zip(data.shape[:2], (_SIDE, _SIDE + 1), strict=True)
    )
    means = np.array(
        [
            [_mean(data[a:b, c:d]) for c, d in pairwise(columns)]
            for a, b in pairwise(rows)
        ]
    )
    bits = (means[:, 1:] > means[:, :-1]).ravel()
    return np.packbits(bits).tobytes().hex()


def _mean(block: np.ndarray) -> float:
    """Return the mean of the finite samples of a block."""
    if block.size == 0:
        return 0.0
    mean = float(block.mean(dtype=np.float64))
    if np.isfinite(mean):
        return mean
    good = block[np.isfinite(block)]
    return float(good.mean(dtype=np.float64)) if good.size else 0.0
