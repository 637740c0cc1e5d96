# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The flat of dithered frames after Kuhn, Lin & Loranz, solved to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._arrays import as_mask
from astroflat._arrays import n_threads as count_threads

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from astroflat.selfcal._kll_layout import Interpolation
    from astroflat.solution import FlatSolution

__all__ = ['kll_flat']

OnDegenerate = Literal['raise', 'warn', 'ignore']


def kll_flat(
    frames: Any,
    offsets: Any = None,
    *,
    bias: Any = None,
    dark: Any = None,
    dark_scale: Any = False,
    mask: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    sigma_clip: float | None = 5.0,
    levels: Literal['free', 'fixed'] = 'free',
    interpolation: Interpolation = 'cubic',
    smooth: float | None = None,
    groups: int | ArrayLike | None = None,
    max_frames: int = 64,
    on_degenerate: OnDegenerate = 'raise',
    tolerance: float = 1e-4,
    max_iterations: int = 300,
    rng: np.random.Generator | int | None = 0,
    mem_limit: float = 2e9,
    n_threads: int | None = None,
    client: Any = None,
    progress_bar: bool = False,
    unit: Any = None,
    add_keyword: Any = True,
) -> FlatSolution:
    r"""
    Find the flat from frames between which the sky has moved.

    What stays with the detector is the flat, what moves with the offsets is the
    sky. Both are found together, with no need for an empty sky: the surface of
    the Sun or the Moon and a nebula that fills the frame will do.

    Parameters
    ----------
    frames : path, list, array, FrameStack, ImageFileCollection or dask array
        The frames ``(n, ny, nx)`` or ``(n, ny, nx, 3)``: anything that
        `~astroflat.open_frames` takes, such as a SER video. Masked, saturated
        and non-finite samples are left out.

    offsets : array_like or Shifts, optional
        ``(n, 2)``: what is at (y, x) of the sky is at (y + dy, x + dx) of the
        frame. By default `measure_shifts` finds them.

    bias, dark : CCDData, array_like, path or number, optional
        Subtracted from every frame. A pedestal left in makes the flat too weak.

    dark_scale : bool, float or array_like, optional
        The factor of the dark, as in `~astroflat.median_flat`.

    mask : array_like of bool, optional
        ``(ny, nx)``, True marks pixels that are bad in all frames.

    weights : array_like, optional
        What the weights of the samples are multiplied by: not negative, of the
        shape ``(n,)``, ``(ny, nx)`` or ``(n, ny, nx)``.

    sigma_clip : float or None, optional
        Samples beyond so many standard deviations count for nothing, and less
        before (Tukey's biweight): stars that are not resolved, cosmic rays,
        satellites. `None` is plain least squares.

    levels : {'free', 'fixed'}, optional
        Whether the brightness of each frame is fitted: clouds, extinction,
        twilight. Free levels leave the slope of the flat to be told by the
        levels alone, see Notes.

    interpolation : {'nearest', 'linear', 'cubic'}, optional
        How the sky is interpolated between its pixels. 'nearest' rounds
        offsets, as the original does.

    smooth : float, optional
        Believe the flat to be smooth on this scale, in pixels: noise and pixel
        response below it are averaged away.

    groups : int or array_like of int, optional
        Frames of different groups have skies of their own: the number of
        groups of consecutive frames, or a label for each frame. For a sky that
        changes, by seeing or by itself, faster than all frames are taken. Only
        offsets within a group count.

    max_frames : int, optional
        Frames of nearly the same offset are averaged until so many are left.

    on_degenerate : {'raise', 'warn', 'ignore'}, optional
        What to do when the offsets cannot tell some patterns from the sky. The
        last two return a flat without these patterns, which lists them in its
        report and has their size in its uncertainty.

    tolerance : float, optional
        The rms error of the logarithm of the flat that the iterations may
        leave.

    max_iterations : int, optional
        The most iterations of the conjugate gradients, for each pass.

    rng : `numpy.random.Generator` or int, optional
        Source of the noise that is followed through the solver to know the
        uncertainty.

    mem_limit : float, optional
        Bytes beyond which working arrays of the size of the frames lie in a
        scratch file. Images of the size of one frame are always in memory.

    n_threads : int, optional
        The number of threads; by default as many as there are processors, or
        ``OMP_NUM_THREADS``. The result does not depend on it.

    client : `dask.distributed.Client`, optional
        Handed to `measure_shifts`. The solver runs here, in bands: each of
        its iterations needs all of the sky.

    progress_bar : bool, optional
        Whether to show a bar.

    unit : unit, optional
        The unit of the frames, if they do not say it.

    add_keyword : bool, str, `ccdproc.Keyword`, dict or None, optional
        Whether to record the step in the metadata, as in ccdproc.

    Returns
    -------
    solution : FlatSolution
        ``flat`` has the mean 1 over unmasked pixels, its uncertainty, and 1
        under its mask, which marks pixels that no offset connects to others,
        and those most of whose samples were outliers.
        ``coverage`` counts the samples behind each pixel; ``stages`` holds the
        offsets, the levels of the frames and the sky; ``report`` says what the
        flat is worth.

    Raises
    ------
    DegenerateDithersError
        If the offsets leave patterns undetermined: all on a line, too small or
        periodic.

    ValueError
        If there are fewer than three frames, or an argument makes no sense.

    See Also
    --------
    measure_shifts : Finds the offsets.

    Notes
    -----
    The model of [1]_, ``ln I_k(x) = ln F(x) + s(x - o_k) + b_k``, is fitted by
    weighted least squares. The flat is eliminated exactly, so that an iteration
    costs one pass over the frames, not over their pairs. What is left is solved
    by conjugate gradients, preconditioned with the inverse for an endless
    detector, until the flat changes by less than ``tolerance``; the ten
    sweeps of the usual program leave several per cent when offsets are small.
    Weights follow the noise as a function of brightness, measured from what
    the model leaves.

    A slope of the flat together with the opposite slope of the sky changes
    frames by constants only. With free levels the slope is therefore the one
    that makes levels independent of the offsets, and the scatter of the levels
    beside it is in the uncertainty. Where that scatter leaves it open by more
    than the slopes of usual flats (3 % rms over the frame), these count.

    Gradients of the sky that differ between frames are no part of the model.
    What is left of them in the frames tells how far they may have bent the
    flat; this is in the uncertainty, and where it is more than the bend of
    usual flats (5 % rms), these count. Of a drift in step with time ten times
    as much is feared.

    Three frames always leave waves undetermined whose periods fit all
    differences of their offsets.

    References
    ----------
    .. [1] Kuhn, J. R., Lin, H., & Loranz, D. 1991, PASP, 103, 1097,
       https://doi.org/10.1086/132932

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> from astroflat.degradation import simulate_video
    >>> options = {'pattern': 'random', 'seeing': 0, 'gradient': np.zeros((64, 64))}
    >>> video = simulate_video(9, (64, 64), drift=8, rng=1, **options)
    >>> solution = af.kll_flat(video.array(), video.shifts, bias=video.camera.bias)
    >>> before, after = video.flat, video.flat / solution.flat.data
    >>> print(f'{100 * np.std(before):.1f} % before, {100 * np.std(after):.1f} % after')
    4.6 % before, 0.4 % after
    """
    from astroflat.combine._request import Request
    from astroflat.selfcal._kll_run import run
    from astroflat.selfcal._kll_settings import Settings

    request = Request(frames, unit, bias, dark, dark_scale)
    try:
        settings = Settings(
            mask=as_mask(mask, request.stack.shape[1:3]),
            weights=weights,
            clip=sigma_clip,
            levels=levels,
            interpolation=interpolation,
            smooth=smooth,
            groups=groups,
            max_frames=max_frames,
            on_degenerate=on_degenerate,
            tolerance=tolerance,
            max_iterations=max_iterations,
            rng=np.random.default_rng(rng),
            mem_limit=mem_limit,
            threads=count_threads(n_threads),
            client=client,
            progress_bar=progress_bar,
            add_keyword=add_keyword,
        )
        return run(request, offsets, settings.check(request.stack.shape))
    finally:
        request.close()
