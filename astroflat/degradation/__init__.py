# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The degradation of an image, ``I = S * F + G``: its model and its simulation.

`DegradationModel` applies and removes known fields. The rest makes fields,
skies and sensors with known truth: closed forms in `profiles`, the same as
`astropy.modeling` models in `fields`, random fields of graded difficulty from
`sample_fields`, skies from `make_scene`, cameras in `expose`, and whole
observations from `simulate_night` and `simulate_video`.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module. `DegradationModel` is needed by every command, the
# simulator by few: nothing is imported before it is asked for.
_NAMES = {
    'CAMERAS': 'sensor',
    'Camera': 'sensor',
    'DegradationModel': 'model',
    'MoteOptics': 'profiles',
    'NOISE_LEVELS': 'sensor',
    'FIELD_KINDS': '_kinds',
    'SCENE_KINDS': '_kinds',
    'SampledFields': 'sampler',
    'Scene': 'scenes',
    'SensorPattern': 'sensor',
    'SimulatedNight': 'night',
    'SimulatedVideo': 'video',
    'add_noise': 'sensor',
    'draw_scene': 'scenes',
    'expose': 'sensor',
    'fit_mote': 'fitting',
    'fit_vignetting': 'fitting',
    'make_scene': 'scenes',
    'sample_fields': 'sampler',
    'simulate_night': 'night',
    'simulate_video': 'video',
}
_MODULES = ('fields', 'fitting', 'profiles')

__all__ = [
    'CAMERAS',
    'Camera',
    'DegradationModel',
    'FIELD_KINDS',
    'MoteOptics',
    'NOISE_LEVELS',
    'SCENE_KINDS',
    'SampledFields',
    'Scene',
    'SensorPattern',
    'SimulatedNight',
    'SimulatedVideo',
    'add_noise',
    'draw_scene',
    'expose',
    'fields',
    'fit_mote',
    'fit_vignetting',
    'fitting',
    'make_scene',
    'profiles',
    'sample_fields',
    'simulate_night',
    'simulate_video',
]


def __getattr__(name: str) -> Any:
    """Import a public name or module when it is first used."""
    if name in _NAMES:
        module = importlib.import_module(f'astroflat.degradation.{_NAMES[name]}')
        value = getattr(module, name)
    elif name in _MODULES:
        value = importlib.import_module(f'astroflat.degradation.{name}')
    else:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
