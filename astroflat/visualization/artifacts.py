# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Every kind of artifact that the simulator knows, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['plot_artifacts']

# Electrons of the sky in a pixel.
_LEVEL = 1000.0
_DRAWS = 5


def plot_artifacts(
    shape: tuple[int, int] = (300, 400),
    *,
    difficulty: float = 0.7,
    rng: Any = None,
) -> dict[str, Figure]:
    """
    Draw each kind of artifact alone, and all of them together.

    Parameters
    ----------
    shape : tuple of int, optional
        The shape of the frames, ``(ny, nx)``.

    difficulty : float, optional
        The strength, from 0 to 1.

    rng : `numpy.random.Generator`, int or None, optional
        The source of random numbers.

    Returns
    -------
    figures : dict of `~matplotlib.figure.Figure`
        One figure for each kind: its field, a sky without it and with it.

    Examples
    --------
    >>> from astroflat.visualization import plot_artifacts
    >>> figures = plot_artifacts((48, 64), rng=1)
    >>> 'motes' in figures, 'all' in figures
    (True, True)
    """
    from astroflat.degradation import make_scene, sample_fields
    from astroflat.degradation.sampler import FieldKind

    rng = np.random.default_rng(rng)
    scene = make_scene(shape, kind='starfield', rng=rng, level=_LEVEL)
    figures = {}
    for kind in (*get_args(FieldKind), 'all'):
        kinds = None if kind == 'all' else [kind]
        # Some draws of a kind are hardly seen: show the strongest of a few.
        draws = [
            sample_fields(shape, difficulty=difficulty, rng=rng, kinds=kinds)
            for _ in range(_DRAWS)
        ]
        figures[kind] = _draw(kind, max(draws, key=_spread), scene, rng)
    return figures


def _spread(fields: Any) -> float:
    """Return how much the fields change over the frame."""
    return float(np.ptp(fields.flat) + np.ptp(fields.gradient))


def _draw(
    kind: str, fields: Any, scene: np.ndarray, rng: np.random.Generator
) -> Figure:
    """Draw the field of a kind, and an exposure without and with it."""
    from astroflat.degradation import expose
    from astroflat.visualization.figures import plot_comparison

    gradient = (_LEVEL * fields.gradient).astype(np.float32)
    multiplied = not np.allclose(fields.flat, 1)
    images = [(_range('flat', fields.flat), fields.flat, 'flat')] if multiplied else []
    if np.any(gradient):
        images.append((_range('gradient', gradient, 'e-'), gradient, 'gradient'))
    seen = expose(scene, camera='ccd', flat=fields.flat, gradient=gradient, rng=rng)
    # On one scale, that of the last image: how visible it is, is what it shows.
    images += [
        ('sky', expose(scene, camera='ccd', rng=rng), 'sky'),
        ('sky as the camera sees it', seen, 'sky'),
    ]
    return plot_comparison([(kind, images)])


def _range(name: str, field: np.ndarray, unit: str = '') -> str:
    """Return a title with the values that a field takes."""
    low, high = float(field.min()), float(field.max())
    return f'{name}, {low:.3g} to {high:.3g} {unit}'.rstrip()
