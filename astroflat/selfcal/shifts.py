# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""By how much the sky moves from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._arrays import as_mask
from astroflat._arrays import n_threads as count_threads

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ['Shifts', 'measure_shifts']

Method = Literal['auto', 'wcs', 'stars', 'phase']


@dataclass(frozen=True)
class Shifts:
    """
    Offsets of frames.

    Parameters
    ----------
    offsets : `~numpy.ndarray`
        ``(n, 2)``, dy and dx in pixels: what is at (y, x) in the reference is
        at (y + dy, x + dx) in the frame.

    uncertainty : `~numpy.ndarray` or None, optional
        ``(n,)``: one standard deviation along either axis, in pixels.

    method : str, optional
        How they were found.

    rotation : `~numpy.ndarray` or None, optional
        ``(n,)``, in degrees from x towards y, where it was measured.

    scale : `~numpy.ndarray` or None, optional
        ``(n,)``, relative to the reference, where it was measured.

    quality : `~numpy.ndarray` or None, optional
        ``(n,)``, from 0 to 1: how alike the frame and the reference are, the
        correlation or the share of the stars.

    reference : int, optional
        The frame whose offset is zero.

    Examples
    --------
    >>> from astroflat.selfcal import Shifts
    >>> Shifts.given([[0, 0], [3, -2]]).offsets
    array([[ 0.,  0.],
           [ 3., -2.]])
    """

    offsets: np.ndarray
    uncertainty: np.ndarray | None = None
    method: str = 'given'
    rotation: np.ndarray | None = None
    scale: np.ndarray | None = None
    quality: np.ndarray | None = None
    reference: int = 0

    @classmethod
    def given(cls, offsets: ArrayLike) -> Shifts:
        """
        Take offsets from elsewhere.

        Parameters
        ----------
        offsets : array_like
            ``(n, 2)``, dy and dx.

        Returns
        -------
        shifts : Shifts
            Without uncertainty.

        Raises
        ------
        ValueError
            If the shape is wrong or a number is not finite.
        """
        offsets = np.array(offsets, dtype=np.float64)
        if offsets.ndim != 2 or offsets.shape[1] != 2:
            msg = f'offsets must have the shape (n, 2), dy and dx, not {offsets.shape}'
            raise ValueError(msg)
        if not np.isfinite(offsets).all():
            bad = np.flatnonzero(~np.isfinite(offsets).all(axis=1)).tolist()
            msg = f'offsets of the frames {bad} are not finite; leave these frames out'
            raise ValueError(msg)
        return cls(offsets)


def measure_shifts(
    frames: Any,
    *,
    method: Method = 'auto',
    reference: int | None = None,
    max_shift: float | None = None,
    max_distortion: float | None = 1.0,
    bias: Any = None,
    dark: Any = None,
    mask: ArrayLike | None = None,
    fwhm: float | None = None,
    max_size: int = 768,
    n_threads: int | None = None,
    client: Any = None,
    progress_bar: bool = False,
    unit: Any = None,
) -> Shifts:
    """
    Measure the offsets of frames, whatever the detector adds to them.

    Parameters
    ----------
    frames : path, list, array, FrameStack ...
        The frames, anything that `~astroflat.open_frames` takes.

    method : {'auto', 'wcs', 'stars', 'phase'}, optional
        * 'wcs': from the celestial WCS of the frames, as good as these are.
        * 'stars': from the images of stars that move alike.
        * 'phase': from all that is seen, of any kind: correlation for a start,
          then a common fit of sky, detector pattern and offsets.
        * 'auto': 'phase', which starts from the WCS if all frames have one and
          do not contradict it, and 'stars' if that fails or, without a WCS that
          holds to 1.5 pixels, if the stars are surer or say something else.

    reference : int, optional
        The frame whose offset is zero; the first by default.

    max_shift : float, optional
        The largest offset in pixels that is believed.

    max_distortion : float or None, optional
        If rotation or scale move the corners of a frame by more pixels than
        this, beyond the error, frames are refused. `None` accepts any.

    bias, dark : CCDData, array_like, path or number, optional
        Subtracted from every frame.

    mask : array_like of bool, optional
        ``(ny, nx)``, True marks bad pixels.

    fwhm : float, optional
        The full width at half maximum of stars, in pixels, which decides what is
        taken for a star. By default the one of 1.5, 3, 6 and 12 at which the stars of
        two frames agree best.

    max_size : int, optional
        Larger frames are binned to at most this many pixels along a side, for
        'phase'.

    n_threads : int, optional
        The number of threads; all processors by default.

    client : `dask.distributed.Client`, optional
        Where stars are looked for; not needed by the other methods.

    progress_bar : bool, optional
        Whether to show a bar.

    unit : unit, optional
        The unit of the frames, if they do not say it.

    Returns
    -------
    shifts : Shifts
        Offsets with uncertainty and quality.

    Raises
    ------
    ValueError
        If a frame cannot be aligned, or is rotated (the message names the
        angle), or an argument makes no sense.

    Notes
    -----
    'stars' fits the image of each star to the mean of its images in all frames:
    offset, flux and background, without hot pixels. Each star has its own template,
    of any shape. Offset, rotation and scale of a frame are then fitted to the stars,
    weighted by their errors and a scatter in common, without outliers. The
    uncertainty is the larger one of what the scatter of stars and that of nine parts
    of the field say. If all stars change their shape alike, no scatter tells: the
    disagreement between the best fit and the centre of light is added to it.

    Dust and vignetting stay where they are from frame to frame and would pull
    a correlation towards no shift. So the mean over frames of what the filter
    leaves is subtracted first. Where frames move by less than their stars are
    wide it holds the stars as well, whose ghosts are then found; so the frames are
    also correlated as they are, and of both offsets those are taken that explain
    the frames better by a sky that moves and a pattern that stays. The
    offsets are then refined together with a flat and a sky by the solver of
    `kll_flat`: each frame is compared with the sky of all by least squares,
    with outliers left out, until nothing changes. Only what is smaller than a
    32nd of the frame counts, as gradients of the sky differ between frames.

    The uncertainty comes from the scatter of blocks of the frame, doubled
    because the frames share the noise of the sky that they make, and is never
    less than 0.015 px of the binned frame. Where sky and pattern explain each other,
    each round of the fit leaves a share r of the error, and the uncertainty is
    1 / (1 - r) times as large. Frames that are not known to half a pixel are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation import simulate_video
    >>> from astroflat.selfcal import measure_shifts
    >>> video = simulate_video(8, (96, 96), pattern='random', seeing=0, rng=3)
    >>> shifts = measure_shifts(video.array(), bias=video.camera.bias)
    >>> truth = video.shifts - video.shifts[0]
    >>> bool(np.abs(shifts.offsets - truth).max() < 0.05)
    True
    """
    from astroflat.combine._request import Request
    from astroflat.selfcal._shift_run import ShiftSettings, find_shifts

    request = Request(frames, unit, bias, dark, False)
    try:
        settings = ShiftSettings(
            method=method,
            reference=reference,
            max_shift=max_shift,
            max_distortion=max_distortion,
            mask=as_mask(mask, request.stack.shape[1:3]),
            fwhm=fwhm,
            max_size=max_size,
            threads=count_threads(n_threads),
            client=client,
            progress_bar=progress_bar,
        )
        return find_shifts(request, settings)
    finally:
        request.close()
