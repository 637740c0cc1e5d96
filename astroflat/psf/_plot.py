# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw how stars change over a field, without pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from astroflat.psf.field import PSFField

__all__ = ['plot_field']

_WHISKERS = 11
# Places along an axis, over the side.
_NINE = (0.05, 0.5, 0.95)


def plot_field(field: PSFField, *, figure: Figure | None = None) -> Figure:
    """
    Draw the width as a map, and the shapes as whiskers.

    Parameters
    ----------
    field : PSFField
        What to draw.

    figure : `~matplotlib.figure.Figure`, optional
        Where to draw.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Two panels, and one with images of stars if these were measured.
    """
    from matplotlib.figure import Figure

    ny, nx = field.shape
    n_panels = 2 if field.remainder is None else 3
    if figure is None:
        size = (5.5 * n_panels, min(1.5 + 4.2 * ny / nx, 9))
        figure = Figure(figsize=size, layout='constrained')
    panels = figure.subplots(1, n_panels)
    _draw_widths(panels[0], field)
    _draw_whiskers(panels[1], field)
    if n_panels > 2:
        _draw_images(panels[2], field)
    for ax in panels[:2]:
        ax.set(xlim=(-0.5, nx - 0.5), ylim=(-0.5, ny - 0.5), aspect='equal')
        ax.tick_params(labelsize=8)
    return figure


def _draw_widths(ax: Axes, field: PSFField) -> None:
    """Draw the map of the width, and the stars in the same colours."""
    ny, nx = field.shape
    y, x = np.linspace(0, ny - 1, 60), np.linspace(0, nx - 1, 60)
    widths = field.fwhm_at(x[None, :], y[:, None])
    stars = _used(field)
    limits = _limits(widths, np.asarray(stars['fwhm']))
    artist = ax.imshow(
        widths,
        origin='lower',
        extent=(-0.5, nx - 0.5, -0.5, ny - 0.5),
        cmap='viridis',
        vmin=limits[0],
        vmax=limits[1],
        interpolation='bilinear',
    )
    if len(stars):
        ax.scatter(
            stars['x'],
            stars['y'],
            c=stars['fwhm'],
            cmap='viridis',
            vmin=limits[0],
            vmax=limits[1],
            s=18,
            edgecolors='white',
            linewidths=0.5,
        )
    error = field.report.numbers['prediction_percent']
    title = f'FWHM: {field.fwhm:.2f} pixels; stars from others ± {error:.1f} %'
    ax.set_title(title, fontsize=10)
    ax.figure.colorbar(artist, ax=ax, fraction=0.046, pad=0.03, label='pixels')


def _limits(widths: np.ndarray, stars: np.ndarray) -> tuple[float, float]:
    """Return limits that hold the map and nearly all stars."""
    low, high = float(widths.min()), float(widths.max())
    if stars.size:
        inner = np.percentile(stars, (5, 95))
        low, high = min(low, float(inner[0])), max(high, float(inner[1]))
    return (low, high) if high - low > 1e-6 else (low - 0.05, high + 0.05)


def _draw_whiskers(ax: Axes, field: PSFField) -> None:
    """Draw the smooth shapes with thick whiskers, those of stars with thin ones."""
    ny, nx = field.shape
    step = max(ny, nx) / _WHISKERS
    y, x = (np.arange(step / 2, side, step) for side in (ny, nx))
    x, y = (plane.ravel() for plane in np.meshgrid(x, y))
    _, ellipticity, theta = field.shape_at(x, y)
    stars = _used(field)
    shown = np.concatenate([ellipticity, np.asarray(stars['ellipticity'])])
    # A whisker of the 95th percentile is as long as the step of the grid.
    unit = max(float(np.percentile(shown, 95)), 0.02)
    scale = step / unit
    if len(stars):
        columns = (stars[name] for name in ('x', 'y', 'ellipticity', 'theta'))
        _whiskers(ax, *columns, scale=scale, color='tab:gray', linewidths=0.7)
    _whiskers(
        ax, x, y, ellipticity, theta, scale=scale, color='tab:red', linewidths=1.8
    )
    ax.set_title(
        f'ellipticity; a whisker as long as the step of the grid: {unit:.2f}',
        fontsize=10,
    )


def _draw_images(ax: Axes, field: PSFField) -> None:
    """Draw stars at nine places, with the square root as stretch."""
    ny, nx = field.shape
    side = 2 * int(2 * field.fwhm) + 3
    rows = [
        [np.sqrt(field.kernel_at(x * (nx - 1), y * (ny - 1), size=side)) for x in _NINE]
        for y in _NINE
    ]
    ax.imshow(np.block(rows), origin='lower', cmap='magma', interpolation='nearest')
    ax.set_axis_off()
    moved = field.report.numbers['remainder_percent']
    title = f'stars at nine places; {moved:.0f} % of the light beside the profile'
    ax.set_title(title, fontsize=10)


def _whiskers(
    ax: Axes,
    x: Any,
    y: Any,
    ellipticity: Any,
    theta: Any,
    *,
    scale: float,
    **style: Any,
) -> None:
    """Draw lines through places."""
    from matplotlib.collections import LineCollection

    angle = np.deg2rad(np.asarray(theta))
    half = 0.5 * scale * np.asarray(ellipticity)
    steps = np.stack([half * np.cos(angle), half * np.sin(angle)], axis=-1)
    places = np.stack([np.asarray(x), np.asarray(y)], axis=-1)
    lines = np.stack([places - steps, places + steps], axis=1)
    ax.add_collection(LineCollection(lines, **style))


def _used(field: PSFField) -> Any:
    """Return the stars that the field was made of."""
    return field.table[np.asarray(field.table['used'], dtype=bool)]
