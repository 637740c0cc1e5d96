# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Restore image files: stars measured, deconvolved, compared, and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from astroflat._files import check_output
from astroflat._nddata import unpack
from astroflat._progress import listen, progress
from astroflat._report import QualityReport
from astroflat.pipelines.apply import _image_files, _original_type

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from astroflat.neural.restorer import Restorer

__all__ = ['RestoreReport', 'restore_frames']

# Formats for people, which hold whole numbers only.
_WHOLE = ('.png', '.jpg', '.jpeg')
_IMAGES = (*_WHOLE, '.fits', '.fit', '.fts', '.tif', '.tiff', '.xisf')
# Parts of the time of one image: read and measured, restored, compared.
_MEASURED, _RESTORED = 0.15, 0.85


@dataclass(frozen=True)
class RestoreReport:
    """
    What `restore_frames` did.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        Files written.

    reports : list of `~astroflat.quality.QualityReport`
        Widths, fluxes and places of the stars of each image, before and after.

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
    fwhm: Any = None,
    psf: Any = None,
    dtype: Literal['auto', 'keep', 'float32'] = 'auto',
    overwrite: bool = False,
    audit: bool = True,
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

    fwhm : float or `~astroflat.psf.PSFField`, optional
        Width of the stars in pixels. By default they are measured in each image,
        as a function of the place.

    psf : array_like or `~astroflat.psf.PSFField`, optional
        Image of a star, in place of ``fwhm``.

    dtype : {'auto', 'keep', 'float32'}, optional
        Type of the output: by default float32, but that of the input for PNG and
        JPEG, which hold whole numbers only.

    overwrite : bool, optional
        Whether existing files may be replaced.

    audit : bool, optional
        Whether to measure the stars again afterwards.

    progress_bar : bool, optional
        Show the progress on standard error.

    on_progress : callable, optional
        Called with the part of the work that is done, 0 to 1, and a word on it.

    **options
        ``strength``, ``denoise``, ``protect`` and more, as in
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
    targets = _targets(files, Path(output), overwrite)
    work = _Work(restorer, fwhm, psf, audit, options)
    tell = on_progress or _silent
    done = []
    for index, (path, target) in enumerate(
        progress(list(targets.items()), enabled=progress_bar, description='restore')
    ):

        def part(fraction: float, text: str, start: int = index) -> None:
            tell((start + fraction) / len(targets), text)

        done.append(_one(path, target, work, dtype, overwrite, part))
    tell(1.0, 'done')
    return RestoreReport(
        list(targets.values()),
        [report for report, _ in done],
        sum(clipped for _, clipped in done),
    )


@dataclass(frozen=True)
class _Work:
    """What is done to every image."""

    restorer: Any
    fwhm: Any
    psf: Any
    audit: bool
    options: dict[str, Any]

    def measure(self, ccd: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """Return the arguments for the star, the stars found, and numbers."""
        from astroflat.psf import PSFField, measure_field, measure_stars

        given = self.psf if self.psf is not None else self.fwhm
        if given is None:
            found = measure_field(ccd)
            return {'psf': found}, _used(found), dict(found.report.numbers)
        numbers = {}
        if isinstance(given, PSFField):
            numbers = dict(given.report.numbers)
        elif self.psf is None:
            numbers = {'fwhm_pix': float(given)}
        stars = measure_stars(ccd) if self.audit else None
        return {'psf': self.psf, 'fwhm': self.fwhm}, stars, numbers

    def restore(self, ccd: Any, star: dict[str, Any]) -> Any:
        """Restore one image."""
        return self.restorer.restore(ccd, **star, **self.options)


def _one(
    path: Path,
    target: Path,
    work: _Work,
    dtype: str,
    overwrite: bool,
    tell: Callable[[float, str], None],
) -> tuple[QualityReport, int]:
    """Restore one file."""
    from astroflat.io.export import write_image
    from astroflat.io.images import read_ccd

    tell(0.0, f'{path.name}: read')
    ccd = read_ccd(path)
    unpack(ccd, ndim=(2, 3))
    star, stars, numbers = work.measure(ccd)
    tell(_MEASURED, f'{path.name}: restore')
    span = _RESTORED - _MEASURED

    def tiles(count: int, total: int, _: str) -> None:
        if total:
            tell(_MEASURED + span * min(1.0, count / total), f'{path.name}: restore')

    with listen(tiles):
        result = work.restore(ccd, star)
    tell(_RESTORED, f'{path.name}: compare and write')
    report = _report(path, ccd, result, stars if work.audit else None, numbers)
    keep = dtype == 'keep' or (dtype == 'auto' and target.suffix.lower() in _WHOLE)
    kind = _original_type(path) if keep else 'float32'
    written = write_image(result, target, dtype=kind, overwrite=overwrite)
    return report, written.n_clipped


def _report(
    path: Path, ccd: Any, result: Any, stars: Any, numbers: dict[str, Any]
) -> QualityReport:
    """Return what was measured before and after."""
    from astroflat.pipelines._restore_audit import audit_stars, check_audit

    measured = audit_stars(ccd, result, stars)
    report = QualityReport('restore', {'file': path.name, **numbers, **measured})
    return check_audit(report)


def _targets(files: list[Path], output: Path, overwrite: bool) -> dict[Path, Path]:
    """Return the outputs of all inputs, all or none of the names being free."""
    single = len(files) == 1 and output.suffix and not output.is_dir()
    if not single:
        if output.suffix.lower() in _IMAGES and not output.is_dir():
            msg = f'{len(files)} images cannot go into {output.name!r}; give a folder'
            raise ValueError(msg)
        output.mkdir(parents=True, exist_ok=True)
    targets = {path: output if single else output / path.name for path in files}
    if len(set(targets.values())) < len(files):
        msg = 'two inputs have the same name; restore them into different folders'
        raise ValueError(msg)
    for path, target in targets.items():
        if target.resolve() == path.resolve():
            msg = f'{path.name!r} would be replaced by its own result; choose another'
            raise FileExistsError(msg)
        check_output(target, overwrite=overwrite)
    return targets


def _used(found: Any) -> Any:
    """Return the stars that a field was made of."""
    return found.table[found.table['used']]


def _silent(*_: Any) -> None:
    """Tell nobody."""
