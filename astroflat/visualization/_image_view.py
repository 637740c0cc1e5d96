# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""An image with a mask over it, drawn at the resolution of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['STRETCHES', 'ImageView', 'crop', 'flat_limits']

STRETCHES = ('linear', 'sqrt', 'asinh', 'log')
# More pixels than this are not seen.
_MAX_SIDE = 1200
_MASK_COLOR = (1.0, 0.5, 0.05)
_LEAST_SIDE = 4.0


def crop(
    data: np.ndarray,
    x: tuple[float, float],
    y: tuple[float, float],
    *,
    side: int = _MAX_SIDE,
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """
    Return the part of an image that is in view, averaged to what can be seen.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image; masks are any number type.

    x, y : tuple of float
        The limits of the view.

    side : int, optional
        The most pixels on a side.

    Returns
    -------
    part : `~numpy.ndarray`
        At most so many pixels on a side.

    extent : tuple of float
        Where it lies: left, right, bottom, top.
    """
    spans = []
    for limits, n in ((y, data.shape[0]), (x, data.shape[1])):
        low, high = sorted(limits)
        first = int(np.clip(np.floor(low + 0.5), 0, n - 1))
        last = int(np.clip(np.ceil(high + 0.5), first + 1, n))
        spans.append((first, last))
    (y0, y1), (x0, x1) = spans
    step = -(-max(y1 - y0, x1 - x0) // side)
    # Whole blocks only, and at least one.
    y1 = max(y0 + (y1 - y0) // step * step, y0 + 1)
    x1 = max(x0 + (x1 - x0) // step * step, x0 + 1)
    part = data[y0:y1, x0:x1]
    if step > 1 and min(part.shape) >= step:
        ny, nx = part.shape[0] // step, part.shape[1] // step
        part = part.reshape(ny, step, nx, step).mean(axis=(1, 3))
    return part, (x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5)


def flat_limits(flat: np.ndarray) -> tuple[float, float]:
    """
    Return limits for a flat, the same distance below and above 1.

    Parameters
    ----------
    flat : `~numpy.ndarray`
        The flat, most of it 1.

    Returns
    -------
    low, high : float
        They hold 95 % of the pixels that are not 1, and differ.
    """
    depth = np.abs(flat[np.isfinite(flat)] - 1)
    depth = depth[depth > 0]
    reach = max(float(np.percentile(depth, 95)), 1e-3) if depth.size else 1e-3
    return 1 - reach, 1 + reach


class ImageView:
    """
    Show one of several images of a size, with a mask, pan, zoom and stretch.

    Parameters
    ----------
    ax : `~matplotlib.axes.Axes`
        Where to draw.

    shape : tuple of int
        The shape of the images, ``(ny, nx)``.

    limits : tuple of float
        The values shown as black and white.
    """

    def __init__(
        self, ax: Axes, shape: tuple[int, int], limits: tuple[float, float]
    ) -> None:
        self.ax = ax
        self.shape = shape
        self.limits = limits
        self.stretch = 'linear'
        self._data = np.zeros(shape, np.float32)
        self._layers: list[tuple[np.ndarray, float]] = []
        blank = np.zeros((1, 1))
        options = {'origin': 'lower', 'interpolation': 'nearest', 'aspect': 'equal'}
        self.artist = ax.imshow(blank, cmap='gray', **options)
        self.overlay = ax.imshow(np.zeros((1, 1, 4)), **options)
        # Below the pointer, the value of the image is of interest.
        self.overlay.set_mouseover(False)
        ax.tick_params(labelsize=7)
        self.home()
        for name in ('xlim_changed', 'ylim_changed'):
            ax.callbacks.connect(name, lambda _: self.draw())

    def show(
        self, data: np.ndarray, layers: list[tuple[np.ndarray, float]] | None = None
    ) -> None:
        """
        Show an image.

        Parameters
        ----------
        data : `~numpy.ndarray`
            The image.

        layers : list of tuple, optional
            Masks and their opacities, the last on top.
        """
        self._data = data
        self._layers = layers or []
        self.draw()

    def draw(self) -> None:
        """Give what is in view to matplotlib."""
        x, y = self.ax.get_xlim(), self.ax.get_ylim()
        part, extent = crop(self._data, x, y)
        self.artist.set_norm(self._norm())
        self.artist.set_data(part)
        self.artist.set_extent(extent)
        self.overlay.set_visible(bool(self._layers))
        if self._layers:
            alpha = np.zeros(part.shape)
            for mask, opacity in self._layers:
                seen = crop(mask.astype(np.float32), x, y)[0]
                alpha = np.maximum(alpha, opacity * np.sqrt(seen))
            color = np.broadcast_to(_MASK_COLOR, (*alpha.shape, 3))
            self.overlay.set_data(np.dstack([color, alpha]))
            self.overlay.set_extent(extent)

    def _norm(self) -> Any:
        """Return the stretch between the limits."""
        from astropy import visualization as vis

        stretches = {
            'linear': vis.LinearStretch,
            'sqrt': vis.SqrtStretch,
            'asinh': vis.AsinhStretch,
            'log': vis.LogStretch,
        }
        low, high = self.limits
        return vis.ImageNormalize(
            vmin=low, vmax=high, stretch=stretches[self.stretch](), clip=True
        )

    def home(self) -> None:
        """Show the whole image."""
        ny, nx = self.shape
        self.ax.set_xlim(-0.5, nx - 0.5)
        self.ax.set_ylim(-0.5, ny - 0.5)

    def zoom(self, factor: float, x: float, y: float) -> None:
        """
        Zoom about a place.

        Parameters
        ----------
        factor : float
            Above 1 to see less of the image, larger.

        x, y : float
            The place that stays where it is.
        """
        spans = []
        for get, center in ((self.ax.get_xlim, x), (self.ax.get_ylim, y)):
            low, high = get()
            spans.append(
                (center + (low - center) / factor, center + (high - center) / factor)
            )
        sides = [high - low for low, high in spans]
        if min(sides) < _LEAST_SIDE:
            return
        if all(side > n for side, n in zip(sides, self.shape[::-1], strict=True)):
            self.home()
            return
        self.ax.set_xlim(spans[0])
        self.ax.set_ylim(spans[1])

    def pan(self, dx: float, dy: float) -> None:
        """
        Move the view.

        Parameters
        ----------
        dx, dy : float
            By how many pixels.
        """
        self.ax.set_xlim([v + dx for v in self.ax.get_xlim()])
        self.ax.set_ylim([v + dy for v in self.ax.get_ylim()])
