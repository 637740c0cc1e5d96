# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Warnings that point at the user's line, however deep they arise."""

from __future__ import annotations

import inspect
import warnings

from astroflat._exceptions import AstroflatWarning

__all__ = ['warn_user']

_OURS = ('astroflat.', 'contextlib')


def warn_user(message: str) -> None:
    """
    Warn, from the first line that is not in this package.

    Parameters
    ----------
    message : str
        The message.
    """
    level = 1
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get('__name__', '').startswith(_OURS):
        frame = frame.f_back
        level += 1
    warnings.warn(message, AstroflatWarning, stacklevel=level)
