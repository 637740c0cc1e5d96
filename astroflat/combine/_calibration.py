# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What is subtracted from frames and what they are multiplied by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ['Calibration']


@dataclass(frozen=True)
class Calibration:
    """
    The linear function that every frame goes through before it is combined.

    Frame ``i`` becomes ``(frame - offset - dark_factors[i] * dark) *
    factors[i]``.

    Attributes
    ----------
    factors : `~numpy.ndarray` or None
        ``(n,)``.

    offset, dark : `~numpy.ndarray` or None
        Of the shape of a frame.

    dark_factors : `~numpy.ndarray` or None
        ``(n,)``; `None` is 1.
    """

    factors: np.ndarray | None = None
    offset: np.ndarray | None = None
    dark: np.ndarray | None = None
    dark_factors: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        factors: np.ndarray | None = None,
        offset: np.ndarray | None = None,
        dark: np.ndarray | None = None,
        dark_factors: np.ndarray | None = None,
    ) -> Calibration:
        """
        Check the shapes, and leave out what does nothing.

        Parameters
        ----------
        shape : tuple of int
            That of the stack.

        factors, offset, dark, dark_factors : array_like or None
            As in the class.

        Returns
        -------
        calibration : Calibration
            Dark frames with one and the same factor are in ``offset``.
        """
        factors = _per_frame(factors, shape, 'scale')
        dark_factors = _per_frame(dark_factors, shape, 'dark_scale')
        offset = _plane(offset, shape, 'bias')
        dark = _plane(dark, shape, 'dark')
        if factors is not None and (factors == 1).all():
            factors = None
        alike = dark_factors is None or (dark_factors == dark_factors[0]).all()
        if dark is not None and alike:
            if dark_factors is not None:
                dark = dark_factors[0] * dark
            offset = dark if offset is None else offset + dark
            dark = dark_factors = None
        return cls(factors, offset, dark, dark_factors)

    @property
    def before(self) -> bool:
        """Whether frames differ, so that it has to be done before combining."""
        return self.factors is not None or self.dark is not None

    def cut(self, rows: slice) -> Calibration:
        """
        Return the calibration of some rows.

        Parameters
        ----------
        rows : slice
            Which.

        Returns
        -------
        calibration : Calibration
            Its images have these rows only.
        """
        offset, dark = (
            None if plane is None else plane[rows] for plane in (self.offset, self.dark)
        )
        return replace(self, offset=offset, dark=dark)

    def apply(self, samples: np.ndarray, rows: slice, dtype: np.dtype) -> np.ndarray:
        """
        Calibrate some rows of all frames.

        Parameters
        ----------
        samples : `~numpy.ndarray`
            ``(n, rows, ...)``.

        rows : slice
            Which rows these are.

        dtype : `numpy.dtype`
            float32 or float64.

        Returns
        -------
        samples : `~numpy.ndarray`
            A new array of this type.
        """
        out = samples.astype(dtype)
        offset = None if self.offset is None else self.offset[rows]
        dark = None if self.dark is None else self.dark[rows]
        # Frame by frame, while it is in the cache.
        for i, frame in enumerate(out):
            if offset is not None:
                frame -= offset
            if dark is not None:
                frame -= self.dark_factors[i] * dark
            if self.factors is not None:
                frame *= self.factors[i]
        return out

    def apply_after(self, values: np.ndarray, rows: slice) -> np.ndarray:
        """
        Subtract from combined rows what is the same for all frames.

        Parameters
        ----------
        values : `~numpy.ndarray`
            ``(rows, ...)``, combined without calibration.

        rows : slice
            Which rows these are.

        Returns
        -------
        values : `~numpy.ndarray`
            Ranks do not change under a shift, so this is exact.
        """
        if self.offset is None or self.before:
            return values
        return values - self.offset[rows]


def _per_frame(
    values: np.ndarray | None, shape: tuple[int, ...], name: str
) -> np.ndarray | None:
    """Return one finite number per frame."""
    if values is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    if values.shape != shape[:1] or not np.isfinite(values).all():
        msg = (
            f'{name} must be {shape[0]} finite numbers, one per frame, '
            f'not {values.shape} numbers: {values!r:.100}'
        )
        raise ValueError(msg)
    return values


def _plane(
    values: np.ndarray | None, shape: tuple[int, ...], name: str
) -> np.ndarray | None:
    """Return an image of the shape of a frame, or a constant of that shape."""
    if values is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 0:
        return np.broadcast_to(values, shape[1:])
    if values.shape != shape[1:]:
        msg = f'{name} has the shape {values.shape}, the frames have {shape[1:]}'
        raise ValueError(msg)
    return values
