# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The normal equations of `SkyOperator` compiled by numba; imports numba.

Rows go through the cache once: all loops run along rows of contiguous memory,
taken out of their arrays before, so that the compiler can use vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ['gather_rows', 'mean_rows']

_jit = njit(
    cache=True, nogil=True, error_model='numpy', fastmath={'contract', 'reassoc'}
)


@_jit
def _look(sky, y, k, tables, wide, out):
    """Put a row of the sky as a frame sees it into ``out``."""
    base, many, share = tables
    first, across = base[k, 0] + y, base[k, 1]
    nx = out.size
    width = nx + many[k, 1] - 1
    part = wide[:width]
    for j in range(many[k, 0]):
        c = share[k, 0, j]
        row = sky[first + j][across : across + width]
        if j == 0:
            for i in range(width):
                part[i] = c * row[i]
        else:
            for i in range(width):
                part[i] += c * row[i]
    for j in range(many[k, 1]):
        c = share[k, 1, j]
        row = wide[j : j + nx]
        if j == 0:
            for i in range(nx):
                out[i] = c * row[i]
        else:
            for i in range(nx):
                out[i] += c * row[i]


@_jit
def mean_rows(
    sky, levels, weights, index, tables, total, extra, first, last, mean, left
):
    """Average what all frames see, and sum what is left of each."""
    nx = mean.shape[1]
    n = index.size
    seen = np.empty((n, nx), np.float32)
    wide = np.empty(nx + 4, np.float32)
    for y in range(first, last):
        number = mean[y]
        for i in range(nx):
            number[i] = 0
        for k in range(n):
            row = seen[k]
            _look(sky, y, k, tables, wide, row)
            level = levels[k]
            weight = weights[index[k]][y]
            for i in range(nx):
                row[i] += level
                number[i] += row[i] * weight[i]
        share = total[y]
        for i in range(nx):
            number[i] /= max(share[i] + extra, np.float32(1))
        for k in range(n):
            row = seen[k]
            weight = weights[index[k]][y]
            rest = np.float32(0)
            for i in range(nx):
                rest += (row[i] - number[i]) * weight[i]
            left[k] += rest


@_jit
def gather_rows(sky, levels, weights, index, tables, mean, first, last, out):
    """Spread what frames see above the mean over rows of the sky."""
    base, many, share = tables
    ny, nx = mean.shape
    row = np.empty(nx, np.float32)
    wide = np.empty(nx + 4, np.float32)
    for k in range(index.size):
        low = max(0, first - base[k, 0] - many[k, 0] + 1)
        high = min(ny, last - base[k, 0])
        across = base[k, 1]
        width = nx + many[k, 1] - 1
        for y in range(low, high):
            _look(sky, y, k, tables, wide, row)
            weight = weights[index[k]][y]
            number = mean[y]
            level = levels[k]
            for i in range(nx):
                row[i] = (row[i] + level - number[i]) * weight[i]
            part = wide[:width]
            for i in range(width):
                part[i] = 0
            for j in range(many[k, 1]):
                c = share[k, 1, j]
                shifted = wide[j : j + nx]
                for i in range(nx):
                    shifted[i] += c * row[i]
            for j in range(many[k, 0]):
                place = base[k, 0] + y + j
                if place < first or place >= last:
                    continue
                c = share[k, 0, j]
                target = out[place][across : across + width]
                for i in range(width):
                    target[i] += c * part[i]
