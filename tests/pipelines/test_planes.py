# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the planes of mono, colour and Bayer images."""

from __future__ import annotations

import numpy as np
import pytest

from astroflat.pipelines._planes import join_planes, mean_plane, split_planes


@pytest.mark.parametrize(
    ('shape', 'color', 'n'),
    [((4, 6), 'mono', 1), ((4, 6, 3), 'RGB', 3), ((4, 6), 'RGGB', 4)],
)
def test_round_trip(shape, color, n):
    """Joining the planes gives the image again."""
    image = np.random.default_rng(0).normal(size=shape)
    planes = split_planes(image, color)
    assert len(planes) == n
    assert np.array_equal(join_planes(planes, shape), image)


def test_bayer_planes_hold_one_colour():
    """Every plane of a Bayer image has a single place of the pattern."""
    image = np.tile([[1, 2], [3, 4]], (3, 5))
    assert [set(p.ravel()) for p in split_planes(image, 'GRBG')] == [{1}, {2}, {3}, {4}]


def test_one_plane_serves_all():
    """A single plane is used for every colour."""
    plane = np.arange(6.0).reshape(2, 3)
    wide = join_planes([plane], (4, 6))
    assert all(np.array_equal(wide[j::2, i::2], plane) for j in (0, 1) for i in (0, 1))
    assert np.array_equal(join_planes([plane], (2, 3, 3))[..., 1], plane)


def test_odd_bayer_image():
    """A Bayer image with an odd side is refused."""
    with pytest.raises(ValueError, match='even sides'):
        split_planes(np.ones((5, 6)), 'RGGB')


def test_mean_is_scaled():
    """Planes of different level weigh the same in the mean."""
    texture = np.random.default_rng(0).normal(1, 0.1, (9, 9))
    mean = mean_plane([texture, 100 * texture])
    assert np.allclose(mean, texture / np.median(texture))
