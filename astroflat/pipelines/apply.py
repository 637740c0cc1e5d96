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

from astroflat._arrays import float_dtype
from astroflat._arrays import n_threads as count_threads
from astroflat._files import check_output
from astroflat._nddata import KEEP, Frame, unpack
from astroflat._progress import progress
from astroflat.degradation._apply import correct_arrays
from astroflat.degradation.model import DegradationModel
from astroflat.pipelines._streams import write_cube, write_video

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
        ``.ser`` or ``.fits`` for one file with all frames, a cube if there
        are several; otherwise a folder, in which every image file gets its
        own name again.

    bias : CCDData, array_like or path, optional
        Subtracted before the division. Its mask is handed on, and its
        variance added to that of frames that have one.

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

    Notes
    -----
    An image keeps all that it has. A cube has the cards that the headers of
    its first and last frame share, the range of times, and the masks in the
    extension MASK; a video the names and times of its source.

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
        if len(stack) == 1 and output.suffix.lower() in ('.fits', '.fit'):
            return _correct_single(stack, files, work, output, dtype, overwrite)
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
            counts = write_video(stack, results, output, overwrite=overwrite)
        else:
            counts = write_cube(
                stack,
                results,
                output,
                dtype=dtype,
                overwrite=overwrite,
                method='correct',
                history='every frame divided by one flat',
                mask=lambda: work.mask,
            )
        return ApplyReport([output], len(stack), *counts)


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
        self.bias = None if bias is None else unpack(bias, name='bias', ndim=(2, 3))
        self.restore = restore_bias
        self.min_value = min_value
        # Where no frame of the stream can be corrected.
        self.mask: np.ndarray | None = None

    def plain(self, frame: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a corrected array and the number of pixels not corrected."""
        data = np.asarray(frame, float_dtype(frame.dtype))
        bias = None if self.bias is None else _fitting(self.bias.data, data.shape)
        if bias is not None:
            data = data - bias
        if self.fields is None:
            self.fields = self.model.fields_for(unpack(data, ndim=(2, 3)))
        values, _, mask, n_masked = correct_arrays(
            data, *self.fields, min_value=self.min_value, n_threads=1
        )
        if self.mask is None:
            self.mask = _either(mask, self._bias_mask(data.shape))
        if bias is not None and self.restore:
            values = values + bias
        return values, n_masked

    def ccd(self, ccd: Any) -> Any:
        """Return a corrected CCDData."""
        if self.bias is None:
            return self.model.correct(ccd, min_value=self.min_value, n_threads=1)
        shape = np.shape(ccd.data)
        light = _shifted(ccd, -_fitting(self.bias.data, shape))
        result = self.model.correct(light, min_value=self.min_value, n_threads=1)
        if self.restore:
            result = _shifted(result, _fitting(self.bias.data, shape))
        return self._with_bias(unpack(light, ndim=(2, 3)), unpack(result, ndim=(2, 3)))

    def count(self, ccd: Any, result: Any) -> int:
        """Return how many pixels the fields alone have masked."""
        if result.mask is None:
            return 0
        before = _either(ccd.mask, self._bias_mask(result.mask.shape))
        after = np.count_nonzero(result.mask)
        return int(after - (0 if before is None else np.count_nonzero(before)))

    def _bias_mask(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the mask of the bias in the shape of a frame."""
        if self.bias is None or self.bias.mask is None:
            return None
        return _fitting(self.bias.mask, shape)

    def _with_bias(self, light: Frame, result: Frame) -> Any:
        """Return a result with what is not known of the bias."""
        mask, variance = self._bias_mask(result.shape), KEEP
        if result.uncertainty is not None and self.bias.variance is not None:
            extra = _fitting(self.bias.variance, result.shape)
            variance = result.variance + self._slope(light) ** 2 * extra
        mask = KEEP if mask is None else _either(result.mask, mask)
        return result.repack(result.data, mask=mask, variance=variance)

    def _slope(self, light: Frame) -> np.ndarray:
        """Return how far a result moves with the bias."""
        flat, _ = self.model.fields_for(light)
        good = flat.value >= self.min_value
        if flat.mask is not None:
            good = good & ~flat.mask
        slope = 1 / np.where(good, flat.value, light.data.dtype.type(1))
        return slope - 1 if self.restore else slope


def _fitting(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a plane of the bias in the shape of a frame."""
    if plane.ndim == 2 and len(shape) == 3:
        plane = plane[..., None]
    if plane.shape[:2] != shape[:2] or plane.ndim != len(shape):
        msg = f'bias has the shape {plane.shape}, the frames have {shape}'
        raise ValueError(msg)
    return np.broadcast_to(plane, shape)


def _either(one: np.ndarray | None, two: np.ndarray | None) -> np.ndarray | None:
    """Return the union of two masks."""
    if one is None or two is None:
        return two if one is None else one
    return one | two


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
        return _correct_file(path, targets[path], work, dtype, overwrite)

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


def _correct_file(
    path: Path, target: Path, work: _Corrector, dtype: Dtype, overwrite: bool
) -> tuple[int, int]:
    """Correct an image file; return how many pixels are clipped and masked."""
    from astroflat.io.export import write_image
    from astroflat.io.images import read_ccd

    ccd = read_ccd(path)
    result = work.ccd(ccd)
    stored = _original_samples(path) if dtype == 'keep' else {'dtype': 'float32'}
    report = write_image(result, target, overwrite=overwrite, **stored)
    return report.n_clipped, work.count(ccd, result)


def _correct_single(
    stack: Any,
    files: list[Path] | None,
    work: _Corrector,
    output: Path,
    dtype: Dtype,
    overwrite: bool,
) -> ApplyReport:
    """Correct a single frame with all that belongs to it."""
    from astroflat.io.export import write_image

    if files is not None:
        counts = _correct_file(files[0], output, work, dtype, overwrite)
        return ApplyReport([output], 1, *counts)
    ccd = stack.ccd(0)
    result = work.ccd(ccd)
    kind = stack.dtype.name if dtype == 'keep' else 'float32'
    report = write_image(result, output, dtype=kind, overwrite=overwrite)
    return ApplyReport([output], 1, report.n_clipped, work.count(ccd, result))


def _original_samples(path: Path) -> dict[str, Any]:
    """Return the type, and the scale, that a file stores its samples with."""
    from astroflat.io.images import read_image

    image = read_image(path)
    dtype = image.data.dtype.newbyteorder('=')
    scale = image.meta.get('AFSCALE', 1.0) if dtype.kind in 'iu' else 1.0
    return {'dtype': dtype.name, 'scale': float(scale)}


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
