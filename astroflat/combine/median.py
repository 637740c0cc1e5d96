# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The median of frames along time, as CCDData."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from astroflat.combine._core import combine_stack

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from numpy.typing import ArrayLike

    from astroflat.combine._core import CombineResult
    from astroflat.combine._options import Engine, Method

__all__ = ['median_flat']


def median_flat(
    source: Any,
    *,
    method: Method = 'median',
    scale: str | Callable | ArrayLike | None = None,
    bias: Any = None,
    dark: Any = None,
    dark_scale: bool | float | ArrayLike = False,
    sigma_clip: Any = None,
    uncertainty: str | None = 'auto',
    mem_limit: float = 256e6,
    n_threads: int | None = None,
    client: Any = None,
    engine: Engine = 'auto',
    progress_bar: bool | Callable[[int, int], None] = False,
    unit: Any = None,
    add_keyword: Any = True,
) -> CCDData:
    r"""
    Combine frames along time to a flat: exact, streaming, in bounded memory.

    Parameters
    ----------
    source : path, list, array, FrameStack, ImageFileCollection or dask array
        The frames ``(n, ny, nx)`` or ``(n, ny, nx, 3)``; anything that
        `~astroflat.open_frames` takes. Masked samples and NaN are left out.

    method : {'median', 'mean'}, optional
        How to combine the samples of a pixel.

    scale : {'median', 'mean'}, callable or array_like, optional
        What makes frames of different brightness alike. 'median' and 'mean'
        multiply every frame by the median of all levels over its own level,
        measured on up to a million evenly spaced pixels after subtracting bias
        and dark. A function gets each calibrated frame and returns its factor,
        as in `ccdproc.combine`; an array holds one factor per frame. The
        default changes nothing.

    bias, dark : CCDData, array_like, path or number, optional
        Images subtracted from every frame. Uncertainties are added in
        quadrature, masks are handed on. If the frames' unit differs it is
        converted. The dark must not hold the bias if that is subtracted too.

    dark_scale : bool, float or array_like, optional
        True multiplies the dark by the ratio of exposure times, from
        ``EXPTIME`` or ``EXPOSURE`` of the headers; a number, or one per frame,
        is the factor itself.

    sigma_clip : `~astropy.stats.SigmaClip` or float, optional
        Iterative rejection along the frames of each pixel, with the results
        of `astropy.stats.sigma_clip`. A number is ``SigmaClip(sigma=number)``.

    uncertainty : {'auto', 'mad', 'std', None}, optional
        What the standard deviation of single samples is estimated from: the
        median absolute deviation ('mad', the default for the median), or the
        standard deviation about the mean ('std', the default for the mean).
        `None` saves about half of the time.

    mem_limit : float, optional
        Bytes of memory to work in, beside the result, the calibration images
        and the file cache of the system. It is never exceeded.

    n_threads : int, optional
        The number of threads; by default as many as there are processors,
        or ``OMP_NUM_THREADS``.

    client : `dask.distributed.Client`, optional
        A cluster to compute on. Files must be readable by its workers under
        the same path; frames in memory are sent. A dask array is computed by
        dask without it, too, wherever dask computes by default.

    engine : {'auto', 'numpy', 'numba'}, optional
        'auto' uses numba where it is installed and the stack is large. Medians
        are identical to the last bit.

    progress_bar : bool or callable, optional
        Whether to show a bar, or what to call with the number of rows done and
        of all rows.

    unit : unit, optional
        The unit of the frames, if they do not say it; otherwise adu.

    add_keyword : bool, str, `ccdproc.Keyword`, dict or None, optional
        Whether to record the step in the metadata, as in ccdproc.

    Returns
    -------
    flat : `~astropy.nddata.CCDData`
        float32 with a `~astropy.nddata.StdDevUncertainty`; masked and NaN
        where no frame has a sample. Its ``flags`` hold the number of samples
        used of each pixel (int32). Its metadata are the header of the first
        frame with ``NCOMBINE``, the smallest and largest number of samples
        (``NSAMPMIN``, ``NSAMPMAX``) and the time range (``DATE-BEG``,
        ``DATE-END``).

    Raises
    ------
    ValueError
        If an argument makes no sense, or one row of all frames does not fit
        in ``mem_limit``.

    See Also
    --------
    combine_stack : The same with arrays.

    Notes
    -----
    The median is that of `numpy.median`, computed in the type of the samples
    (float64 if float32 does not hold them) and rounded to float32 at the end.
    Colours and the pixels of a Bayer pattern do not mix, since every pixel is
    combined with itself only; ``scale`` applies one factor to a whole frame.

    The uncertainty of a median is :math:`1.2533\,\sigma/\sqrt{n}`, that of a
    mean :math:`\sigma/\sqrt{n}`, with n the samples used. The first is the
    limit for many frames; for few it is too large (6 % for ten, 15 % for
    four). :math:`\sigma` is 1.4826 times the median absolute deviation times
    the small-sample factor of [1]_; integers count as spread over their unit,
    so that 8-bit frames are no exception. Where it is unknown (fewer than two
    samples) the uncertainty is NaN, never 0.

    References
    ----------
    .. [1] Croux, C., & Rousseeuw, P. J. 1992, in Computational Statistics, ed.
       Y. Dodge & J. Whittaker (Heidelberg: Physica), 411,
       https://doi.org/10.1007/978-3-662-26811-7_58

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> rng = np.random.default_rng(1)
    >>> frames = rng.normal(1000, 10, (25, 40, 60)).astype('uint16')
    >>> flat = af.median_flat(frames)
    >>> flat.dtype, flat.unit, flat.meta['NCOMBINE']
    (dtype('float32'), Unit("adu"), 25)
    >>> print(f'{np.mean(flat.uncertainty.array):.1f}')
    2.5
    """
    from astroflat.combine._request import Request

    request = Request(source, unit, bias, dark, dark_scale)
    try:
        request.measure(scale, n_threads)
        result = _compute(
            request,
            client,
            progress_bar,
            method=method,
            sigma_clip=sigma_clip,
            uncertainty=uncertainty,
            mem_limit=mem_limit,
            n_threads=n_threads,
            engine=engine,
        )
        words = request.describe(method, scale, sigma_clip)
        return request.package(result, method, words, add_keyword)
    finally:
        request.close()


def _compute(
    request: Any, client: Any, progress_bar: Any, **options: Any
) -> CombineResult:
    """Compute here or on a cluster."""
    from astroflat.combine._progress import show_progress

    with show_progress(progress_bar, request.stack.shape[1]) as progress:
        if request.stack.dask is not None or client is not None:
            from astroflat.combine._dask import combine_on_cluster

            return combine_on_cluster(request, client, progress, **options)
        planes = request.planes()
        return combine_stack(request.stack, progress=progress, **planes, **options)
