# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The flat field of the dust alone: observed image over clean image.

Off the dust it is exactly 1, so that dividing by it changes nothing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat._nddata import unpack
from astroflat._provenance import record
from astroflat.dust._smooth_ratio import smooth_ratio
from astroflat.dust._weights import mask_or_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from astroflat._nddata import Frame

__all__ = ['synthetic_flat']

# Of the widths measured, the one that left the least noise in large shadows
# without taking anything off the edges of small ones.
DEFAULT_SMOOTH = 1.5


def synthetic_flat(
    observed: Any,
    clean: Any,
    weight: ArrayLike,
    *,
    min_value: float = 0.05,
    smooth: float | None = None,
    max_level_error: float = 0.03,
    add_keyword: Any = True,
) -> CCDData:
    """
    Return the transmission of the dust, exactly 1 where there is none.

    Parameters
    ----------
    observed : CCDData, NDData, Quantity, masked array, array_like or path
        The image with the dust, ``(ny, nx)``; bias and dark subtracted,
        because a pedestal makes every shadow too shallow.

    clean : CCDData, NDData, Quantity, masked array, array_like or path
        The same without the dust, on the same scale, as from `inpaint`.

    weight : array_like of float or bool
        How far to correct, from 0 to 1, ``(ny, nx)``, as from `feather_mask`.

    min_value : float, optional
        A transmission below this is masked, not used.

    smooth : float or None, optional
        Width in pixels of a Gaussian that averages the noise of the
        transmission away between the edges of a shadow, 0 for none. `None`
        stands for 1.5 if ``observed`` has an uncertainty, which tells what is
        noise, and for 0 if it has none.

    max_level_error : float, optional
        How much the levels of the two may differ where the weight is 0.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    flat : `~astropy.nddata.CCDData`
        float32, dimensionless and finite everywhere. Masked, with a value of
        1, where the weight is above 0 but there is no valid transmission.
        With an uncertainty if both images have one. The metadata are those
        of ``observed``, and in addition ``NPIXCHG`` and ``FRACCHG``, number
        and fraction of the pixels that are not exactly 1.

    Raises
    ------
    ValueError
        If the shapes differ, the weights are not in [0, 1], or the images
        are not on the same scale.

    See Also
    --------
    inpaint : Make the clean image.
    feather_mask : Make the weights.
    match_histogram : Bring an external clean image to the scale.

    Notes
    -----
    The flat is ``1 - weight + weight * observed / clean``. Nothing is
    clipped: values above 1, of bright rims and of noise alike, are kept,
    because cutting off one side of the noise biases the corrected image.

    Divide by it with ``ccdproc.flat_correct(ccd, flat, norm_value=1)``. The
    default there, division by the mean of the flat, would rescale the clean
    pixels.

    The noise of the observed image inside the dust becomes part of the flat
    and is the same in every corrected frame, which no stacking removes. So
    the logarithm of the transmission is averaged over the neighbours in the
    dust where its local variance is that of the noise, and kept as it is
    where the variance is larger. With ``smooth`` but no uncertainty, the
    noise is measured on the pixels off the dust.

    References
    ----------
    .. [1] Lee, J.-S. 1980, IEEE Transactions on Pattern Analysis and Machine
       Intelligence, 2, 165, https://doi.org/10.1109/TPAMI.1980.4766994

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import synthetic_flat
    >>> clean = np.full((3, 4), 200.0)
    >>> observed = clean.copy()
    >>> observed[1, 1:3] = 150.0, 100.0
    >>> weight = np.zeros((3, 4))
    >>> weight[1, 1:3] = 1.0, 0.5
    >>> synthetic_flat(observed, clean, weight).data
    array([[1.  , 1.  , 1.  , 1.  ],
           [1.  , 0.75, 0.75, 1.  ],
           [1.  , 1.  , 1.  , 1.  ]], dtype=float32)
    """
    _check_options(min_value, smooth)
    seen = unpack(observed, name='observed')
    pure = unpack(clean, name='clean', unit=seen.unit)
    weight = mask_or_weights(weight, name='weight')
    if not seen.shape == pure.shape == weight.shape:
        msg = (
            f'observed, clean and weight have the shapes {seen.shape}, '
            f'{pure.shape} and {weight.shape}, which must be the same'
        )
        raise ValueError(msg)
    touched = weight > 0
    _check_scale(seen, pure, ~touched, max_level_error)
    ratio, valid = _ratio(seen, pure, touched)
    variance = _relative_variance(seen, touched)
    if smooth is None:
        smooth = 0.0 if variance is None else DEFAULT_SMOOTH
    if smooth > 0:
        noise = _measured_noise(seen, touched) if variance is None else variance
        ratio, share = smooth_ratio(ratio, valid, noise, smooth)
        variance = None if variance is None else variance * share
    flat = 1.0 + weight * (ratio - 1.0)
    invalid = touched & ~(valid & (flat >= min_value))
    flat[invalid | ~touched] = 1.0
    sigma = _sigma(pure, variance, weight * ratio, touched & ~invalid)
    return _pack(seen, flat.astype(np.float32), invalid, sigma, add_keyword)


def _check_options(min_value: float, smooth: float | None) -> None:
    """Raise if an option makes no sense."""
    if not 0 <= min_value < 1:
        msg = f'min_value must be at least 0 and below 1, not {min_value!r}'
        raise ValueError(msg)
    if smooth is not None and not 0 <= smooth <= 32:
        msg = f'smooth must be None or 0 to 32 pixels, not {smooth!r}'
        raise ValueError(msg)


def _check_scale(
    seen: Frame, pure: Frame, off: np.ndarray, max_level_error: float
) -> None:
    """Raise if the levels differ where nothing is corrected."""
    good = off & ~seen.bad & ~pure.bad & (pure.data != 0)
    if not good.any():
        return
    ratio = float(np.median(seen.data[good] / pure.data[good]))
    if not abs(ratio - 1) <= max_level_error:
        msg = (
            f'off the dust, observed is {ratio:.4g} times clean: the two are not '
            'on one scale; use match_histogram(clean, observed, mask=weight) first'
        )
        raise ValueError(msg)


def _ratio(
    seen: Frame, pure: Frame, touched: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the transmission, 1 where there is none to be had, and where it is."""
    valid = touched & ~seen.bad & ~pure.bad & (pure.data > 0)
    ratio = np.ones(seen.shape)
    np.divide(seen.data, pure.data, out=ratio, where=valid)
    return ratio, valid


def _relative_variance(frame: Frame, where: np.ndarray) -> np.ndarray | None:
    """Return the variance in units of the squared value, None if not known."""
    variance = frame.variance
    if variance is None:
        return None
    result = np.zeros(frame.shape)
    usable = where & np.isfinite(variance) & (frame.data != 0)
    np.divide(variance, frame.data.astype(float) ** 2, out=result, where=usable)
    return result


def _measured_noise(frame: Frame, touched: np.ndarray) -> np.ndarray:
    """Return the relative variance of the noise off the dust, as for photons."""
    from astroflat.dust._inpaint_covariance import pixel_noise

    good = ~touched & ~frame.bad
    if not good.any():
        return np.zeros(frame.shape)
    level = float(np.median(frame.data[good]))
    data = np.where(good, frame.data, level)
    noise = (pixel_noise(data, good) / level) ** 2
    # A darker pixel has fewer photons, and relatively more noise.
    brightness = np.where(frame.bad, 1.0, frame.data / level)
    return noise / np.clip(brightness, 0.01, None)


def _sigma(
    pure: Frame,
    variance: np.ndarray | None,
    slope: np.ndarray,
    where: np.ndarray,
) -> np.ndarray | None:
    """Add the relative variances; exactly 0 where the flat is exactly 1."""
    other = _relative_variance(pure, where)
    if variance is None or other is None:
        return None
    return np.where(where, np.abs(slope) * np.sqrt(variance + other), 0.0)


def _pack(
    seen: Frame,
    flat: np.ndarray,
    invalid: np.ndarray,
    sigma: np.ndarray | None,
    add_keyword: Any,
) -> CCDData:
    """Return the flat as CCDData with its provenance."""
    n_changed = int((flat != 1).sum())
    fraction = n_changed / flat.size
    record(
        seen.meta,
        'synthetic_flat',
        history=f'{n_changed} pixels ({100 * fraction:.3g} %) differ from 1',
        add_keyword=add_keyword,
        NPIXCHG=(n_changed, 'pixels of the flat that are not exactly 1'),
        FRACCHG=(round(fraction, 8), 'fraction of the pixels not exactly 1'),
        NPIXBAD=(int(invalid.sum()), 'pixels without a valid transmission'),
    )
    uncertainty = None
    if sigma is not None:
        uncertainty = StdDevUncertainty(sigma.astype(np.float32))
    return CCDData(
        flat,
        unit=u.dimensionless_unscaled,
        mask=invalid,
        uncertainty=uncertainty,
        wcs=seen.wcs,
        meta=seen.meta,
    )
