# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The artifacts of an image as `astropy.modeling` models.

The formulas are those of `astroflat.degradation.profiles`; the models add
names, bounds, derivatives, bounding boxes and everything astropy does with
models: compounds, fits, tables. Parameters are plain numbers in pixels and
radians. Models that multiply the light (`MULTIPLIES`) are transmissions, the
others add.

Examples
--------
>>> from astroflat.degradation.fields import DustMote2D, Vignetting2D
>>> flat = Vignetting2D(amplitude=0.2, x_0=64, y_0=64, radius=90) * DustMote2D(
...     depth=0.05, x_0=30, y_0=40, radius=10, edge=2, hole=0.3
... )
>>> flat.n_submodels
2
"""

from __future__ import annotations

from astroflat.degradation._fields_added import (
    AmpGlow2D,
    LinearGradient2D,
    Moonlight2D,
    QuadraticGradient2D,
)
from astroflat.degradation._fields_dust import DustMote2D
from astroflat.degradation._fields_noise import (
    BiasResidual2D,
    LineResponse2D,
    ResponseNoise2D,
)
from astroflat.degradation._fields_specks import DustFiber2D, DustSpeck2D
from astroflat.degradation._fields_vignetting import (
    MechanicalVignetting2D,
    NaturalVignetting2D,
    Vignetting2D,
)

__all__ = [
    'MULTIPLIES',
    'AmpGlow2D',
    'BiasResidual2D',
    'DustFiber2D',
    'DustMote2D',
    'DustSpeck2D',
    'LineResponse2D',
    'LinearGradient2D',
    'MechanicalVignetting2D',
    'Moonlight2D',
    'NaturalVignetting2D',
    'QuadraticGradient2D',
    'ResponseNoise2D',
    'Vignetting2D',
]

#: Models that multiply the light; all others add to it.
MULTIPLIES = (
    Vignetting2D,
    NaturalVignetting2D,
    MechanicalVignetting2D,
    DustMote2D,
    DustSpeck2D,
    DustFiber2D,
    ResponseNoise2D,
    LineResponse2D,
)
