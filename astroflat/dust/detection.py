# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Dust and other defects in flats, medians and stacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from astroflat._arrays import n_threads as count_threads
from astroflat._nddata import Frame, unpack

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ['DustDetection', 'DustDetector', 'detect_dust']

Polarity = Literal['dark', 'bright', 'both']
# The scale in pixels at which a flat shows noise and a scene its texture.
_FINE = 2.7
_SIGNS = {'dark': (1,), 'bright': (-1,), 'both': (1, -1)}


@dataclass(frozen=True)
class DustDetection:
    """
    The dust in an image.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        True on dust, ``(ny, nx)``.

    probability : `~numpy.ndarray` of float32
        That a pixel is dust, 0 to 1; 0 off the objects.

    catalogue : `~astropy.table.QTable`
        One row per object: ``id``, ``x``, ``y`` and ``radius`` (pix),
        ``depth`` (the share of the light that is missing; negative for
        bright objects), ``kind`` ('disc', 'donut', 'speck', 'fibre'),
        ``snr``, ``area`` (pix2) and ``probability``.

    labels : `~numpy.ndarray` of int32 or None, optional
        The ``id`` of the object of each pixel, 0 off the dust. Of objects
        that overlap, the smaller one is on top.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust import DustDetection
    >>> mask = np.zeros((40, 50), bool)
    >>> mask[10:14, 20:24] = True
    >>> detection = DustDetection.from_mask(mask)
    >>> len(detection.catalogue), float(detection.catalogue['area'][0].value)
    (1, 16.0)
    """

    mask: np.ndarray
    probability: np.ndarray
    catalogue: QTable
    labels: np.ndarray | None = None

    @classmethod
    def from_mask(
        cls, mask: np.ndarray, image: np.ndarray | None = None
    ) -> DustDetection:
        """
        Take a mask that was made elsewhere as the dust.

        Parameters
        ----------
        mask : array_like of bool
            True on dust, ``(ny, nx)``.

        image : `~numpy.ndarray`, optional
            The image, for the depths in the catalogue.

        Returns
        -------
        detection : DustDetection
            One object per connected region, of probability 1.
        """
        from scipy import ndimage

        from astroflat._arrays import as_mask
        from astroflat.dust.catalogue import catalogue_of_mask

        mask = as_mask(mask, np.shape(mask))
        return cls(
            mask,
            mask.astype(np.float32),
            catalogue_of_mask(mask, image),
            ndimage.label(mask)[0].astype(np.int32),
        )

    def __len__(self) -> int:
        return len(self.catalogue)


@runtime_checkable
class DustDetector(Protocol):
    """
    What can take the place of the classical detector.

    Examples
    --------
    >>> from astroflat.dust import DustDetection, DustDetector
    >>> class Threshold:
    ...     def detect(self, data, bad):
    ...         return DustDetection.from_mask(data < 0.9, data)
    >>> isinstance(Threshold(), DustDetector)
    True
    """

    def detect(self, data: np.ndarray, bad: np.ndarray) -> DustDetection:
        """
        Find the dust.

        Parameters
        ----------
        data : `~numpy.ndarray`
            The image, ``(ny, nx)``.

        bad : `~numpy.ndarray` of bool
            Pixels that say nothing.

        Returns
        -------
        detection : DustDetection
            The dust.
        """


def detect_dust(
    flat: Any,
    *,
    detector: Literal['classical'] | DustDetector = 'classical',
    sensitivity: float = 1.0,
    min_depth: float = 0.002,
    max_radius: float = 120.0,
    polarity: Polarity = 'both',
    mask: Any = None,
    n_threads: int | None = None,
) -> DustDetection:
    r"""
    Find dust, from specks of two pixels to donuts, dark and bright.

    Parameters
    ----------
    flat : CCDData, NDData, Quantity, masked array, array_like or path
        A flat, the median of a video, or a stack, free of bias, ``(ny, nx)``.
        Its scale does not matter.

    detector : 'classical' or DustDetector, optional
        What looks for the dust.

    sensitivity : float, optional
        An object is taken if the odds that it is dust are above
        ``sensitivity**-2``: above even for 1; larger finds fainter dust and
        more that is none.

    min_depth : float, optional
        Objects that take less of the light than this are left.

    max_radius : float, optional
        The largest radius in pixels.

    polarity : {'both', 'dark', 'bright'}, optional
        Which defects to look for. In a stack with stars take 'dark': a star
        that stays on the same pixels is a bright defect.

    mask : array_like of bool, optional
        True marks pixels to ignore, besides those masked or not finite.

    n_threads : int, optional
        The number of threads; all processors by default.

    Returns
    -------
    detection : DustDetection
        Mask, probability and catalogue.

    Raises
    ------
    ValueError
        If an argument makes no sense or the image has no positive median.

    Notes
    -----
    Dust multiplies, so the search runs in the logarithm of the image, less
    its large-scale illumination. Matched filters of all sizes, and the same
    in a whitened image where there is texture, give candidates; the best
    closed outline around each is traced by dynamic programming. How high the
    step across the outline is against the local scatter of such steps, how
    closed, even and sharp it is, decides through a logistic regression that
    was fitted to simulated flats and solar videos. Significance is local:
    texture raises the scatter, and with it what an object has to show.
    Objects are taken out one by one, and what lies in or beside them is
    measured again.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> y, x = np.mgrid[:200, :240]
    >>> flat = np.where(np.hypot(x - 60, y - 90) < 8, 0.95, 1.0)
    >>> flat *= np.random.default_rng(0).normal(1, 0.005, flat.shape)
    >>> detection = af.detect_dust(flat)
    >>> len(detection), str(detection.catalogue['kind'][0])
    (1, 'disc')
    >>> bool(detection.mask[90, 60])
    True
    """
    _check(sensitivity, min_depth, max_radius, polarity)
    frame = unpack(flat, name='flat', mask=mask)
    bad = frame.bad
    if detector != 'classical':
        if not isinstance(detector, DustDetector):
            msg = (
                "detector must be 'classical' or have a method detect(data, bad), "
                f'not {detector!r}'
            )
            raise ValueError(msg)
        return detector.detect(frame.data, bad)
    objects = _search(
        frame,
        bad,
        threshold=-2 * float(np.log(sensitivity)),
        min_depth=min_depth,
        largest=min(max_radius, min(frame.shape) / 3),
        signs=_SIGNS[polarity],
        workers=count_threads(n_threads),
    )
    return _package(objects, bad)


def _check(
    sensitivity: float, min_depth: float, max_radius: float, polarity: str
) -> None:
    """Raise if an argument makes no sense."""
    positive = {'sensitivity': sensitivity, 'max_radius': max_radius}
    for name, value in positive.items():
        if not (np.isfinite(value) and value > 0):
            msg = f'{name} must be positive, not {value!r}'
            raise ValueError(msg)
    if not 0 <= min_depth < 1:
        msg = f'min_depth must be at least 0 and below 1, not {min_depth!r}'
        raise ValueError(msg)
    if polarity not in _SIGNS:
        msg = f"polarity must be 'dark', 'bright' or 'both', not {polarity!r}"
        raise ValueError(msg)


def _search(
    frame: Frame,
    bad: np.ndarray,
    *,
    threshold: float,
    min_depth: float,
    largest: float,
    signs: tuple[int, ...],
    workers: int,
) -> list:
    """Find candidates, trace them, and accept what is dust."""
    from astroflat.dust._background import log_image
    from astroflat.dust._candidates import CANDIDATE, find_candidates
    from astroflat.dust._contours import make_pyramid
    from astroflat.dust._peeling import peel
    from astroflat.dust._selection import look_closer, texture_ratio, thin_out

    sigma = None if frame.variance is None else np.sqrt(frame.variance)
    image = log_image(frame.data, bad, sigma)
    # Rounding to integers spreads evenly over a step.
    floor = 0.29 * image.step
    # Both signs are searched in any case: the rim of a dark mote looks bright.
    rows, scatter = find_candidates(
        image.data, largest=max(largest, 2.0), floor=floor, workers=workers
    )
    rows = thin_out(rows)
    if not len(rows):
        return []
    pyramid = make_pyramid(image.data, max(largest, 2.0), floor=0.5 * floor)
    rows, features = look_closer(pyramid, rows, largest=max(largest, 2.0))
    if not len(rows):
        return []
    texture = texture_ratio(
        scatter, image.noise, features.x, features.y, features.radius
    )
    column = {name: rows[:, i] for i, name in enumerate(CANDIDATE)}
    objects = peel(
        image.data,
        pyramid,
        features,
        sign=column['sign'],
        peak=column['z'],
        texture=texture,
        noise=image.noise.at(features.y, features.x),
        fine=texture_ratio(
            scatter, image.noise, features.x, features.y, np.full(len(rows), _FINE)
        ),
        threshold=threshold,
        min_depth=min_depth,
        largest=max(largest, 2.0),
    )
    return [
        o
        for o in objects
        if o.sign in signs and -np.expm1(-o.rim) >= min_depth and _seen(o, bad)
    ]


def _seen(found: Any, bad: np.ndarray) -> bool:
    """Tell whether at least half of an object was seen at all."""
    return np.count_nonzero(bad[found.box][found.mask]) < 0.5 * max(
        1, np.count_nonzero(found.mask)
    )


def _package(objects: list, bad: np.ndarray) -> DustDetection:
    """Return objects as mask, probability, catalogue and labels."""
    from astroflat.dust.catalogue import make_catalogue

    objects = sorted(objects, key=lambda o: -o.snr)
    probability = np.zeros(bad.shape, np.float32)
    labels = np.zeros(bad.shape, np.int32)
    order = sorted(range(len(objects)), key=lambda i: -objects[i].radius)
    for i in order:
        found = objects[i]
        part = probability[found.box]
        np.maximum(part, found.probability, out=part, where=found.mask)
        labels[found.box][found.mask] = i + 1
    probability[bad] = 0
    labels[bad] = 0
    return DustDetection(labels > 0, probability, make_catalogue(objects), labels)
