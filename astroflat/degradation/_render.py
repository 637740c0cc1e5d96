# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Evaluate many models on a frame: bands of rows, and boxes for what is small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from astroflat._arrays import n_threads, row_chunks
from astroflat.degradation._fields_base import PixelModel, ShadowModel

__all__ = ['as_field', 'box_slices', 'render_product', 'render_sum']


def render_product(
    models: Iterable[PixelModel], shape: tuple[int, int], *, boxes: bool = True
) -> np.ndarray:
    """
    Multiply models over a frame.

    Parameters
    ----------
    models : iterable of PixelModel
        Transmissions.
    shape : tuple of int
        Shape of the frame, ``(ny, nx)``.
    boxes : bool, optional
        Evaluate a shadow only within its reach.

    Returns
    -------
    ndarray of float32
        The product, 1 without models.

    Examples
    --------
    >>> from astroflat.degradation._render import render_product
    >>> from astroflat.degradation.fields import DustMote2D
    >>> mote = DustMote2D(depth=0.1, x_0=10, y_0=10, radius=4, edge=1)
    >>> float(render_product([mote], (20, 20)).min().round(6))
    0.9
    """
    wide, small = [], []
    for model in models:
        (small if boxes and isinstance(model, ShadowModel) else wide).append(model)
    out = np.ones(shape, dtype=np.float32)
    _fill(out, wide, np.multiply, small)
    return out


def render_sum(models: Iterable[PixelModel], shape: tuple[int, int]) -> np.ndarray:
    """
    Add models over a frame.

    Parameters
    ----------
    models : iterable of PixelModel
        Added signals.
    shape : tuple of int
        Shape of the frame, ``(ny, nx)``.

    Returns
    -------
    ndarray of float32
        The sum, 0 without models.

    Examples
    --------
    >>> from astroflat.degradation._render import render_sum
    >>> from astroflat.degradation.fields import LinearGradient2D
    >>> plane = LinearGradient2D(constant=1, slope_x=0, slope_y=2)
    >>> render_sum([plane], (2, 2))
    array([[1., 1.],
           [3., 3.]], dtype=float32)
    """
    out = np.zeros(shape, dtype=np.float32)
    _fill(out, list(models), np.add)
    return out


def as_field(field: np.ndarray, shape: tuple[int, int], *, name: str) -> np.ndarray:
    """
    Check a field that a user gives.

    Parameters
    ----------
    field : array_like
        The field.
    shape : tuple of int
        Shape that it must have.
    name : str
        Name for the message.

    Returns
    -------
    ndarray of float32
        The field, which may share the memory of the input.

    Raises
    ------
    ValueError
        If the shape differs or a value is not finite.

    Examples
    --------
    >>> from astroflat.degradation._render import as_field
    >>> as_field([[1, 2]], (1, 2), name='flat')
    array([[1., 2.]], dtype=float32)
    """
    field = np.asarray(field, dtype=np.float32)
    if field.shape != tuple(shape):
        msg = f'{name} has the shape {field.shape}, the frames have {tuple(shape)}'
        raise ValueError(msg)
    if not np.isfinite(field).all():
        msg = f'{name} has values that are not finite; fill them first'
        raise ValueError(msg)
    return field


def box_slices(model: PixelModel, shape: tuple[int, int]) -> tuple[slice, slice]:
    """
    Rows and columns that a model with a reach can change.

    Parameters
    ----------
    model : PixelModel
        Model with ``reach``, ``x_0`` and ``y_0``.
    shape : tuple of int
        Shape of the frame.

    Returns
    -------
    tuple of slice
        Rows and columns on the frame, possibly empty.

    Examples
    --------
    >>> from astroflat.degradation._render import box_slices
    >>> from astroflat.degradation.fields import DustMote2D
    >>> box_slices(DustMote2D(x_0=10, y_0=0, radius=4, edge=1), (20, 20))
    (slice(0, 7, None), slice(4, 17, None))
    """
    ny, nx = shape
    reach = model.reach + 1.0
    x, y = float(model.x_0.value), float(model.y_0.value)
    return (
        slice(max(0, math.floor(y - reach)), min(ny, math.ceil(y + reach) + 1)),
        slice(max(0, math.floor(x - reach)), min(nx, math.ceil(x + reach) + 1)),
    )


def _fill(
    out: np.ndarray,
    models: Sequence[PixelModel],
    join: np.ufunc,
    small: Sequence[PixelModel] = (),
) -> None:
    """Join models into ``out``, bands of rows on a few threads."""
    if not models and not small:
        return
    ny, nx = out.shape
    # Smaller bands let the threads wait for each other, larger ones leave the cache.
    bands = row_chunks(ny, nx, target=2**20)
    x = np.arange(nx, dtype=np.float32)[None]
    y = np.arange(ny, dtype=np.float32)[:, None]
    boxes = [(model, box_slices(model, out.shape)) for model in small]

    def band(rows: slice) -> None:
        for model in models:
            join(out[rows], _values(model, x, y[rows]), out=out[rows])
        for model, (own, cols) in boxes:
            part = slice(max(own.start, rows.start), min(own.stop, rows.stop))
            if part.start < part.stop and cols.start < cols.stop:
                values = _values(model, x[:, cols], y[part])
                join(out[part, cols], values, out=out[part, cols])

    with ThreadPoolExecutor(min(n_threads(), 4, len(bands))) as pool:
        list(pool.map(band, bands))


def _values(model: PixelModel, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Evaluate without astropy's checks, in the precision of the coordinates."""
    return model.evaluate(x, y, *(float(value) for value in model.parameters))
