# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write simulated frames with the truth beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from astroflat._files import atomic_path

if TYPE_CHECKING:
    from astroflat.degradation._night_frames import SimulatedNight

__all__ = ['write_night', 'write_truth']


def write_night(
    night: SimulatedNight, folder: str | os.PathLike, *, overwrite: bool = False
) -> Path:
    """
    Write a night; see `SimulatedNight.write`.

    Parameters
    ----------
    night : SimulatedNight
        The night.
    folder : str or path-like
        Folder, made if need be.
    overwrite : bool, optional
        Replace existing files.

    Returns
    -------
    `pathlib.Path`
        The folder.
    """
    folder = Path(folder)
    (folder / 'truth').mkdir(parents=True, exist_ok=True)
    for index, ccd in enumerate(night.frames):
        number = f'{index + 1:04d}'
        hdus = ccd.to_hdu()
        _write(folder / f'light_{number}.fits', hdus.writeto, overwrite=overwrite)
        gradient = fits.PrimaryHDU(night.gradient(index))
        gradient.header['BUNIT'] = 'electron'
        path = folder / 'truth' / f'gradient_{number}.fits'
        _write(path, gradient.writeto, overwrite=overwrite)
    tables = {'frames': night.table(), 'sources': night.scene.sources}
    if night.fields is not None:
        tables['fields'] = night.fields.truth
    images = {'flat': night.flat, 'dust_mask': night.dust_mask}
    write_truth(folder / 'truth', images=images, tables=tables, overwrite=overwrite)
    return folder


def write_truth(
    folder: Path,
    *,
    images: dict[str, np.ndarray],
    tables: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """
    Write images as FITS and tables as ECSV.

    Parameters
    ----------
    folder : `pathlib.Path`
        Existing folder.
    images : dict
        Arrays by name; masks become uint8.
    tables : dict
        Tables by name.
    overwrite : bool, optional
        Replace existing files.
    """
    for name, image in images.items():
        data = image.astype(np.uint8) if image.dtype == bool else image
        hdu = fits.PrimaryHDU(data)
        _write(folder / f'{name}.fits', hdu.writeto, overwrite=overwrite)
    for name, table in tables.items():

        def save(path: Path, table: Any = table) -> None:
            table.write(path, format='ascii.ecsv', overwrite=True)

        _write(folder / f'{name}.ecsv', save, overwrite=overwrite)


def _write(path: Path, save: Callable[[Path], Any], *, overwrite: bool) -> None:
    """Save to a temporary name in the folder, then rename."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        save(temporary)
