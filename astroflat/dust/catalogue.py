# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The catalogue of dust objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from astroflat.dust._judgement import judge

if TYPE_CHECKING:
    from astroflat.dust._shadows import Shadow

__all__ = ['catalogue_of_mask', 'enlarge_catalogue', 'match_catalogues']

# Smaller than this, the inside of a shadow is not resolved.
_SPECK = 4.0
# A donut lets this much more light through in its middle than in its rim.
_HOLE = 0.6
# Scatter of the radius of a disc, relative to its mean.
_ROUND = 0.08
_FIBRE = 3.5


def make_catalogue(shadows: list[Shadow]) -> QTable:
    """
    Make the catalogue of accepted objects.

    Parameters
    ----------
    shadows : list of Shadow
        The objects.

    Returns
    -------
    catalogue : `~astropy.table.QTable`
        As in `DustDetection`.
    """
    rows = []
    for shadow in shadows:
        y, x = (
            pixels + part.start
            for pixels, part in zip(
                np.nonzero(shadow.footprint), shadow.box, strict=True
            )
        )
        rows.append(
            {
                'x': shadow.x,
                'y': shadow.y,
                'radius': shadow.radius,
                'depth': shadow.depth,
                'kind': kind_of(shadow),
                'snr': shadow.snr,
                'area': len(x),
                'probability': float(judge(shadow.odds)),
                **_limits(y, x),
            }
        )
    return _table(rows)


def kind_of(shadow: Shadow) -> str:
    """
    Tell the kind of an object.

    Parameters
    ----------
    shadow : Shadow
        The object.

    Returns
    -------
    kind : {'donut', 'disc', 'speck', 'fibre'}
        A fibre is long and thin; a donut lets more light through in its
        middle; a disc is round; a speck is small, or not round.
    """
    if shadow.length:
        return 'fibre'
    if shadow.radius < _SPECK:
        return 'speck'
    if shadow.middle < _HOLE:
        return 'donut'
    return 'disc' if shadow.uneven < _ROUND else 'speck'


def _limits(y: np.ndarray, x: np.ndarray) -> dict[str, int]:
    """Return the box of some pixels, both ends included."""
    return {
        'xmin': int(x.min()),
        'xmax': int(x.max()),
        'ymin': int(y.min()),
        'ymax': int(y.max()),
    }


def _elongation(mask: np.ndarray) -> float:
    """Return the ratio of the axes of the ellipse with the same moments."""
    y, x = np.nonzero(mask)
    if len(y) < 5:
        return 1.0
    # A pixel is a square, not a point: its own moment is 1/12.
    moments = np.cov(np.stack([y, x])) + np.eye(2) / 12
    low, high = np.linalg.eigvalsh(moments)
    return float(np.sqrt(high / low))


def catalogue_of_mask(mask: np.ndarray, image: np.ndarray | None = None) -> QTable:
    """
    Measure the objects of a mask that was made elsewhere.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        True on dust, ``(ny, nx)``.

    image : `~numpy.ndarray`, optional
        The image, for the depths.

    Returns
    -------
    catalogue : `~astropy.table.QTable`
        As in `DustDetection`; depth and SNR are NaN without an image.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust.catalogue import catalogue_of_mask
    >>> mask = np.zeros((20, 30), bool)
    >>> mask[5:8, 10:13] = True
    >>> float(catalogue_of_mask(mask)['x'][0].value)
    11.0
    """
    from scipy import ndimage

    labels, n = ndimage.label(mask)
    rows = []
    for i, box in enumerate(ndimage.find_objects(labels)[:n], 1):
        part = labels[box] == i
        y, x = np.nonzero(part)
        depth, snr = _depth_of(mask, image, box, part)
        radius = float(np.sqrt(part.sum() / np.pi))
        kind = 'fibre' if _elongation(part) > _FIBRE else 'disc'
        rows.append(
            {
                'x': x.mean() + box[1].start,
                'y': y.mean() + box[0].start,
                'radius': radius,
                'depth': depth,
                'kind': 'speck' if kind == 'disc' and radius < _SPECK else kind,
                'snr': snr,
                'area': int(part.sum()),
                'probability': 1.0,
                **_limits(y + box[0].start, x + box[1].start),
            }
        )
    return _table(rows)


def _depth_of(
    mask: np.ndarray, image: np.ndarray | None, box: tuple, part: np.ndarray
) -> tuple[float, float]:
    """Return depth and significance against the surroundings of an object."""
    if image is None:
        return np.nan, np.nan
    margin = 4 + max(part.shape) // 2
    wide = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)
    around = image[wide][~mask[wide]]
    around = around[np.isfinite(around)]
    inside = image[box][part]
    inside = inside[np.isfinite(inside)]
    if around.size < 8 or inside.size == 0:
        return np.nan, np.nan
    level = np.median(around)
    spread = 1.4826 * np.median(np.abs(around - level))
    drop = level - np.mean(inside)
    return float(drop / level), float(
        abs(drop) / max(spread, 1e-30) * np.sqrt(inside.size)
    )


def enlarge_catalogue(catalogue: QTable, factor: int) -> QTable:
    """
    Bring the catalogue of an image to the pixels of one that is larger.

    Parameters
    ----------
    catalogue : `~astropy.table.QTable`
        As in `DustDetection`, such as that of one colour of a mosaic.

    factor : int
        Pixels of the larger image along a side of one pixel.

    Returns
    -------
    catalogue : `~astropy.table.QTable`
        A copy with places, radii, areas and boxes in the pixels of the larger one.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust.catalogue import catalogue_of_mask, enlarge_catalogue
    >>> mask = np.zeros((20, 30), bool)
    >>> mask[5:8, 10:13] = True
    >>> row = enlarge_catalogue(catalogue_of_mask(mask), 2)[0]
    >>> float(row['x'].value), int(row['xmin']), int(row['xmax'])
    (22.5, 20, 25)
    """
    table = catalogue.copy()
    for name in ('x', 'y'):
        # The middle of a pixel is that of the pixels in its place.
        table[name] = factor * catalogue[name] + (factor - 1) / 2 * u.pix
    table['radius'] = factor * catalogue['radius']
    table['area'] = factor**2 * catalogue['area']
    for name in ('xmin', 'ymin'):
        table[name] = factor * catalogue[name]
    for name in ('xmax', 'ymax'):
        table[name] = factor * catalogue[name] + factor - 1
    return table


def match_catalogues(one: Any, two: Any, *, tolerance: float = 3.0) -> np.ndarray:
    """
    Match the objects of two catalogues.

    Parameters
    ----------
    one, two : `~astropy.table.QTable`
        Catalogues with ``x``, ``y`` and ``radius``.

    tolerance : float, optional
        Objects match if their centres are closer than this many pixels, or
        than the larger of their radii.

    Returns
    -------
    pairs : `~numpy.ndarray` of int
        ``(n, 2)`` rows of the catalogues, each used once, nearest first.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust.catalogue import catalogue_of_mask, match_catalogues
    >>> mask = np.zeros((20, 30), bool)
    >>> mask[5:8, 10:13] = True
    >>> one, two = catalogue_of_mask(mask), catalogue_of_mask(np.roll(mask, 1, 1))
    >>> match_catalogues(one, two)
    array([[0, 0]])
    """
    x_1, y_1, r_1 = (np.asarray(one[c].value, float) for c in ('x', 'y', 'radius'))
    x_2, y_2, r_2 = (np.asarray(two[c].value, float) for c in ('x', 'y', 'radius'))
    distance = np.hypot(x_1[:, None] - x_2, y_1[:, None] - y_2)
    reach = np.maximum(tolerance, np.maximum(r_1[:, None], r_2))
    pairs = []
    distance = np.where(distance < reach, distance, np.inf)
    while distance.size and np.isfinite(distance).any():
        i, j = np.unravel_index(np.argmin(distance), distance.shape)
        pairs.append((i, j))
        distance[i] = distance[:, j] = np.inf
    return np.array(pairs, int).reshape(-1, 2)


def _table(rows: list[dict[str, Any]]) -> QTable:
    """Return rows as a table with units."""
    names = ('x', 'y', 'radius', 'depth', 'kind', 'snr', 'area', 'probability')
    limits = ('xmin', 'xmax', 'ymin', 'ymax')
    units = {'x': u.pix, 'y': u.pix, 'radius': u.pix, 'area': u.pix**2}
    table = QTable()
    table['id'] = np.arange(1, len(rows) + 1)
    for name in names + limits:
        kind = 'U5' if name == 'kind' else int if name in limits else float
        values = np.array([row[name] for row in rows], dtype=kind)
        table[name] = values * units[name] if name in units else values
    return table
