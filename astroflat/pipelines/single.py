# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Frames that are corrected each by itself, with the fields found in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._files import check_output
from astroflat._nddata import to_ccd, unpack
from astroflat._progress import progress
from astroflat._provenance import set_card
from astroflat.pipelines.apply import (
    Dtype,
    _Corrector,
    _fitting,
    _image_files,
    _original_samples,
    _shifted,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astroflat._report import QualityReport
    from astroflat.solution import FlatSolution

__all__ = ['SingleReport', 'correct_singles']

_IMAGES = ('.fits', '.fit', '.fts', '.gz', '.tif', '.tiff', '.png', '.xisf')
# What the header of a corrected frame says of the networks that looked at it.
_CARDS = ('AFMODEL', 'AFMODSHA', 'AFMODEL2', 'AFMODSH2', 'AFPROV')


@dataclass(frozen=True)
class SingleReport:
    """
    What `correct_singles` did.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        The files written, None for those that were not.

    reports : dict of QualityReport
        The report of each frame by the name of its file.

    n_clipped : int
        Samples that did not fit the integer type of the output.

    n_masked : int
        Pixels that were not corrected.

    Examples
    --------
    >>> from astroflat.pipelines import SingleReport
    >>> SingleReport().n_rejected
    0
    """

    paths: list[Path | None] = field(default_factory=list)
    reports: dict[str, QualityReport] = field(default_factory=dict)
    n_clipped: int = 0
    n_masked: int = 0

    @property
    def n_rejected(self) -> int:
        """The frames whose fields the report rejects."""
        return sum(r.verdict == 'reject' for r in self.reports.values())


def correct_singles(
    source: Any,
    corrector: Any = None,
    *,
    output: str | os.PathLike,
    bias: Any = None,
    restore_bias: bool = False,
    dtype: Dtype = 'keep',
    min_value: float = 0.05,
    overwrite: bool = False,
    force: bool = False,
    keep_solutions: bool = False,
    figures: bool = False,
    progress_bar: bool = False,
    **options: Any,
) -> SingleReport:
    """
    Find the fields of each frame in the frame itself, and remove them.

    Parameters
    ----------
    source : path or list of path
        Image files, or folders of them.

    corrector : FlatCorrector or None, optional
        What finds them; the default `~astroflat.FlatCorrector` if None.

    output : path-like
        A folder, in which every file gets its own name again.

    bias : CCDData, array_like or path, optional
        Subtracted before.

    restore_bias : bool, optional
        Add the bias again afterwards.

    dtype : {'keep', 'float32'}, optional
        Keep the type of the input, rounding, or write float32.

    min_value : float, optional
        Where the flat is below this, the pixel is not divided.

    overwrite : bool, optional
        Whether existing files may be replaced. A file that is corrected into
        its own folder is kept as ``NAME.bak``.

    force : bool, optional
        Apply fields even if the report rejects them. By default such frames
        are not written.

    keep_solutions : bool, optional
        Write each flat beside its frame, as ``NAME.flat.fits``.

    figures : bool, optional
        Draw each frame before and after, with the fields and how sure they are,
        as ``NAME.fields.png``; of a rejected frame, what was found. Needs
        matplotlib.

    progress_bar : bool, optional
        Show the progress on standard error.

    **options
        For `FlatCorrector.estimate`: ``mode``, ``parts``, ``strength``,
        ``channels``, ``stretched``.

    Returns
    -------
    report : SingleReport
        Files and reports.

    Raises
    ------
    ValueError
        If the source is no list of image files, or two have one name.

    FileExistsError
        If an output exists and ``overwrite`` is `False`; nothing is written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astroflat.pipelines import correct_singles
    >>> folder = tempfile.mkdtemp()
    >>> frame = np.random.default_rng(1).poisson(900, (64, 96)).astype('f4')
    >>> fits.writeto(os.path.join(folder, 'a.fits'), frame)
    >>> out = os.path.join(folder, 'out')
    >>> done = correct_singles(os.path.join(folder, 'a.fits'), output=out)
    >>> done.paths[0].name
    'a.fits'
    """
    if corrector is None:
        from astroflat.neural import FlatCorrector

        corrector = FlatCorrector()
    files = _image_files(source)
    if not files:
        msg = 'source must be image files: a video has one flat for all its frames'
        raise ValueError(msg)
    targets = _targets(files, Path(output), overwrite)
    if figures:
        from astroflat.visualization import save_figure

        for target in targets.values():
            check_output(_figure_of(target), overwrite=overwrite)
    job = _Job(corrector, bias, restore_bias, min_value, dtype, force, options)
    report = SingleReport()
    clipped = masked = 0
    for path in progress(
        files, enabled=progress_bar, total=len(files), description='correct'
    ):
        ccd, solution = job.correct(path)
        report.reports[path.name] = solution.report
        written = None if ccd is None else targets[path]
        report.paths.append(written)
        if figures:
            made = _figure(path.name, job.before(path), ccd, solution)
            save_figure(made, _figure_of(targets[path]), overwrite=overwrite)
        if written is None:
            continue
        _keep_original(path, written)
        clipped += job.write(ccd, path, written)
        masked += 0 if ccd.mask is None else int(np.count_nonzero(ccd.mask))
        if keep_solutions:
            flat = written.with_name(f'{written.stem}.flat.fits')
            solution.write(flat, overwrite=overwrite)
    return SingleReport(report.paths, report.reports, clipped, masked)


def _targets(files: list[Path], folder: Path, overwrite: bool) -> dict[Path, Path]:
    """Return where each file goes; all names are free, or may be replaced."""
    if folder.suffix.lower() in _IMAGES and not folder.is_dir():
        msg = (
            f'output {folder.name!r} is to be a folder, in which each image gets its '
            'own name again; give its name'
        )
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    targets = {path: folder / path.name for path in files}
    if len(set(targets.values())) < len(files):
        msg = 'two inputs have the same name; correct them into different folders'
        raise ValueError(msg)
    for target in targets.values():
        check_output(target, overwrite=overwrite)
    return targets


def _figure_of(target: Path) -> Path:
    """Return the name of the figure of a frame, which is not that of an image."""
    return target.with_name(f'{target.stem}.fields.png')


def _figure(name: str, before: Any, after: Any, solution: FlatSolution) -> Figure:
    """Draw a frame before and after, the fields, and how sure they are."""
    from astroflat.visualization import plot_comparison

    def plane(image: Any) -> np.ndarray:
        image = np.asarray(image, dtype=np.float32)
        return image if image.ndim == 2 else image.mean(axis=2)

    frames = [('before', plane(before.data), 'sky')]
    if after is not None:
        frames.append(('after', plane(after.data), 'sky'))
    fields = [('flat F', plane(solution.flat.data), 'F')]
    if solution.gradient is not None:
        fields.append(('gradient G', plane(solution.gradient.data), 'G'))
    if solution.flat.uncertainty is not None:
        sigma = plane(solution.flat.uncertainty.array)
        fields.append(('uncertainty of F', sigma, 'sigma'))
    rows = [('frame', frames), ('found', fields)]
    lines = str(solution.report).splitlines()
    return plot_comparison(rows, lines=lines, title=name)


def _keep_original(path: Path, target: Path) -> None:
    """Keep a copy of an input that its own result replaces."""
    backup = path.with_name(f'{path.name}.bak')
    if target.resolve() == path.resolve() and not backup.exists():
        import shutil

        shutil.copy2(path, backup)


@dataclass
class _Job:
    """Read, estimate, correct, write."""

    corrector: Any
    bias: Any
    restore_bias: bool
    min_value: float
    dtype: Dtype
    force: bool
    options: dict[str, Any]

    def __post_init__(self) -> None:
        if self.bias is not None:
            # With its mask and uncertainty, read once.
            self.bias = to_ccd(self.bias, name='bias')

    def correct(self, path: Path) -> tuple[Any, FlatSolution]:
        """Return the corrected frame, or None if its fields are rejected."""
        from astroflat.io.images import read_ccd

        raw = read_ccd(path)
        solution = self.corrector.estimate(self.light(raw), **self.options)
        if solution.report.verdict == 'reject' and not self.force:
            return None, solution
        work = _Corrector(solution.model, self.bias, self.restore_bias, self.min_value)
        result = work.ccd(raw)
        known = solution.flat.meta
        for name in _CARDS:
            if name in known:
                comment = known.comments[name] if hasattr(known, 'comments') else ''
                set_card(result.meta, name, (known[name], comment))
        return result, solution

    def light(self, raw: Any) -> Any:
        """Return a frame without its bias."""
        if self.bias is None:
            return raw
        offset = unpack(self.bias, name='bias', ndim=(2, 3)).data
        return _shifted(raw, -_fitting(offset, raw.shape))

    def before(self, path: Path) -> Any:
        """Return a frame as its result would be without any field."""
        from astroflat.io.images import read_ccd

        raw = read_ccd(path)
        return raw if self.restore_bias else self.light(raw)

    def write(self, ccd: Any, path: Path, target: Path) -> int:
        """Write a result in the format of its input; return what was clipped."""
        from astroflat.io.export import write_image

        keep = self.dtype == 'keep'
        stored = _original_samples(path) if keep else {'dtype': 'float32'}
        return write_image(ccd, target, overwrite=True, **stored).n_clipped
