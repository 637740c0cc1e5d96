# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Images of stars: made, measured, and mapped over the field.

`moffat_kernel`, `gaussian_kernel`, `motion_kernel` and `defocus_kernel` are closed
forms, `zernike_psf` and `simulate_field` come from wave optics. `measure_stars` fits
the stars of an image and `measure_field` makes a `PSFField` of them: width, shape and
kernel at every place.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module, relative to this package.
_NAMES = {
    'PSFField': 'field',
    'TooFewStarsError': '_errors',
    'WavefrontField': 'wavefront_field',
    'ZernikeField': 'simulation',
    'ZernikeFit': 'zernikes',
    'defocus_kernel': 'kernels',
    'fit_zernikes': 'zernikes',
    'gaussian_kernel': 'kernels',
    'measure_field': 'measure',
    'measure_kernel': 'stars',
    'measure_stars': 'stars',
    'measure_zernikes': 'wavefront_field',
    'moffat_kernel': 'kernels',
    'motion_kernel': 'kernels',
    'noll_to_nm': 'polynomials',
    'simulate_field': 'simulation',
    'zernike': 'polynomials',
    'zernike_psf': 'optics',
}

__all__ = sorted(_NAMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _NAMES:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f'{__name__}.{_NAMES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
