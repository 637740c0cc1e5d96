# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noise of a named strength for a clean image."""

from __future__ import annotations

from typing import Any

import numpy as np

from astroflat._nddata import unpack
from astroflat.degradation._cameras import NOISE_LEVELS, NoiseLevel

__all__ = ['add_noise']


def add_noise(
    image: Any,
    *,
    level: NoiseLevel | str = 'medium',
    rng: np.random.Generator | int | None = None,
) -> Any:
    """
    Add the noise of a telescope to a clean image, at a named strength.

    Parameters
    ----------
    image : array_like, CCDData, Quantity
        Image without noise, in any unit, with a positive median.
    level : NoiseLevel or str, optional
        Strength, by name out of `NOISE_LEVELS`: ``'very low'``, ``'low'``,
        ``'medium'``, ``'high'`` or ``'extreme'``.
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers.

    Returns
    -------
    same kind as ``image``
        Image with shot and read noise, in the unit of the input and without
        any clipping. The uncertainty is the true standard deviation.

    Raises
    ------
    ValueError
        If the median is not positive or the name not known.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation import add_noise
    >>> noisy = add_noise(np.full((100, 100), 20.0), level='high', rng=1)
    >>> bool(abs(noisy.std() / 20.0 - 0.128) < 0.004)
    True
    """
    if isinstance(level, str):
        if level not in NOISE_LEVELS:
            msg = f'level must be one of {", ".join(NOISE_LEVELS)}, not {level!r}'
            raise ValueError(msg)
        level = NOISE_LEVELS[level]
    rng, frame = np.random.default_rng(rng), unpack(image, name='image')
    median = float(np.median(frame.data[~frame.bad])) if (~frame.bad).any() else 0.0
    if not median > 0:
        msg = f'image has the median {median}; add its sky, noise needs photons'
        raise ValueError(msg)
    scale = level.level / median
    expected = np.clip(np.nan_to_num(frame.data * scale), 0.0, None)
    noise = rng.poisson(expected) - expected
    noise += level.read_noise * rng.standard_normal(expected.shape)
    variance = (expected + level.read_noise**2) / scale**2
    dtype = frame.data.dtype
    noisy = frame.data + (noise / scale).astype(dtype)
    return frame.repack(noisy, variance=variance.astype(dtype))
