# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What can go wrong when stars are measured."""

from __future__ import annotations

from astroflat._exceptions import AstroflatError

__all__ = ['TooFewStarsError']


class TooFewStarsError(AstroflatError, ValueError):
    """An image has too few usable stars to say how wide they are."""
