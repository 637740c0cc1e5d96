# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The point-spread function of a frame: given, or measured in its stars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from astroflat.neural._restore_filter import (
    Kernel,
    TileFilter,
    make_kernel,
    wanted_width,
)

if TYPE_CHECKING:
    from astroflat._nddata import Frame

__all__ = ['Optics', 'find_optics']

# Exponent of the Moffat profile of which only the width is known.
_BETA = 3.0
_WIDTHS = (1.0, 20.0)


@dataclass
class Optics:
    """
    The filters of a frame at every place.

    Parameters
    ----------
    source : str
        'argument' or 'stars'.
    middle : Kernel
        The point-spread function in the middle of the frame.
    strength : float
        How much sharper the frame shall be.
    one : TileFilter or None
        The filters, if they are the same everywhere.
    stars : object or None
        What has ``kernel_at(x, y)``, if they are not.
    numbers : dict
        What is known of the stars, for the report.
    """

    source: str
    middle: Kernel
    strength: float
    one: TileFilter | None = None
    stars: Any = None
    numbers: dict[str, Any] = field(default_factory=dict)
    made: dict[tuple[int, int], TileFilter] = field(default_factory=dict)

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of stars in the middle, in pixels."""
        return self.middle.fwhm

    @property
    def varies(self) -> bool:
        """Whether the filters change over the frame."""
        return self.one is None

    @property
    def wanted(self) -> float:
        """Full width at half maximum that is asked for."""
        return wanted_width(self.fwhm, self.strength)

    def at(self, x: float, y: float) -> TileFilter:
        """
        Return the filters at a place.

        Parameters
        ----------
        x, y : float
            Place in pixels.

        Returns
        -------
        TileFilter
            The filters.
        """
        if self.one is not None:
            return self.one
        # Three planes of a frame ask for the same places.
        key = round(x), round(y)
        made = self.made.get(key)
        if made is None:
            if len(self.made) > 64:
                self.made.clear()
            kernel = make_kernel(self.stars.kernel_at(*key))
            made = self.made[key] = TileFilter(kernel, self.strength)
        return made


def find_optics(
    frame: Frame, fwhm: Any, psf: Any, strength: float, saturation: float | None
) -> Optics:
    """
    Find the point-spread function of a frame.

    Parameters
    ----------
    frame : Frame
        The frame.
    fwhm : float, PSFField or None
        Width of its stars.
    psf : array_like, PSFField or None
        Image of a star.
    strength : float
        How much sharper the frame shall be.
    saturation : float or None
        Stars with a pixel from here on are not measured.

    Returns
    -------
    Optics
        The filters.

    Raises
    ------
    ValueError
        If both are given, or one is out of range.
    """
    if fwhm is not None and psf is not None:
        msg = 'fwhm and psf are both given; one of them says it all'
        raise ValueError(msg)
    given = psf if fwhm is None else fwhm
    if given is None:
        from astroflat.psf import measure_field

        return _of_field(_measured(measure_field, frame, saturation), 'stars', strength)
    if hasattr(given, 'kernel_at'):
        return _of_field(given, 'argument', strength)
    if fwhm is None:
        return _of_kernel(given, strength)
    from astroflat.psf import moffat_kernel

    width = float(fwhm)
    low, high = _WIDTHS
    if not low <= width <= high:
        msg = f'fwhm must be from {low} to {high} pixels, not {width}'
        raise ValueError(msg)
    return _of_kernel(moffat_kernel(width, beta=_BETA), strength)


def _of_kernel(psf: Any, strength: float) -> Optics:
    kernel = make_kernel(psf)
    made = TileFilter(kernel, strength)
    return Optics('argument', kernel, strength, one=made)


def _of_field(given: Any, source: str, strength: float) -> Optics:
    """Return the filters of a field; one for all where it is the same everywhere."""
    numbers = _numbers(given)
    if not _varies(given):
        kernel = make_kernel(given.kernel_at(0.0, 0.0))
        made = TileFilter(kernel, strength)
        return Optics(source, kernel, strength, one=made, numbers=numbers)
    ny, nx = getattr(given, 'shape', (0, 0))
    kernel = make_kernel(given.kernel_at(0.5 * (nx - 1), 0.5 * (ny - 1)))
    return Optics(source, kernel, strength, stars=given, numbers=numbers)


def _varies(given: Any) -> bool:
    """Tell whether kernels change over a field; a stranger may not say so."""
    if hasattr(given, 'varies'):
        return bool(given.varies)
    return getattr(given, 'degree', 1) != 0 or getattr(given, 'grid', None) is not None


def _numbers(given: Any) -> dict[str, Any]:
    """Return what a field says of its stars."""
    known = getattr(getattr(given, 'report', None), 'numbers', {})
    names = ('remainder_percent', 'asymmetry_percent')
    found = {name: known[name] for name in names if name in known}
    profile = getattr(given, 'profile', None)
    return found if profile is None else {'profile': profile, **found}


def _measured(measure: Any, frame: Frame, saturation: float | None) -> Any:
    """Measure the stars of a frame."""
    from astroflat.psf import TooFewStarsError

    try:
        return measure(frame.data, mask=frame.bad, saturation=saturation)
    except TooFewStarsError as error:
        msg = f'{error}; give fwhm= or psf='
        raise TooFewStarsError(msg) from error
