# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Ranks by halving the interval of values, compiled by numba.

The functions work on blocks of ``(n, width)`` unsigned keys that fit in the
cache of a processor core. All inner loops run along a row, over pixels, so
that the compiler can use the vector units; rows are taken out of their array
before the loop, since an index that might be negative would prevent that.
Constants come in as arrays of the type of the keys: a literal would widen the
arithmetic to 64 bits, or of 64 bits to floating point. Counters have the size
of the keys where that is enough, so that both fill vectors alike.
"""

from __future__ import annotations

from numba import njit

__all__ = ['moments', 'ranks']

_jit = njit(cache=True, nogil=True, error_model='numpy')


@_jit
def _load(bits, kind, marks, start, width, block):
    """Copy columns of the strip into the block, as keys."""
    last, sign = marks[0], marks[1]
    for i in range(bits.shape[0]):
        source = bits[i][start : start + width]
        row = block[i]
        if kind == 0:
            for j in range(width):
                row[j] = source[j]
        elif kind == 1:
            for j in range(width):
                row[j] = source[j] ^ sign
        else:
            for j in range(width):
                v = source[j]
                row[j] = v ^ last if v & sign else v | sign


@_jit
def _drop(block, mask, kind, marks, start, width, number):
    """Move missing samples behind all others and count those that are left."""
    last, infinity = marks[0], marks[2]
    for j in range(width):
        number[j] = block.shape[0]
    for i in range(block.shape[0]):
        row = block[i]
        if mask is not None:
            bad = mask[i][start : start + width]
            for j in range(width):
                row[j] = last if bad[j] else row[j]
                # Those of floating-point numbers are counted below, as NaN.
                number[j] -= bad[j] and kind != 2
        if kind == 2:
            for j in range(width):
                v = row[j]
                # The key of minus infinity is the complement of infinity's.
                gone = v > infinity or v < infinity ^ last
                row[j] = last if gone else v
                number[j] -= gone


@_jit
def _range(block, mask, kind, marks, start, width, low, high):
    """Find the smallest and largest of the samples that count."""
    zero, last = marks[4], marks[0]
    for j in range(width):
        low[j] = last
        high[j] = zero
    for i in range(block.shape[0]):
        row = block[i]
        for j in range(width):
            low[j] = min(low[j], row[j])
        if mask is not None and kind != 2:
            bad = mask[i][start : start + width]
            for j in range(width):
                high[j] = max(high[j], zero if bad[j] else row[j])
        elif kind == 2:
            for j in range(width):
                high[j] = max(high[j], zero if row[j] == last else row[j])
        else:
            for j in range(width):
                high[j] = max(high[j], row[j])
    for j in range(width):
        low[j] = min(low[j], high[j])


@_jit
def _count(block, width, centre, smaller):
    """Count the samples up to the centre, four rows at a time."""
    n = block.shape[0]
    for j in range(width):
        smaller[j] = 0
    for i in range(0, n - n % 4, 4):
        r0, r1, r2, r3 = block[i], block[i + 1], block[i + 2], block[i + 3]
        for j in range(width):
            c = centre[j]
            smaller[j] += (r0[j] <= c) + (r1[j] <= c) + (r2[j] <= c) + (r3[j] <= c)
    for i in range(n - n % 4, n):
        row = block[i]
        for j in range(width):
            smaller[j] += row[j] <= centre[j]


@_jit
def _halve(width, marks, low, high, centre, counters):
    """Keep the half of each interval that holds the lower middle sample."""
    one = marks[3]
    number, rank, below, upto, smaller = counters
    for j in range(width):
        count = smaller[j]
        enough = count >= rank[j]
        c = centre[j]
        high[j] = c if enough else high[j]
        low[j] = low[j] if enough else c + one
        upto[j] = min(count, number[j]) if enough else upto[j]
        below[j] = below[j] if enough else count


@_jit
def _tighten(block, width, marks, low, high, inner, counters):
    """Shrink each interval to the samples in it; resolve pairs and ties."""
    last, zero = marks[0], marks[4]
    smallest, largest = inner
    _, rank, below, upto, _ = counters
    for j in range(width):
        smallest[j] = last
        largest[j] = zero
    for i in range(block.shape[0]):
        row = block[i]
        for j in range(width):
            v = row[j]
            inside = v >= low[j] and v <= high[j]
            smallest[j] = min(smallest[j], v if inside else last)
            largest[j] = max(largest[j], v if inside else zero)
    for j in range(width):
        low[j] = min(smallest[j], largest[j])
        high[j] = largest[j]
        if upto[j] - below[j] == 2 and low[j] != high[j]:
            if rank[j] - below[j] == 1:
                high[j] = low[j]
                upto[j] = below[j] + 1
            else:
                low[j] = high[j]
                below[j] += 1


@_jit
def _is_open(width, low, high, below, upto, few):
    """Tell whether an interval still holds more than a few samples."""
    found = False
    for j in range(width):
        found |= low[j] != high[j] and upto[j] - below[j] > few
    return found


@_jit
def _select(block, width, marks, work, counters):
    """Find the middle samples: the first two rows of ``work``."""
    low, high, centre, other = work[0], work[1], work[2], work[3]
    number, rank, below, upto, smaller = counters
    one = marks[3]
    # Halving 64-bit numbers down to one bit would take too long: once there
    # are two samples in an interval they are told apart by looking.
    wide = block.itemsize > 2
    few = 2 if wide else 0
    patience = 6
    n = block.shape[0]
    while n > 1:
        n //= 2
        patience += 1
    for j in range(width):
        rank[j] = (number[j] + 1) // 2
        below[j] = 0
        upto[j] = number[j]
    step = 0
    while _is_open(width, low, high, below, upto, few):
        step += 1
        if wide and step >= patience and (step - patience) % 4 == 0:
            _tighten(block, width, marks, low, high, (centre, other), counters)
            continue
        for j in range(width):
            centre[j] = low[j] + ((high[j] - low[j]) >> one)
        _count(block, width, centre, smaller)
        _halve(width, marks, low, high, centre, counters)
    if wide:
        _tighten(block, width, marks, low, high, (centre, other), counters)
    _next(block, width, marks, low, high, number, upto)


@_jit
def _next(block, width, marks, low, high, number, upto):
    """Set ``high`` to the upper middle sample."""
    last = marks[0]
    for j in range(width):
        high[j] = last
    for i in range(block.shape[0]):
        row = block[i]
        for j in range(width):
            v = row[j]
            high[j] = min(high[j], v if v > low[j] else last)
    for j in range(width):
        alone = number[j] % 2 == 1 or upto[j] > number[j] // 2
        high[j] = low[j] if alone else high[j]


@_jit
def _middle(kind, marks, width, work, work_real, value):
    """Store the mean of the middle samples, as numpy computes it."""
    last, sign = marks[0], marks[1]
    low, high = work[0], work[1]
    if kind != 2:
        offset = float(sign) if kind == 1 else 0.0
        for j in range(width):
            a, b = float(low[j]) - offset, float(high[j]) - offset
            value[j] = a if low[j] == high[j] else (a + b) / 2.0
        return
    for j in range(width):
        v = low[j]
        work[2][j] = v ^ sign if v & sign else v ^ last
        v = high[j]
        work[3][j] = v ^ sign if v & sign else v ^ last
    two = work_real.dtype.type(2)
    first, second = work_real[2], work_real[3]
    for j in range(width):
        a, b = first[j], second[j]
        value[j] = a if a == b else (a + b) / two


@_jit
def _fold(block, mask, marks, start, width, work, half):
    """Replace integers by their distances from the median, rounded up."""
    last, one = marks[0], marks[3]
    low, high, floor = work[0], work[1], work[2]
    for j in range(width):
        # Half of the sum, without its overflow.
        floor[j] = (low[j] & high[j]) + ((low[j] ^ high[j]) >> one)
        half[j] = (low[j] ^ high[j]) & one
    for i in range(block.shape[0]):
        row = block[i]
        for j in range(width):
            v, f = row[j], floor[j]
            row[j] = v - f if v > f else f - v + half[j]
        if mask is not None:
            bad = mask[i][start : start + width]
            for j in range(width):
                row[j] = last if bad[j] else row[j]


@_jit
def _fold_real(block, real, marks, width, value):
    """Replace floating-point numbers by their distances from the median."""
    last, sign = marks[0], marks[1]
    for i in range(block.shape[0]):
        row, row_real = block[i], real[i]
        for j in range(width):
            v = row[j]
            gone = v == last
            row[j] = v ^ sign if v & sign else v ^ last
            row_real[j] = abs(row_real[j] - value[j])
            row[j] = last if gone else row[j]


@_jit
def _deviation(kind, width, work, work_real, half, counters, mad):
    """Store the median of the distances; `_ranks.grouped_mad` for integers."""
    near, far = work[0], work[1]
    number, _, below, upto, _ = counters
    if kind == 2:
        two = work_real.dtype.type(2)
        first, second = work_real[0], work_real[1]
        for j in range(width):
            a, b = first[j], second[j]
            mad[j] = a if a == b else (a + b) / two
        return
    for j in range(width):
        middle = float(near[j]) - 0.5 * float(half[j])
        first = max(middle - 0.5, 0.0)
        unit = middle + 0.5 - first
        inside = max(float(upto[j]) - float(below[j]), 1.0)
        grouped = first + (0.5 * float(number[j]) - float(below[j])) / inside * unit
        gap = 0.5 * (middle + (float(far[j]) - 0.5 * float(half[j])))
        even = 2.0 * float(upto[j]) == float(number[j])
        mad[j] = gap if even else grouped


@_jit
def ranks(bits, mask, kind, marks, start, block, real, work, work_real, space, out):
    """
    Find the median of the columns of a strip.

    Parameters
    ----------
    bits : array of unsigned integers
        ``(n, columns)``: the bits of the samples.

    mask : array of bool or None
        The columns that are meant, True is bad.

    kind : int
        0 for unsigned, 1 for signed integers, 2 for floating point.

    marks : array
        The last key, the sign bit, the key of infinity, 1 and 0.

    start : int
        The first column.

    block, real : array
        ``(n, width)``: space for the keys, and the same memory as numbers.

    work, work_real : array
        ``(5, width)``: the same in small.

    space : array
        ``(5, width)``: space for counts.

    out : tuple of array
        Where to put, for as many columns as they have, the median, the number
        of samples and, unless empty, the median absolute deviation.
    """
    value, count, mad = out
    counters = (space[0], space[1], space[2], space[3], space[4])
    for s in range(0, value.size, block.shape[1]):
        e = min(s + block.shape[1], value.size)
        width = e - s
        _load(bits, kind, marks, start + s, width, block)
        _drop(block, mask, kind, marks, s, width, space[0])
        _range(block, mask, kind, marks, s, width, work[0], work[1])
        _select(block, width, marks, work, counters)
        _middle(kind, marks, width, work, work_real, value[s:e])
        number = count[s:e]
        for j in range(width):
            number[j] = space[0][j]
        if mad.size == 0:
            continue
        if kind == 2:
            _fold_real(block, real, marks, width, value[s:e])
        else:
            _fold(block, mask, marks, s, width, work, work[4])
        _range(block, mask, kind, marks, s, width, work[0], work[1])
        _select(block, width, marks, work, counters)
        _deviation(kind, width, work, work_real, work[4], counters, mad[s:e])


@_jit
def moments(samples, mask, start, count, mean, square):
    """
    Compute the mean of columns, and the sum of squared distances from it.

    Parameters
    ----------
    samples : array
        ``(n, columns)``; NaN is missing.

    mask : array of bool or None
        The columns that are meant, True is bad.

    start : int
        The first column.

    count : array of int
        Where to put the number of samples; its size is that of the others.

    mean, square : array of float64
        Where to put the results.
    """
    width = mean.size
    for j in range(width):
        count[j] = 0
        mean[j] = 0.0
        square[j] = 0.0
    for i in range(samples.shape[0]):
        row = samples[i][start : start + width]
        if mask is None:
            for j in range(width):
                good = row[j] == row[j]
                count[j] += good
                mean[j] += row[j] if good else 0.0
        else:
            bad = mask[i]
            for j in range(width):
                good = row[j] == row[j] and not bad[j]
                count[j] += good
                mean[j] += row[j] if good else 0.0
    for j in range(width):
        mean[j] /= count[j]
    for i in range(samples.shape[0]):
        row = samples[i][start : start + width]
        if mask is None:
            for j in range(width):
                d = row[j] - mean[j]
                square[j] += d * d if row[j] == row[j] else 0.0
        else:
            bad = mask[i]
            for j in range(width):
                good = row[j] == row[j] and not bad[j]
                d = row[j] - mean[j]
                square[j] += d * d if good else 0.0
