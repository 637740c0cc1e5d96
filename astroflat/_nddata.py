# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The one door: image containers to plain arrays, and back on a copy.

Every public function takes its image through `unpack` and gives its result
through `Frame.repack`, so that mask, uncertainty, unit, WCS, metadata, flags
and PSF survive all of them in the same way.
"""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy import units as u
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)

from astroflat._arrays import as_float, as_mask
from astroflat._exceptions import AstroflatWarning

__all__ = ['KEEP', 'Frame', 'to_ccd', 'unpack']

Kind = Literal['std', 'var', 'ivar']

_CLASSES = {
    'std': StdDevUncertainty,
    'var': VarianceUncertainty,
    'ivar': InverseVariance,
}


class _Keep:
    """Mark an argument that keeps what the input had."""

    def __repr__(self) -> str:
        return 'KEEP'


KEEP: Any = _Keep()


@dataclass(frozen=True)
class Frame:
    """
    An image taken apart.

    Attributes
    ----------
    data : `~numpy.ndarray`
        Native float32 or float64, C-contiguous. It may be the memory of the
        input: read only.

    mask : `~numpy.ndarray` of bool or None
        True marks a bad pixel.

    uncertainty : `~numpy.ndarray` or None
        In the kind given by ``uncertainty_type`` and the unit of the data.

    uncertainty_type : {'std', 'var', 'ivar'} or None
        Standard deviation, variance or inverse variance.

    unit : `~astropy.units.Unit` or None
        `None` for a plain array.

    wcs, flags, psf : object or None
        As in `~astropy.nddata.CCDData`.

    meta : `~astropy.io.fits.Header` or dict
        A copy of the metadata.

    source : object
        The container that the image came in.
    """

    data: np.ndarray
    mask: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    uncertainty_type: Kind | None = None
    unit: u.UnitBase | None = None
    wcs: Any = None
    meta: Any = field(default_factory=dict)
    flags: Any = None
    psf: Any = None
    source: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the data."""
        return self.data.shape

    @property
    def bad(self) -> np.ndarray:
        """True where a pixel is masked or not finite."""
        bad = ~np.isfinite(self.data)
        return bad if self.mask is None else bad | self.mask

    @property
    def variance(self) -> np.ndarray | None:
        """The variance in the squared unit of the data, or None."""
        return _convert(self.uncertainty, self.uncertainty_type, 'var')

    def repack(
        self,
        data: np.ndarray,
        *,
        mask: Any = KEEP,
        variance: Any = KEEP,
        uncertainty: Any = KEEP,
        unit: Any = KEEP,
        meta: Any = KEEP,
    ) -> Any:
        """
        Return new data in the kind of container that the input had.

        Parameters
        ----------
        data : `~numpy.ndarray`
            The result.

        mask : `~numpy.ndarray` of bool or None, optional
            The new mask; the default keeps the input's.

        variance : `~numpy.ndarray` or None, optional
            The new variance, written in the input's kind of uncertainty
            (standard deviation if it had none).

        uncertainty : `~numpy.ndarray` or None, optional
            The same, already in the input's kind of uncertainty.

        unit : unit or None, optional
            The new unit.

        meta : dict-like, optional
            The new metadata.

        Returns
        -------
        result : CCDData, NDData, Quantity, masked array or ndarray
            The kind that came in, a CCDData for a path. In a plain array
            the newly masked pixels are NaN, because it cannot hold a mask.
        """
        if isinstance(self.source, NDData):
            cls = type(self.source)
        elif isinstance(self.source, (str, os.PathLike)):
            cls = CCDData
        else:
            return self._repack_plain(data, mask, unit)
        return self._nddata(cls, data, mask, variance, uncertainty, unit, meta)

    def ccd(self, data: np.ndarray, **changes: Any) -> CCDData:
        """
        Return new data as CCDData, whatever the input was.

        Parameters
        ----------
        data : `~numpy.ndarray`
            The result.

        **changes
            ``mask``, ``variance``, ``uncertainty``, ``unit`` and ``meta`` as
            in `repack`. A plain array becomes dimensionless.

        Returns
        -------
        ccd : `~astropy.nddata.CCDData`
            The result.
        """
        names = ('mask', 'variance', 'uncertainty', 'unit', 'meta')
        return self._nddata(CCDData, data, *(changes.get(n, KEEP) for n in names))

    def _repack_plain(self, data: np.ndarray, mask: Any, unit: Any) -> Any:
        """Return an array, a masked array or a Quantity."""
        if isinstance(self.source, np.ma.MaskedArray):
            mask = self.mask if mask is KEEP else mask
            return np.ma.MaskedArray(data, np.ma.nomask if mask is None else mask)
        if mask is not KEEP and mask is not None:
            new = mask if self.mask is None else mask & ~self.mask
            if new.any():
                data = np.where(new, data.dtype.type(np.nan), data)
        if isinstance(self.source, u.Quantity):
            unit = self.unit if unit is KEEP else unit
            return u.Quantity(data, unit or u.one, copy=False, dtype=data.dtype)
        return data

    def _nddata(
        self,
        cls: type,
        data: np.ndarray,
        mask: Any,
        variance: Any,
        uncertainty: Any,
        unit: Any,
        meta: Any,
    ) -> NDData:
        """Build the container, keeping what was not replaced."""
        kind = self.uncertainty_type or 'std'
        if variance is not KEEP:
            uncertainty = _convert(variance, 'var', kind)
        elif uncertainty is KEEP:
            uncertainty = self.uncertainty
        if uncertainty is not None:
            # The input's array must not be shared; a new one need not be copied.
            shared = np.may_share_memory(uncertainty, self.uncertainty)
            uncertainty = _CLASSES[kind](uncertainty, copy=shared)
        unit = self.unit if unit is KEEP else unit
        if unit is None and issubclass(cls, CCDData):
            unit = u.dimensionless_unscaled
        extras = {'flags': self.flags} if issubclass(cls, CCDData) else {}
        return cls(
            data,
            unit=unit,
            mask=self.mask if mask is KEEP else mask,
            uncertainty=uncertainty,
            wcs=copy.deepcopy(self.wcs),
            meta=copy.deepcopy(self.meta) if meta is KEEP else meta,
            psf=self.psf,
            **extras,
        )


def unpack(
    obj: Any,
    *,
    name: str = 'data',
    mask: Any = None,
    unit: Any = None,
    ndim: tuple[int, ...] = (2,),
) -> Frame:
    """
    Take an image apart into plain arrays.

    Parameters
    ----------
    obj : CCDData, NDData, Quantity, masked array, array_like or path
        The image. A path is read by `astroflat.io.read_image`.

    name : str, optional
        The name of the argument, for error messages.

    mask : array_like of bool, optional
        A further mask, or-ed with the input's own.

    unit : unit, optional
        The unit to convert to. A plain array is taken to be in it.

    ndim : tuple of int, optional
        The numbers of dimensions allowed.

    Returns
    -------
    frame : Frame
        The parts. Nothing of the input is modified; the data may share its
        memory.

    Raises
    ------
    TypeError
        If the image does not hold real numbers.

    ValueError
        If it has the wrong number of dimensions, no pixel, or a mask or
        uncertainty of another shape.

    astropy.units.UnitsError
        If its unit cannot be converted.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astroflat._nddata import unpack
    >>> ccd = CCDData(np.full((2, 3), 7, dtype='>i2'), unit='adu')
    >>> frame = unpack(ccd)
    >>> frame.data.dtype, frame.unit
    (dtype('float32'), Unit("adu"))
    >>> type(frame.repack(frame.data + 1)).__name__
    'CCDData'
    """
    frame = _take_apart(obj, name)
    if frame.data.ndim not in ndim or frame.data.size == 0:
        allowed = ' or '.join(f'{n}-D' for n in ndim)
        msg = (
            f'{name} must be a {allowed} image with at least one pixel, '
            f'not of shape {frame.shape}; select one plane or frame'
        )
        raise ValueError(msg)
    changes = {}
    if mask is not None:
        extra = as_mask(mask, frame.shape)
        changes['mask'] = extra if frame.mask is None else frame.mask | extra
    if unit is not None:
        changes.update(_unit_changes(frame, u.Unit(unit), name))
    return _replace(frame, **changes) if changes else frame


def to_ccd(obj: Any, *, name: str = 'data', unit: Any = None) -> CCDData:
    """
    Return any image container as CCDData.

    Parameters
    ----------
    obj : CCDData, NDData, Quantity, masked array, array_like or path
        The image.

    name : str, optional
        The name of the argument, for error messages.

    unit : unit, optional
        The unit of a plain array; others are converted to it.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The image with everything it carried. A CCDData in its own unit is
        returned as it is.
    """
    if isinstance(obj, CCDData) and (unit is None or obj.unit == u.Unit(unit)):
        return obj
    frame = unpack(obj, name=name, unit=unit, ndim=(2, 3))
    return frame.ccd(frame.data)


def _take_apart(obj: Any, name: str) -> Frame:
    """Dispatch on the kind of container."""
    if isinstance(obj, (str, os.PathLike)):
        from astroflat.io.images import read_ccd

        return _replace(_from_nddata(read_ccd(obj), name), source=Path(obj))
    if isinstance(obj, NDData):
        return _from_nddata(obj, name)
    if isinstance(obj, u.Quantity):
        return Frame(as_float(obj.value, name=name), unit=obj.unit, source=obj)
    if isinstance(obj, np.ma.MaskedArray):
        mask = as_mask(np.ma.getmaskarray(obj), obj.shape) if _masked(obj) else None
        return Frame(as_float(obj.data, name=name), mask=mask, source=obj)
    return Frame(as_float(obj, name=name), source=obj)


def _masked(obj: np.ma.MaskedArray) -> bool:
    return obj.mask is not np.ma.nomask


def _from_nddata(obj: NDData, name: str) -> Frame:
    """Take an NDData or CCDData apart."""
    data = obj.data
    if isinstance(data, u.Quantity):
        data = data.value
    data = as_float(data, name=name)
    uncertainty, kind = _take_uncertainty(obj, data, name)
    return Frame(
        data,
        mask=as_mask(obj.mask, data.shape, name=f'{name}.mask'),
        uncertainty=uncertainty,
        uncertainty_type=kind,
        unit=obj.unit,
        wcs=obj.wcs,
        meta=copy.deepcopy(obj.meta),
        flags=getattr(obj, 'flags', None),
        psf=getattr(obj, 'psf', None),
        source=obj,
    )


def _take_uncertainty(
    obj: NDData, data: np.ndarray, name: str
) -> tuple[np.ndarray | None, Kind | None]:
    """Return the uncertainty as an array in the unit of the data, and its kind."""
    uncertainty = obj.uncertainty
    if uncertainty is None or uncertainty.array is None:
        return None, None
    kind = next((k for k, c in _CLASSES.items() if isinstance(uncertainty, c)), None)
    if kind is None:
        msg = (
            f'the uncertainty of {name} is of the unknown kind '
            f'{type(uncertainty).__name__!r} and is dropped; '
            'use StdDevUncertainty, VarianceUncertainty or InverseVariance'
        )
        warnings.warn(msg, AstroflatWarning, stacklevel=4)
        return None, None
    array = np.asarray(uncertainty.array)
    if array.shape != data.shape:
        msg = (
            f'the uncertainty of {name} has the shape {array.shape}, '
            f'the data have {data.shape}'
        )
        raise ValueError(msg)
    array = np.ascontiguousarray(array, dtype=data.dtype)
    factor = _uncertainty_factor(uncertainty, obj.unit, kind)
    return (array if factor == 1 else array * data.dtype.type(factor)), kind


def _uncertainty_factor(uncertainty: Any, unit: Any, kind: Kind) -> float:
    """Return what brings an uncertainty to the unit of its data."""
    if uncertainty.unit is None or unit is None:
        return 1.0
    wanted = {'std': unit, 'var': unit**2, 'ivar': unit**-2}[kind]
    return 1.0 if uncertainty.unit == wanted else uncertainty.unit.to(wanted)


def _unit_changes(frame: Frame, unit: u.UnitBase, name: str) -> dict:
    """Return what changes when a frame is converted to another unit."""
    if frame.unit is None or frame.unit == unit:
        return {'unit': unit}
    try:
        factor = frame.unit.to(unit)
    except u.UnitConversionError:
        msg = f'{name} is in {frame.unit}, which cannot be converted to {unit}'
        raise u.UnitsError(msg) from None
    power = {None: 0, 'std': 1, 'var': 2, 'ivar': -2}[frame.uncertainty_type]
    scale = frame.data.dtype.type
    changes = {'unit': unit, 'data': frame.data * scale(factor)}
    if frame.uncertainty is not None:
        changes['uncertainty'] = frame.uncertainty * scale(factor**power)
    return changes


def _convert(
    array: np.ndarray | None, kind: Kind | None, wanted: Kind
) -> np.ndarray | None:
    """Convert between standard deviation, variance and inverse variance."""
    if array is None or kind == wanted:
        return array
    with np.errstate(divide='ignore', invalid='ignore'):
        variance = {'std': np.square, 'var': np.asarray, 'ivar': np.reciprocal}
        result = variance[kind](array)
        inverse = {'std': np.sqrt, 'var': np.asarray, 'ivar': np.reciprocal}
        return inverse[wanted](result)


def _replace(frame: Frame, **changes: Any) -> Frame:
    """Return a frame with some parts replaced."""
    from dataclasses import replace

    return replace(frame, **changes)
