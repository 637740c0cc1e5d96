# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw Zernike coefficients over the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf.polynomials import noll_to_nm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from astroflat.psf.wavefront_field import WavefrontField

__all__ = ['plot_wavefront']

_NAMES = {
    (2, 0): 'defocus',
    (2, 2): 'astigmatism',
    (3, 1): 'coma',
    (3, 3): 'trefoil',
    (4, 0): 'spherical aberration',
}
# Marks along the longer side, and places of a map.
_MARKS, _PLACES = 9, 48


def plot_wavefront(field: WavefrontField, *, figure: Figure | None = None) -> Figure:
    """
    Draw each aberration over the image.

    Parameters
    ----------
    field : WavefrontField
        What to draw.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        A panel for each aberration: a map where it has no direction, else marks.
    """
    from matplotlib.figure import Figure

    groups = _groups(field.terms)
    ny, nx = field.shape
    if figure is None:
        size = (4.6 * len(groups), min(1.2 + 4.2 * ny / nx, 8))
        figure = Figure(figsize=size, layout='constrained')
    panels = np.atleast_1d(figure.subplots(1, len(groups), squeeze=False)[0])
    for ax, (order, pair) in zip(panels, groups.items(), strict=True):
        if order[1] == 0:
            _draw_map(ax, field, pair)
        else:
            _draw_marks(ax, field, order, pair)
        ax.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), aspect='equal')
        ax.tick_params(labelsize=8)
    return figure


def _groups(terms: tuple[int, ...]) -> dict[tuple[int, int], dict[int, int]]:
    """Return terms by their orders: cosine (1), sine (-1) or neither (0)."""
    found: dict[tuple[int, int], dict[int, int]] = {}
    for j in sorted(terms):
        n, m = noll_to_nm(j)
        found.setdefault((n, abs(m)), {})[int(np.sign(m))] = j
    return found


def _name(order: tuple[int, int]) -> str:
    """Return the name of an aberration."""
    return _NAMES.get(order, f'order {order[0]}, {order[1]}')


def _draw_map(ax: Axes, field: WavefrontField, pair: dict[int, int]) -> None:
    """Draw an aberration without a direction, and the stars in the same colours."""
    j = pair[0]
    ny, nx = field.shape
    y, x = np.linspace(0, ny - 1, _PLACES), np.linspace(0, nx - 1, _PLACES)
    values = _values(field, x[None, :], y[:, None], j)
    stars = field.table[np.asarray(field.table['used'], bool)]
    most = max(float(np.abs(values).max()), 1e-3)
    style = {'cmap': 'RdBu_r', 'vmin': -most, 'vmax': most}
    extent = (-0.5, nx - 0.5, -0.5, ny - 0.5)
    artist = ax.imshow(values, origin='lower', extent=extent, **style)
    ax.scatter(
        stars['x'],
        stars['y'],
        c=stars[f'z{j}'],
        s=22,
        edgecolors='0.3',
        lw=0.5,
        **style,
    )
    ax.figure.colorbar(artist, ax=ax, fraction=0.046, pad=0.03, label='waves (rms)')
    ax.set_title(f'{j}: {_name(noll_to_nm(j))}', fontsize=10)


def _draw_marks(
    ax: Axes, field: WavefrontField, order: tuple[int, int], pair: dict[int, int]
) -> None:
    """Draw an aberration with a direction: thick where smooth, thin for the stars."""
    ny, nx = field.shape
    step = max(ny, nx) / _MARKS
    y, x = (np.arange(step / 2, side, step) for side in (ny, nx))
    x, y = (plane.ravel() for plane in np.meshgrid(x, y))
    smooth = [_part(field, x, y, pair, sign) for sign in (1, -1)]
    stars = field.table[np.asarray(field.table['used'], bool)]
    single = [
        np.asarray(stars[f'z{pair[sign]}']) if sign in pair else np.zeros(len(stars))
        for sign in (1, -1)
    ]
    unit = max(float(np.percentile(np.hypot(*smooth), 95)), 1e-3)
    for places, parts, color, width in (
        ((stars['x'], stars['y']), single, 'tab:gray', 0.002),
        ((x, y), smooth, 'tab:red', 0.005),
    ):
        _quiver(ax, places, parts, order[1], step / unit, color=color, width=width)
    numbers = ', '.join(str(j) for j in sorted(pair.values()))
    ax.set_title(f'{numbers}: {_name(order)}; longest {unit:.2f} waves', fontsize=10)


def _quiver(
    ax: Axes, places: Any, parts: Any, m: int, scale: float, **style: Any
) -> None:
    """Draw arrows for coma, and lines for what looks the same from both sides."""
    size, angle = np.hypot(*parts), np.arctan2(parts[1], parts[0]) / m
    u, v = size * np.cos(angle), size * np.sin(angle)
    heads = {} if m % 2 else {'headlength': 0, 'headaxislength': 0, 'headwidth': 0}
    pivot = 'tail' if m % 2 else 'mid'
    ax.quiver(
        *(np.asarray(p) for p in places),
        u * scale,
        v * scale,
        angles='xy',
        scale_units='xy',
        scale=1,
        pivot=pivot,
        **heads,
        **style,
    )


def _part(
    field: WavefrontField, x: np.ndarray, y: np.ndarray, pair: dict[int, int], sign: int
) -> np.ndarray:
    """Return one of two terms of a pair, 0 if it was not fitted."""
    return _values(field, x, y, pair[sign]) if sign in pair else np.zeros(x.shape)


def _values(field: WavefrontField, x: Any, y: Any, j: int) -> np.ndarray:
    """Return a coefficient at places."""
    x, y = np.broadcast_arrays(x, y)
    return field._smooth.array_at(x, y)[..., field.terms.index(j)]
