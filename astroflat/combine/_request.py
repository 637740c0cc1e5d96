# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The containers around a combination: units, headers, calibration images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat._arrays import n_threads as count_threads
from astroflat._nddata import Frame, unpack
from astroflat._provenance import STALE, record
from astroflat.combine._calibration import Calibration
from astroflat.combine._levels import scale_factors
from astroflat.combine._options import parse_clip
from astroflat.io.frames import FrameStack, open_frames

if TYPE_CHECKING:
    from astroflat.combine._core import CombineResult

__all__ = ['Request']

_EXPOSURES = ('EXPTIME', 'EXPOSURE')


class Request:
    """
    What `median_flat` was asked to combine.

    Parameters
    ----------
    source : object
        The frames.

    unit : unit or None
        Their unit.

    bias, dark : object or None
        Calibration images.

    dark_scale : bool, float or array_like
        The factors of the dark.
    """

    def __init__(
        self, source: Any, unit: Any, bias: Any, dark: Any, dark_scale: Any
    ) -> None:
        self.source = source
        self._owned = not isinstance(source, FrameStack)
        self.stack = open_frames(source, unit=unit)
        try:
            self.unit = self.stack.unit or u.adu
            self._bias = self._image(bias, 'bias')
            self._dark = self._image(dark, 'dark')
            self.dark_factors = self._dark_factors(dark_scale)
        except BaseException:
            self.close()
            raise
        self.factors: np.ndarray | None = None

    def close(self) -> None:
        """Close what was opened here."""
        if self._owned:
            self.stack.close()

    @property
    def paths(self) -> Any:
        """What another process can open, or None."""
        source = self.source
        if isinstance(source, (str, os.PathLike)):
            return str(Path(source).absolute())
        if isinstance(source, Sequence) and all(
            isinstance(item, (str, os.PathLike)) for item in source
        ):
            return [str(Path(item).absolute()) for item in source]
        return None

    @property
    def bad(self) -> np.ndarray | None:
        """Where bias or dark are masked, or None; of the shape of a frame."""
        masks = [
            image.mask
            for image in (self._bias, self._dark)
            if image is not None and image.mask is not None
        ]
        return np.logical_or.reduce(masks) if masks else None

    def planes(self) -> dict[str, Any]:
        """
        Return the calibration as arguments of `combine_stack`.

        Returns
        -------
        planes : dict
            factors, bias, dark and dark_factors.
        """
        return {
            'factors': self.factors,
            'bias': None if self._bias is None else self._bias.data,
            'dark': None if self._dark is None else self._dark.data,
            'dark_factors': self.dark_factors,
        }

    def measure(self, scale: Any, n_threads: int | None) -> None:
        """
        Find the factors of the frames.

        Parameters
        ----------
        scale : object
            As in `median_flat`.

        n_threads : int or None
            The number of threads.
        """
        planes = self.planes()
        calibration = Calibration.of(
            self.stack.shape,
            offset=planes['bias'],
            dark=planes['dark'],
            dark_factors=planes['dark_factors'],
        )
        if self.stack.dask is not None and scale is not None:
            from astroflat.combine._dask import dask_scale_factors

            self.factors = dask_scale_factors(self.stack, scale, calibration)
        else:
            threads = count_threads(n_threads)
            self.factors = scale_factors(self.stack, scale, calibration, threads)

    def describe(self, method: str, scale: Any, sigma_clip: Any) -> str:
        """
        Say in words what was done.

        Parameters
        ----------
        method : str
            The way of combining.

        scale, sigma_clip : object
            As in `median_flat`.

        Returns
        -------
        words : str
            One line, without file names.
        """
        words = [f'{method} of {len(self.stack)} frames']
        words += [
            f'{name} subtracted'
            for name, image in (('bias', self._bias), ('dark', self._dark))
            if image is not None
        ]
        if scale is not None:
            words.append(
                f'scaled by their {scale} level'
                if isinstance(scale, str)
                else 'scaled by given factors'
            )
        clip = parse_clip(sigma_clip)
        if clip is not None:
            words.append(f'clipped at -{clip.lower:g} and +{clip.upper:g} sigma')
        return ', '.join(words)

    def package(
        self, result: CombineResult, method: str, words: str, add_keyword: Any
    ) -> CCDData:
        """
        Put arrays into a container.

        Parameters
        ----------
        result : CombineResult
            The arrays.

        method : str
            The way of combining.

        words : str
            What was done.

        add_keyword : object
            As in ccdproc.

        Returns
        -------
        flat : `~astropy.nddata.CCDData`
            With uncertainty, mask, counts and metadata.
        """
        mask = ~np.isfinite(result.value)
        if self.bad is not None:
            mask |= self.bad
        sigma = self._total_sigma(result.sigma)
        flat = CCDData(
            result.value,
            unit=self.unit,
            mask=mask if mask.any() else None,
            uncertainty=None if sigma is None else StdDevUncertainty(sigma),
            meta=self._meta(result),
            flags=result.count,
        )
        record(flat.meta, method, history=words, add_keyword=add_keyword)
        return flat

    def _meta(self, result: CombineResult) -> fits.Header:
        """Return the header of the first frame with what is new."""
        meta = _as_header(self.stack.header(0))
        for key in STALE:
            meta.remove(key, ignore_missing=True)
        cards = {
            'NCOMBINE': (len(self.stack), 'number of frames combined'),
            'NSAMPMIN': (int(result.count.min()), 'fewest samples used of a pixel'),
            'NSAMPMAX': (int(result.count.max()), 'most samples used of a pixel'),
            **self._dates(),
        }
        meta.update(cards)
        return meta

    def _dates(self) -> dict[str, tuple]:
        """Return the range of times."""
        times = self.stack.times
        if times is None:
            return {}
        return {
            'DATE-BEG': (times.min().utc.isot, 'first frame (UTC)'),
            'DATE-END': (times.max().utc.isot, 'last frame (UTC)'),
        }

    def _image(self, obj: Any, name: str) -> Frame | None:
        """Return a calibration image in the unit of the frames."""
        if obj is None:
            return None
        if isinstance(obj, (int, float, np.number)):
            obj = np.full(self.stack.shape[1:], obj, dtype=np.float64)
        image = unpack(obj, name=name, unit=self.unit, ndim=(2, 3))
        if image.shape != self.stack.shape[1:]:
            msg = (
                f'{name} has the shape {image.shape}, '
                f'the frames have {self.stack.shape[1:]}'
            )
            raise ValueError(msg)
        return image

    def _dark_factors(self, dark_scale: Any) -> np.ndarray | None:
        """Return one factor of the dark per frame."""
        if dark_scale is False or dark_scale is None:
            return None
        if self._dark is None:
            msg = f'dark_scale={dark_scale!r} needs a dark'
            raise ValueError(msg)
        if dark_scale is not True:
            factors = np.asarray(dark_scale, dtype=np.float64)
            return np.broadcast_to(factors, (len(self.stack),)).copy()
        dark = _exposure(self._dark.meta, 'the dark')
        return np.array(
            [
                _exposure(self.stack.header(i), self.stack.label(i)) / dark
                for i in range(len(self.stack))
            ]
        )

    def _total_sigma(self, sigma: np.ndarray | None) -> np.ndarray | None:
        """Add the uncertainties of bias and dark."""
        if sigma is None:
            return None
        factors = np.ones(len(self.stack)) if self.factors is None else self.factors
        of_dark = factors if self.dark_factors is None else factors * self.dark_factors
        extra = np.zeros(1)
        for image, weight in ((self._bias, factors), (self._dark, of_dark)):
            variance = None if image is None else image.variance
            if variance is not None:
                extra = extra + np.mean(weight) ** 2 * variance
        if not extra.any():
            return sigma
        return np.sqrt(sigma.astype(np.float64) ** 2 + extra).astype(np.float32)


def _as_header(meta: Mapping) -> fits.Header:
    """Return a copy as FITS header, without what such a header cannot hold."""
    if isinstance(meta, fits.Header):
        return meta.copy()
    header = fits.Header()
    for key, value in meta.items():
        with contextlib.suppress(ValueError, TypeError):
            header[key if len(key) <= 8 else f'HIERARCH {key}'] = value
    return header


def _exposure(header: Any, name: str) -> float:
    """Return an exposure time."""
    for key in _EXPOSURES:
        value = header.get(key)
        if value is not None:
            seconds = float(value)
            if seconds > 0:
                return seconds
    msg = (
        f'dark_scale=True needs a positive EXPTIME or EXPOSURE of {name}; '
        'pass the factor itself instead'
    )
    raise ValueError(msg)
