# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Every kind of artifact that the simulator knows, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['plot_artifacts']


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
    scene = make_scene(shape, kind='starfield', rng=rng, level=1000.0)
    figures = {}
    for kind in (*get_args(FieldKind), 'all'):
        kinds = None if kind == 'all' else [kind]
        fields = sample_fields(shape, difficulty=difficulty, rng=rng, kinds=kinds)
        figures[kind] = _draw(kind, fields, scene, rng)
    return figures


def _draw(
    kind: str, fields: Any, scene: np.ndarray, rng: np.random.Generator
) -> Figure:
    """Draw the field of a kind, and an exposure without and with it."""
    from astroflat.degradation import expose
    from astroflat.visualization.figures import plot_comparison

    gradient = (1000.0 * fields.gradient).astype(np.float32)
    multiplied = not np.allclose(fields.flat, 1)
    images = [('flat', fields.flat, 'flat')] if multiplied else []
    if np.any(gradient):
        images.append(('gradient', gradient, 'gradient'))
    seen = expose(scene, camera='ccd', flat=fields.flat, gradient=gradient, rng=rng)
    images += [
        ('sky', expose(scene, camera='ccd', rng=rng), 'sky'),
        ('sky as the camera sees it', seen, 'seen'),
    ]
    return plot_comparison([(kind, images)])
