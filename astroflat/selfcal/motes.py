# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The motes of a camera over many nights: which came, moved, grew or left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ['track_motes']

# Radius and depth of the same mote agree within these factors.
_ALIKE_RADIUS, _ALIKE_DEPTH = 1.4, 2.0
_MIN_VOTES = 3
_SIGMA = 3.0
_ALARMS = ('new', 'moved', 'grown')


@dataclass
class Mote:
    """What is known of a mote: the last and the first time it was seen."""

    number: int
    last: dict[str, float]
    first: dict[str, float]
    missing: bool = False


@dataclass
class Log:
    """The rows of the result, and the motes so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    motes: list[Mote] = field(default_factory=list)


def track_motes(
    detections: Sequence[Any],
    times: Any = None,
    *,
    focal_ratio: float | None = None,
    pixel_size: Any = None,
    reach: float = 100.0,
    tolerance: float = 3.0,
    growth: float = 0.3,
    min_probability: float = 0.5,
) -> QTable:
    """
    Follow the motes of one camera and filter through many nights.

    Parameters
    ----------
    detections : sequence of DustDetection or `~astropy.table.QTable`
        The dust of each night, in order of time, as from
        `astroflat.detect_dust`, or its catalogues.

    times : `~astropy.time.Time` or sequence, optional
        When each was taken; numbers from 0 by default.

    focal_ratio : float, optional
        The f-number N of the beam. A mote at a distance d from the sensor
        has a shadow with a diameter of d / N.

    pixel_size : `~astropy.units.Quantity` or float, optional
        The size of a pixel, in micrometres if it has no unit.

    reach : float, optional
        The largest shift in pixels, of all motes or of one.

    tolerance : float, optional
        How far a mote may be from where it was, in pixels; a tenth of its
        radius if that is more.

    growth : float, optional
        A mote has grown if it is deeper by this fraction than when it was
        first seen, and by three standard deviations.

    min_probability : float, optional
        Objects that are less likely to be dust are left out.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row per mote and night, and one when a mote is first missed:
        ``mote`` (a number), ``night``, ``time``, ``x``, ``y``, ``radius``,
        ``depth``, ``dx`` and ``dy`` (from where it was, less the shift of
        all motes), ``growth`` (depth over that when first seen, less 1),
        ``distance`` from the sensor (NaN without ``focal_ratio`` and
        ``pixel_size``), ``status`` ('first', 'same', 'new', 'moved',
        'grown', 'gone'), and ``alarm``, True for new, moved and grown ones.
        ``table.meta['shifts']`` has the shift (dy, dx) of each night: a filter
        that was not back in place. It can be written to ECSV and back.

    Raises
    ------
    ValueError
        If ``times`` has another length, or an argument is not positive.

    Notes
    -----
    The shift between two nights gets the votes of all pairs of motes of like
    size. Motes are then matched with their nearest neighbours, each once, and
    what is left over within ``reach`` if size and depth are alike.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.dust import catalogue_of_mask
    >>> y, x = np.mgrid[:100, :120]
    >>> def night(*places):
    ...     flat = np.ones(x.shape)
    ...     for x0, y0 in places:
    ...         flat[np.hypot(x - x0, y - y0) < 6] = 0.9
    ...     return catalogue_of_mask(flat < 1, flat)
    >>> monday, tuesday = night((30, 40)), night((30, 41), (90, 60))
    >>> table = af.selfcal.track_motes([monday, tuesday])
    >>> table['mote', 'night', 'status', 'alarm']
    <QTable length=3>
     mote night status alarm
    int64 int64  str6   bool
    ----- ----- ------ -----
        0     0  first False
        0     1   same False
        1     1    new  True
    """
    _check(detections, times, reach=reach, tolerance=tolerance, growth=growth)
    log, shifts = Log(), []
    for night, detection in enumerate(detections):
        objects = _objects(detection, min_probability)
        shift = _common_shift(objects, log.motes, reach, tolerance)
        shifts.append([float(s) for s in shift])
        _add_night(log, night, objects, shift, (reach, tolerance, growth))
    table = _as_table(log.rows, times)
    table['distance'] = _distance(table['radius'], focal_ratio, pixel_size)
    status = table['status']
    table['alarm'] = np.isin(status, _ALARMS)
    table.meta['shifts'] = shifts
    return table


def _check(detections: Sequence[Any], times: Any, **positive: float) -> None:
    """Raise if an argument makes no sense."""
    for name, value in positive.items():
        if not value > 0:
            msg = f'{name} must be positive, not {value!r}'
            raise ValueError(msg)
    if times is not None and len(times) != len(detections):
        msg = f'times has {len(times)} values for {len(detections)} detections'
        raise ValueError(msg)


def _objects(detection: Any, min_probability: float) -> list[dict[str, float]]:
    """Return the dark objects of a night as plain numbers."""
    catalogue = getattr(detection, 'catalogue', detection)
    names = ('x', 'y', 'radius', 'depth', 'snr', 'probability')
    columns = {
        name: np.asarray(getattr(catalogue[name], 'value', catalogue[name]), float)
        for name in names
    }
    rows = [
        {name: float(columns[name][i]) for name in names} for i in range(len(catalogue))
    ]
    # The depth is unknown in the catalogue of a mask without an image.
    return [
        row
        for row in rows
        if not row['depth'] <= 0 and not row['probability'] < min_probability
    ]


def _places(objects: list[dict[str, float]]) -> np.ndarray:
    """Return the places (y, x) of objects."""
    return np.array([[o['y'], o['x']] for o in objects]).reshape(-1, 2)


def _alike(one: dict[str, float], two: dict[str, float]) -> bool:
    """Tell whether two objects have about the same size and depth."""
    radius = max(one['radius'], two['radius']) < _ALIKE_RADIUS * min(
        one['radius'], two['radius']
    )
    depths = sorted([one['depth'], two['depth']])
    return radius and not depths[1] > _ALIKE_DEPTH * depths[0]


def _common_shift(
    objects: list[dict[str, float]], motes: list[Mote], reach: float, tolerance: float
) -> np.ndarray:
    """Return the shift (dy, dx) for which most pairs of like motes vote."""
    from scipy.spatial import cKDTree

    before = [m.last for m in motes if not m.missing]
    steps = [
        (o['y'] - b['y'], o['x'] - b['x'])
        for o in objects
        for b in before
        if _alike(o, b) and np.hypot(o['y'] - b['y'], o['x'] - b['x']) <= reach
    ]
    if not steps:
        return np.zeros(2)
    steps = np.array(steps)
    tree = cKDTree(steps)
    near = tree.query_ball_point(steps, tolerance)
    best = max(near, key=len)
    here = tree.query_ball_point([0.0, 0.0], tolerance)
    if len(best) < _MIN_VOTES or len(best) <= len(here):
        best = here if len(here) >= _MIN_VOTES else []
    return np.median(steps[best], axis=0) if best else np.zeros(2)


def _add_night(
    log: Log,
    night: int,
    objects: list[dict[str, float]],
    shift: np.ndarray,
    limits: tuple[float, float, float],
) -> None:
    """Match a night with the motes so far."""
    reach, tolerance, growth = limits
    # A mote that was missed once may only have been too faint.
    pairs, free = _match(objects, log.motes, shift, tolerance)
    rest = [m for k, m in enumerate(log.motes) if k not in pairs.values()]
    moved = _match_moved([objects[i] for i in free], rest, shift, reach)
    for i, k in pairs.items():
        _see(log, night, log.motes[k], objects[i], shift, growth)
    for i, k in moved.items():
        _see(log, night, rest[k], objects[free[i]], shift, growth, status='moved')
    for i, number in enumerate(free):
        if i in moved:
            continue
        item = objects[number]
        mote = Mote(len(log.motes), item, item)
        log.motes.append(mote)
        _row(log, night, mote, item, 'new' if night else 'first')
    for k, mote in enumerate(rest):
        if k not in moved.values() and not mote.missing:
            mote.missing = True
            _row(log, night, mote, mote.last, 'gone')


def _match(
    objects: list[dict[str, float]],
    motes: list[Mote],
    shift: np.ndarray,
    tolerance: float,
) -> tuple[dict[int, int], list[int]]:
    """Return pairs of objects and motes at the same place, and objects left over."""
    from scipy.spatial import cKDTree

    pairs: dict[int, int] = {}
    if objects and motes:
        tree = cKDTree(_places([m.last for m in motes]))
        found = []
        for i, place in enumerate(_places(objects) - shift):
            limit = max(tolerance, 0.1 * objects[i]['radius'])
            for k in tree.query_ball_point(place, limit):
                if _alike_size(objects[i], motes[k].last):
                    distance = float(np.hypot(*(place - tree.data[k])))
                    found.append((distance, i, k))
        for _, i, k in sorted(found):
            if i not in pairs and k not in pairs.values():
                pairs[i] = k
    return pairs, [i for i in range(len(objects)) if i not in pairs]


def _alike_size(one: dict[str, float], two: dict[str, float]) -> bool:
    """Tell whether objects at one place have about the same size."""
    small, large = sorted([one['radius'], two['radius']])
    return large < 2 * small + 2


def _match_moved(
    objects: list[dict[str, float]],
    motes: list[Mote],
    shift: np.ndarray,
    reach: float,
) -> dict[int, int]:
    """Return pairs of objects and missing motes that are alike, the nearest first."""
    found = []
    for i, item in enumerate(objects):
        for k, mote in enumerate(motes):
            if mote.missing or not _alike(item, mote.last):
                continue
            step = np.hypot(
                item['y'] - mote.last['y'] - shift[0],
                item['x'] - mote.last['x'] - shift[1],
            )
            if step <= reach:
                found.append((float(step), i, k))
    pairs: dict[int, int] = {}
    for _, i, k in sorted(found):
        if i not in pairs and k not in pairs.values():
            pairs[i] = k
    return pairs


def _see(
    log: Log,
    night: int,
    mote: Mote,
    item: dict[str, float],
    shift: np.ndarray,
    growth: float,
    status: str = 'same',
) -> None:
    """Note that a mote was seen again."""
    ratio = item['depth'] / mote.first['depth']
    # The error of a depth, from the significance of the outline.
    error = ratio * np.hypot(1 / item['snr'], 1 / mote.first['snr'])
    if status == 'same' and ratio - 1 > max(growth, _SIGMA * np.nan_to_num(error)):
        status = 'grown'
    step = (
        item['y'] - mote.last['y'] - shift[0],
        item['x'] - mote.last['x'] - shift[1],
    )
    mote.last, mote.missing = item, False
    _row(log, night, mote, item, status, step, ratio - 1)


def _row(
    log: Log,
    night: int,
    mote: Mote,
    item: dict[str, float],
    status: str,
    step: tuple[float, float] = (0.0, 0.0),
    growth: float = 0.0,
) -> None:
    """Add a row to the result."""
    log.rows.append(
        {
            'mote': mote.number,
            'night': night,
            **{name: item[name] for name in ('x', 'y', 'radius', 'depth')},
            'dx': step[1],
            'dy': step[0],
            'growth': growth,
            'status': status,
        }
    )


def _as_table(rows: list[dict[str, Any]], times: Any) -> QTable:
    """Return rows as a table with units and times."""
    rows = sorted(rows, key=lambda row: (row['mote'], row['night']))
    table = QTable()
    for name in ('mote', 'night'):
        table[name] = np.array([row[name] for row in rows], dtype=np.int64)
    if times is not None:
        table['time'] = (
            [times[k] for k in table['night']]
            if not hasattr(times, 'scale')
            else times[table['night']]
        )
    for name in ('x', 'y', 'radius', 'depth', 'dx', 'dy', 'growth'):
        values = np.array([row[name] for row in rows], dtype=float)
        table[name] = values if name in ('depth', 'growth') else values * u.pix
    table['status'] = np.array([row['status'] for row in rows], dtype='U6')
    return table


def _distance(radius: Any, focal_ratio: float | None, pixel_size: Any) -> u.Quantity:
    """Return the distance of motes from the sensor."""
    if focal_ratio is None or pixel_size is None:
        return np.full(len(radius), np.nan) * u.mm
    size = u.Quantity(pixel_size, u.um)
    if not (focal_ratio > 0 and size > 0 * u.um):
        msg = (
            'focal_ratio and pixel_size must be positive, not '
            f'{focal_ratio!r} and {pixel_size!r}'
        )
        raise ValueError(msg)
    return (2 * radius.to_value(u.pix) * size * focal_ratio).to(u.mm)
