# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The frames of a night: calibrated, registered, read frame by frame or in bands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._arrays import as_mask
from astroflat._arrays import n_threads as count_threads
from astroflat.combine._calibration import Calibration
from astroflat.combine._core import CombineResult
from astroflat.combine._request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ['Night', 'check_offsets']


class Night:
    """
    Calibrated frames, and their offsets as soon as they are known.

    Parameters
    ----------
    frames : object
        What `astroflat.open_frames` takes, of one plane.

    bias, dark, dark_scale, unit : object
        As in `astroflat.median_flat`.

    mask : array_like of bool or None
        Bad pixels of the detector.

    n_threads : int or None
        The number of threads.
    """

    def __init__(
        self,
        frames: Any,
        *,
        bias: Any = None,
        dark: Any = None,
        dark_scale: Any = False,
        unit: Any = None,
        mask: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.request = Request(frames, unit, bias, dark, dark_scale)
        self.stack = self.request.stack
        try:
            self._check()
            self.n, self.shape = len(self.stack), self.stack.shape[1:]
            planes = self.request.planes()
            self.calibration = Calibration.of(
                self.stack.shape,
                offset=planes['bias'],
                dark=planes['dark'],
                dark_factors=planes['dark_factors'],
            )
            self.mask = _join(as_mask(mask, self.shape), self.request.bad)
            #: Pixels that are left out, and have a flat nevertheless.
            self.hot: np.ndarray | None = None
            #: ``(n, 2)`` as (dy, dx); None where the frames show different skies.
            self.offsets: np.ndarray | None = None
            self.threads = count_threads(n_threads)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Night:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here."""
        self.request.close()

    def _check(self) -> None:
        """Raise if these are not frames of one plane."""
        if self.stack.color != 'mono':
            msg = (
                f'the frames are {self.stack.color}; give one colour plane at a time, '
                'every pixel of a Bayer pattern apart'
            )
            raise ValueError(msg)
        if len(self.stack) < 3:
            msg = f'a flat needs at least 3 frames, not {len(self.stack)}'
            raise ValueError(msg)
        if min(self.stack.shape[1:]) < 32:
            msg = f'frames of shape {self.stack.shape[1:]} are smaller than 32 pixels'
            raise ValueError(msg)

    def read(self, i: int) -> np.ndarray:
        """
        Read one calibrated frame.

        Parameters
        ----------
        i : int
            Which.

        Returns
        -------
        frame : `~numpy.ndarray` of float32
            NaN where bad.
        """
        one = self.stack[i : i + 1]
        return self._clean(one, slice(0, self.shape[0]), [i])[0]

    def rows(self, rows: slice) -> np.ndarray:
        """
        Read the same rows of all frames, calibrated.

        Parameters
        ----------
        rows : slice
            With start and stop.

        Returns
        -------
        band : `~numpy.ndarray` of float32
            ``(n, rows, nx)``, NaN where bad.
        """
        return self._clean(self.stack, rows, list(range(self.n)))

    def _clean(self, stack: Any, rows: slice, frames: list[int]) -> np.ndarray:
        """Subtract bias and dark, and blank what is bad."""
        out = stack.read_rows(rows.start, rows.stop).astype(np.float32)
        masks = stack.mask_rows(rows.start, rows.stop)
        cal = self.calibration
        for k, i in enumerate(frames):
            if cal.offset is not None:
                out[k] -= cal.offset[rows]
            if cal.dark is not None:
                out[k] -= cal.dark_factors[i] * cal.dark[rows]
            if self.mask is not None:
                out[k][self.mask[rows]] = np.nan
            if self.hot is not None:
                out[k][self.hot[rows]] = np.nan
        if masks is not None:
            out[masks] = np.nan
        out[~np.isfinite(out)] = np.nan
        return out

    def each(self, function: Callable, items: Iterable) -> list:
        """
        Call a function for every item, in threads.

        Parameters
        ----------
        function : callable
            Takes one item.

        items : iterable
            The items.

        Returns
        -------
        results : list
            In the order of the items.
        """
        if self.threads == 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(function, items))

    def meta(self, count: np.ndarray) -> Any:
        """
        Return the header of the first frame, with what all frames say.

        Parameters
        ----------
        count : `~numpy.ndarray` of int
            Samples used of each pixel.

        Returns
        -------
        meta : `~astropy.io.fits.Header`
            With NCOMBINE, the range of samples and of times.
        """
        return self.request._meta(CombineResult(count, None, count))

    def exposures(self) -> np.ndarray:
        """
        Return the exposure times, 1 where the headers do not say them.

        Returns
        -------
        seconds : `~numpy.ndarray`
            ``(n,)``.
        """
        found = []
        for i in range(self.n):
            header = self.stack.header(i)
            value = header.get('EXPTIME', header.get('EXPOSURE'))
            try:
                found.append(float(value))
            except (TypeError, ValueError):
                found.append(np.nan)
        found = np.array(found)
        return found if (np.isfinite(found) & (found > 0)).all() else np.ones(self.n)

    def times(self) -> np.ndarray | None:
        """
        Return when the frames were taken.

        Returns
        -------
        days : `~numpy.ndarray` or None
            ``(n,)``, None if a header does not say it.
        """
        from astropy.time import Time

        found = [self.stack.header(i).get('DATE-OBS') for i in range(self.n)]
        try:
            days = np.asarray(Time(found, format='isot', scale='utc').mjd, dtype=float)
        except (TypeError, ValueError):
            return None
        return days if np.ptp(days) > 0 else None

    def bands(self, mem_limit: float, copies: int = 8) -> list[slice]:
        """
        Cut the frames into bands that fit in the memory allowed.

        Parameters
        ----------
        mem_limit : float
            Bytes for all threads.

        copies : int, optional
            How many float32 copies of a band are needed.

        Returns
        -------
        bands : list of slice
            At least one row each.
        """
        ny, nx = self.shape
        row = 4 * copies * self.n * nx * self.threads
        if row > mem_limit:
            msg = (
                f'one row of {self.n} frames needs {row / 1e6:.0f} MB, mem_limit is '
                f'{mem_limit / 1e6:.0f} MB; raise mem_limit or lower n_threads'
            )
            raise ValueError(msg)
        rows = int(max(1, min(mem_limit // row, -(-ny // (2 * self.threads)))))
        return [slice(y, min(y + rows, ny)) for y in range(0, ny, rows)]


def _join(mask: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """Return what either of two masks marks."""
    return mask if other is None else other if mask is None else mask | other


def check_offsets(offsets: Any, n: int) -> np.ndarray:
    """
    Check offsets given by the user.

    Parameters
    ----------
    offsets : array_like
        ``(n, 2)`` as (dy, dx).

    n : int
        The number of frames.

    Returns
    -------
    offsets : `~numpy.ndarray`
        float64.
    """
    offsets = np.array(offsets, dtype=float)
    if offsets.shape != (n, 2) or not np.isfinite(offsets).all():
        msg = (
            f'offsets must be finite and of shape {(n, 2)}, one (dy, dx) per frame, '
            f'not of shape {offsets.shape}'
        )
        raise ValueError(msg)
    return offsets
