# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Denoise a video, a cube or image files, frame by frame."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._files import check_output
from astroflat._nddata import unpack
from astroflat._progress import progress
from astroflat.pipelines._streams import write_cube, write_video
from astroflat.pipelines.apply import _image_files, _original_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astroflat.neural.denoiser import Denoiser

__all__ = ['DenoiseReport', 'denoise_frames']

_STREAMS = ('.ser', '.fits', '.fit')
# Formats for people, which hold whole numbers only.
_WHOLE = ('.png', '.jpg', '.jpeg')
_IMAGES = (*_WHOLE, '.fts', '.gz', '.tif', '.tiff', '.xisf')


@dataclass(frozen=True)
class DenoiseReport:
    """
    What `denoise_frames` did.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        The files written.

    n_frames : int
        The number of frames denoised.

    n_clipped : int
        Samples that did not fit an integer type and were set to its limit.

    noise_before, noise_after : list of float
        For each frame the noise of the faint half of its pixels, before and
        as estimated after, in the unit of the data.

    Examples
    --------
    >>> from astroflat.pipelines import DenoiseReport
    >>> DenoiseReport(n_frames=3).n_clipped
    0
    """

    paths: list[Path] = field(default_factory=list)
    n_frames: int = 0
    n_clipped: int = 0
    noise_before: list[float] = field(default_factory=list)
    noise_after: list[float] = field(default_factory=list)


def denoise_frames(
    source: Any,
    denoiser: Denoiser,
    *,
    output: str | os.PathLike,
    dtype: Literal['auto', 'keep', 'float32'] = 'auto',
    overwrite: bool = False,
    progress_bar: bool = False,
    **options: Any,
) -> DenoiseReport:
    """
    Denoise every frame of a video or of a list of files.

    Parameters
    ----------
    source : path, list of path, FrameStack ...
        A video or a cube, or image files: as in `astroflat.open_frames`.

    denoiser : Denoiser
        The denoiser.

    output : path-like
        ``.ser`` or ``.fits`` for one file with all frames, a cube if there
        are several; otherwise a folder, in which every image file gets its
        own name again.

    dtype : {'auto', 'keep', 'float32'}, optional
        Type of the output. By default float32, but that of the input for SER
        and for PNG, which hold whole numbers only. Whole numbers are
        coarser than what is left of the noise of a faint frame.

    overwrite : bool, optional
        Whether existing files may be replaced.

    progress_bar : bool, optional
        Show the progress on standard error.

    **options
        ``gain``, ``strength`` and more, as in `astroflat.Denoiser.denoise`.

    Returns
    -------
    report : DenoiseReport
        The files and the numbers.

    Raises
    ------
    FileExistsError
        If an output exists and ``overwrite`` is `False`; nothing is written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.pipelines import denoise_frames
    >>> frames = np.random.default_rng(1).poisson(100.0, (2, 64, 64)).astype('u2')
    >>> path = os.path.join(tempfile.mkdtemp(), 'clean.ser')
    >>> report = denoise_frames(frames, af.Denoiser(device='cpu'), output=path)
    >>> report.n_frames, report.noise_after[0] < 0.4 * report.noise_before[0]
    (2, True)
    """
    from astroflat.io import open_frames

    work = _Work(denoiser, options)
    output = Path(output)
    stream = output.suffix.lower() in _STREAMS
    files = _image_files(source)
    if files is not None and not stream:
        return _denoise_files(files, work, output, dtype, overwrite, progress_bar)
    if not stream:
        msg = f'output {output.name!r} must end in .ser or .fits for a video or a cube'
        raise ValueError(msg)
    if any(output.resolve() == path.resolve() for path in files or ()):
        msg = f'{output.name!r} would be replaced by its own result; choose another'
        raise FileExistsError(msg)
    with open_frames(source) as stack:
        if len(stack) == 1 and output.suffix.lower() != '.ser':
            path = files[0] if files else None
            n_clipped = _denoise_single(stack, path, work, output, dtype, overwrite)
            return work.report([output], n_clipped)
        results = progress(
            work.stream(stack),
            enabled=progress_bar,
            total=len(stack),
            description='denoise',
        )
        if output.suffix.lower() == '.ser':
            n_clipped, _ = write_video(stack, results, output, overwrite=overwrite)
        else:
            n_clipped, _ = write_cube(
                stack,
                results,
                output,
                dtype='keep' if dtype == 'keep' else 'float32',
                overwrite=overwrite,
                method='denoise',
                history='every frame denoised',
            )
    return work.report([output], n_clipped)


class _Work:
    """Denoise frames, and remember their noise."""

    def __init__(self, denoiser: Denoiser, options: dict[str, Any]) -> None:
        self.denoiser, self.options = denoiser, options
        self.before: list[float] = []
        self.after: list[float] = []

    def one(self, frame: Any) -> Any:
        """Denoise one frame, a CCDData."""
        clean = self.denoiser.denoise(frame, **self.options)
        parts = unpack(clean, ndim=(2, 3))
        faint = parts.data <= np.nanmedian(parts.data)
        taken = unpack(frame, ndim=(2, 3)).data - parts.data
        left = np.sqrt(np.nanmedian(parts.variance[faint]))
        removed = 1.4826 * np.nanmedian(np.abs(taken[faint]))
        self.before.append(float(np.hypot(removed, left)))
        self.after.append(float(left))
        return clean

    def stream(self, stack: Any) -> Iterator[tuple[np.ndarray, int]]:
        """Denoise the frames of a stack one by one."""
        from astropy.nddata import CCDData

        mosaic = stack.color not in ('mono', 'RGB')
        meta = {'BAYERPAT': stack.color} if mosaic else {}
        for frame in stack:
            ccd = CCDData(np.asarray(frame, np.float32), unit='adu', meta=meta)
            yield self.one(ccd).data, 0

    def report(self, paths: list[Path], n_clipped: int) -> DenoiseReport:
        """Return what was done."""
        return DenoiseReport(
            paths, len(self.before), n_clipped, self.before, self.after
        )


def _denoise_single(
    stack: Any,
    path: Path | None,
    work: _Work,
    output: Path,
    dtype: str,
    overwrite: bool,
) -> int:
    """Denoise a single frame with all that belongs to it; return what is clipped."""
    from astroflat.io.export import write_image
    from astroflat.io.images import read_ccd

    check_output(output, overwrite=overwrite)
    stored = {'dtype': 'float32'}
    if dtype == 'keep':
        stored = _original_samples(path) if path else {'dtype': stack.dtype.name}
    clean = work.one(read_ccd(path) if path else stack.ccd(0))
    return write_image(clean, output, overwrite=overwrite, **stored).n_clipped


def _denoise_files(
    files: list[Path],
    work: _Work,
    folder: Path,
    dtype: str,
    overwrite: bool,
    progress_bar: bool,
) -> DenoiseReport:
    """Denoise image files into a folder, all or none of the names being free."""
    from astroflat.io._write_steps import file_format
    from astroflat.io.export import write_image
    from astroflat.io.images import read_ccd

    targets = {path: folder / path.name for path in files}
    if len(set(targets.values())) < len(files):
        msg = 'two inputs have the same name; denoise them into different folders'
        raise ValueError(msg)
    if folder.suffix.lower() in _IMAGES and not folder.is_dir():
        msg = f'output {folder.name!r} is to be a folder for images; give its name'
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    for path, target in targets.items():
        if target.resolve() == path.resolve():
            msg = f'output is the folder of {path.name!r}; choose another folder'
            raise FileExistsError(msg)
        file_format(target)
        check_output(target, overwrite=overwrite)
    clipped = 0
    for path in progress(files, enabled=progress_bar, description='denoise'):
        keep = dtype == 'keep' or (dtype == 'auto' and path.suffix.lower() in _WHOLE)
        stored = _original_samples(path) if keep else {'dtype': 'float32'}
        clean = work.one(read_ccd(path))
        done = write_image(clean, targets[path], overwrite=overwrite, **stored)
        clipped += done.n_clipped
    return work.report(list(targets.values()), clipped)
