# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the camera does to the light, and its inverse."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy import units as u

from astroflat._exceptions import AstroflatWarning
from astroflat._nddata import Frame, unpack
from astroflat._provenance import record
from astroflat.degradation._apply import Field, correct_arrays, degrade_arrays

__all__ = ['DegradationModel']

# A flat is near 1; a master flat in counts is in the thousands.
_COUNTS = 50
_SAMPLES = 10_000


@dataclass(frozen=True)
class DegradationModel:
    r"""
    A multiplicative and an additive field: :math:`I = S F + G`.

    Parameters
    ----------
    flat : CCDData, array_like, float, path or `~astropy.modeling.Model`
        The flat field F, dimensionless, of shape ``(ny, nx)`` or one that
        broadcasts to the image. A model is evaluated at the pixel centres
        ``(x, y)``.

    gradient : CCDData, array_like, float, path, model or None, optional
        The additive gradient G in the unit of the image. `None` is zero.

    normalize : {'mean', 'median'} or None, optional
        Divide the flat by its mean or median over the unmasked pixels.
        `None` takes it as it is: a dust flat that is exactly 1 off the dust
        must stay so.

    Notes
    -----
    The inverse is :math:`S = (I - G) / F`. Variances are propagated to first
    order,

    .. math::

        \sigma_S^2 = \frac{\sigma_I^2 + \sigma_G^2 + S^2 \sigma_F^2}{F^2},
        \qquad
        \sigma_I^2 = F^2 \sigma_S^2 + S^2 \sigma_F^2 + \sigma_G^2 .

    If the image has no uncertainty the result has none: unknown is not zero.
    A field without uncertainty adds nothing, and the metadata say so.

    The image decides the type: float64 stays, everything else is computed in
    float32. ``F = 1`` and ``G = 0`` return the same bits.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> import astroflat as af
    >>> flat = np.array([[1.0, 0.5], [0.8, 1.0]])
    >>> model = af.DegradationModel(flat, gradient=3.0)
    >>> sky = CCDData(np.full((2, 2), 100.0), unit='adu')
    >>> observed = model.degrade(sky)
    >>> observed.data
    array([[103.,  53.],
           [ 83., 103.]])
    >>> model.correct(observed).data
    array([[100., 100.],
           [100., 100.]])
    """

    flat: Any
    gradient: Any = None
    normalize: Literal['mean', 'median'] | None = None

    def __post_init__(self) -> None:
        if self.normalize not in (None, 'mean', 'median'):
            msg = f"normalize must be 'mean', 'median' or None, not {self.normalize!r}"
            raise ValueError(msg)

    def degrade(
        self,
        data: Any,
        *,
        add_keyword: Any = True,
        n_threads: int | None = None,
    ) -> Any:
        """
        Apply the fields: what the camera would have recorded.

        Parameters
        ----------
        data : CCDData, NDData, Quantity, masked array, array_like or path
            The true image, ``(ny, nx)`` or ``(ny, nx, 3)``.

        add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
            What to write to the metadata, as in ccdproc.

        n_threads : int, optional
            The number of threads; all processors by default.

        Returns
        -------
        observed : same kind as ``data``
            ``data * flat + gradient``.

        Raises
        ------
        ValueError
            If a field does not fit the image.

        astropy.units.UnitsError
            If the gradient's unit does not fit the image.
        """
        frame = unpack(data, ndim=(2, 3))
        flat, gradient = self.fields_for(frame)
        out, unc, mask = degrade_arrays(
            frame.data,
            flat,
            gradient,
            mask=frame.mask,
            uncertainty=frame.uncertainty,
            kind=frame.uncertainty_type,
            n_threads=n_threads,
        )
        record(
            frame.meta,
            'degrade',
            history='multiplied by the flat, gradient added',
            add_keyword=add_keyword,
        )
        return frame.repack(out, mask=mask, uncertainty=unc, meta=frame.meta)

    def correct(
        self,
        data: Any,
        *,
        min_value: float = 0.05,
        add_keyword: Any = True,
        n_threads: int | None = None,
    ) -> Any:
        """
        Remove the fields: the inverse of `degrade`.

        Parameters
        ----------
        data : CCDData, NDData, Quantity, masked array, array_like or path
            The observed image, ``(ny, nx)`` or ``(ny, nx, 3)``.

        min_value : float, optional
            Where the flat is below this, masked or not finite, the pixel is
            masked and not divided. In a plain array it becomes NaN.

        add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
            What to write to the metadata, as in ccdproc.

        n_threads : int, optional
            The number of threads; all processors by default.

        Returns
        -------
        corrected : same kind as ``data``
            ``(data - gradient) / flat``.

        Raises
        ------
        ValueError
            If ``min_value`` is not positive or a field does not fit.

        astropy.units.UnitsError
            If the gradient's unit does not fit the image.
        """
        if not min_value > 0:
            msg = f'min_value must be positive, not {min_value!r}'
            raise ValueError(msg)
        frame = unpack(data, ndim=(2, 3))
        flat, gradient = self.fields_for(frame)
        out, unc, mask, n_masked = correct_arrays(
            frame.data,
            flat,
            gradient,
            mask=frame.mask,
            uncertainty=frame.uncertainty,
            kind=frame.uncertainty_type,
            min_value=min_value,
            n_threads=n_threads,
        )
        self._record(frame, flat, n_masked, add_keyword)
        return frame.repack(out, mask=mask, uncertainty=unc, meta=frame.meta)

    def _record(
        self, frame: Frame, flat: Field, n_masked: int, add_keyword: Any
    ) -> None:
        """Say in the metadata what `correct` did."""
        history = (
            'divided by the flat'
            if self.gradient is None
            else ('gradient subtracted, divided by the flat')
        )
        if frame.uncertainty is not None and flat.uncertainty is None:
            history += '; the flat has no uncertainty'
        record(
            frame.meta,
            'correct',
            history=history,
            add_keyword=add_keyword,
            AFNMASK=(n_masked, 'pixels masked by the flat'),
        )

    def fields_for(self, frame: Frame) -> tuple[Field, Field | None]:
        """
        Return both fields in the shape, type and unit of an image.

        This is what takes time before the arithmetic; a stream of frames
        that are alike does it once.

        Parameters
        ----------
        frame : Frame
            An image taken apart.

        Returns
        -------
        flat, gradient : Field
            The fields; the gradient may be None.
        """
        flat = _field(
            self.flat, frame, u.dimensionless_unscaled, 'flat', self.normalize
        )
        if self.gradient is None:
            return flat, None
        return flat, _field(self.gradient, frame, frame.unit, 'gradient', None)


def _field(
    value: Any, frame: Frame, unit: Any, name: str, normalize: str | None
) -> Field:
    """Return a field in the shape, type and unit of an image."""
    dtype = frame.data.dtype
    if isinstance(value, (str, os.PathLike)):
        from astroflat.io.images import read_ccd

        # A file that does not tell its unit is in the unit that a field has.
        value = read_ccd(value, unit=unit or u.dimensionless_unscaled)
    elif callable(value):
        value = _evaluate(value, frame.shape, name)
    if np.ndim(getattr(value, 'data', value)) == 0:
        number = u.Quantity(value, unit).value if hasattr(value, 'unit') else value
        return Field(dtype.type(1 if normalize else number))
    part = unpack(value, name=name, ndim=(2, 3))
    level = _level(part, normalize, name)
    if normalize is None and part.unit is not None and unit is not None:
        part = unpack(value, name=name, ndim=(2, 3), unit=_checked(part, unit, name))
    if name == 'flat' and normalize is None:
        _warn_of_counts(part)
    shape = _broadcastable(part.shape, frame.shape, name)
    squared = part.uncertainty_type in ('var', 'ivar')
    unc = part.variance if squared else part.uncertainty
    return Field(
        _cast(part.data, dtype, shape, level),
        None if unc is None else _cast(unc, dtype, shape, level ** (1 + squared)),
        None if part.mask is None else part.mask.reshape(shape),
        squared,
    )


def _warn_of_counts(part: Frame) -> None:
    """Warn if a flat has the level of raw counts."""
    step = max(1, math.isqrt(part.data.size // _SAMPLES))
    level = np.nanmedian(part.data[::step, ::step])
    if level > _COUNTS:
        msg = (
            f'the flat has a level of {level:.4g}, like raw counts: the result is '
            "that much smaller; pass normalize='mean' to divide it out"
        )
        warnings.warn(msg, AstroflatWarning, stacklevel=5)


def _cast(
    array: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], level: float
) -> np.ndarray:
    """Return an array over a level, in the type and shape of the data."""
    array = array if level == 1 else array / level
    return np.ascontiguousarray(array, dtype=dtype).reshape(shape)


def _evaluate(model: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Evaluate an astropy model at the pixel centres."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    value = np.asarray(model(x, y))
    if value.shape != tuple(shape[:2]):
        msg = f'the model given as {name} returned the shape {value.shape}'
        raise ValueError(msg)
    return value


def _level(part: Frame, normalize: str | None, name: str) -> float:
    """Return what the field is to be divided by."""
    if normalize is None:
        return 1.0
    good = part.data[~part.bad].astype(float)
    level = getattr(np, normalize)(good) if good.size else np.nan
    if not level > 0:
        msg = f'the {normalize} of {name} is {level}; it cannot be normalised'
        raise ValueError(msg)
    return float(level)


def _checked(part: Frame, unit: Any, name: str) -> Any:
    """Return the unit to convert to, or raise with a remedy."""
    if part.unit.is_equivalent(unit):
        return unit
    remedy = "pass normalize='mean'" if name == 'flat' else 'convert it first'
    msg = f'{name} is in {part.unit}, not in {unit or "no unit"}; {remedy}'
    raise u.UnitsError(msg)


def _broadcastable(
    shape: tuple[int, ...], wanted: tuple[int, ...], name: str
) -> tuple[int, ...]:
    """Return the shape that lets a field fit an image."""
    if shape == wanted:
        return shape
    if len(wanted) == 3 and shape == wanted[:2]:
        return (*shape, 1)
    msg = f'{name} has the shape {shape}, the data have {wanted}'
    raise ValueError(msg)
