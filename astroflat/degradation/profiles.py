# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Closed forms of the artifacts of an image, written once for every array library.

The functions take pixel coordinates and parameters that broadcast against each
other, and compute with the namespace of what they get: NumPy arrays give NumPy
arrays, PyTorch tensors give tensors (and gradients). Pixel centres lie at whole
numbers, the first pixel is ``(0, 0)``.

Fields that multiply the light are transmissions, 1 where nothing is lost:
`radial_vignetting`, `natural_vignetting`, `mechanical_vignetting`, `mote`,
`speck`, `fiber`, and ``1 + amplitude * noise`` with `white_noise`,
`lattice_noise` or `line_noise`.
Fields that add light: `linear_gradient`, `quadratic_gradient`, `moonlight`,
`amp_glow`. `mote_from_optics` turns a telescope and a particle into the
parameters of a `mote`.

Notes
-----
Nothing is cast: float32 coordinates give float32 fields. Coordinates given as
a row ``(1, nx)`` and a column ``(ny, 1)`` are cheaper than full grids.
"""

from __future__ import annotations

from astroflat.degradation._optics import MoteOptics, mote_from_optics
from astroflat.degradation._profiles_added import (
    amp_glow,
    linear_gradient,
    moonlight,
    quadratic_gradient,
)
from astroflat.degradation._profiles_dust import fiber, mote, smooth_step, speck
from astroflat.degradation._profiles_noise import (
    lattice_noise,
    line_noise,
    white_noise,
)
from astroflat.degradation._profiles_vignetting import (
    circle_overlap,
    elliptical_radius,
    mechanical_vignetting,
    natural_vignetting,
    radial_vignetting,
)

__all__ = [
    'MoteOptics',
    'amp_glow',
    'circle_overlap',
    'elliptical_radius',
    'fiber',
    'lattice_noise',
    'line_noise',
    'linear_gradient',
    'mechanical_vignetting',
    'moonlight',
    'mote',
    'mote_from_optics',
    'natural_vignetting',
    'quadratic_gradient',
    'radial_vignetting',
    'smooth_step',
    'speck',
    'white_noise',
]
