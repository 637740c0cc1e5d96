# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Exceptions and warnings raised by astroflat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astropy.utils.exceptions import AstropyUserWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    'AstroflatError',
    'AstroflatWarning',
    'DegenerateDithersError',
    'ImageFormatError',
    'SERError',
]


class AstroflatWarning(AstropyUserWarning):
    """Base class of the warnings issued by astroflat."""


class AstroflatError(Exception):
    """Base class of the errors raised by astroflat."""


class DegenerateDithersError(AstroflatError, ValueError):
    """
    The offsets between the frames cannot tell the flat from the sky.

    Parameters
    ----------
    message : str
        What is undetermined, and what helps.

    modes : sequence of str, optional
        The undetermined patterns in words.
    """

    def __init__(self, message: str, modes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.modes = tuple(modes)


class ProviderFallbackWarning(AstroflatWarning):
    """A GPU is there but cannot be used; the processor computes instead."""


class ModelError(AstroflatError, ValueError):
    """A network is not found, not intact, not of this kind, or was fed wrongly."""


class DeviceError(AstroflatError, RuntimeError):
    """The device that was asked for is not there or does not do what it should."""


class ImageFormatError(AstroflatError, ValueError):
    """A file is not what its name says, is truncated or cannot be represented."""


class SERError(ImageFormatError):
    """A SER video is malformed, truncated or not a SER video at all."""
