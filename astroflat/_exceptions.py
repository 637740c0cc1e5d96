# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Exceptions and warnings raised by astroflat."""

from __future__ import annotations

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['AstroflatError', 'AstroflatWarning', 'ImageFormatError', 'SERError']


class AstroflatWarning(AstropyUserWarning):
    """Base class of the warnings issued by astroflat."""


class AstroflatError(Exception):
    """Base class of the errors raised by astroflat."""


class ImageFormatError(AstroflatError, ValueError):
    """A file is not what its name says, is truncated or cannot be represented."""


class SERError(ImageFormatError):
    """A SER video is malformed, truncated or not a SER video at all."""
