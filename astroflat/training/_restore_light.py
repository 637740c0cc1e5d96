# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Extended light for the training of the restorer; read by its processes."""

from __future__ import annotations

import numpy as np

__all__ = ['draw_extended']

# Full width at half maximum of the light that squares are made of, in pixels: a
# Gaussian with the standard deviation of 0.6 that stars begin with.
_FWHM = 1.413
_NIGHT = ('galaxies', 'emission_nebula', 'reflection_nebula', 'dark_nebula')
_DAY = ('granulation', 'sunspot', 'active_region', 'moon')


def draw_extended(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """
    Draw light without stars, sharp to the pixel.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of random numbers.
    size : int
        Side of the square in pixels.

    Returns
    -------
    dict
        ``light``, float16 ``(size, size)``, between 0 and about 1; and ``day``,
        1 if it is the Sun or the Moon, else 0.
    """
    from astroflat.degradation import draw_scene

    kinds = _NIGHT if rng.uniform() < 0.65 else _DAY
    kind = kinds[rng.integers(len(kinds))]
    # Drawn larger and binned, structures come in more sizes.
    bins = int(rng.integers(1, 3))
    shape = (size * bins, size * bins)
    fwhm = _FWHM * (1.0 if bins == 1 else 1.4)
    scene = draw_scene(shape, kind=kind, rng=rng, level=1.0, fwhm=fwhm, aberration=0.0)
    light = np.asarray(scene.diffuse, np.float32)
    light = light.reshape(size, bins, size, bins).mean(axis=(1, 3))
    light = light - (float(light.min()) if scene.background else 0.0)
    top = max(float(np.percentile(light, 99.5)), 1e-6)
    day = np.float32(not scene.background)
    light = np.clip(light / top, 0.0, 1e3).astype(np.float16)
    return {'light': light, 'day': np.full((), day)}
