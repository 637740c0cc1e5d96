# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From light to numbers: exposure, noise, readout, conversion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from astroflat._nddata import unpack
from astroflat.degradation._cameras import (
    CAMERAS,
    NOISE_LEVELS,
    Camera,
    NoiseLevel,
    get_camera,
)

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


@dataclass(frozen=True)
class SensorPattern:
    """
    What a detector adds in the same place of every frame.

    Parameters
    ----------
    dark_rate : ndarray of float32
        Dark current of every pixel in electrons per second, with hot pixels.
    hot : ndarray of bool
        True for the hot pixels.

    Examples
    --------
    >>> from astroflat.degradation import SensorPattern
    >>> pattern = SensorPattern.draw((100, 100), camera='dslr', rng=1)
    >>> int(pattern.hot.sum())
    10
    """

    dark_rate: np.ndarray
    hot: np.ndarray

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int],
        *,
        camera: Camera | str = 'cmos',
        rng: np.random.Generator | int | None = None,
    ) -> SensorPattern:
        """
        Draw the dark current of a detector.

        Parameters
        ----------
        shape : tuple of int
            Shape of the detector.
        camera : Camera or str, optional
            Camera or its name.
        rng : `numpy.random.Generator`, int or None, optional
            Source of random numbers.

        Returns
        -------
        SensorPattern
            Log-normal dark current (a spread of 0.3) and hot pixels of 20 to
            2000 times the median.
        """
        camera, rng = get_camera(camera), np.random.default_rng(rng)
        rate = np.exp(0.3 * rng.standard_normal(shape, dtype=np.float32))
        rate *= np.float32(camera.dark_current)
        n = round(camera.hot_fraction * rate.size)
        place = rng.choice(rate.size, size=n, replace=False, shuffle=False)
        rate.ravel()[place] *= np.exp(rng.uniform(math.log(20), math.log(2000), n))
        hot = np.zeros(shape, dtype=bool)
        hot.ravel()[place] = True
        return cls(dark_rate=rate, hot=hot)


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
        uint16 ADU, with ``GAIN``, ``RDNOISE``, ``EXPTIME``, ``SATURATE`` and
        more in the header.

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


def add_cosmic_rays(
    electrons: np.ndarray, n: int, *, rng: np.random.Generator
) -> np.ndarray:
    """
    Add cosmic rays to an image, in place.

    Parameters
    ----------
    electrons : ndarray of float32
        Electrons, changed.
    n : int
        Number of cosmic rays.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    ndarray of bool
        True where a cosmic ray was added.

    Notes
    -----
    A ray crosses the detector at a random angle and leaves its charge, 500 to
    30000 electrons, along a straight track of 1 to some 40 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation.sensor import add_cosmic_rays
    >>> image = np.zeros((60, 60), dtype=np.float32)
    >>> hit = add_cosmic_rays(image, 5, rng=np.random.default_rng(1))
    >>> bool(np.array_equal(hit, image > 0))
    True
    """
    hit = np.zeros(electrons.shape, dtype=bool)
    ny, nx = electrons.shape
    for _ in range(n):
        # Isotropic rays through a thin plate: many short tracks, few long.
        length = min(1.0 + 1.5 * abs(math.tan(rng.uniform(0.0, 1.54))), 40.0)
        charge = math.exp(rng.uniform(math.log(500.0), math.log(30000.0)))
        angle = rng.uniform(0.0, 2.0 * math.pi)
        place = rng.uniform(-0.5, (ny - 0.5, nx - 0.5))
        along = np.arange(0.0, length, 0.25)
        y = np.rint(place[0] + along * math.sin(angle)).astype(int)
        x = np.rint(place[1] + along * math.cos(angle)).astype(int)
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        y, x = y[inside], x[inside]
        np.add.at(electrons, (y, x), np.float32(charge / along.size))
        hit[y, x] = True
    return hit


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
