# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What there is in the folder of a night: every file, its kind, and how it is known."""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.pipelines._night_sections import Sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ['NightFile', 'kind_of', 'list_night', 'output_name']

# The names of the card that says what a frame is, the first that is there counts.
_KIND_CARDS = ('IMAGETYP', 'IMGTYPE', 'FRAME', 'FRAMETYP', 'OBSTYPE', 'OBSMODE')
# MaxIm and others number the kinds.
_NUMBERS = {1: 'light', 2: 'bias', 3: 'dark', 4: 'flat'}
# The order matters: a dark for flats is a dark, a 'sky flat' a flat.
_WORDS = (
    ('dark', ('dark',)),
    ('flat', ('flat', 'twilight', 'dome')),
    ('bias', ('bias', 'zero', 'offset')),
    ('light', ('light', 'object', 'science', 'sci', 'target', 'sky')),
    ('other', ('focus', 'test', 'acqui', 'guid', 'arc', 'lamp', 'pointing')),
)
_EXPOSURES = ('EXPTIME', 'EXPOSURE', 'EXP_TIME', 'ITIME')
_ENDINGS = re.compile(r'\.(fits|fit|fts)(\.(gz|fz|bz2))?$', re.IGNORECASE)


@dataclass(frozen=True)
class NightFile:
    """
    One file of a night.

    Parameters
    ----------
    name : str
        The path relative to the folder, with ``/``.

    kind : str
        'bias', 'dark', 'flat', 'light', 'other' or 'damaged'.

    why : str
        What told the kind, or what is wrong.

    settings : dict
        Camera, filter, binning, gain, temperature, rotator, shape.

    exposure : float or None
        Seconds.

    mjd : float or None
        When it was taken, as modified Julian date.

    target : str
        What was looked at.

    master : bool
        Whether it is a combination of frames already.

    stamp : str
        Size and time of change: what tells that the file was replaced.

    cards : dict
        More of the header: gain, read noise, saturation, time, sections.

    sections : Sections
        Overscan and trim; the shape in the settings is that of what is kept.
    """

    name: str
    kind: str
    why: str
    settings: dict[str, Any] = field(default_factory=dict)
    exposure: float | None = None
    mjd: float | None = None
    target: str = ''
    master: bool = False
    stamp: str = ''
    cards: dict[str, Any] = field(default_factory=dict)
    sections: Sections = field(default_factory=Sections)

    @property
    def key(self) -> tuple[str, ...]:
        """What results depend on."""
        parts = (self.sections.overscan, self.sections.trim)
        return self.name, self.kind, self.stamp, *(parts if self.sections else ())


def list_night(folder: Path, *, recursive: bool = True, leave: Path) -> list[NightFile]:
    """
    List the FITS files of a night.

    Parameters
    ----------
    folder : `pathlib.Path`
        The folder.

    recursive : bool, optional
        Whether to look into folders inside of it.

    leave : `pathlib.Path`
        The folder of the results, which is not looked into.

    Returns
    -------
    files : list of NightFile
        Sorted by name.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    """
    if not folder.is_dir():
        msg = f'{folder.name!r} is no folder; give the folder of a night'
        raise NotADirectoryError(msg)
    found = []
    for place in _folders(folder, recursive, {leave.resolve()}):
        found += [_look(folder, *entry) for entry in _headers(place)]
    return sorted(found, key=lambda f: f.name)


def _folders(folder: Path, recursive: bool, seen: set[Path]) -> Iterator[Path]:
    """Go through a folder and those inside of it, each once, also if linked to."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    # The results of another run are no frames of the night.
    if (folder / 'night.json').is_file():
        return
    yield folder
    if not recursive:
        return
    inside = [p for p in folder.iterdir() if p.is_dir() and not _is_aside(p)]
    # A link comes last: what it leads to has its own name before.
    for place in sorted(inside, key=lambda p: (p.is_symlink(), p)):
        yield from _folders(place, recursive, seen)


def _is_aside(folder: Path) -> bool:
    """Tell whether a folder is hidden, or the truth of a simulated night."""
    # The truth is for judging, not for calibrating.
    return folder.name.startswith('.') or folder.name == 'truth'


def _headers(place: Path) -> Iterator[tuple[Path, Mapping | None]]:
    """Go through the FITS files of one folder with their headers."""
    from ccdproc import ImageFileCollection

    names = sorted(
        p.name
        for p in place.iterdir()
        if _ENDINGS.search(p.name) and not p.name.startswith('.') and p.is_file()
    )
    if not names:
        return
    with _quiet():
        table = ImageFileCollection(location=str(place), filenames=names).summary
    rows = {} if table is None else {row['file']: row for row in table}
    for name in names:
        header = None
        if name in rows:
            row = rows[name]
            header = {
                column.upper(): row[column]
                for column in table.colnames
                if column != 'file' and row[column] is not np.ma.masked
            }
        yield place / name, header


@contextmanager
def _quiet() -> Iterator[None]:
    """Have damaged files reported by us, once, in place of a log."""
    logger = logging.getLogger('ccdproc.image_collection')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)


def _look(folder: Path, path: Path, header: Mapping | None) -> NightFile:
    """Describe one file."""
    from astroflat.selfcal.grouping import _settings

    name = path.relative_to(folder).as_posix()
    status = path.stat()
    stamp = f'{status.st_size}-{status.st_mtime_ns}'
    if header is None:
        why = 'its header cannot be read'
        return NightFile(name, 'damaged', why, stamp=stamp, cards={'was': _match(name)})
    if not header.get('NAXIS'):
        header = _image_header(path, header)
    reason = _unfit(header)
    if reason:
        return NightFile(name, 'other', reason, stamp=stamp)
    shape = (int(header['NAXIS2']), int(header['NAXIS1']))
    exposure = _number(header, _EXPOSURES)
    kind, why = kind_of(header, name, exposure)
    lost = _lost_bytes(path, status.st_size)
    if lost:
        why = f'it is cut short: {lost} bytes are missing'
        return NightFile(name, 'damaged', why, stamp=stamp, cards={'was': kind})
    return NightFile(
        name,
        kind,
        why,
        _plain(_settings({**header, '_shape': shape})),
        exposure,
        _date(header),
        str(header.get('OBJECT', '')).strip(),
        _is_master(header),
        stamp,
        _plain({k: header[k] for k in _KEPT if k in header}),
    )


_KEPT = (
    *('DATE-OBS', 'EGAIN', 'GAIN', 'RDNOISE', 'SATURATE', 'BITPIX', 'BZERO'),
    *('READNOIS', 'ENOISE', 'BIASSEC', 'TRIMSEC', 'DATASEC', 'BAYERPAT'),
)


def _lost_bytes(path: Path, size: int) -> int:
    """Return how many bytes a file is too short for its images."""
    from astropy.io import fits

    if path.suffix.lower() in ('.gz', '.fz', '.bz2'):
        return 0
    try:
        with _quiet(), fits.open(path) as hdus:
            hdu = hdus[0]
            return max(0, hdus.fileinfo(0)['datLoc'] + hdu.size - size)
    except (OSError, ValueError, TypeError):
        return size


def _image_header(path: Path, first: Mapping) -> Mapping:
    """Return the header of the first image of a file whose first unit has none."""
    from astropy.io import fits

    try:
        with _quiet(), fits.open(path) as hdus:
            images = [h for h in hdus if len(h.shape) >= 2]
            if not images:
                return first
            header = {**first, **dict(images[0].header)}
            ny, nx = images[0].shape[-2:]
            axes = len(images[0].shape)
            return {**header, 'NAXIS': axes, 'NAXIS1': nx, 'NAXIS2': ny}
    except (OSError, ValueError, TypeError):
        return first


def _unfit(header: Mapping) -> str:
    """Return why a file cannot be used, if it cannot."""
    if header.get('NAXIS') != 2:
        return f'it has {header.get("NAXIS", 0)} axes, not the two of an image'
    if str(header.get('AFMETH', '')) in ('night', 'denoise', 'restore'):
        return 'it is a result already'
    if 'AFMETH' in header and 'flat' not in str(header['AFMETH']):
        return f'it was made by astroflat ({header["AFMETH"]})'
    return ''


def kind_of(header: Mapping, name: str, exposure: float | None) -> tuple[str, str]:
    """
    Tell what a frame is.

    Parameters
    ----------
    header : mapping
        The header.

    name : str
        The path of the file in the folder of the night.

    exposure : float or None
        Seconds.

    Returns
    -------
    kind : str
        'bias', 'dark', 'flat', 'light' or 'other'.

    why : str
        The card, or what was guessed from.
    """
    for card in _KIND_CARDS:
        text = str(header.get(card, '')).strip()
        kind = _match(text)
        if kind:
            return kind, f'{card} = {text}'
    number = header.get('PICTTYPE')
    if number in _NUMBERS:
        return _NUMBERS[number], f'PICTTYPE = {number}'
    unknown = next((c for c in _KIND_CARDS if str(header.get(c, '')).strip()), None)
    no_card = f'{unknown} = {header[unknown]}' if unknown else 'no IMAGETYP'
    path = PurePosixPath(name)
    for place, text in (('name', path.name), ('folder', path.parent.name)):
        kind = _match(text)
        if kind and kind != 'other':
            return kind, f'{no_card}; guessed from its {place}, {text}'
    if exposure == 0:
        return 'bias', f'{no_card}; guessed from its exposure of 0 s'
    return 'light', f'{no_card}; guessed, as nothing says otherwise'


def _match(text: str) -> str:
    """Return the kind that a text names, or nothing."""
    text = text.lower()
    return next((k for k, ws in _WORDS if any(w in text for w in ws)), '')


def _is_master(header: Mapping) -> bool:
    """Tell whether a frame is a combination of others."""
    kind = str(header.get('IMAGETYP', '')).lower()
    number = next((header[c] for c in ('NCOMBINE', 'STACKCNT') if c in header), 1)
    many = isinstance(number, (int, float, np.number)) and number > 1
    return 'master' in kind or many or 'FLATNORM' in header


def _number(header: Mapping, cards: tuple[str, ...]) -> float | None:
    """Return the first card that is a number."""
    for card in cards:
        try:
            return float(header[card])
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _date(header: Mapping) -> float | None:
    """Return when a frame was taken."""
    from astropy.time import Time

    text = str(header.get('DATE-OBS', '')).strip()
    if 'T' not in text and header.get('TIME-OBS'):
        text = f'{text}T{str(header["TIME-OBS"]).strip()}'
    try:
        return round(float(Time(text, format='isot', scale='utc').mjd), 8)
    except ValueError:
        return _number(header, ('MJD-OBS', 'MJD'))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON knows them."""
    return {
        k: v.item() if isinstance(v, np.generic) else list(v) if k == 'shape' else v
        for k, v in values.items()
    }


def output_name(name: str) -> str:
    """
    Return the name of a result, in a format that can be written.

    Parameters
    ----------
    name : str
        The name of the frame, perhaps compressed.

    Returns
    -------
    name : str
        Without the suffix of the compression.
    """
    return re.sub(r'\.(gz|fz|bz2)$', '', name, flags=re.IGNORECASE)
