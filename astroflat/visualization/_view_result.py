# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Find out what a result of astroflat consists of, and read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._nddata import unpack
from astroflat._report import QualityReport

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ['Result', 'find_results', 'measure_motes']

_IMAGES = ('.fits', '.fit', '.fts', '.fits.gz', '.fit.gz', '.tif', '.tiff', '.xisf')
# Files of these kinds are no results of their own.
_PARTS = ('.mask.fits',)
# A flat that differs from 1 at more pixels than this is not one of the dust alone.
_MOST_TOUCHED = 0.6
# What belongs to a mote: where it takes at least this share of its depth.
_CORE = 0.3
_KEYS = {'method', 'verdict', 'reasons', 'numbers', 'thresholds'}


@dataclass(frozen=True)
class Result:
    """
    The files of a result.

    Parameters
    ----------
    name : str
        Its name.

    image : path or None, optional
        The flat, or an image that was corrected.

    report : path or None, optional
        The JSON report.

    figure : path or None, optional
        The figure.

    motes : path or None, optional
        A table of the motes.

    mask : path or None, optional
        The mask that a person agreed on.

    before : path or None, optional
        The image to show before and after.

    page : path or None, optional
        A page that is complete by itself; then there is nothing else.
    """

    name: str
    image: Path | None = None
    report: Path | None = None
    figure: Path | None = None
    motes: Path | None = None
    mask: Path | None = None
    before: Path | None = None
    page: Path | None = None

    def read_report(self) -> QualityReport:
        """
        Read the report.

        Returns
        -------
        report : QualityReport
            One without numbers if there is none.

        Raises
        ------
        ValueError
            If the file is no report of astroflat.
        """
        if self.report is None:
            return QualityReport(self.name)
        content = _read_json(self.report)
        if content is None:
            msg = f'{self.report.name!r} is no report of astroflat'
            raise ValueError(msg)
        return QualityReport(**{key: content[key] for key in _KEYS & content.keys()})

    def read_motes(self) -> Table | None:
        """
        Read the table of motes.

        Returns
        -------
        motes : `~astropy.table.Table` or None
            None if there is none, or none with ``x``, ``y`` and ``radius``.
        """
        if self.motes is None:
            return None
        from astropy.table import QTable

        table = QTable.read(self.motes, format='ascii.ecsv')
        return table if {'x', 'y', 'radius'} <= set(table.colnames) else None


def find_results(path: Path, before: Path | None = None) -> list[Result]:
    """
    Return what there is to see at a path.

    Parameters
    ----------
    path : path
        A flat or another image, a report, or a folder of them.

    before : path, optional
        The image to show before and after.

    Returns
    -------
    results : list of Result
        At least one.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or nothing to see in the folder.

    ValueError
        If the file is nothing that astroflat writes.
    """
    path = Path(path)
    if path.is_dir():
        results = _of_folder(path, before)
        if not results:
            msg = f'{path.name!r} has no flats, reports or pages of astroflat'
            raise FileNotFoundError(msg)
        return results
    if not path.is_file():
        msg = f'{path.name!r} does not exist'
        raise FileNotFoundError(msg)
    name = path.name.lower()
    if name.endswith('.html'):
        return [Result(path.name, page=path)]
    if name.endswith('.json'):
        if _read_json(path) is None:
            msg = f'{path.name!r} is no report of astroflat'
            raise ValueError(msg)
    elif not name.endswith(_IMAGES):
        msg = (
            f'{path.name!r} is no result that can be shown; give a flat (FITS, TIFF, '
            'XISF), a report (JSON), or a folder of them'
        )
        raise ValueError(msg)
    return [_of_files(path, before)]


def _of_folder(folder: Path, before: Path | None) -> list[Result]:
    """Return the results in a folder, pages first."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    pages = [Result(p.name, page=p) for p in files if p.suffix.lower() == '.html']
    reports = {p for p in files if p.suffix == '.json' and _read_json(p) is not None}
    stems = {_stem(p) for p in reports}
    flats = {
        p
        for p in files
        if p.name.lower().endswith(_IMAGES)
        and not p.name.endswith(_PARTS)
        and _stem(p) not in stems
        and _is_flat(p)
    }
    # Stages of a dust flat, kept with --stages, hold the median.
    median = folder / 'median.fits'
    if before is None and median.is_file():
        before = median
    return pages + [_of_files(p, before) for p in sorted(reports | flats)]


def _of_files(path: Path, before: Path | None) -> Result:
    """Return the result that a file belongs to: what has the same name."""
    stem = _stem(path)

    def beside(*endings: str) -> Path | None:
        paths = (path.with_name(stem + ending) for ending in endings)
        return next((p for p in paths if p.is_file()), None)

    is_report = path.suffix == '.json'
    report = path if is_report else beside('.json')
    if report is not None and _read_json(report) is None:
        report = None
    return Result(
        stem,
        image=beside(*_IMAGES) if is_report else path,
        report=report,
        figure=beside('.png'),
        motes=beside('.ecsv'),
        mask=beside('.mask.fits'),
        before=before,
    )


def _stem(path: Path) -> str:
    """Return the name of a file without its ending."""
    for ending in ('.fits.gz', '.fit.gz'):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a report, None for another file."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not {'method', 'verdict'} <= content.keys():
        return None
    known = content['verdict'] in ('accept', 'weak', 'reject')
    parts = [content.get(key, {}) for key in ('numbers', 'thresholds')]
    whole = all(isinstance(part, dict) for part in parts)
    reasons = isinstance(content.get('reasons', []), list)
    return content if known and whole and reasons else None


def _is_flat(path: Path) -> bool:
    """Tell whether a file is a flat of astroflat."""
    from astroflat.io import read_image

    try:
        return 'FLATNORM' in read_image(path).meta
    except (OSError, ValueError):
        return False


def measure_motes(flat: Any, mask: np.ndarray | None = None) -> Table:
    """
    Find the motes of a flat from the flat alone.

    Parameters
    ----------
    flat : CCDData
        The flat.

    mask : `~numpy.ndarray` of bool, optional
        Where its dust is, if that is known.

    Returns
    -------
    motes : `~astropy.table.QTable`
        As the catalogue of `astroflat.detect_dust`. In a flat of the dust
        alone a mote is where at least 30 % of its depth are reached, and
        there is no noise to say how significant it is; in any other flat the
        dust is searched.
    """
    from scipy import ndimage

    from astroflat.dust import detect_dust
    from astroflat.dust.catalogue import catalogue_of_mask

    frame = unpack(flat, ndim=(2, 3))
    data = frame.data.mean(axis=-1) if frame.data.ndim == 3 else frame.data
    if mask is None or mask.shape != data.shape:
        excess = np.abs(data - 1)
        touched = excess > 0
        if touched.mean() > _MOST_TOUCHED:
            return detect_dust(data).catalogue
        labels, n = ndimage.label(touched, np.ones((3, 3)))
        deepest = np.zeros(n + 1)
        deepest[1:] = ndimage.maximum(excess, labels, np.arange(1, n + 1))
        mask = touched & (excess >= _CORE * deepest[labels])
    motes = catalogue_of_mask(mask, data)
    motes.remove_columns(['snr', 'probability'])
    return motes
