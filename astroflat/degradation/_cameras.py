# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Cameras as numbers, and strengths of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ['CAMERAS', 'NOISE_LEVELS', 'Camera', 'NoiseLevel', 'get_camera']


@dataclass(frozen=True)
class Camera:
    """
    A detector and its electronics.

    Parameters
    ----------
    name : str
        Name, for the header.
    gain : float
        Electrons per ADU.
    read_noise : float
        Standard deviation of the readout in electrons.
    bias : float
        Pedestal in ADU.
    full_well : float
        Electrons that a pixel can hold.
    bits : int
        Bits of the converter; ADU stop at ``2**bits - 1``.
    dark_current : float, optional
        Median electrons per second and pixel at the working temperature.
    hot_fraction : float, optional
        Share of the pixels with 20 to 2000 times that dark current.
    pixel_size : float, optional
        Pixel pitch in micrometres.
    row_noise : float, optional
        Standard deviation in electrons of an offset common to each row,
        different in every frame.
    temperature : float, optional
        Working temperature in degrees Celsius, for the header.

    Examples
    --------
    >>> from astroflat.degradation import CAMERAS
    >>> CAMERAS['ccd'].saturation
    63750
    """

    name: str
    gain: float
    read_noise: float
    bias: float
    full_well: float
    bits: int
    dark_current: float = 0.0
    hot_fraction: float = 0.0
    pixel_size: float = 3.76
    row_noise: float = 0.0
    temperature: float = 20.0

    def __post_init__(self) -> None:
        """Refuse cameras that cannot be."""
        for name in ('gain', 'full_well', 'pixel_size'):
            if not getattr(self, name) > 0:
                msg = f'{name} must be positive, not {getattr(self, name)}'
                raise ValueError(msg)
        for name in ('read_noise', 'bias', 'dark_current', 'row_noise'):
            if getattr(self, name) < 0:
                msg = f'{name} must not be negative, but is {getattr(self, name)}'
                raise ValueError(msg)
        if not 1 <= self.bits <= 16:
            msg = f'bits must be from 1 to 16, not {self.bits}'
            raise ValueError(msg)

    @property
    def maximum(self) -> int:
        """Largest ADU of the converter."""
        return 2**self.bits - 1

    @property
    def saturation(self) -> int:
        """ADU at which either the pixel or the converter is full."""
        return min(self.maximum, int(self.full_well / self.gain + self.bias))


#: Cameras by name. The numbers are typical of a class of detectors, rounded.
CAMERAS: dict[str, Camera] = {
    # Full-frame CCD of 9 micrometre pixels with 16 bits, cooled.
    'ccd': Camera(
        'ccd',
        gain=1.6,
        read_noise=9.0,
        bias=1250.0,
        full_well=100_000.0,
        bits=16,
        dark_current=0.02,
        hot_fraction=3e-4,
        pixel_size=9.0,
        temperature=-20.0,
    ),
    # Back-illuminated CMOS of 3.76 micrometre pixels with 16 bits, cooled.
    'cmos': Camera(
        'cmos',
        gain=0.77,
        read_noise=1.6,
        bias=500.0,
        full_well=50_000.0,
        bits=16,
        dark_current=0.002,
        hot_fraction=2e-4,
        pixel_size=3.76,
        row_noise=0.2,
        temperature=-10.0,
    ),
    # Fast uncooled CMOS of 2.9 micrometre pixels with 12 bits, for video.
    'planetary': Camera(
        'planetary',
        gain=3.5,
        read_noise=3.3,
        bias=40.0,
        full_well=14_600.0,
        bits=12,
        dark_current=2.0,
        hot_fraction=2e-4,
        pixel_size=2.9,
        row_noise=0.4,
    ),
    # Reflex camera at ISO 800 with 14 bits, one colour channel of it, warm.
    'dslr': Camera(
        'dslr',
        gain=0.62,
        read_noise=3.0,
        bias=2048.0,
        full_well=8_900.0,
        bits=14,
        dark_current=0.15,
        hot_fraction=1e-3,
        pixel_size=4.3,
        row_noise=0.8,
    ),
}


@dataclass(frozen=True)
class NoiseLevel:
    """
    Strength of noise, as electrons.

    Parameters
    ----------
    level : float
        Electrons per pixel in the median of the image.
    read_noise : float
        Standard deviation of the readout in electrons.

    Examples
    --------
    >>> from astroflat.degradation import NOISE_LEVELS
    >>> round(NOISE_LEVELS['medium'].relative, 3)
    0.047
    """

    level: float
    read_noise: float

    @property
    def relative(self) -> float:
        """Noise of the median over the median."""
        return (self.level + self.read_noise**2) ** 0.5 / self.level


#: Strengths of noise by name: about 1, 2, 5, 13 and 40 % of the sky.
NOISE_LEVELS: dict[str, NoiseLevel] = {
    'very low': NoiseLevel(10_000.0, 3.0),
    'low': NoiseLevel(2_500.0, 5.0),
    'medium': NoiseLevel(500.0, 7.0),
    'high': NoiseLevel(100.0, 8.0),
    'extreme': NoiseLevel(30.0, 10.0),
}


def get_camera(camera: Camera | str, **changes: Any) -> Camera:
    """
    Return a camera by name.

    Parameters
    ----------
    camera : Camera or str
        The camera, or its name in `CAMERAS`.
    **changes
        Numbers to replace.

    Returns
    -------
    Camera
        The camera.

    Raises
    ------
    ValueError
        If the name is not known.

    Examples
    --------
    >>> from astroflat.degradation._cameras import get_camera
    >>> get_camera('planetary', bits=8).maximum
    255
    """
    from dataclasses import replace

    if isinstance(camera, str):
        if camera not in CAMERAS:
            msg = f'camera must be one of {", ".join(CAMERAS)}, not {camera!r}'
            raise ValueError(msg)
        camera = CAMERAS[camera]
    return replace(camera, **changes) if changes else camera
