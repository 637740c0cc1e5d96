# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The contact sheet of a review: what a window would have shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.visualization._image_view import ImageView, flat_limits
from astroflat.visualization._review_state import Review
from astroflat.visualization.figures import display_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['deepest', 'fill_sheet', 'plot_review', 'set_size']

_COLUMNS = ('before', 'mask', 'after', 'flat')


def plot_review(solution: Any, *, image: Any = None, n_motes: int = 4) -> Figure:
    """
    Draw a solution and its deepest dust before and after, on one sheet.

    Parameters
    ----------
    solution : FlatSolution or Review
        What to draw.

    image : CCDData, array_like or path, optional
        As in `review`.

    n_motes : int, optional
        How many objects to show larger, the deepest first.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Rows of before, mask, after and flat: the whole image, then objects.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.visualization import plot_review
    >>> y, x = np.mgrid[:96, :96]
    >>> dusty = np.where(np.hypot(x - 50, y - 40) < 6, 0.8, 1.0)
    >>> noise = np.random.default_rng(0).normal(0, 3, dusty.shape)
    >>> len(plot_review(af.dust_flat(1000 * dusty + noise)).axes)
    8
    """
    from matplotlib.figure import Figure

    state = solution if isinstance(solution, Review) else Review(solution, image=image)
    figure = Figure(layout='constrained')
    fill_sheet(figure, state, n_motes=n_motes)
    return figure


def fill_sheet(figure: Figure, state: Review, *, n_motes: int = 4) -> None:
    """
    Draw the contact sheet into an empty figure.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        The figure; its size is set, unless it is a window.

    state : Review
        What to draw.

    n_motes : int, optional
        As in `plot_review`.
    """
    boxes = [None, *_boxes(state, n_motes)]
    set_size(figure, 13, 0.6 + 3.0 * len(boxes))
    figure.suptitle(_title(state), fontsize=11)
    axes = figure.subplots(len(boxes), len(_COLUMNS), squeeze=False)
    for row, box in zip(axes, boxes, strict=True):
        _draw_row(row, state, box)


def set_size(figure: Figure, width: float, height: float) -> None:
    """
    Set the size of a figure; a window keeps that of the screen's choice.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        The figure.

    width, height : float
        In inches.
    """
    if figure.canvas.manager is None:
        figure.set_size_inches(width, height)


def _title(state: Review) -> str:
    """Return the decision, the verdict and the first reason."""
    report = state.solution.report
    parts = [f'review: {state.decision}']
    if report is not None:
        parts += [f'report: {report.verdict}', *report.reasons[:1]]
    return '; '.join(parts)


def _boxes(state: Review, n_motes: int) -> list[tuple[float, float, float, str]]:
    """Return place, size and name of the deepest objects."""
    if not state.editable:
        return []
    return deepest(state.solution.stages['detection'], n_motes)


def deepest(detection: Any, n_motes: int) -> list[tuple[float, float, float, str]]:
    """
    Return the squares about the deepest objects, inside the image.

    Parameters
    ----------
    detection : DustDetection
        The dust.

    n_motes : int
        How many.

    Returns
    -------
    boxes : list of tuple
        ``x`` and ``y`` of the middle, half the side, and a name.
    """
    table, shape = detection.catalogue, detection.mask.shape
    depth = np.nan_to_num(np.abs(np.asarray(table['depth'], float)))
    boxes = []
    for row in table[np.argsort(-depth, kind='stable')[:n_motes]]:
        radius = max(3.0 * float(row['radius'].value), 40.0)
        half = min(radius, min(shape) / 2)
        x, y = (
            float(np.clip(row[name].value, half - 0.5, n - half - 0.5))
            for name, n in (('x', shape[1]), ('y', shape[0]))
        )
        name = f'{row["kind"]} {row["id"]}, {100 * float(row["depth"]):.3g} %'
        boxes.append((x, y, half, name))
    return boxes


def _draw_row(row: Any, state: Review, box: tuple | None) -> None:
    """Draw an image, or a part of it, in four ways."""
    after = state.after
    part = after if box is None else _part(after, box)
    limits = display_limits(part)
    around = flat_limits(state.flat if box is None else _part(state.flat, box))
    for ax, name in zip(row, _COLUMNS, strict=True):
        data = {'after': after, 'flat': state.flat}.get(name, state.before)
        view = ImageView(ax, after.shape, around if name == 'flat' else limits)
        if box is not None:
            x, y, half, _ = box
            ax.set_xlim(x - half, x + half)
            ax.set_ylim(y - half, y + half)
        layers = []
        if name == 'mask' and state.editable:
            layers = [(state.touched, 0.22), (state.mask, 0.5)]
        view.show(data, layers)
        ax.set_title(name if box is None or name != 'before' else box[3], fontsize=9)


def _part(data: np.ndarray, box: tuple) -> np.ndarray:
    """Return the pixels of a box."""
    x, y, half, _ = box
    rows = slice(max(0, int(y - half)), int(y + half) + 1)
    return data[rows, max(0, int(x - half)) : int(x + half) + 1]
