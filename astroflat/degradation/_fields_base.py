# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the models of this sub-package have in common."""

from __future__ import annotations

from astropy.modeling import Fittable2DModel

__all__ = ['PixelModel']


class PixelModel(Fittable2DModel):
    """
    Model of pixel coordinates without units.

    Examples
    --------
    >>> from astroflat.degradation.fields import AmpGlow2D
    >>> AmpGlow2D().input_units is None
    True
    """

    # Without these, astropy takes the type hints of `evaluate` for units.
    input_units = None
    return_units = None
