# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A robust fit of a radial profile times the sky, plus a plane."""

from __future__ import annotations

import numpy as np

_BLOCK = 8
_ROUNDS = 12


def fit_radial_plane(ccd):
    """
    Fit one frame by ``sky * V(r) + plane``.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.

    Returns
    -------
    flat, gradient : `~numpy.ndarray`
        ``V``, even polynomial of sixth degree about the centre of the frame
        with mean 1, and the plane with mean 0.

    Notes
    -----
    Linear least squares on the medians of 8 x 8 pixels. Blocks that are more
    than 1.5 standard deviations above the fit, or 3 below, are left out,
    until nothing changes: what stands on the sky is brighter than it.
    """
    image = np.asarray(ccd.data, dtype=float)
    means, y, x = _blocks(image)
    terms = _terms(y, x, image.shape)
    kept = np.ones(means.size, bool)
    for _ in range(_ROUNDS):
        solution = np.linalg.lstsq(terms[kept], means[kept], rcond=None)[0]
        error = means - terms @ solution
        scatter = 1.4826 * np.median(np.abs(error[kept] - np.median(error[kept])))
        new = (error < 1.5 * scatter) & (error > -3.0 * scatter)
        if new.sum() < 4 * terms.shape[1] or np.array_equal(new, kept):
            break
        kept = new
    rows, columns = np.indices(image.shape)
    full = _terms(rows.ravel(), columns.ravel(), image.shape)
    radial = (full[:, :4] @ solution[:4]).reshape(image.shape)
    plane = (full[:, 4:] @ solution[4:]).reshape(image.shape)
    # A flat has to stay positive, whatever a polynomial does in a corner.
    radial = np.maximum(radial, 0.1 * np.median(radial))
    return radial / radial.mean(), plane - plane.mean()


def _blocks(image):
    """Return medians of blocks and the places of their centres."""
    ny, nx = (size // _BLOCK for size in image.shape)
    cut = image[: ny * _BLOCK, : nx * _BLOCK].reshape(ny, _BLOCK, nx, _BLOCK)
    y, x = (_BLOCK * np.indices((ny, nx)) + 0.5 * (_BLOCK - 1)).reshape(2, -1)
    return np.median(cut, axis=(1, 3)).ravel(), y, x


def _terms(y, x, shape):
    """Return the columns 1, r^2, r^4, r^6, x, y."""
    size = 0.5 * np.hypot(*shape)
    v = (y - 0.5 * (shape[0] - 1)) / size
    h = (x - 0.5 * (shape[1] - 1)) / size
    r2 = v**2 + h**2
    return np.stack([np.ones_like(r2), r2, r2**2, r2**3, h, v], axis=1)
