# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The settings that the shipped weights were trained with."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

__all__ = ['load_recipe']


def load_recipe(name: Path | str) -> dict[str, Any]:
    """
    Read a recipe.

    Parameters
    ----------
    name : path-like
        Name of a recipe that comes with astroflat, or a JSON file.

    Returns
    -------
    dict
        ``network``, ``options`` of ``astroflat train``, and what is known of
        the ``run`` that made the weights.

    Raises
    ------
    ValueError
        If there is no such recipe.

    Examples
    --------
    >>> from astroflat.training.recipes import load_recipe
    >>> recipe = load_recipe('flat')
    >>> recipe['network'], recipe['options']['batch']
    ('flat', 192)
    """
    if str(name).endswith('.json'):
        return json.loads(Path(name).read_text(encoding='utf-8'))
    folder = resources.files('astroflat.training.recipes')
    names = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith('.json'))
    if str(name) not in names:
        msg = f'recipe must be one of {names} or a JSON file, not {str(name)!r}'
        raise ValueError(msg)
    return json.loads((folder / f'{name}.json').read_text(encoding='utf-8'))
