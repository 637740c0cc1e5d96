# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Nights of sensors with a mosaic of colours: flats are judged in shades of grey.

What a flat has to know, dust and vignette, is the same in all colours but for a
little. So the four pixels of a cell are averaged, the flat of these images is checked,
repaired or made, and brought back to the mosaic.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._night_masters import read_master
from astroflat.pipelines._night_store import write_master
from astroflat.pipelines._planes import join_planes, split_planes

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astroflat.pipelines._night_flats import GroupTask
    from astroflat.solution import FlatSolution

__all__ = ['enlarge', 'grey_image', 'grey_task', 'with_changes']

_CARDS = ('BAYERPAT', 'XBAYROFF', 'YBAYROFF', 'SATURATE')


def grey_image(image: CCDData, pattern: str) -> CCDData:
    """
    Average the cells of a mosaic.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`
        The mosaic, with even sides.

    pattern : str
        Its colours.

    Returns
    -------
    grey : `~astropy.nddata.CCDData`
        Half as large. A cell is masked if one of its pixels is, or is saturated.

    Raises
    ------
    ValueError
        If a side is odd.
    """
    from astropy.nddata import CCDData, StdDevUncertainty

    planes = split_planes(np.asarray(image.data, np.float32), pattern)
    bad = np.zeros(image.shape, bool) if image.mask is None else image.mask.copy()
    full = image.meta.get('SATURATE')
    if isinstance(full, (int, float)):
        bad |= image.data >= full
    masks = split_planes(bad, pattern)
    meta = image.meta.copy()
    for name in _CARDS:
        meta.pop(name, None)
    sigma = None
    if image.uncertainty is not None:
        squares = [s**2 for s in split_planes(image.uncertainty.array, pattern)]
        sigma = StdDevUncertainty(np.sqrt(np.mean(squares, axis=0) / 4))
    return CCDData(
        np.mean(planes, axis=0),
        unit=image.unit,
        meta=meta,
        mask=np.any(masks, axis=0) if bad.any() else None,
        uncertainty=sigma,
        wcs=None if image.wcs is None else image.wcs.slice((slice(None, None, 2),) * 2),
    )


def grey_task(task: GroupTask) -> GroupTask:
    """
    Write everything that a flat is decided with in shades of grey.

    Parameters
    ----------
    task : GroupTask
        The group; its lights and masters are mosaics.

    Returns
    -------
    task : GroupTask
        With other files, in the work folder.
    """
    place = Path(task.output).with_suffix('')

    def written(path: str | None) -> str | None:
        if path is None:
            return None
        target = place / Path(path).name
        if not target.exists():
            write_master(target, grey_image(read_master(path), task.mosaic))
        return str(target)

    lights = tuple(written(path) for path in task.lights)
    return replace(
        task, lights=lights, bias=written(task.bias), dark=written(task.dark)
    )


def enlarge(solution: FlatSolution, pattern: str) -> FlatSolution:
    """
    Bring a flat that was made in shades of grey to the mosaic.

    Parameters
    ----------
    solution : FlatSolution
        The flat, half as large.

    pattern : str
        The colours.

    Returns
    -------
    solution : FlatSolution
        Every cell has one value. There is no gradient: nobody knows its colour.
    """
    flat = solution.flat
    return replace(
        solution, flat=_filled(flat, _twice(flat.data), pattern), gradient=None
    )


def with_changes(
    given: FlatSolution, grey: FlatSolution, repaired: FlatSolution, pattern: str
) -> FlatSolution:
    """
    Make the changes in a mosaic that were found in shades of grey.

    Parameters
    ----------
    given : FlatSolution
        The flat of the mosaic.

    grey, repaired : FlatSolution
        The same in shades of grey, before and after.

    pattern : str
        The colours.

    Returns
    -------
    solution : FlatSolution
        Pixels without a change stay as they are, to the bit.
    """
    factor = _twice(repaired.flat.data / grey.flat.data)
    data = np.where(factor == 1, given.flat.data, given.flat.data * factor)
    flat = _filled(repaired.flat, data.astype(given.flat.data.dtype), pattern)
    old = given.flat.uncertainty
    if old is not None and flat.uncertainty is not None:
        # The noise of the pixels is that of the flats, the rest that of the change.
        changed = np.hypot(old.array, flat.uncertainty.array)
        flat.uncertainty.array = np.where(factor == 1, old.array, changed)
    return replace(repaired, flat=flat)


def _filled(grey: CCDData, data: np.ndarray, pattern: str) -> CCDData:
    """Return a flat of a mosaic with mask, uncertainty and header of a grey one."""
    from astropy.nddata import CCDData, StdDevUncertainty

    meta = grey.meta.copy()
    meta['BAYERPAT'] = pattern
    sigma = grey.uncertainty
    return CCDData(
        data,
        unit=grey.unit,
        meta=meta,
        mask=None if grey.mask is None else _twice(grey.mask),
        uncertainty=None if sigma is None else StdDevUncertainty(_twice(sigma.array)),
    )


def _twice(plane: np.ndarray) -> Any:
    """Return a plane with every pixel as a cell of two by two."""
    return join_planes([plane], (2 * plane.shape[0], 2 * plane.shape[1]))
