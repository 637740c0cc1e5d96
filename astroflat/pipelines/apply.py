# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One flat applied to a video, or to a folder of frames, as a stream."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._arrays import n_threads as count_threads
from astroflat._files import atomic_path, check_output
from astroflat._nddata import unpack
from astroflat._progress import progress
from astroflat.degradation._apply import correct_arrays
from astroflat.degradation.model import DegradationModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ['ApplyReport', 'correct_frames']

Dtype = Literal['keep', 'float32']


@dataclass(frozen=True)
class ApplyReport:
    """
    What `correct_frames` did.

    Parameters
    ----------
    paths : list of `pathlib.Path`
        The files written.

    n_frames : int
        The number of frames corrected.

    n_clipped : int
        Samples that did not fit the integer type of the output and were set
        to its limit. Always 0 for floating point.

    n_masked : int
        Samples that were not corrected, because the flat is unknown there.

    Examples
    --------
    >>> from astroflat.pipelines import ApplyReport
    >>> ApplyReport(n_frames=3).n_clipped
    0
    """

    paths: list[Path] = field(default_factory=list)
    n_frames: int = 0
    n_clipped: int = 0
    n_masked: int = 0


def correct_frames(
    source: Any,
    solution: Any,
    *,
    output: str | os.PathLike,
    bias: Any = None,
    restore_bias: bool = False,
    dtype: Dtype = 'keep',
    min_value: float = 0.05,
    overwrite: bool = False,
    n_threads: int | None = None,
    progress_bar: bool = False,
) -> ApplyReport:
    """
    Correct every frame of a video or of a list of files.

    Parameters
    ----------
    source : path, list of path, FrameStack ...
        A video or a cube, or image files: as in `astroflat.open_frames`.

    solution : FlatSolution, DegradationModel, CCDData, array_like or path
        The fields; an image is a flat.

    output : path-like
        ``.ser`` or ``.fits`` for one file with all frames; otherwise a
        folder, in which every image file gets its own name again.

    bias : CCDData, array_like or path, optional
        Subtracted before the division.

    restore_bias : bool, optional
        Add the bias again afterwards, so that an integer video keeps its
        pedestal and its noise below it.

    dtype : {'keep', 'float32'}, optional
        Keep the type of the input, rounding to the nearest integer, or write
        float32. A SER video always keeps its type.

    min_value : float, optional
        Where the flat is below this, the pixel is not divided.

    overwrite : bool, optional
        Whether existing files may be replaced.

    n_threads : int, optional
        The number of threads; all processors by default.

    progress_bar : bool, optional
        Show the progress on standard error.

    Returns
    -------
    report : ApplyReport
        The files and the counts.

    Raises
    ------
    FileExistsError
        If an output exists and ``overwrite`` is `False`; nothing is written.

    ValueError
        If a flat does not fit the frames.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import astroflat as af
    >>> frames = np.full((5, 8, 8), 100, 'u2')
    >>> flat = np.full((8, 8), 0.5)
    >>> path = os.path.join(tempfile.mkdtemp(), 'clean.ser')
    >>> af.correct_frames(frames, flat, output=path).n_frames
    5
    >>> int(af.open_frames(path)[4].max())
    200
    """
    from astroflat.io import open_frames

    output = Path(output)
    model = _as_model(solution)
    work = _Corrector(model, bias, restore_bias, min_value)
    files = _image_files(source)
    if files is not None and output.suffix.lower() not in ('.ser', '.fits', '.fit'):
        return _correct_files(
            files, work, output, dtype, overwrite, n_threads, progress_bar
        )
    with open_frames(source) as stack:
        results = progress(
            _bounded_map(work.plain, stack, n_threads),
            enabled=progress_bar,
            total=len(stack),
            description='correct',
        )
        if output.suffix.lower() not in ('.ser', '.fits', '.fit'):
            msg = (
                f'output {output.name!r} must end in .ser or .fits '
                'for a video or a cube'
            )
            raise ValueError(msg)
        if output.suffix.lower() == '.ser':
            return _write_ser(stack, results, output, overwrite)
        return _write_cube(stack, results, output, dtype, overwrite)


def _as_model(solution: Any) -> DegradationModel:
    """Return the fields as a model."""
    if isinstance(solution, DegradationModel):
        return solution
    model = getattr(solution, 'model', None)
    return model if model is not None else DegradationModel(solution)


class _Corrector:
    """Correct one frame: the arithmetic of the stream."""

    def __init__(
        self, model: DegradationModel, bias: Any, restore_bias: bool, min_value: float
    ) -> None:
        self.model = model
        self.fields = None
        self.bias = None if bias is None else unpack(bias, ndim=(2, 3)).data
        self.restore = restore_bias
        self.min_value = min_value

    def plain(self, frame: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a corrected array and the number of pixels not corrected."""
        data = np.asarray(frame, np.float32)
        if self.bias is not None:
            data = data - self.bias
        if self.fields is None:
            self.fields = self.model.fields_for(unpack(data, ndim=(2, 3)))
        values, _, _, n_masked = correct_arrays(
            data, *self.fields, min_value=self.min_value, n_threads=1
        )
        if self.bias is not None and self.restore:
            values = values + self.bias
        return values, n_masked

    def ccd(self, ccd: Any) -> Any:
        """Return a corrected CCDData."""
        if self.bias is not None:
            ccd = _shifted(ccd, -self.bias)
        result = self.model.correct(ccd, min_value=self.min_value, n_threads=1)
        if self.bias is not None and self.restore:
            result = _shifted(result, self.bias)
        return result


def _shifted(ccd: Any, offset: np.ndarray) -> Any:
    """Return a CCDData with an offset added."""
    frame = unpack(ccd, ndim=(2, 3))
    return frame.repack(frame.data + offset)


def _image_files(source: Any) -> list[Path] | None:
    """Return the files of a source of single images, or None for all others."""
    from astroflat.io._resolve import file_kind, list_files

    if hasattr(source, 'files_filtered'):
        return [Path(p) for p in source.files_filtered(include_path=True)]
    items = [source] if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(items, (list, tuple)):
        return None
    if not items or not all(isinstance(i, (str, os.PathLike)) for i in items):
        return None
    files = [file for item in items for file in list_files(item)]
    if any(file_kind(file) in ('ser', 'video') for file in files):
        return None
    return files


def _correct_files(
    files: list[Path],
    work: _Corrector,
    folder: Path,
    dtype: Dtype,
    overwrite: bool,
    n_threads: int | None,
    progress_bar: bool,
) -> ApplyReport:
    """Correct image files into a folder, all or none of the names being free."""
    from astroflat.io.export import write_image
    from astroflat.io.images import read_ccd

    folder.mkdir(parents=True, exist_ok=True)
    targets = {path: folder / path.name for path in files}
    if len(set(targets.values())) < len(files):
        msg = 'two inputs have the same name; correct them into different folders'
        raise ValueError(msg)
    for path, target in targets.items():
        if target.resolve() == path.resolve() and not overwrite:
            msg = f'output is the folder of {path.name!r}; choose another folder'
            raise FileExistsError(msg)
        check_output(target, overwrite=overwrite)

    def one(path: Path) -> tuple[int, int]:
        result = work.ccd(read_ccd(path))
        masked = 0 if result.mask is None else int(np.count_nonzero(result.mask))
        kind = _original_type(path) if dtype == 'keep' else 'float32'
        report = write_image(result, targets[path], dtype=kind, overwrite=overwrite)
        return report.n_clipped, masked

    counts = list(
        progress(
            _bounded_map(one, files, n_threads),
            enabled=progress_bar,
            total=len(files),
            description='correct',
        )
    )
    return ApplyReport(
        list(targets.values()),
        len(files),
        sum(c for c, _ in counts),
        sum(m for _, m in counts),
    )


def _original_type(path: Path) -> str:
    """Return the name of the type that a file holds."""
    from astroflat.io.images import read_image

    return read_image(path)[0].dtype.newbyteorder('=').name


def _bounded_map(
    function: Callable, items: Any, n_threads: int | None
) -> Iterator[Any]:
    """Map on threads in order, with only a few results waiting."""
    threads = count_threads(n_threads)
    if threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _round_to(values: np.ndarray, dtype: np.dtype, top: int) -> tuple:
    """Round to an integer type; return how many samples did not fit."""
    low = np.iinfo(dtype).min
    rounded = np.rint(values)
    # NaN cannot be an integer: it becomes 0 and counts as clipped.
    fits = (rounded >= low) & (rounded <= top)
    clipped = int(rounded.size - np.count_nonzero(fits))
    if clipped:
        rounded = np.clip(np.nan_to_num(rounded, nan=0.0), low, top)
    return rounded.astype(dtype), clipped


def _write_ser(stack: Any, results: Any, output: Path, overwrite: bool) -> ApplyReport:
    """Write corrected frames as a SER video of the same depth."""
    from astroflat.io import write_ser

    kind = stack.dtype
    if kind.kind != 'u' or kind.itemsize > 2:
        msg = f'a SER video cannot hold {kind}; give an output that ends in .fits'
        raise ValueError(msg)
    counts = np.zeros(2, int)

    def integers() -> Iterator[np.ndarray]:
        for values, masked in results:
            frame, clipped = _round_to(values, kind, 2**stack.bit_depth - 1)
            counts[:] += clipped, masked
            yield frame

    write_ser(
        output,
        integers(),
        color=stack.color,
        bit_depth=stack.bit_depth,
        times=stack.times,
        overwrite=overwrite,
    )
    return ApplyReport([output], len(stack), *counts.tolist())


def _write_cube(
    stack: Any, results: Any, output: Path, dtype: Dtype, overwrite: bool
) -> ApplyReport:
    """Write corrected frames as a FITS cube, frame by frame."""
    from astropy.io import fits

    keep = dtype == 'keep' and stack.dtype.kind in 'ui' and stack.dtype.itemsize <= 2
    kind = np.dtype(stack.dtype if keep else np.float32)
    header = _cube_header(stack, kind)
    offset = 32768 if kind == np.uint16 else 0
    counts = np.zeros(2, int)
    with atomic_path(output, overwrite=overwrite) as temporary:
        hdu = fits.StreamingHDU(temporary, header)
        for values, masked in results:
            clipped = 0
            if keep:
                values, clipped = _round_to(values, kind, np.iinfo(kind).max)
                if offset:
                    values = (values.astype(np.int32) - offset).astype(np.int16)
            else:
                values = values.astype(np.float32)
            counts += clipped, masked
            if values.ndim == 3:
                values = np.moveaxis(values, -1, 0)
            hdu.write(values)
        hdu.close()
    return ApplyReport([output], len(stack), *counts.tolist())


def _cube_header(stack: Any, kind: np.dtype) -> Any:
    """Return the header of a cube of the frames."""
    from astropy.io import fits

    header = fits.Header()
    header['SIMPLE'] = True
    header['BITPIX'] = {'u1': 8, 'u2': 16, 'i2': 16, 'f4': -32}[kind.str[1:]]
    n, ny, nx, *planes = stack.shape
    axes = [nx, ny, *planes, n]
    header['NAXIS'] = len(axes)
    for i, size in enumerate(axes, 1):
        header[f'NAXIS{i}'] = size
    if kind == np.uint16:
        header['BSCALE'], header['BZERO'] = 1, 32768
    header['BUNIT'] = str(stack.unit or 'adu')
    header.add_history('astroflat correct: every frame divided by one flat')
    return header
