# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Rejection of outliers in sorted columns, compiled by numba."""

from __future__ import annotations

from numba import njit

__all__ = ['clip_columns']

_jit = njit(cache=True, nogil=True, error_model='numpy')


@_jit
def _mean(v, a, b):
    """Average ``v[a:b]`` in four sums, which do not wait for each other."""
    s0 = s1 = s2 = s3 = 0.0
    stop = b - (b - a) % 4
    for i in range(a, stop, 4):
        s0 += v[i]
        s1 += v[i + 1]
        s2 += v[i + 2]
        s3 += v[i + 3]
    for i in range(stop, b):
        s0 += v[i]
    return ((s0 + s1) + (s2 + s3)) / (b - a)


@_jit
def _squares(v, a, b, mean):
    """Add the squared distances of ``v[a:b]`` from the mean."""
    s0 = s1 = s2 = s3 = 0.0
    stop = b - (b - a) % 4
    for i in range(a, stop, 4):
        s0 += (v[i] - mean) ** 2
        s1 += (v[i + 1] - mean) ** 2
        s2 += (v[i + 2] - mean) ** 2
        s3 += (v[i + 3] - mean) ** 2
    for i in range(stop, b):
        s0 += (v[i] - mean) ** 2
    return (s0 + s1) + (s2 + s3)


@_jit
def _median(v, a, b):
    """Return the median of the sorted ``v[a:b]``."""
    low, high = v[a + (b - a - 1) // 2], v[a + (b - a) // 2]
    return low if low == high else (low + high) / 2


@_jit
def _distances(v, a, b, centre):
    """
    Find the two middle distances from the median of ``v[a:b]``.

    Two indices walk outwards from the median, the nearer sample first. Also
    returns how many are smaller than the first, and how many not larger.
    """
    n = b - a
    right = a + n // 2
    left = right - 1
    near = far = 0.0
    below = upto = 0
    for step in range(1, n + 1):
        to_left = centre - v[left] if left >= a else -1.0
        to_right = v[right] - centre if right < b else -1.0
        if to_right < 0 or 0 <= to_left <= to_right:
            distance = to_left
            left -= 1
        else:
            distance = to_right
            right += 1
        if step <= (n + 1) // 2 and (step == 1 or distance > near):
            near = distance
            below = step - 1
        if step == n // 2 + 1:
            far = distance
        if distance == near:
            upto = step
        elif step > n // 2:
            break
    return near, far, below, upto


@_jit
def clip_columns(values, count, limits, flags, out, far):
    """
    Reject outliers.

    Parameters
    ----------
    values : array of float64
        ``(width, n)``, every row sorted.

    count : array of int
        How many of each row are there.

    limits : tuple of float, float, int
        The lower and upper limit and the most iterations.

    flags : tuple of bool
        Whether distances are measured from the mean, whether in units of the
        median absolute deviation, whether the results are to have one.

    out : tuple of array
        Where to put the range that is left, its mean and the sum of squares.

    far : tuple of array
        Where to put the middle distances of what is left.
    """
    lower, upper, maxiters = limits
    from_mean, by_mad, with_mad = flags
    first, last, mean, squares = out
    for j in range(values.shape[0]):
        v, m = values[j], count[j]
        a, b = 0, m
        low = high = 0.0
        iteration = 0
        while b > a:
            average = _mean(v, a, b)
            centre = _median(v, a, b)
            if by_mad:
                near, beyond, _, _ = _distances(v, a, b, centre)
                spread = 1.482602218505602 * (
                    near if near == beyond else (near + beyond) / 2
                )
            else:
                spread = (_squares(v, a, b, average) / (b - a)) ** 0.5
            if from_mean:
                centre = average
            low, high = centre - lower * spread, centre + upper * spread
            iteration += 1
            before = b - a
            while a < b and v[a] < low:
                a += 1
            while b > a and v[b - 1] > high:
                b -= 1
            if b - a == before or iteration == maxiters:
                break
        # The last limits apply to all samples.
        a, b = 0, m
        while a < b and v[a] < low:
            a += 1
        while b > a and v[b - 1] > high:
            b -= 1
        first[j], last[j] = a, b
        mean[j] = _mean(v, a, b) if b > a else 0.0
        squares[j] = _squares(v, a, b, mean[j])
        if with_mad and b > a:
            parts = _distances(v, a, b, _median(v, a, b))
            far[0][j], far[1][j], far[2][j], far[3][j] = parts
