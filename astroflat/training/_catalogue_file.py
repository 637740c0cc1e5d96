# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What one image file holds, for a catalogue."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ['describe_file']

#: Facts of the header: name of the column, and the keywords in their order.
_FACTS = {
    'telescope': ('TELESCOP', 'OBSERVAT'),
    'instrument': ('INSTRUME', 'CAMERA'),
    'filter': ('FILTER', 'FILTER1'),
    'object': ('OBJECT',),
    'date': ('DATE-OBS', 'DATE'),
    'exposure': ('EXPTIME', 'EXPOSURE'),
    'gain': ('EGAIN', 'GAIN'),
}
_NUMBERS = ('exposure', 'gain')
# Samples of a file from which its numbers are taken.
_SAMPLES = 200_000


def describe_file(path: Path, root: Path) -> dict[str, Any]:
    """
    Describe one file.

    Parameters
    ----------
    path : Path
        The file.
    root : Path
        What its path is relative to.

    Returns
    -------
    dict
        The columns of `astroflat.training.catalogue.catalogue_frames`, and
        ``pixels``, a hash of what it shows.
    """
    row: dict[str, Any] = {
        'path': path.relative_to(root).as_posix(),
        'sha256': '',
        'bytes': 0,
        'duplicate_of': '',
        'format': path.suffix.lower().lstrip('.'),
        'dtype': '',
        **dict.fromkeys(('ny', 'nx', 'planes'), 0),
        **{name: np.nan if name in _NUMBERS else '' for name in _FACTS},
        **dict.fromkeys(('median', 'noise', 'finite', 'full'), np.nan),
        'error': '',
        'pixels': '',
    }
    try:
        row['sha256'], row['bytes'] = _digest(path), path.stat().st_size
        row.update(_contents(path))
    except (OSError, ValueError) as error:
        row['error'] = f'{type(error).__name__}: {error}'
    return row


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _contents(path: Path) -> dict[str, Any]:
    """Describe what the file shows."""
    from astroflat.io import read_image

    data, meta, _ = read_image(path)
    planes = data.shape[2] if data.ndim == 3 else 1
    row = {'dtype': data.dtype.name, 'planes': planes}
    row['ny'], row['nx'] = data.shape[:2]
    # The same pixels in another container are the same frame.
    pixels = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder('<'))
    row['pixels'] = hashlib.sha256(pixels).hexdigest()
    return {**row, **_facts(meta), **_numbers(data)}


def _facts(meta: Any) -> dict[str, Any]:
    """Take facts from a header."""
    row = {}
    for name, keywords in _FACTS.items():
        found = next((meta[k] for k in keywords if meta and k in meta), None)
        if name in _NUMBERS:
            row[name] = float(found) if isinstance(found, (int, float)) else np.nan
        else:
            row[name] = '' if found is None else str(found).strip()
    return row


def _numbers(data: np.ndarray) -> dict[str, float]:
    """Measure a frame on some of its rows."""
    step = max(1, data.size // _SAMPLES)
    rows = data[::step].astype(np.float64)
    good = np.isfinite(rows)
    result = {'finite': float(good.mean())}
    if good.any():
        result['median'] = float(np.median(rows[good]))
        result['full'] = float((rows[good] == rows[good].max()).mean())
        steps = np.abs(np.diff(rows, axis=1))
        steps = steps[np.isfinite(steps)]
        if steps.size:
            # Mean size of differences of normal numbers, without those of stars.
            limit = 5.0 * np.median(steps) or np.inf
            result['noise'] = float(np.mean(steps[steps <= limit])) / 1.1284
    return result
