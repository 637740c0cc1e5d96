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

    from astroflat.dust._contours import Pyramid
    from astroflat.dust._scatter import BlockMap
    from astroflat.dust._selection import Criteria, Roughness
    from astroflat.dust._shadows import Shadow

__all__ = ['DustDetection', 'DustDetector', 'detect_dust']

Polarity = Literal['auto', 'both', 'dark', 'bright']
_SIGNS = {'auto': (1, -1), 'both': (1, -1), 'dark': (1,), 'bright': (-1,)}
# A texture is at work if a band is this much stronger than white noise.
_RED = 1.5
# Bright specks are stars if there are so many, and so many times as many as
# dark ones; stars are smaller than the radius in pixels.
_STARS, _STAR_RATIO, _STAR_RADIUS = 5, 2, 8.0
# Doubtful objects below this probability are not shown at all.
_FAINT = 0.05


@dataclass(frozen=True)
class DustDetection:
    """
    The dust in an image.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        True on dust, ``(ny, nx)``.

    probability : `~numpy.ndarray` of float32
        That a pixel is dust, 0 to 1. It also shows, below the threshold,
        places that were looked at and not taken.

    catalogue : `~astropy.table.QTable`
        One row per object: ``id``, ``x``, ``y`` and ``radius`` (pix),
        ``depth`` (the share of the light that is missing; negative for
        bright objects), ``kind`` ('disc', 'donut', 'speck', 'fibre'),
        ``snr`` (significance of the outline), ``area`` (pix2),
        ``probability``, and the box ``xmin``, ``xmax``, ``ymin``, ``ymax``,
        both ends included.

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
    polarity: Polarity = 'auto',
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

    polarity : {'auto', 'both', 'dark', 'bright'}, optional
        Which defects to look for. 'auto' takes both, but leaves small bright
        spots alone if there are at least five, and more than twice as many
        as dark ones: then they are stars. With fewer stars on the same
        pixels in all frames, take 'dark'.

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
    its large-scale illumination [1]_. Long thin lines of a whitened image,
    in which the texture of the scene is suppressed scale by scale, are
    fibres. Matched filters of all sizes, on the image and on the whitened
    one, propose places for everything else; around each the best closed
    outline is traced by dynamic programming [2]_.

    The **SNR** of an object is the mean step across its outline over the
    local scatter of such steps, times the root of the number of independent
    places on it (pairs of pixels): texture raises the scatter, and with it
    what an object has to show. SNR, evenness of the step and of the
    surroundings, sharpness, roughness of the scene at the scale of the edge,
    and size give the probability through a logistic regression that was
    fitted to simulated flats, nebulae and medians of solar videos. Objects
    are taken out in the order of their SNR, and what lies in or beside them
    is measured again.

    A structure of the scene that is dark, closed and as sharp as dust, and
    stayed on the same pixels, cannot be told from dust: small sunspots,
    craters. Objects cut by the border are found if they are dark and most of
    them is seen. Computations are in float32.

    References
    ----------
    .. [1] Bertin, E. and Arnouts, S. 1996, A&AS 117, 393,
       `doi:10.1051/aas:1996164 <https://doi.org/10.1051/aas:1996164>`_, for
       local significance.
    .. [2] Amini, A. A. et al. 1990, IEEE Trans. PAMI 12, 855,
       `doi:10.1109/34.57681 <https://doi.org/10.1109/34.57681>`_

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
    return _search(
        frame,
        bad,
        odds=-2 * float(np.log(sensitivity)),
        min_depth=min_depth,
        largest=max(2.0, min(max_radius, min(frame.shape) / 3)),
        polarity=polarity,
        workers=count_threads(n_threads),
    )


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
        msg = f'polarity must be one of {list(_SIGNS)}, not {polarity!r}'
        raise ValueError(msg)


def _search(
    frame: Frame,
    bad: np.ndarray,
    *,
    odds: float,
    min_depth: float,
    largest: float,
    polarity: Polarity,
    workers: int,
) -> DustDetection:
    """Find fibres, then candidates for all else, and accept what is dust."""
    from astroflat.dust._background import log_image
    from astroflat.dust._peeling import Peeler
    from astroflat.dust._selection import Criteria

    sigma = None if frame.variance is None else np.sqrt(frame.variance)
    image = log_image(frame.data, bad, sigma)
    data = image.data.copy()
    search = _Search(data, image.noise, 0.29 * image.step, largest, workers)
    criteria = Criteria(
        odds=odds, largest=largest, least_drop=image.least_drop(min_depth)
    )
    fibers = search.fibers(criteria)
    peeler = Peeler(data, criteria, fibers)
    peeler.run(*search.candidates())
    if peeler.shadows:
        # What lay under the shadows, and in their ringing, shows without them.
        rows, scene, pyramid = search.candidates()
        peeler.run(rows[peeler.is_near(rows)], scene, pyramid)
    found = [s for s in fibers + peeler.shadows if _seen(s, bad)]
    for shadow in found:
        shadow.depth = image.share(
            shadow.sign * shadow.drop, shadow.level, shadow.y, shadow.x
        )
    found = [s for s in found if abs(s.depth) >= min_depth]
    chosen = [s for s in found if s.sign in _SIGNS[polarity]]
    if polarity == 'auto':
        chosen = _without_stars(chosen)
    doubtful = [s for s in peeler.doubtful if s.sign in _SIGNS[polarity]]
    return _package(chosen, doubtful, bad)


@dataclass
class _Search:
    """
    Where dust may be, in an image from which some is taken out.

    Parameters
    ----------
    data : `~numpy.ndarray` of float32
        The logarithm of the light, from which others take dust out.

    noise : BlockMap
        White noise per pixel.

    floor : float
        The least noise per pixel: rounding to integers spreads evenly.

    largest : float
        The largest radius in pixels.

    workers : int
        Threads.
    """

    data: np.ndarray
    noise: BlockMap
    floor: float
    largest: float
    workers: int
    _white: np.ndarray | None = None
    _redness: float = 0.0

    def fibers(self, criteria: Criteria) -> list[Shadow]:
        """Find the fibres and take them out."""
        from astroflat.dust._fibers import find_fibers

        self._whiten()
        fibers = find_fibers(
            self._white,
            self.data,
            self.noise,
            floor=self.floor,
            least_odds=criteria.odds,
            least_drop=criteria.least_drop,
            workers=self.workers,
        )
        for fiber in fibers:
            self.data[fiber.box] += fiber.sign * fiber.model
        if fibers:
            self._white = None
        return fibers

    def candidates(self) -> tuple[np.ndarray, Roughness, Pyramid]:
        """Find candidates in what is left."""
        from astroflat.dust._candidates import find_candidates
        from astroflat.dust._contours import make_pyramid
        from astroflat.dust._selection import Roughness, thin_out

        if self._white is None:
            self._whiten()
        rows, scatter = find_candidates(
            self.data,
            self._white if self._redness > _RED else None,
            largest=self.largest,
            floor=self.floor,
            workers=self.workers,
        )
        self._white = None
        pyramid = make_pyramid(self.data, self.largest, floor=0.5 * self.floor)
        return thin_out(rows), Roughness(scatter, self.noise), pyramid

    def _whiten(self) -> None:
        """Suppress the texture of what is left."""
        from astroflat.dust._whitening import whiten

        levels = int(np.clip(np.log2(self.largest) + 1, 3, 7))
        self._white, self._redness = whiten(self.data, levels, floor=self.floor)


def _seen(shadow: Shadow, bad: np.ndarray) -> bool:
    """Tell whether at least half of an object was seen at all."""
    return 2 * np.count_nonzero(bad[shadow.box][shadow.mask]) <= np.count_nonzero(
        shadow.mask
    )


def _without_stars(shadows: list[Shadow]) -> list[Shadow]:
    """Leave small bright spots out if they are too many for dust."""
    small = [s for s in shadows if s.radius < _STAR_RADIUS and not s.length]
    bright = sum(s.sign < 0 for s in small)
    if bright < _STARS or bright <= _STAR_RATIO * (len(small) - bright):
        return shadows
    return [s for s in shadows if s.sign > 0 or s.radius >= _STAR_RADIUS or s.length]


def _package(
    shadows: list[Shadow], doubtful: list[Shadow], bad: np.ndarray
) -> DustDetection:
    """Return objects as mask, probability, catalogue and labels."""
    from astroflat.dust._judgement import judge
    from astroflat.dust.catalogue import make_catalogue

    shadows = sorted(shadows, key=lambda s: -s.snr)
    probability = np.zeros(bad.shape, np.float32)
    for shadow in doubtful + shadows:
        likely = float(judge(shadow.odds))
        if likely >= _FAINT:
            part = probability[shadow.box]
            np.maximum(part, likely, out=part, where=shadow.footprint)
    labels = np.zeros(bad.shape, np.int32)
    # Of objects that overlap, the smaller one is on top.
    for i in sorted(range(len(shadows)), key=lambda i: -shadows[i].radius):
        labels[shadows[i].box][shadows[i].footprint] = i + 1
    probability[bad] = 0
    labels[bad] = 0
    return DustDetection(labels > 0, probability, make_catalogue(shadows), labels)
