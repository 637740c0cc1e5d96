# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Names of the artifacts and of the scenes.

They stand apart so that a command can list them without importing what draws
them.
"""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ['FIELD_KINDS', 'SCENE_KINDS', 'FieldKind', 'SceneKind']

FieldKind = Literal[
    'vignetting',
    'motes',
    'specks',
    'fibers',
    'response',
    'smooth',
    'lines',
    'linear',
    'quadratic',
    'moonlight',
    'glow',
    'bias',
]

SceneKind = Literal[
    'starfield',
    'open_cluster',
    'globular_cluster',
    'galaxies',
    'emission_nebula',
    'reflection_nebula',
    'dark_nebula',
    'granulation',
    'sunspot',
    'active_region',
    'moon',
    'image',
]

#: The kinds of artifacts that `sample_fields` knows.
FIELD_KINDS: tuple[str, ...] = get_args(FieldKind)

#: The kinds of scenes that `make_scene` knows.
SCENE_KINDS: tuple[str, ...] = get_args(SceneKind)
