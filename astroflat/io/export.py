# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Write flats and corrected frames: FITS, TIFF, PNG and XISF."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from astroflat._exceptions import ImageFormatError
from astroflat._files import atomic_path, check_output
from astroflat.io._flat_file import clean_flat, flat_dtype, flat_scale, label_flat
from astroflat.io._samples import to_samples
from astroflat.io._warn import warn_user
from astroflat.io._write_steps import (
    as_written,
    backup,
    file_format,
    storable,
    to_image,
    write_file,
)

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = ['WriteReport', 'write_flat', 'write_image']

Overwrite = bool | Literal['backup']


@dataclass(frozen=True)
class WriteReport:
    """
    What was written, and what was lost on the way.

    Parameters
    ----------
    path : str
        The file.

    format : {'fits', 'tiff', 'png', 'xisf'}
        Its format.

    dtype : str
        The type of its samples.

    scale : float
        The value in the file is the value in the image times this.

    n_pixels : int
        The number of samples.

    n_clipped : int
        How many were outside the range of the type and were clipped.

    n_filled : int
        How many were not finite, in a type that cannot say so or in a flat.

    dropped : tuple of str
        What the format cannot hold: ``'mask'``, ``'uncertainty'``, ``'psf'``.

    Examples
    --------
    >>> from astroflat.io import WriteReport
    >>> print(WriteReport('flat.tif', 'tiff', 'uint16', 65535.0, 100, 2))
    flat.tif: tiff, uint16, 1.0 = 65535, 2 of 100 pixels clipped
    """

    path: str
    format: str
    dtype: str
    scale: float
    n_pixels: int
    n_clipped: int = 0
    n_filled: int = 0
    dropped: tuple[str, ...] = ()

    @property
    def clipped_fraction(self) -> float:
        """The fraction of the samples that were clipped."""
        return self.n_clipped / self.n_pixels

    def __str__(self) -> str:
        parts = [self.format, self.dtype]
        if self.scale != 1:
            parts.append(f'1.0 = {self.scale:g}')
        parts.append(f'{self.n_clipped} of {self.n_pixels} pixels clipped')
        if self.n_filled:
            parts.append(f'{self.n_filled} not finite')
        if self.dropped:
            parts.append(f'without {", ".join(self.dropped)}')
        return f'{Path(self.path).name}: {", ".join(parts)}'


def write_flat(
    flat: Any,
    path: str | os.PathLike,
    *,
    scale: float | Literal['auto'] | None = None,
    dtype: Literal['float32', 'uint16'] | None = None,
    overwrite: Overwrite = False,
    compress: bool = False,
    flip_rows: bool = False,
    add_keyword: Any = True,
) -> WriteReport:
    """
    Write a flat field for use in astroflat and in other programs.

    Parameters
    ----------
    flat : FlatSolution, CCDData, NDData, masked array or array_like
        The flat, dimensionless, with values around 1.

    path : str or path-like
        The file. The suffix chooses the format: ``.fits``, ``.fit``,
        ``.fts`` (also with ``.gz``), ``.tif``, ``.tiff``, ``.png``,
        ``.xisf``.

    scale : float, 'auto' or None, optional
        The integer that stands for 1.0; recorded in the file. The default is
        65535, which programs that map 16 bits to the range 0 to 1 read as
        1.0. ``'auto'`` takes the largest of 65535, 32768, 16384, ... that
        clips nothing. Floating-point files always have 1.0 as unity.

    dtype : {'float32', 'uint16'} or None, optional
        The type of the samples. The default is float32, which loses nothing;
        for TIFF and XISF it is uint16 if ``scale`` is given, for PNG always.

    overwrite : bool or 'backup', optional
        Whether an existing file may be replaced; ``'backup'`` keeps it as
        ``<name>.bak`` first (``.bak1``, ... if that exists as well).

    compress : bool, optional
        Whether to compress without loss (TIFF and XISF; FITS by ``.gz``).

    flip_rows : bool, optional
        Write the rows in reverse order. Siril needs it for a TIFF or PNG
        flat that is applied to FITS frames. `astroflat.read_image` undoes it.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    report : WriteReport
        What was written, and how many pixels were clipped.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is `False`.

    ImageFormatError
        If the suffix is not known. It is also a `ValueError`.

    ValueError
        If the flat is not dimensionless, empty or nowhere positive.

    Warns
    -----
    AstroflatWarning
        If pixels are clipped, if unmasked pixels are not finite or not
        positive, or if the level is far from 1.

    Notes
    -----
    The file is finite everywhere: pixels that are masked, not finite or not
    positive are written as 1.0, so that no program that ignores masks makes
    holes. In FITS they are in the extension MASK, and the uncertainty is in
    UNCERT; the other formats have neither.

    The card FLATNORM says which value is unity. Programs that divide a flat
    by its mean first (ccdproc by default, Siril, PixInsight) multiply the
    whole frame by that mean; ``ccdproc.flat_correct(ccd, flat,
    norm_value=flat.header['FLATNORM'])`` leaves the clean pixels as they are.

    The file is complete or absent: it is written under a temporary name.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astroflat.io import write_flat
    >>> folder = tempfile.mkdtemp()
    >>> flat = np.array([[1.0, 0.8], [1.0, 0.5]])
    >>> report = write_flat(flat, os.path.join(folder, 'flat.tif'), dtype='uint16')
    >>> report.scale, report.n_clipped
    (65535.0, 0)
    """
    kind = file_format(path)
    check_output(path, overwrite=bool(overwrite))
    ccd, n_filled = clean_flat(to_image(flat))
    samples = flat_dtype(dtype, kind, scale)
    unity = flat_scale(scale, ccd.data) if samples.kind == 'u' else 1.0
    label_flat(ccd.header, samples, unity, n_filled=n_filled, add_keyword=add_keyword)
    target = _Target(Path(path), kind, samples, unity, overwrite, compress, flip_rows)
    return replace(_write(ccd, target, unit_known=True), n_filled=n_filled)


def write_image(
    data: Any,
    path: str | os.PathLike,
    *,
    dtype: str = 'keep',
    scale: float = 1.0,
    overwrite: Overwrite = False,
    compress: bool = False,
    flip_rows: bool = False,
) -> WriteReport:
    """
    Write an image, such as a corrected frame.

    Parameters
    ----------
    data : CCDData, NDData, Quantity, masked array or array_like
        The image, ``(ny, nx)`` or ``(ny, nx, 3)``.

    path : str or path-like
        The file. The suffix chooses the format, as in `write_flat`.

    dtype : str, optional
        The type of the samples: ``'keep'``, ``'float32'``, ``'uint16'`` or
        another that the format has (PNG: uint8 and uint16; XISF: unsigned
        integers, float32 and float64). To integers, values are rounded and
        clipped, and the clipped ones are counted.

    scale : float, optional
        What integers are multiplied by before they are rounded; it is
        recorded in the file.

    overwrite : bool or 'backup', optional
        As in `write_flat`.

    compress : bool, optional
        As in `write_flat`.

    flip_rows : bool, optional
        As in `write_flat`.

    Returns
    -------
    report : WriteReport
        What was written, how many pixels were clipped, and what the format
        cannot hold.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is `False`.

    ImageFormatError
        If the suffix is not known or the format cannot hold the type.

    Warns
    -----
    AstroflatWarning
        If pixels are clipped, or are not finite in an integer type.

    Notes
    -----
    Reading float32 back gives the same bits in FITS, TIFF and XISF. The
    header goes with the image in all four formats, as FITS keywords in XISF
    and as text in TIFF and PNG, with the WCS and the unit. Mask, uncertainty
    and PSF are kept in FITS only; the report says what was dropped.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astroflat.io import read_image, write_image
    >>> path = os.path.join(tempfile.mkdtemp(), 'corrected.fits')
    >>> _ = write_image(np.array([[1.5, 2.5]], dtype='f4'), path)
    >>> read_image(path).data
    array([[1.5, 2.5]], dtype=float32)
    """
    kind = file_format(path)
    check_output(path, overwrite=bool(overwrite))
    ccd = to_image(data)
    samples = _image_dtype(dtype, ccd.data.dtype, scale)
    target = _Target(Path(path), kind, samples, scale, overwrite, compress, flip_rows)
    unit_known = getattr(data, 'unit', None) is not None
    return _write(ccd, target, unit_known=unit_known)


def _image_dtype(dtype: str, kept: np.dtype, scale: float) -> np.dtype:
    """Return the type of the samples of an image."""
    if not (np.isfinite(scale) and scale > 0):
        msg = f'scale must be positive, not {scale!r}'
        raise ValueError(msg)
    kept = storable(kept)
    wanted = kept if dtype == 'keep' else np.dtype(dtype)
    if wanted.kind not in 'iu' and wanted.name not in {'float32', 'float64'}:
        msg = f"dtype must be 'keep', integer, 'float32' or 'float64', not {dtype!r}"
        raise ValueError(msg)
    if scale != 1 and wanted.kind == 'f':
        msg = "scale is for integers; pass dtype='uint16', or multiply the image"
        raise ValueError(msg)
    return wanted


class _Target(NamedTuple):
    """Where and how to write."""

    path: Path
    kind: str
    dtype: np.dtype
    scale: float
    overwrite: Overwrite
    compress: bool
    flip_rows: bool


def _write(ccd: CCDData, target: _Target, *, unit_known: bool) -> WriteReport:
    """Convert the samples, write the file, tell what was lost."""
    kind, dtype, scale = target.kind, target.dtype, target.scale
    if kind == 'png' and dtype.name not in {'uint8', 'uint16'}:
        msg = f"PNG cannot hold {dtype}; pass dtype='uint16' and, if needed, scale=..."
        raise ImageFormatError(msg)
    samples = to_samples(ccd.data, dtype, scale=scale)
    written = as_written(ccd, samples.data, scale=scale, flip_rows=target.flip_rows)
    with atomic_path(target.path, overwrite=bool(target.overwrite)) as temporary:
        write_file(
            written, temporary, kind, compress=target.compress, unit_known=unit_known
        )
        if target.overwrite == 'backup':
            backup(target.path)
    beside = () if kind == 'fits' else ('mask', 'uncertainty', 'psf')
    report = WriteReport(
        path=str(target.path),
        format=kind,
        dtype=dtype.name,
        scale=float(scale),
        n_pixels=samples.data.size,
        n_clipped=samples.n_clipped,
        n_filled=samples.n_filled,
        dropped=tuple(name for name in beside if getattr(ccd, name) is not None),
    )
    _warn(report)
    return report


def _warn(report: WriteReport) -> None:
    """Warn about clipped pixels and pixels that became 0."""
    name = Path(report.path).name
    if report.n_clipped:
        msg = (
            f'{report.n_clipped} of {report.n_pixels} pixels '
            f'({100 * report.clipped_fraction:.3g} %) do not fit into {report.dtype} '
            f"and were clipped in {name!r}; use dtype='float32' or a smaller scale"
        )
        warn_user(msg)
    if report.n_filled and not report.dtype.startswith('float'):
        msg = f'{report.n_filled} pixels of {name!r} were not finite and became 0'
        warn_user(msg)
