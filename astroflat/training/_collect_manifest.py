# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The record of what was collected, from where, by whom, and on which terms."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat._files import atomic_path
from astroflat.training._collect_check import SAME, distance

if TYPE_CHECKING:
    from astroflat.training._collect_check import Picture
    from astroflat.training._collect_sources import CollectItem

__all__ = ['Manifest']

_TEXTS = (
    'file',
    'status',
    'reason',
    'url',
    'page',
    'title',
    'credit',
    'licence',
    'sha256',
    'format',
    'look',
    'retrieved',
)
_NUMBERS = ('bytes', 'width', 'height')
_COLUMNS = (*_TEXTS[:8], *_NUMBERS, *_TEXTS[8:])
# Copies have the same shape within this.
_SHAPE = 0.03


class Manifest:
    """
    The table of a folder, read when it is there and written after each image.

    Parameters
    ----------
    folder : `pathlib.Path`
        The folder.
    meta : dict
        What is noted about the whole.
    """

    name = 'manifest.ecsv'

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.path = folder / self.name
        self.meta = meta
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            from astropy.table import Table

            table = Table.read(self.path, format='ascii.ecsv')
            if set(table.colnames) != set(_COLUMNS):
                msg = f'{self.name} in {folder.name!r} is not of this kind'
                raise ValueError(msg)
            # Empty texts come back masked.
            for name in _TEXTS:
                if hasattr(table[name], 'mask'):
                    table[name] = table[name].astype(str).filled('')
            self.rows = [
                {
                    name: str(row[name]) if name in _TEXTS else int(row[name])
                    for name in _COLUMNS
                }
                for row in table
            ]

    def done(self, url: str, min_size: int) -> bool:
        """Tell whether an address was dealt with for good."""
        row = next((row for row in self.rows if row['url'] == url), None)
        if row is None or row['status'] not in ('kept', 'refused'):
            return False
        if row['status'] == 'kept':
            return self._there(row)
        # Smaller images may be wanted now.
        size = min(row['width'], row['height'])
        return size < min_size or not row['reason'].startswith('too small')

    def _there(self, row: dict[str, Any]) -> bool:
        """Tell whether the file of a row is kept and still there."""
        return row['status'] == 'kept' and (self.path.parent / row['file']).exists()

    def twin(self, digest: str, picture: Picture) -> str:
        """Return the name of an image that is the same, or nothing."""
        for row in self.rows:
            if not self._there(row):
                continue
            if row['sha256'] == digest:
                return row['file']
            aspect = row['width'] / row['height'] / (picture.width / picture.height)
            alike = distance(row['look'], picture.look) <= SAME
            if abs(aspect - 1) < _SHAPE and alike:
                return row['file']
        return ''

    def add(self, item: CollectItem, status: str, **values: Any) -> None:
        """Note an image, and write the table."""
        now = datetime.now(UTC).isoformat(timespec='seconds')
        row: dict[str, Any] = dict.fromkeys(_TEXTS, '') | dict.fromkeys(_NUMBERS, 0)
        row |= {name: getattr(item, name) for name in _ITEM}
        row |= {'status': status, 'retrieved': now, **values}
        # A new answer takes the place of an old one.
        self.rows = [old for old in self.rows if old['url'] != item.url]
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Write the table as a whole."""
        from astropy.table import Table

        columns = [[row[name] for row in self.rows] for name in _COLUMNS]
        types = ['i8' if name in _NUMBERS else 'U' for name in _COLUMNS]
        table = Table(columns, names=_COLUMNS, dtype=types, meta=self.meta)
        with atomic_path(self.path, overwrite=True) as temporary:
            table.write(temporary, format='ascii.ecsv')


_ITEM = ('url', 'title', 'credit', 'licence', 'page')
