# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From light to numbers: exposure, noise, readout, conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from astroflat._nddata import unpack
from astroflat.degradation._add_noise import add_noise
from astroflat.degradation._cameras import (
    CAMERAS,
    NOISE_LEVELS,
    Camera,
    NoiseLevel,
    get_camera,
)
from astroflat.degradation._detector import SensorPattern, add_cosmic_rays

__all__ = [
    'CAMERAS',
    'NOISE_LEVELS',
    'Camera',
    'NoiseLevel',
    'SensorPattern',
    'add_cosmic_rays',
    'add_noise',
    'expose',
    'read_out',
    'shot_noise',
]

# Above this mean the Poisson and the normal distribution differ by less than
# a third of a percent of a standard deviation in skewness per electron noise.
_NORMAL_ABOVE = 1000.0


def expose(
    scene: Any,
    *,
    camera: Camera | str = 'cmos',
    flat: np.ndarray | None = None,
    gradient: np.ndarray | None = None,
    exposure: float = 60.0,
    pattern: SensorPattern | None = None,
    cosmic_rays: float = 0.0,
    rng: np.random.Generator | int | None = None,
) -> CCDData:
    """
    Take an exposure of a scene: the raw frame that a camera would write.

    Parameters
    ----------
    scene : array_like, Quantity, CCDData or Scene
        Electrons per pixel that a perfect telescope would collect in the
        exposure, ``(ny, nx)``.
    camera : Camera or str, optional
        Camera or its name in `CAMERAS`.
    flat : ndarray, optional
        Multiplicative field F.
    gradient : ndarray, optional
        Additive field G in electrons.
    exposure : float, optional
        Time in seconds, for the dark current and the header; the scene is not
        scaled by it.
    pattern : SensorPattern, optional
        Dark current of the detector; give the same to all frames of a night.
        By default one is drawn.
    cosmic_rays : float, optional
        Mean number of cosmic rays on the frame.
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers. The same seed gives the same frame.

    Returns
    -------
    `~astropy.nddata.CCDData`
        Raw frame of uint16 ADU, with ``GAIN``, ``RDNOISE``, ``EXPTIME``,
        ``SATURATE`` and more in the header.

    Raises
    ------
    ValueError
        If the expected light is negative somewhere, or shapes differ.

    Notes
    -----
    Shot noise is drawn for ``S * F + G`` and the dark current, in electrons.
    Then the full well cuts, read noise and row noise are added, and the sum
    is divided by the gain, lifted by the bias and rounded to whole ADU.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation import expose
    >>> ccd = expose(np.full((50, 50), 2000.0), camera='ccd', rng=1)
    >>> ccd.unit.to_string(), str(ccd.data.dtype), ccd.header['GAIN']
    ('adu', 'uint16', 1.6)
    >>> bool(abs(ccd.data.mean() - (2000 / 1.6 + 1250)) < 3)
    True
    """
    camera, rng = get_camera(camera), np.random.default_rng(rng)
    light = _light(scene, flat, gradient)
    if pattern is None:
        pattern = SensorPattern.draw(light.shape, camera=camera, rng=rng)
    _check_shape('pattern', pattern.dark_rate, light.shape)
    light += np.float32(exposure) * pattern.dark_rate
    electrons = shot_noise(light, rng=rng)
    hits = int(rng.poisson(cosmic_rays))
    if hits:
        add_cosmic_rays(electrons, hits, rng=rng)
    adu = read_out(electrons, camera=camera, rng=rng)
    return CCDData(adu, unit=u.adu, meta=_header(camera, exposure))


def shot_noise(expected: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """
    Draw electrons from their expected number.

    Parameters
    ----------
    expected : ndarray
        Expected electrons, not negative.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray of float32
        Whole electrons: of the Poisson distribution or, for frames with more
        than 1000 everywhere, of the normal distribution that it approaches.

    Raises
    ------
    ValueError
        If the expected number is negative or not finite somewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.sensor import shot_noise
    >>> shot_noise(np.zeros(3), rng=np.random.default_rng(1))
    array([0., 0., 0.], dtype=float32)
    """
    lowest = float(np.min(expected)) if np.size(expected) else 0.0
    if not lowest >= 0:
        msg = (
            f'the expected light is {lowest} electrons somewhere; '
            'raise the sky or weaken the gradient, it must not be negative'
        )
        raise ValueError(msg)
    if lowest < _NORMAL_ABOVE:
        return rng.poisson(expected).astype(np.float32)
    noise = rng.standard_normal(expected.shape, dtype=np.float32)
    noise *= np.sqrt(expected, dtype=np.float32)
    noise += expected
    return np.rint(noise, out=noise)


def read_out(
    electrons: np.ndarray,
    *,
    camera: Camera | str,
    rng: np.random.Generator,
) -> np.ndarray:
    """
    Read electrons out as ADU.

    Parameters
    ----------
    electrons : ndarray
        Electrons in the pixels.
    camera : Camera or str
        Camera or its name.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray of uint16 or uint8
        ADU; uint8 for converters of up to 8 bits.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.sensor import read_out
    >>> adu = read_out(
    ...     np.array([[0.0, 1e9]]), camera='planetary', rng=np.random.default_rng(1)
    ... )
    >>> int(adu[0, 1])
    4095
    """
    camera = get_camera(camera)
    signal = np.minimum(electrons, np.float32(camera.full_well)).astype(np.float32)
    if camera.read_noise:
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        signal += np.float32(camera.read_noise) * noise
    if camera.row_noise:
        noise = rng.standard_normal((signal.shape[0], 1), dtype=np.float32)
        signal += np.float32(camera.row_noise) * noise
    signal /= np.float32(camera.gain)
    signal += np.float32(camera.bias)
    np.clip(np.rint(signal, out=signal), 0, camera.maximum, out=signal)
    return signal.astype(np.uint8 if camera.bits <= 8 else np.uint16)


def _light(
    scene: Any, flat: np.ndarray | None, gradient: np.ndarray | None
) -> np.ndarray:
    """Return the expected electrons ``S * F + G``, a new float32 array."""
    if hasattr(scene, 'render'):
        scene = scene.render()
    if isinstance(scene, u.Quantity) or hasattr(scene, 'data'):
        scene = unpack(scene, name='scene').data
    light = np.array(scene, dtype=np.float32)
    if light.ndim != 2:
        msg = f'scene must be (ny, nx), not of shape {light.shape}'
        raise ValueError(msg)
    if flat is not None:
        _check_shape('flat', flat, light.shape)
        light *= np.asarray(flat, dtype=np.float32)
    if gradient is not None:
        _check_shape('gradient', gradient, light.shape)
        light += np.asarray(gradient, dtype=np.float32)
    return light


def _check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raise unless an array has the shape of the scene or is a number."""
    if np.shape(array) not in (shape, ()):
        msg = f'{name} has the shape {np.shape(array)}, the scene has {shape}'
        raise ValueError(msg)


def _header(camera: Camera, exposure: float) -> fits.Header:
    """Header that a camera would write."""
    header = fits.Header()
    header['INSTRUME'] = (f'simulated {camera.name}', 'camera')
    header['IMAGETYP'] = ('LIGHT', 'type of frame')
    header['EXPTIME'] = (float(exposure), '[s] exposure time')
    header['GAIN'] = (camera.gain, '[electron/adu] conversion')
    header['EGAIN'] = (camera.gain, '[electron/adu] conversion')
    header['RDNOISE'] = (camera.read_noise, '[electron] read noise')
    header['PEDESTAL'] = (camera.bias, '[adu] bias level')
    header['SATURATE'] = (camera.saturation, '[adu] saturation level')
    header['CCD-TEMP'] = (camera.temperature, '[deg C] detector temperature')
    header['XPIXSZ'] = (camera.pixel_size, '[um] pixel width')
    header['YPIXSZ'] = (camera.pixel_size, '[um] pixel height')
    return header
