# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames of a video or stack as single files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from astroflat._files import atomic_path, check_output
from astroflat.io.frames import FrameStack, open_frames

if TYPE_CHECKING:
    import numpy as np

__all__ = ['dump_frames']

_SUFFIXES = {'fits': '.fits', 'tiff': '.tif'}


def dump_frames(
    source: Any,
    folder: str | os.PathLike,
    *,
    format: Literal['fits', 'tiff'] = 'fits',  # noqa: A002
    name: str | None = None,
    overwrite: bool = False,
    progress_bar: bool = False,
    **options: Any,
) -> list[Path]:
    """
    Write the frames of a video, or of any stack, as single files.

    Parameters
    ----------
    source : object
        Anything that `open_frames` accepts.

    folder : str or path-like
        Where to write; made if it does not exist.

    format : {'fits', 'tiff'}, optional
        FITS with the metadata that the source has, or TIFF. The samples keep
        their type.

    name : str, optional
        The files are called ``name_00000.fits`` and so on. The default is the
        name of the source without its ending.

    overwrite : bool, optional
        Whether existing files may be replaced. If not, and one exists,
        nothing is written at all.

    progress_bar : bool, optional
        Whether to show progress (needs tqdm).

    **options
        Passed to `open_frames`.

    Returns
    -------
    paths : list of `pathlib.Path`
        The files, in the order of the frames.

    Raises
    ------
    FileExistsError
        If a file exists and ``overwrite`` is `False`.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from astroflat.io import dump_frames
    >>> frames = np.zeros((3, 4, 5), dtype=np.uint16)
    >>> paths = dump_frames(frames, tempfile.mkdtemp(), name='sun')
    >>> [path.name for path in paths]
    ['sun_00000.fits', 'sun_00001.fits', 'sun_00002.fits']
    """
    if format not in _SUFFIXES:
        msg = f"format must be 'fits' or 'tiff', not {format!r}"
        raise ValueError(msg)
    write = _write_fits if format == 'fits' else _write_tiff
    folder = Path(folder)
    with open_frames(source, **options) as stack:
        stem = name or stack.name.split('.')[0].replace(' ', '_') or 'frame'
        digits = max(5, len(str(len(stack) - 1)))
        folder.mkdir(parents=True, exist_ok=True)
        paths = [
            folder / f'{stem}_{i:0{digits}d}{_SUFFIXES[format]}'
            for i in range(len(stack))
        ]
        for path in paths:
            check_output(path, overwrite=overwrite)
        for i in _progress(range(len(stack)), show=progress_bar):
            with atomic_path(paths[i], overwrite=overwrite) as temporary:
                write(temporary, stack, i)
    return paths


def _write_fits(path: Path, stack: FrameStack, i: int) -> None:
    """Write a frame with its metadata."""
    from astropy.io import fits

    from astroflat.io._cards import as_header, without_structure

    data = stack[i]
    if data.ndim == 3:
        # FITS keeps colours as planes.
        data = data.transpose(2, 0, 1)
    header = without_structure(as_header(stack.header(i)))
    unit = stack.unit
    if unit is not None and 'BUNIT' not in header:
        header['BUNIT'] = unit.to_string()
    # A card that the source had against the rules must not cost the frame.
    hdu = fits.PrimaryHDU(data, header)
    hdu.writeto(path, output_verify='silentfix+ignore')


def _write_tiff(path: Path, stack: FrameStack, i: int) -> None:
    """Write the samples of a frame."""
    import tifffile

    data: np.ndarray = stack[i]
    tifffile.imwrite(path, data, photometric='rgb' if data.ndim == 3 else 'minisblack')


def _progress(items: range, *, show: bool) -> Any:
    if not show:
        return items
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return items
    return tqdm(items, unit='frame')
