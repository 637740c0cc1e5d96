# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the models of this sub-package have in common."""

from __future__ import annotations

from astropy.modeling import Fittable2DModel

__all__ = ['PixelModel', 'ShadowModel']


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


class ShadowModel(PixelModel):
    """
    Shadow that ends: a transmission that is exactly 1 beyond its ``reach``.

    Examples
    --------
    >>> from astroflat.degradation.fields import DustMote2D
    >>> mote = DustMote2D(x_0=10, y_0=20, radius=4, edge=1)
    >>> mote.bounding_box.bounding_box()
    ((15.0, 25.0), (5.0, 15.0))
    """

    @property
    def reach(self) -> float:
        """Distance from the centre in pixels beyond which nothing is lost."""
        raise NotImplementedError

    @property
    def bounding_box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Box outside which the model is exactly 1: ``((y0, y1), (x0, x1))``."""
        x, y, reach = float(self.x_0.value), float(self.y_0.value), self.reach
        return (y - reach, y + reach), (x - reach, x + reach)
