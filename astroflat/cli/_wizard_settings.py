# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What can be set at each stage of the wizard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

__all__ = ['HELP', 'SETTINGS', 'change', 'show_settings']

# Name -> what a value may be: a type, or the choices.
SETTINGS: dict[str, dict[str, Any]] = {
    'detect': {
        'sensitivity': float,
        'min_depth': float,
        'max_radius': float,
        'polarity': ('auto', 'both', 'dark', 'bright'),
    },
    'mask': {'margin': float, 'relative_margin': float, 'feather': float},
    'fill': {'inpainter': ('gp', 'polynomial', 'biharmonic', 'gemini')},
    'match': {'match': ('none', 'quantile', 'linear', 'local')},
    'flat': {'strength': float},
}
_DEFAULTS = {
    'sensitivity': 1.0,
    'min_depth': 0.002,
    'max_radius': 120.0,
    'polarity': 'auto',
}
_MOVES = (
    'a accept, r redo, b back, q quit and write nothing, NAME=VALUE change a setting'
)
_PAINT = (
    'e edit the mask in a window; paint X Y RADIUS, erase X Y RADIUS, '
    'erase X Y (the whole object), undo'
)
HELP = dict.fromkeys(SETTINGS, _MOVES)
HELP['detect'] += f'\n{_PAINT}'
HELP['flat'] += '\ne look at it and edit it in a window'


def change(stage: str, text: str, wizard: Any) -> None:
    """
    Change a setting.

    Parameters
    ----------
    stage : str
        The stage.

    text : str
        ``NAME=VALUE``.

    wizard : Wizard
        What it is a setting of.

    Raises
    ------
    ValueError
        If there is no such setting at this stage, or the value is wrong.
    """
    name, _, value = text.partition('=')
    allowed = SETTINGS[stage]
    if name not in allowed:
        msg = f'{name!r} is no setting of this stage; there are {", ".join(allowed)}'
        raise ValueError(msg)
    value = _parse(name, value, allowed[name])
    options = wizard.steps.options
    if stage == 'flat':
        if not 0 <= value <= 1:
            msg = f'strength must be from 0 to 1, not {value:g}'
            raise ValueError(msg)
        wizard.strength = value
    elif stage == 'detect':
        detection = {**options.detection, name: value}
        wizard.steps.options = replace(options, detection=detection)
    else:
        wizard.steps.options = replace(options, **{name: value})


def _parse(name: str, text: str, kind: Any) -> Any:
    """Return a value, or raise."""
    if kind is float:
        try:
            return float(text)
        except ValueError:
            msg = f'{name} must be a number, not {text!r}'
            raise ValueError(msg) from None
    if text not in kind:
        msg = f'{name} must be one of {", ".join(kind)}, not {text!r}'
        raise ValueError(msg)
    if text == 'gemini':
        from astroflat.genai import GeminiInpainter

        return GeminiInpainter()
    return None if text == 'none' else text


def show_settings(stage: str, wizard: Any) -> str:
    """
    Return the settings of a stage in words.

    Parameters
    ----------
    stage : str
        The stage.

    wizard : Wizard
        What they are settings of.

    Returns
    -------
    text : str
        ``NAME=VALUE``, separated by spaces.
    """
    options = wizard.steps.options
    known = {**_DEFAULTS, **options.detection, **vars(options)}
    known |= {'strength': wizard.strength}
    parts = []
    for name in SETTINGS[stage]:
        value = known[name]
        if hasattr(value, 'reroll'):
            value = 'gemini'
        shown = f'{value:g}' if isinstance(value, float) else str(value).lower()
        parts.append(f'{name}={shown}')
    return ' '.join(parts)
