# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The overscan of a raw frame, taken off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroflat.pipelines._night_sections import section_slices, whole_frame

if TYPE_CHECKING:
    from astropy.nddata import CCDData

    from astroflat.pipelines._night_sections import Sections

__all__ = ['PrepareTask', 'prepare', 'prepare_frame']

# The level along the strip is a polynomial: what a strip says of one row is noise.
_DEGREE = 3
# Cards that are wrong, or would be applied again, once a frame is trimmed.
_GONE = ('BIASSEC', 'TRIMSEC', 'DATASEC')
_SHIFTED = {'LTV1': 1, 'LTV2': 0}


@dataclass(frozen=True)
class PrepareTask:
    """
    A raw frame to be freed of its overscan.

    Parameters
    ----------
    source, output : str
        The file, and the one to write.

    sections : Sections
        Where the overscan is.
    """

    source: str
    output: str
    sections: Sections


def prepare(raw: CCDData, sections: Sections) -> CCDData:
    """
    Take the level of the overscan off a raw frame, and trim it.

    Parameters
    ----------
    raw : `~astropy.nddata.CCDData`
        The frame; not modified.

    sections : Sections
        Where the overscan is.

    Returns
    -------
    image : `~astropy.nddata.CCDData`
        As float32. The header has ``AFOSCAN`` and ``AFTRIM`` in place of the
        sections, and a limit of saturation that is as much lower.

    Notes
    -----
    With `ccdproc.subtract_overscan`: the median across the strip, and a Chebyshev
    polynomial of degree 3 along it.
    """
    import ccdproc

    shape = raw.shape
    keep = section_slices(sections.trim, shape) if sections.trim else whole_frame(shape)
    full = _full(raw)
    image = raw.copy()
    image.data = image.data.astype(np.float32)
    if sections.overscan:
        image, level, origin = _subtract(
            image, section_slices(sections.overscan, shape)
        )
        full = None if full is None else full - level
        keep = tuple(
            slice(s.start - o, s.stop - o) for s, o in zip(keep, origin, strict=True)
        )
        image.data = image.data.astype(np.float32, copy=False)
    image = ccdproc.trim_image(image[keep], add_keyword=None)
    _sign(
        image, sections, section_slices(sections.trim, shape) if sections.trim else None
    )
    if full is not None:
        image.meta['SATURATE'] = (round(full, 1), 'largest value above the overscan')
    return image


def _subtract(
    image: CCDData, strip: tuple[slice, slice]
) -> tuple[CCDData, float, tuple[int, int]]:
    """Return what lies beside a strip without its level, the level, and where."""
    import ccdproc
    from astropy.modeling.models import Chebyshev1D

    across = int(np.argmin([s.stop - s.start for s in strip]))
    # Along it, a strip may be shorter than the frame.
    beside = tuple(slice(None) if i == across else s for i, s in enumerate(strip))
    within = tuple(s if i == across else slice(None) for i, s in enumerate(strip))
    part = image[beside]
    dark = part[within]
    level = float(np.median(dark.data))
    if not np.isfinite(level):
        msg = 'the overscan holds what is no number'
        raise ValueError(msg)
    image = ccdproc.subtract_overscan(
        part,
        overscan=dark,
        overscan_axis=across,
        median=True,
        model=Chebyshev1D(min(_DEGREE, max(part.shape) - 1)),
        add_keyword=None,
    )
    origin = [0 if i == across else s.start for i, s in enumerate(strip)]
    return image, level, (origin[0], origin[1])


def _sign(image: CCDData, sections: Sections, kept: tuple[slice, slice] | None) -> None:
    """Bring the header to what is left of the frame."""
    from astroflat._provenance import set_card

    meta = image.meta
    for name in _GONE:
        meta.pop(name, None)
    if sections.overscan:
        set_card(meta, 'AFOSCAN', (sections.overscan, 'overscan subtracted'))
    if kept is None:
        return
    set_card(meta, 'AFTRIM', (sections.trim, 'part of the raw frame'))
    for name, axis in _SHIFTED.items():
        if isinstance(meta.get(name), (int, float)):
            meta[name] -= kept[axis].start
    pattern = str(meta.get('BAYERPAT', '') or '').strip()
    if len(pattern) == 4:
        y, x = (s.start % 2 for s in kept)
        rows = [pattern[2 * y :][:2], pattern[2 * (1 - y) :][:2]]
        meta['BAYERPAT'] = ''.join(row[x:] + row[:x] for row in rows)


def _full(raw: CCDData) -> float | None:
    """Return the largest value that a raw frame can hold."""
    full = raw.meta.get('SATURATE')
    if isinstance(full, (int, float)):
        return float(full)
    kind = raw.data.dtype
    return float(np.iinfo(kind).max) if kind.kind in 'iu' else None


def prepare_frame(task: PrepareTask) -> None:
    """
    Write a frame without its overscan, unless that was done.

    Parameters
    ----------
    task : PrepareTask
        What to do.
    """
    from astroflat.io.images import read_ccd
    from astroflat.pipelines._night_store import write_master

    if not Path(task.output).exists():
        write_master(task.output, prepare(read_ccd(task.source), task.sections))
