# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Figures of flats and corrections.

They are made without pyplot: nothing global is touched, no window opens, and
the functions may be called from threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._files import atomic_path
from astroflat._nddata import unpack

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['plot_comparison', 'plot_dust_flat', 'plot_image', 'save_figure']

# More pixels than this are not seen in a panel.
_MAX_SIDE = 900
# Characters of text below each image, and those that its scale takes.
_COLUMNS, _SCALE = 45, 7
_DUST_COLOR = '#ff7f0e'
_VERDICT_COLORS = {'accept': '#2e7d32', 'weak': '#b26a00', 'reject': '#b71c1c'}


def save_figure(
    figure: Figure,
    path: str | os.PathLike,
    *,
    overwrite: bool = False,
    dpi: float = 110,
) -> None:
    """
    Write a figure; the suffix chooses the format.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        The figure.

    path : str or path-like
        The file: ``.png``, ``.pdf`` or ``.svg``.

    overwrite : bool, optional
        Whether an existing file may be replaced.

    dpi : float, optional
        Dots per inch.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from astroflat.visualization import plot_image, save_figure
    >>> figure = Figure()
    >>> _ = plot_image(np.ones((9, 9)), ax=figure.subplots())
    >>> path = os.path.join(tempfile.mkdtemp(), 'one.png')
    >>> save_figure(figure, path)
    >>> os.path.exists(path)
    True
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=dpi)


def plot_image(
    image: Any,
    *,
    ax: Axes,
    title: str = '',
    limits: tuple[float, float] | None = None,
    cmap: str = 'gray',
    colorbar: bool = False,
) -> Any:
    """
    Show an image with its origin at the lower left.

    Parameters
    ----------
    image : CCDData, array_like or path
        The image, ``(ny, nx)`` or ``(ny, nx, 3)``.

    ax : `~matplotlib.axes.Axes`
        Where to draw.

    title : str, optional
        The title.

    limits : tuple of float, optional
        The values shown as black and white; by default those of the zscale
        algorithm.

    cmap : str, optional
        The colour map.

    colorbar : bool, optional
        Whether to draw the scale of values.

    Returns
    -------
    artist : `~matplotlib.image.AxesImage`
        The image drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from astroflat.visualization import plot_image
    >>> artist = plot_image(np.eye(9), ax=Figure().subplots(), limits=(0, 1))
    >>> artist.get_clim()
    (0.0, 1.0)
    """
    data = _plane(image)
    if limits is None:
        limits = display_limits(data)
    artist = ax.imshow(
        _shrink(data),
        origin='lower',
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
        extent=(-0.5, data.shape[1] - 0.5, -0.5, data.shape[0] - 0.5),
        interpolation='nearest',
    )
    ax.set_title(title, fontsize=10)
    ax.tick_params(labelsize=7)
    if colorbar:
        bar = ax.figure.colorbar(artist, ax=ax, fraction=0.046, pad=0.03)
        bar.ax.tick_params(labelsize=7)
    return artist


def display_limits(data: np.ndarray) -> tuple[float, float]:
    """
    Return the values to show as black and white.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The image; NaN is ignored.

    Returns
    -------
    low, high : float
        Those of the zscale algorithm, widened to hold 96 % of the pixels: on
        images without noise zscale alone shows two tones. They differ even
        for a constant image.
    """
    from astropy.visualization import ZScaleInterval

    values = data[np.isfinite(data)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = ZScaleInterval().get_limits(values)
    bottom, top = np.percentile(values, (1, 97))
    low, high = min(low, bottom), max(high, top)
    spread = values.max() - values.min()
    if high - low < 0.02 * spread and bottom == top:
        low, high = values.min(), values.max()
    return (float(low), float(high)) if high > low else (low - 0.5, low + 0.5)


def plot_dust_flat(solution: Any) -> Figure:
    """
    Show how a dust flat was made and what it does.

    Parameters
    ----------
    solution : FlatSolution
        As returned by `astroflat.dust_flat`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        Six panels: the median with the dust marked, the flat, the median
        corrected; the deepest dust before and after; a profile through it;
        and the report.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.visualization import plot_dust_flat
    >>> y, x = np.mgrid[:128, :128]
    >>> dusty = np.where(np.hypot(x - 60, y - 70) < 6, 0.9, 1.0)
    >>> frames = np.random.default_rng(0).normal(2000 * dusty, 20, (15, 128, 128))
    >>> len(plot_dust_flat(af.dust_flat(frames)).axes) >= 6
    True
    """
    from matplotlib.figure import Figure

    observed = _plane(solution.stages['median'])
    flat = _plane(solution.flat)
    corrected = observed / flat
    figure = Figure(figsize=(13, 8), layout='constrained')
    axes = figure.subplots(2, 3)
    limits = display_limits(corrected)
    plot_image(observed, ax=axes[0, 0], title='median, dust marked', limits=limits)
    _mark(axes[0, 0], solution.stages['detection'], observed.shape)
    depth = max(float(np.nanmax(np.abs(flat - 1))), 0.002)
    plot_image(
        flat,
        ax=axes[0, 1],
        title='flat: exactly 1 off the dust',
        limits=(1 - depth, 1 + depth),
        cmap='RdBu_r',
        colorbar=True,
    )
    plot_image(corrected, ax=axes[0, 2], title='median, corrected', limits=limits)
    _draw_closeup(axes[1, 0], axes[1, 1], observed, flat)
    _write_report(axes[1, 2], solution.report)
    return figure


def plot_comparison(
    rows: list[tuple[str, list[tuple[str, Any, str]]]],
    *,
    lines: list[str] | None = None,
    title: str = '',
) -> Figure:
    """
    Show images in rows above lines of text.

    Parameters
    ----------
    rows : list of tuple
        For each row its name and its images: title, image and the name of a
        group. The images of a group are shown with the limits of its last.

    lines : list of str, optional
        Text below the images, in a fixed-width font.

    title : str, optional
        The title of the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.visualization import plot_comparison
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> row = [('before', image, 'sky'), ('after', image, 'sky')]
    >>> figure = plot_comparison([('noise', row)])
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure

    width = max(len(images) for _, images in rows)
    lines = _wrapped(lines or [], _COLUMNS * width - _SCALE)
    n_lines = len(lines)
    figure = Figure(
        figsize=(3.6 * width, 3.0 * len(rows) + 0.19 * n_lines + 0.4),
        layout='constrained',
    )
    if title:
        figure.suptitle(title, fontsize=13)
    heights = [3.0] * len(rows) + ([0.19 * n_lines] if n_lines else [])
    grid = figure.add_gridspec(len(heights), width, height_ratios=heights)
    for i, (name, images) in enumerate(rows):
        limits = {group: display_limits(_plane(image)) for _, image, group in images}
        for j, (label, image, group) in enumerate(images):
            ax = figure.add_subplot(grid[i, j])
            plot_image(image, ax=ax, title=label, limits=limits[group])
            if j == 0:
                ax.set_ylabel(name, fontsize=11)
    if n_lines:
        ax = figure.add_subplot(grid[-1, :])
        ax.axis('off')
        text = '\n'.join(lines)
        text = ax.text(0, 1, text, va='top', family='monospace', fontsize=9)
        # The images keep their size, whatever is said below them.
        text.set_in_layout(False)
    return figure


def _wrapped(lines: list[str], columns: int) -> list[str]:
    """Break lines that are longer than the figure is wide."""
    import textwrap

    wrapped = []
    for line in lines:
        wrapped += textwrap.wrap(line, columns, subsequent_indent='    ') or ['']
    return wrapped


def _plane(image: Any) -> np.ndarray:
    """Return an image as one plane, NaN where it is masked."""
    frame = unpack(image, ndim=(2, 3))
    data = (
        frame.data if frame.mask is None else np.where(frame.mask, np.nan, frame.data)
    )
    return data.mean(axis=-1) if data.ndim == 3 else data


def _shrink(data: np.ndarray) -> np.ndarray:
    """Average blocks of pixels until the image fits a panel."""
    step = -(-max(data.shape) // _MAX_SIDE)
    if step == 1:
        return data
    ny, nx = (n // step for n in data.shape)
    if not (ny and nx):
        return data[::step, ::step]
    blocks = data[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return blocks.mean(axis=(1, 3))


def _mark(ax: Axes, detection: Any, shape: tuple[int, ...]) -> None:
    """Draw a circle about every dust object."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Circle

    scale = shape[0] / detection.mask.shape[0]
    circles = [
        Circle(
            (_number(row['x']) * scale, _number(row['y']) * scale),
            max(_number(row['radius']) * scale, shape[1] / 150) * 1.3,
        )
        for row in detection.catalogue
    ]
    ax.add_collection(
        PatchCollection(circles, facecolor='none', edgecolor=_DUST_COLOR, lw=0.8)
    )


def _number(value: Any) -> float:
    return float(getattr(value, 'value', value))


def _draw_closeup(
    ax: Axes, profile: Axes, observed: np.ndarray, flat: np.ndarray
) -> None:
    """Draw the deepest dust before and after, and the rows through it."""
    depth = np.abs(np.nan_to_num(flat, nan=1.0) - 1)
    y, x = np.unravel_index(np.argmax(depth), depth.shape)
    half = min(60, *(n // 2 for n in flat.shape))
    cut = tuple(
        slice(
            max(0, min(c - half, n - 2 * half)),
            max(0, min(c - half, n - 2 * half)) + 2 * half,
        )
        for c, n in zip((y, x), flat.shape, strict=True)
    )
    before, after = observed[cut], (observed / flat)[cut]
    plot_image(
        np.hstack([before, after]),
        ax=ax,
        title=f'deepest dust, at x = {x}, y = {y}: before and after',
        limits=display_limits(after),
    )
    ax.set_xticks([])
    ax.set_yticks([])
    columns = np.arange(cut[1].start, cut[1].stop)
    rows = slice(max(0, y - 1), y + 2)
    profile.plot(columns, observed[rows, cut[1]].mean(axis=0), lw=1, label='before')
    profile.plot(
        columns, (observed / flat)[rows, cut[1]].mean(axis=0), lw=1, label='after'
    )
    profile.legend(fontsize=8)
    profile.set_title('rows through it, mean of three', fontsize=10)
    profile.tick_params(labelsize=7)


def _write_report(ax: Axes, report: Any) -> None:
    """Write the report into a panel."""
    ax.axis('off')
    if report is None:
        return
    ax.text(
        0,
        1,
        report.verdict,
        va='top',
        fontsize=16,
        color=_VERDICT_COLORS[report.verdict],
        fontweight='bold',
    )
    text = '\n'.join(_wrap(line) for line in str(report).splitlines()[1:])
    ax.text(0, 0.88, text, va='top', family='monospace', fontsize=7.5)


def _wrap(line: str, width: int = 52) -> str:
    """Wrap a line of the report, indenting what follows."""
    import textwrap

    return textwrap.fill(line, width, subsequent_indent='    ')
