# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Restore image files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from astroflat._files import check_output
from astroflat._progress import listen, progress
from astroflat.pipelines.apply import _image_files, _original_samples

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from astroflat._report import QualityReport
    from astroflat.neural.restorer import Restorer

__all__ = ['RestoreReport', 'restore_frames']

# Formats for people, which hold whole numbers only.
_WHOLE = ('.png', '.jpg', '.jpeg')
_IMAGES = (*_WHOLE, '.fits', '.fit', '.fts', '.tif', '.tiff', '.xisf')
# Parts of the time of one image that have passed when it is read, and restored.
_READ, _RESTORED = 0.05, 0.9


@dataclass(frozen=True)
class _Settings:
    """How files are written."""

    dtype: str
    overwrite: bool
    residuals: bool


@dataclass(frozen=True)
class RestoreReport:
    """
    What `restore_frames` did.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        Files written.

    reports : list of `~astroflat.quality.QualityReport`
        Those of the restorer, one for each image.

    n_clipped : int
        Samples that did not fit an integer type and were set to its limit.

    Examples
    --------
    >>> from astroflat.pipelines import RestoreReport
    >>> RestoreReport().n_clipped
    0
    """

    paths: list[Path] = field(default_factory=list)
    reports: list[QualityReport] = field(default_factory=list)
    n_clipped: int = 0


def restore_frames(
    source: Any,
    restorer: Restorer,
    *,
    output: str | os.PathLike,
    dtype: Literal['auto', 'keep', 'float32'] = 'auto',
    overwrite: bool = False,
    residuals: bool = False,
    progress_bar: bool = False,
    on_progress: Callable[[float, str], None] | None = None,
    **options: Any,
) -> RestoreReport:
    """
    Deconvolve and denoise image files.

    Parameters
    ----------
    source : path, list of path or ImageFileCollection
        Image files, folders or patterns.

    restorer : Restorer
        The restorer.

    output : path-like
        A file, if there is one image; otherwise a folder, in which every image
        gets its own name again.

    dtype : {'auto', 'keep', 'float32'}, optional
        Type of the output: by default float32, but that of the input for PNG,
        which holds whole numbers only.

    overwrite : bool, optional
        Whether existing files may be replaced.

    residuals : bool, optional
        Whether to write what the restored image, blurred again, does not explain,
        as ``NAME_residual.fits`` beside each output.

    progress_bar : bool, optional
        Show the progress on standard error.

    on_progress : callable, optional
        Called with the part of the work that is done, 0 to 1, and a word on it.

    **options
        ``fwhm``, ``psf``, ``strength``, ``denoise``, ``protect`` and more, as in
        `astroflat.Restorer.restore`.

    Returns
    -------
    report : RestoreReport
        Files and numbers.

    Raises
    ------
    FileExistsError
        If an output exists and ``overwrite`` is `False`; nothing is written.

    TooFewStarsError
        If neither ``fwhm`` nor ``psf`` is given and an image has too few stars.

    Examples
    --------
    With files of a night:

    >>> import astroflat as af
    >>> from astroflat.pipelines import restore_frames
    >>> restorer = af.Restorer()  # doctest: +SKIP
    >>> restore_frames('lights/', restorer, output='sharp/')  # doctest: +SKIP
    """
    files = _image_files(source)
    if files is None:
        msg = 'source must be image files; videos are restored frame by frame as files'
        raise ValueError(msg)
    settings = _Settings(dtype, overwrite, residuals)
    targets = _targets(files, Path(output), settings)
    tell = on_progress or _silent

    def _work(ccd: Any) -> Any:
        return restorer.restore(ccd, full_output=True, **options)

    done = []
    for index, (path, target) in enumerate(
        progress(list(targets.items()), enabled=progress_bar, description='restore')
    ):

        def _part(fraction: float, text: str, start: int = index) -> None:
            tell((start + fraction) / len(targets), text)

        done.append(_one(path, target, _work, settings, _part))
    tell(1.0, 'done')
    return RestoreReport(
        list(targets.values()),
        [report for report, _ in done],
        sum(clipped for _, clipped in done),
    )


def _one(
    path: Path,
    target: Path,
    work: Callable[[Any], Any],
    settings: _Settings,
    tell: Callable[[float, str], None],
) -> tuple[QualityReport, int]:
    """Restore one file."""
    from astroflat.io.export import write_image
    from astroflat.io.images import read_ccd

    tell(0.0, f'{path.name}: read')
    ccd = read_ccd(path)
    tell(_READ, f'{path.name}: restore')
    planes = ccd.shape[2] if ccd.data.ndim == 3 else 1
    with listen(_Sweeps(planes, lambda part: tell(part, f'{path.name}: restore'))):
        found = work(ccd)
    tell(_RESTORED, f'{path.name}: write')
    whole = target.suffix.lower() in _WHOLE
    keep = settings.dtype == 'keep' or (settings.dtype == 'auto' and whole)
    stored = _original_samples(path) if keep else {'dtype': 'float32'}
    options = {'overwrite': settings.overwrite}
    written = write_image(found.image, target, **stored, **options)
    if settings.residuals:
        write_image(found.residual, residual_path(target), **options)
    return found.report, written.n_clipped


class _Sweeps:
    """Turn the tiles of one plane after the other into a part of the whole."""

    def __init__(self, planes: int, tell: Callable[[float], None]) -> None:
        self._planes, self._tell = planes, tell
        self._sweep = self._last = 0

    def __call__(self, count: int, total: int, _: str) -> None:
        if count <= self._last:
            self._sweep += 1
        self._last = count
        part = (self._sweep + count / max(total, count)) / self._planes
        self._tell(_READ + (_RESTORED - _READ) * min(1.0, part))


def residual_path(path: Path) -> Path:
    """
    Return the name of the residual of an image.

    Parameters
    ----------
    path : `pathlib.Path`
        The restored image.

    Returns
    -------
    path : `pathlib.Path`
        FITS file beside it.
    """
    # Names of frames may have dots, and compressed files have two suffixes.
    name = path.stem if path.suffix.lower() == '.gz' else path.name
    return path.with_name(f'{Path(name).stem}_residual.fits')


def _targets(files: list[Path], output: Path, settings: _Settings) -> dict[Path, Path]:
    """Return the outputs of all inputs, all or none of the names being free."""
    from astroflat.io._write_steps import file_format

    single = len(files) == 1 and output.suffix and not output.is_dir()
    if not single:
        if output.suffix.lower() in _IMAGES and not output.is_dir():
            msg = f'{len(files)} images cannot go into {output.name!r}; give a folder'
            raise ValueError(msg)
        output.mkdir(parents=True, exist_ok=True)
    targets = {path: output if single else output / path.name for path in files}
    written = list(targets.values())
    if settings.residuals:
        written += [residual_path(target) for target in targets.values()]
    if len(set(written)) < len(written):
        msg = 'two outputs have the same name; restore them into different folders'
        raise ValueError(msg)
    for path, target in targets.items():
        if target.resolve() == path.resolve():
            msg = f'{path.name!r} would be replaced by its own result; choose another'
            raise FileExistsError(msg)
        # A format that cannot be written, before hours have gone into it.
        file_format(target)
        check_output(target, overwrite=settings.overwrite)
        if settings.residuals:
            check_output(residual_path(target), overwrite=settings.overwrite)
    return targets


def _silent(*_: Any) -> None:
    """Tell nobody."""
