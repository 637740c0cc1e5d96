# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A flat from the sky between the objects of the science frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat._provenance import record
from astroflat.selfcal._job import Detail, Job
from astroflat.selfcal._night import Night, check_offsets
from astroflat.selfcal._verdict import judge_flat
from astroflat.solution import FlatSolution

__all__ = ['sky_flat']


def sky_flat(
    frames: Any,
    *,
    offsets: Any = None,
    bias: Any = None,
    dark: Any = None,
    dark_scale: Any = False,
    mask: Any = None,
    nsigma: float = 3.0,
    growth: float = 3.0,
    mem_limit: float = 256e6,
    n_threads: int | None = None,
    client: Any = None,
    progress_bar: bool | Callable[[int, int], None] = False,
    unit: Any = None,
    add_keyword: Any = True,
) -> FlatSolution:
    r"""
    Make a flat of science frames, from the sky between the objects.

    Stars, galaxies and nebulae are masked in all frames where one shows
    them; level and gradient of the sky of each frame are fitted together with
    the flat; what the frames then have in common is the flat.

    Parameters
    ----------
    frames : path, list, array, FrameStack, ImageFileCollection ...
        The frames, at least 3 of one plane, as in `astroflat.open_frames`.

    offsets : array_like, False or None, optional
        ``(n, 2)``, dy and dx in pixels: what is at (y, x) in one frame is at
        (y + dy, x + dx) in another. By default they are measured by
        `measure_shifts`, and checked by stars. False: the frames show different
        fields.

    bias, dark : CCDData, array_like, path or number, optional
        Subtracted from every frame. A pedestal left in makes the flat too
        weak.

    dark_scale : bool, float or array_like, optional
        As in `astroflat.median_flat`.

    mask : array_like of bool, optional
        Bad pixels of the detector, True = bad. The flat is 1 there.

    nsigma : float, optional
        How far above the noise an object is masked, at the sizes of stars, of
        their halos and of small galaxies.

    growth : float, optional
        How far the mask reaches beyond what is found, in pixels. Around large
        objects it reaches to where their light cannot be seen any more.

    mem_limit : float, optional
        Bytes for bands of all frames, see Notes.

    n_threads : int, optional
        The number of threads; all processors by default.

    client : `dask.distributed.Client`, optional
        A cluster that combines the bands.

    progress_bar : bool or callable, optional
        Whether to show a bar, or what to call with rows done and all rows.

    unit : unit, optional
        The unit of the frames, if they do not say it.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    solution : FlatSolution
        ``flat`` with a standard deviation per pixel, ``(ny, nx)``, float32,
        mean 1; ``coverage``, how many frames show the sky; ``report`` with
        the verdict. In ``stages``: ``offsets``; ``sky``, the level of each
        frame; ``gradients``, the light added to each, a function of the
        number of the frame; ``objects``, the mask of each, likewise;
        ``ratio``, what was combined before the noise was taken out.

    Raises
    ------
    ValueError
        If there are fewer than 3 frames, more than one colour, or no sky.

    See Also
    --------
    solve_fields : Also what is added to the frames.

    Notes
    -----
    On a grid of at most 24 cells along a side, logarithm of the flat, level
    and second-degree gradient of the sky of each frame and the diffuse light
    that moves with the sky are the solution of one robust least-squares
    problem, with priors for what no data can tell: a gradient that all frames
    have in common looks like a tilt of the flat, and a nebula larger than
    the dither like vignetting. A tilt of the flat is expected in proportion
    to its vignetting, a common gradient in proportion to the differences
    between the frames. The posterior covariance is part of the uncertainty.

    Nebulae and other large objects are masked with what is inside of them, first
    with a margin of 1.5 times their radius, then to the distance at which the
    median of the registered frames has become constant. Under them the flat is
    that of the fit.

    Detail is the robust weighted mean of the frames over that fit, pixel by
    pixel, at full resolution. Noise is taken out of it scale by scale. What
    is under a star in all frames is filled from around it, with an
    uncertainty that says so.

    Frames are read one by one, six times, and twice in bands. Besides
    ``mem_limit`` it takes about 16 planes of float32 of the size of a frame
    (1.5 GB for 24 million pixels), and 6 for each thread. The result does
    not depend on the bands.

    Examples
    --------
    >>> import astroflat as af
    >>> from astroflat.degradation import simulate_night
    >>> night = simulate_night(6, (96, 96), dither=15, rng=3, difficulty=0.8)
    >>> solution = af.sky_flat(
    ...     list(night.frames), offsets=night.offsets, bias=night.camera.bias
    ... )
    >>> error = af.quality.flat_residual(solution.flat, night.flat)['total_percent']
    >>> nothing = af.quality.flat_residual(1.0, night.flat)['total_percent']
    >>> bool(error < 0.5 * nothing)
    True
    """
    from astroflat.combine._progress import show_progress

    with (
        Night(
            frames,
            bias=bias,
            dark=dark,
            dark_scale=dark_scale,
            unit=unit,
            mask=mask,
            n_threads=n_threads,
        ) as night,
        show_progress(progress_bar, night.shape[0]) as progress,
    ):
        notes = register(night, offsets)
        job = Job(
            night,
            nsigma=nsigma,
            growth=growth,
            mem_limit=mem_limit,
            client=client,
            progress=progress,
        )
        detail = job.run()
        report = judge_flat(job, detail, 'sky flat', notes)
        return pack(job, detail, report, 'sky', add_keyword)


def register(night: Night, offsets: Any) -> list[str]:
    """
    Give frames their offsets; None if they have no sky in common.

    Parameters
    ----------
    night : Night
        The frames.

    offsets : array_like, Shifts, False or None
        As in `sky_flat`.

    Returns
    -------
    notes : list of str
        Why they could not be measured, if so.
    """
    if offsets is False:
        return []
    if offsets is not None:
        night.offsets = check_offsets(getattr(offsets, 'offsets', offsets), night.n)
        return []
    from astroflat._exceptions import AstroflatError
    from astroflat.selfcal._shift_run import ShiftSettings, find_shifts

    wanted = ShiftSettings(mask=night.mask, threads=night.threads)
    try:
        night.offsets = find_shifts(night.request, wanted).offsets
    except (AstroflatError, ValueError) as error:
        return [f'the frames could not be registered: {error}']
    return []


def pack(
    job: Job,
    detail: Detail,
    report: Any,
    method: str,
    add_keyword: Any,
    **extra: Any,
) -> FlatSolution:
    """
    Put a flat into its container.

    Parameters
    ----------
    job : Job
        How it was made.

    detail : Detail
        The flat.

    report : QualityReport
        Numbers and verdict.

    method : str
        Its name.

    add_keyword : object
        As in ccdproc.

    **extra
        ``gradient``, and further ``stages``.

    Returns
    -------
    solution : FlatSolution
        The flat with everything known about it.
    """
    night, light = job.night, job.light
    bad = night.mask
    flat, sigma = detail.flat, detail.sigma
    if bad is not None:
        flat, sigma = np.where(bad, 1, flat), np.where(bad, 0, sigma)
    meta = night.meta(detail.fine.count)
    record(
        meta,
        method,
        history=f'{report.verdict}; {night.n} frames, mean 1',
        add_keyword=add_keyword,
        AFSIGMA=(round(report.numbers['sigma_percent'], 4), '[%] uncertainty, rms'),
    )
    ccd = CCDData(
        flat.astype(np.float32),
        unit=u.dimensionless_unscaled,
        mask=bad,
        uncertainty=StdDevUncertainty(sigma.astype(np.float32)),
        meta=meta,
    )
    stages = {
        'offsets': night.offsets,
        'sky': light.fit.sky,
        'gradients': light.gradient,
        'objects': job.objects.frame,
        'ratio': detail.fine.ratio,
        'numbers': light.fit.numbers,
    }
    gradient = extra.pop('gradient', None)
    return FlatSolution(
        ccd,
        gradient=gradient,
        coverage=detail.fine.count,
        report=report,
        stages=stages | extra,
        method=method,
    )
