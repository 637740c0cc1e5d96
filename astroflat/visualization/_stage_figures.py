# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A preview of every stage of a dust flat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.visualization._image_view import ImageView
from astroflat.visualization._review_sheet import deepest, set_size
from astroflat.visualization.figures import display_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroflat.dust import DustDetection

__all__ = ['draw_detect', 'draw_fill', 'draw_mask', 'draw_match']


def draw_detect(figure: Figure, image: np.ndarray, detection: DustDetection) -> None:
    """
    Draw what was found, with the number of each object.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        An empty figure.

    image : `~numpy.ndarray`
        The median, one plane.

    detection : DustDetection
        The dust.
    """
    axes = figure.subplots(1, 2)
    _show(axes[0], image, 'median')
    _show(axes[1], image, f'{len(detection)} objects', [(detection.mask, 0.5)])
    for row in detection.catalogue[:200]:
        axes[1].annotate(
            str(row['id']),
            (row['x'].value, row['y'].value + 1.2 * row['radius'].value + 2),
            color='tab:cyan',
            fontsize=9,
            fontweight='bold',
            ha='center',
            annotation_clip=True,
        )


def draw_mask(
    figure: Figure,
    image: np.ndarray,
    detection: DustDetection,
    weight: np.ndarray,
    *,
    n_motes: int = 3,
) -> None:
    """
    Draw the mask as it was grown, and the weight of the correction.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        An empty figure.

    image : `~numpy.ndarray`
        The median, one plane.

    detection : DustDetection
        The dust.

    weight : `~numpy.ndarray`
        From 0 to 1.

    n_motes : int, optional
        How many objects to show larger.
    """
    layers = [(weight > 0, 0.22), (detection.mask, 0.5)]
    boxes = deepest(detection, n_motes)
    for row, box in zip(_rows(figure, boxes), [None, *boxes], strict=True):
        _show(row[0], image, 'mask and margin', layers, box)
        view = ImageView(row[1], weight.shape, (0, 1))
        _look(row[1], box)
        view.show(weight)
        row[1].set_title('weight', fontsize=10)


def draw_fill(
    figure: Figure,
    image: np.ndarray,
    clean: np.ndarray,
    detection: DustDetection,
    *,
    n_motes: int = 3,
) -> None:
    """
    Draw the median and what it would be without the dust.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        An empty figure.

    image, clean : `~numpy.ndarray`
        Before and after filling, one plane.

    detection : DustDetection
        The dust.

    n_motes : int, optional
        How many objects to show larger.
    """
    boxes = deepest(detection, n_motes)
    for row, box in zip(_rows(figure, boxes), [None, *boxes], strict=True):
        limits = display_limits(clean)
        _show(row[0], image, 'median', limits=limits, box=box)
        _show(row[1], clean, 'filled', limits=limits, box=box)


def draw_match(
    figure: Figure, image: np.ndarray, clean: np.ndarray, weight: np.ndarray
) -> None:
    """
    Draw the matched image, and its ratio to the median off the dust.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        An empty figure.

    image, clean : `~numpy.ndarray`
        Before and after, one plane.

    weight : `~numpy.ndarray`
        From 0 to 1.
    """
    axes = figure.subplots(1, 2)
    _show(axes[0], clean, 'filled and matched')
    off = (weight == 0) & np.isfinite(image) & (image != 0)
    excess = 100 * (clean[off].astype(float) / image[off] - 1)
    # Not narrower than what float32 can tell apart.
    reach = float(np.percentile(np.abs(excess), 99.5)) if excess.size else 0
    reach = max(reach, 1e-3)
    axes[1].hist(excess, bins=81, range=(-reach, reach), color='0.4')
    axes[1].axvline(0, color='tab:orange', lw=1)
    axes[1].set_title('filled over median where there is no dust', fontsize=10)
    axes[1].set_xlabel('difference in per cent')
    axes[1].set_yscale('log')


def _rows(figure: Figure, boxes: list) -> Any:
    """Return axes for the image and for every box."""
    set_size(figure, 10, 3.6 * (len(boxes) + 1))
    return figure.subplots(len(boxes) + 1, 2, squeeze=False)


def _show(
    ax: Any,
    data: np.ndarray,
    title: str,
    layers: list | None = None,
    box: tuple | None = None,
    *,
    limits: tuple[float, float] | None = None,
) -> None:
    """Show an image or a part of it."""
    view = ImageView(ax, data.shape, limits or display_limits(data))
    _look(ax, box)
    view.show(data, layers)
    ax.set_title(title if box is None else f'{title}: {box[3]}', fontsize=10)


def _look(ax: Any, box: tuple | None) -> None:
    """Look at a part of an image."""
    if box is not None:
        ax.set_xlim(box[0] - box[2], box[0] + box[2])
        ax.set_ylim(box[1] - box[2], box[1] + box[2])
