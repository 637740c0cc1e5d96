# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Mosaics taken apart and put together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astroflat.io import BAYER_PATTERNS, is_mosaic, merge_bayer, split_bayer


@pytest.mark.parametrize('pattern', BAYER_PATTERNS)
def test_every_pixel_goes_to_its_color(pattern):
    """Each plane holds the pixels under the filters of its colour."""
    image = np.empty((6, 8), dtype='U1')
    for y in range(6):
        for x in range(8):
            image[y, x] = pattern[2 * (y % 2) + x % 2]
    planes = split_bayer(image, pattern)
    assert len(planes) == 4
    for name, plane in planes.items():
        assert plane.shape == (3, 4)
        assert (plane == name[0]).all()
    assert is_mosaic(pattern)


@given(
    image=hnp.arrays(
        st.sampled_from(['u1', '>u2', 'f4', 'f8']),
        hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5),
    ),
    pattern=st.sampled_from(BAYER_PATTERNS),
)
def test_exact_inverse(image, pattern):
    """Merging undoes splitting, bit by bit, for stacks and odd sizes too."""
    merged = merge_bayer(split_bayer(image, pattern), pattern)
    assert merged.shape == image.shape
    assert merged.dtype == image.dtype.newbyteorder('=')
    assert merged.tobytes() == image.astype(merged.dtype).tobytes()


def test_planes_are_views():
    """Splitting copies nothing; merging copies everything."""
    image = np.arange(16.0).reshape(4, 4)
    planes = split_bayer(image, 'RGGB')
    assert np.shares_memory(planes['G2'], image)
    assert not np.shares_memory(merge_bayer(planes, 'RGGB'), image)


def test_statistics_do_not_mix():
    """The median of a plane is that of its colour."""
    image = np.zeros((4, 4))
    image[0::2, 0::2], image[1::2, 1::2] = 10, 90
    medians = {k: np.median(v) for k, v in split_bayer(image, 'BGGR').items()}
    assert medians == {'B': 10, 'G1': 0, 'G2': 0, 'R': 90}


def test_refused():
    """Wrong patterns, shapes and planes are named."""
    image = np.zeros((4, 4))
    with pytest.raises(ValueError, match='pattern must be one of'):
        split_bayer(image, 'RGB')
    with pytest.raises(ValueError, match='image must be'):
        split_bayer(np.zeros(4), 'RGGB')
    planes = split_bayer(image, 'RGGB')
    with pytest.raises(ValueError, match='planes must be'):
        merge_bayer(planes, 'CYYM')
    planes['G1'] = np.zeros((3, 3))
    with pytest.raises(ValueError, match="plane 'G1' has the shape"):
        merge_bayer(planes, 'RGGB')
    assert not is_mosaic('mono')
