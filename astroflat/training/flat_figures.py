# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Figures of a training: its curves, and frames beside the truth."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ['draw_curves', 'draw_panels']

_TERMS = ('loss', 'flat', 'added', 'sky', 'dust', 'spread')
_CHECKS = ('flat', 'gradient', 'sky', 'dust')


def draw_curves(folder: Path | str, path: Path | str) -> Path:
    """
    Draw the tables of a run.

    Parameters
    ----------
    folder : path-like
        Folder with ``log.csv`` and, if there was a validation,
        ``validation.csv``.
    path : path-like
        Figure to write.

    Returns
    -------
    Path
        The figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout='constrained')
    left, right = figure.subplots(1, 2)
    log = _columns(Path(folder) / 'log.csv')
    for name in _TERMS:
        if name in log:
            left.plot(log['images'], log[name], lw=0.8, label=name)
    left.set(xlabel='images', ylabel='term of the loss', yscale='log')
    checks = _columns(Path(folder) / 'validation.csv')
    for i, name in enumerate(name for name in _CHECKS if name in checks):
        right.plot(checks['images'], checks[name], color=f'C{i}', label=name)
        if f'{name}_none' in checks:
            none = checks[f'{name}_none'][-1]
            right.axhline(none, color=f'C{i}', ls=':', lw=0.8)
    right.set(xlabel='images', ylabel='median rms error (%)')
    right.set_title('dotted: nothing done', fontsize='small')
    right.set_yscale('log')
    for axes in (left, right):
        axes.locator_params(axis='x', nbins=5)
        if axes.lines:
            axes.legend(fontsize='x-small', ncols=2)
    return _write(figure, path)


def draw_panels(
    model: Any, frames: Mapping[str, Any], path: Path | str, *, n: int = 5
) -> Path:
    """
    Draw what the networks say of some frames beside the truth.

    Parameters
    ----------
    model : torch.nn.Module
        A `~astroflat.training.flat_nets.FlatNets`.
    frames : dict of torch.Tensor
        A batch on the device of the model.
    path : path-like
        Figure to write.
    n : int, optional
        Rows, each with one frame.

    Returns
    -------
    Path
        The figure.
    """
    import torch
    from matplotlib.figure import Figure

    frames = {name: values[:n].float() for name, values in frames.items()}
    with torch.no_grad():
        fields, _, _, dust = model(frames['cells'], frames['pixels'])
    columns = (
        ('frame', frames['cells'][:, 8]),
        ('log V', frames['fields'][:, 0]),
        ('found', fields[:, 0]),
        ('G', frames['fields'][:, 1]),
        ('found', fields[:, 1]),
        ('window', frames['pixels'][:, 24]),
        ('log D', frames['dust'][:, 0]),
        ('found', dust[:, 0]),
    )
    images = [(name, values.float().cpu().numpy()) for name, values in columns]
    rows = len(images[0][1])
    figure = Figure(figsize=(10, 1.3 * rows + 0.3), layout='constrained')
    axes = figure.subplots(rows, len(images), squeeze=False)
    for row in range(rows):
        _draw_row(axes[row], [values[row] for _, values in images])
    for axis, (name, _) in zip(axes[0], images, strict=True):
        axis.set_title(name, fontsize='small')
    return _write(figure, path)


def _draw_row(axes: Any, images: Sequence[np.ndarray]) -> None:
    """Draw one frame; a field and what was found have the same scale."""
    scales = [_range(image) for image in images]
    for truth, found in ((1, 2), (3, 4), (6, 7)):
        top = max(abs(scales[truth][0]), abs(scales[truth][1]), 0.01)
        scales[truth] = scales[found] = (-top, top)
    for axis, image, (low, high) in zip(axes, images, scales, strict=True):
        colours = 'gray' if axis in (axes[0], axes[5]) else 'RdBu_r'
        axis.imshow(image, vmin=low, vmax=high, cmap=colours, origin='lower')
        axis.set_axis_off()


def _range(image: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(image, [1, 99])
    return float(low), float(max(high, low + 1e-6))


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Read a table of numbers; one that does not exist is empty."""
    if not path.exists():
        return {}
    with path.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    return {k: np.array([float(row[k]) for row in rows]) for k in rows[0]}


def _write(figure: Any, path: Path | str) -> Path:
    path = Path(path)
    figure.savefig(path, dpi=90, metadata={'Software': None})
    return path
