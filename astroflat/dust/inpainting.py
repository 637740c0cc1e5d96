# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Fill holes in an image with what the surroundings make likely.

`inpaint` does it, with an uncertainty. The methods are objects that can be
configured, or replaced by anything that obeys the `Inpainter` protocol.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from astropy.nddata import NDData

from astroflat._exceptions import AstroflatWarning
from astroflat._nddata import unpack
from astroflat._provenance import record
from astroflat.dust._inpaint_windows import cells, grow_box, holes, inner_box
from astroflat.dust._weights import mask_or_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from astroflat._nddata import Frame
    from astroflat.dust._inpaint_windows import Hole

__all__ = [
    'BiharmonicInpainter',
    'GaussianProcessInpainter',
    'Inpainter',
    'inpaint',
]

Method = Literal['gp', 'polynomial', 'biharmonic']

#: A ring with fewer good pixels is widened.
_ENOUGH_PIXELS = 64


@runtime_checkable
class Inpainter(Protocol):
    """
    What can fill holes: any callable with this signature.

    It is called with the image, a 2-D floating-point array with NaN in every
    pixel that must not be used, and with the boolean mask of the pixels to
    fill; both are read-only. It returns the filled image, of which only the
    pixels of the mask are used, or a tuple of it and of an array of standard
    deviations.

    Without standard deviations, `inpaint` finds them by hiding good pixels
    and calling it a second time.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust.inpainting import Inpainter, inpaint
    >>> def level(data, mask):
    ...     return np.where(mask, np.nanmedian(data), data)
    >>> isinstance(level, Inpainter)
    True
    >>> inpaint([[1.0, 9.0, 1.0]], [[0, 1, 0]], method=level)
    array([[1., 1., 1.]])
    """

    def __call__(
        self, data: np.ndarray, mask: np.ndarray
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the filled image, or it and its standard deviation."""
        ...


@dataclass(frozen=True)
class GaussianProcessInpainter:
    """
    Universal kriging: a local polynomial plus a Gaussian process plus noise.

    Parameters
    ----------
    degree : int, optional
        The degree of the polynomial trend, 0 to 3.

    smooth_terms : bool, optional
        `False` leaves the Gaussian process out: the polynomial alone is
        fitted, and what it misses is taken for noise.

    Notes
    -----
    For each hole the covariance is learnt from the pixels around it, up to
    two depths of the hole away (32 to 128 pixels): sums of smooth terms are
    fitted to the semivariogram in several families, and the restricted
    likelihood decides between them and white noise alone. So a smooth noisy
    flat is filled with a polynomial averaged over many pixels, and a texture
    with less noise is continued into the hole as far as it is predictable.

    Pixels are averaged over blocks that grow with their distance, which makes
    the cost nearly independent of the size of the hole. Lone pixels five
    robust deviations off the trend are left out. Holes that are much longer
    than deep are filled in overlapping cells.

    References
    ----------
    .. [1] Rasmussen, C. E. and Williams, C. K. I. 2006, Gaussian Processes
       for Machine Learning, MIT Press, section 2.7,
       https://doi.org/10.7551/mitpress/3206.001.0001
    .. [2] Cressie, N. 1993, Statistics for Spatial Data, Wiley, chapter 3,
       https://doi.org/10.1002/9781119115151

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust.inpainting import GaussianProcessInpainter, inpaint
    >>> y, x = np.mgrid[:60, :60]
    >>> image = 1000.0 + y + 0.01 * x**2
    >>> mask = np.hypot(y - 30, x - 30) < 6
    >>> filled = inpaint(image, mask, method=GaussianProcessInpainter(degree=2))
    >>> bool(np.allclose(filled, image))
    True
    """

    degree: int = 2
    smooth_terms: bool = True

    def __post_init__(self) -> None:
        if self.degree not in {0, 1, 2, 3}:
            msg = f'degree must be 0, 1, 2 or 3, not {self.degree!r}'
            raise ValueError(msg)

    def __call__(
        self, data: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the filled image and its standard deviation."""
        filled = np.full(data.shape, np.nan, dtype=data.dtype)
        sigma = np.full(data.shape, np.nan, dtype=data.dtype)
        for hole in holes(mask):
            values, errors = self._fill_hole(data, hole)
            filled[hole.box][hole.member] = values
            sigma[hole.box][hole.member] = errors
        return filled, sigma

    def _fill_hole(self, data: np.ndarray, hole: Hole) -> np.ndarray:
        """Return the values and standard deviations of one hole."""
        depth = hole.depth
        sums = np.zeros((3, *hole.member.shape))
        for cell, weight in cells(hole, depth):
            place = inner_box(cell.box, hole.box)
            result = np.zeros((3, *cell.member.shape))
            result[:2, cell.member] = self._fill_cell(data, cell, depth)
            result[2] = 1
            sums[(slice(None), *place)] += weight * result
        return sums[:2, hole.member] / sums[2, hole.member]

    def _fill_cell(self, data: np.ndarray, cell: Hole, depth: float) -> np.ndarray:
        """Fill one cell from a ring, widened until it holds enough pixels."""
        from astroflat.dust._inpaint_gp import krige, ring_width

        ring = ring_width(depth)
        while True:
            box = grow_box(cell.box, ring, data.shape)
            window = data[box].astype(float)
            known = np.isfinite(window)
            if known.sum() >= _ENOUGH_PIXELS or window.shape == data.shape:
                break
            ring *= 2
        target = np.zeros(window.shape, dtype=bool)
        y, x = (
            part.start - outer.start for part, outer in zip(cell.box, box, strict=True)
        )
        ny, nx = cell.member.shape
        target[y : y + ny, x : x + nx] = cell.member
        return krige(
            window,
            target,
            known,
            ring=ring,
            degree=self.degree,
            smooth_terms=self.smooth_terms,
        )


@dataclass(frozen=True)
class BiharmonicInpainter:
    """
    Surfaces of zero bilaplacian, which continue values and slopes.

    Parameters
    ----------
    ring_sigma : float or 'auto', optional
        Before filling, the pixels that bound a hole are replaced by planes
        fitted around them with Gaussian weights of this width in pixels, so
        that their noise is not carried into the hole; 0 for none. 'auto'
        takes what has the least expected error.

    Notes
    -----
    The equations are solved by `skimage.restoration.inpaint_biharmonic`, with
    ``ring_sigma=0`` to the same result, except that values beyond the range
    of the image are not clipped. The slope at the edge of a large hole is
    continued far into it, and with it the error of the slope.

    References
    ----------
    .. [1] Damelin, S. B. and Hoang, N. S. 2018, International Journal of
       Mathematics and Mathematical Sciences, 2018, 3950312,
       https://doi.org/10.1155/2018/3950312
    .. [2] Mallows, C. L. 1973, Technometrics, 15, 661,
       https://doi.org/10.1080/00401706.1973.10489103

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.dust.inpainting import BiharmonicInpainter, inpaint
    >>> image = np.add.outer(np.arange(9.0), np.arange(9.0))
    >>> mask = np.zeros(image.shape, dtype=bool)
    >>> mask[4, 4] = True
    >>> filled = inpaint(image, mask, method=BiharmonicInpainter(ring_sigma=0))
    >>> round(float(filled[4, 4]), 6)
    8.0
    """

    ring_sigma: float | Literal['auto'] = 'auto'

    def __post_init__(self) -> None:
        if self.ring_sigma != 'auto' and not 0 <= self.ring_sigma <= 32:
            msg = (
                f"ring_sigma must be 'auto' or 0 to 32 pixels, not {self.ring_sigma!r}"
            )
            raise ValueError(msg)

    def __call__(self, data: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the filled image."""
        from astroflat.dust._inpaint_biharmonic import fill_biharmonic

        return fill_biharmonic(data, mask, self.ring_sigma)


_METHODS: dict[str, Callable[[], Inpainter]] = {
    'gp': GaussianProcessInpainter,
    'polynomial': lambda: GaussianProcessInpainter(smooth_terms=False),
    'biharmonic': BiharmonicInpainter,
}


def inpaint(
    image: Any,
    mask: ArrayLike,
    *,
    method: Method | Inpainter = 'gp',
    return_uncertainty: bool = False,
    add_keyword: Any = True,
) -> Any:
    """
    Fill holes in an image with what the surroundings make likely.

    Parameters
    ----------
    image : CCDData, NDData, Quantity, masked array, array_like or path
        The image, ``(ny, nx)`` or, plane by plane, ``(ny, nx, 3)``.

    mask : array_like of bool or float
        The pixels to fill, ``(ny, nx)``. Weights such as those of
        `feather_mask` are accepted: every pixel above zero is filled.

    method : {'gp', 'polynomial', 'biharmonic'} or Inpainter, optional
        How to fill:

        * ``'gp'``: `GaussianProcessInpainter`, the best on all holes larger
          than a few pixels and on all noisy images, and never much worse;
        * ``'polynomial'``: a local quadratic surface, for smooth flats;
        * ``'biharmonic'``: `BiharmonicInpainter`, the fastest for thousands
          of small holes in an image with little noise.

    return_uncertainty : bool, optional
        Whether to return the standard deviations too.

    add_keyword : bool, str, `ccdproc.Keyword` or dict, optional
        What to write to the metadata, as in ccdproc.

    Returns
    -------
    filled : same kind as ``image``
        Integers become float32; the pixels outside the mask are the same to
        the last bit. If the image has an uncertainty, that of the filled
        pixels is replaced. Its mask is kept.

    sigma : `~numpy.ndarray`
        Only with ``return_uncertainty``: the standard deviation of the
        filled values as an estimate of what would be there without noise;
        outside the mask that of the image, or NaN if unknown.

    Raises
    ------
    ValueError
        If the shapes differ, nothing is left to learn from, or the method is
        not known.

    Warns
    -----
    AstroflatWarning
        If pixels could not be filled. They are masked, or NaN in an array.

    See Also
    --------
    match_histogram : Bring an externally filled image to the same scale.
    synthetic_flat : Divide by the filled image.

    Notes
    -----
    NaN and pixels masked in the image itself are neither used nor filled,
    unless they are in ``mask`` too. Computations are in float64, results in
    the type of the image.

    Where a method gives no standard deviation, it comes from hiding good
    pixels: copies of the holes are filled beside them and compared with
    what is there.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat import inpaint
    >>> rng = np.random.default_rng(1)
    >>> flat = 1 - 1e-5 * np.hypot(*np.mgrid[-50:50, -50:50]) ** 2
    >>> image = flat + rng.normal(0, 0.01, flat.shape)
    >>> mask = np.hypot(*np.mgrid[-40:60, -50:50]) < 8
    >>> filled, sigma = inpaint(image, mask, return_uncertainty=True)
    >>> bool(np.abs(filled - flat)[mask].max() < 0.002)
    True
    """
    frame = unpack(image, name='image', ndim=(2, 3))
    hole = mask_or_weights(mask) > 0
    if hole.shape != frame.shape[:2]:
        msg = f'mask has the shape {hole.shape}, the image has {frame.shape}'
        raise ValueError(msg)
    inpainter = _inpainter(method)
    wanted = return_uncertainty or frame.uncertainty is not None
    start = len(getattr(inpainter, 'provenance', ()))
    filled, sigma = _fill_planes(frame, hole, inpainter, wanted=wanted)
    result = _pack(frame, hole, filled, sigma, _name(method), add_keyword)
    # A method that asks somebody else says whom.
    if hasattr(inpainter, 'note_answers') and hasattr(result, 'meta'):
        inpainter.note_answers(result.meta, start=start, add_keyword=add_keyword)
    return (result, _whole_sigma(frame, sigma)) if return_uncertainty else result


def _inpainter(method: Method | Inpainter) -> Inpainter:
    """Return the object that fills."""
    if isinstance(method, str):
        if method not in _METHODS:
            names = ', '.join(map(repr, _METHODS))
            msg = f'method must be one of {names} or a callable, not {method!r}'
            raise ValueError(msg)
        return _METHODS[method]()
    if isinstance(method, type) or not callable(method):
        msg = f'method must be a name or an instance that can be called: {method!r}'
        raise TypeError(msg)
    return method


def _name(method: Method | Inpainter) -> str:
    """Return what the metadata call a method."""
    if isinstance(method, str):
        return method
    return getattr(method, '__name__', type(method).__name__)


def _fill_planes(
    frame: Frame, hole: np.ndarray, inpainter: Inpainter, *, wanted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fill every plane of an image; NaN outside the holes."""
    data = np.where(frame.bad, frame.data.dtype.type(np.nan), frame.data)
    data[hole] = np.nan
    planes = data[..., None] if data.ndim == 2 else data
    results = []
    for k in range(planes.shape[2]):
        plane = np.ascontiguousarray(planes[..., k])
        if hole.any() and not np.isfinite(plane).any():
            msg = 'no good pixel is left outside the mask to fill the holes from'
            raise ValueError(msg)
        results.append(_fill_plane(plane, hole, inpainter, wanted=wanted))
    stack = [
        np.stack(part, axis=-1).reshape(data.shape)
        for part in zip(*results, strict=True)
    ]
    return stack[0], stack[1]


def _fill_plane(
    plane: np.ndarray, hole: np.ndarray, inpainter: Inpainter, *, wanted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fill one plane, and find the standard deviation if it is wanted."""
    unknown = np.full(plane.shape, np.nan, dtype=plane.dtype)
    if not hole.any():
        return unknown, unknown
    filled, sigma = _call(inpainter, plane, hole)
    if sigma is None and wanted:
        from astroflat.dust._inpaint_placebo import placebo_sigma

        sigma = placebo_sigma(plane, hole, lambda *args: _call(inpainter, *args)[0])
    sigma = unknown if sigma is None else np.where(hole, sigma, np.nan)
    return np.where(hole, filled, np.nan), sigma


def _call(
    inpainter: Inpainter, plane: np.ndarray, hole: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Call a method and check what it returns."""
    plane, hole = plane.view(), hole.view()
    plane.flags.writeable = hole.flags.writeable = False
    result = inpainter(plane, hole)
    filled, sigma = result if isinstance(result, tuple) else (result, None)
    parts = [np.asarray(part) for part in (filled, sigma) if part is not None]
    if any(part.shape != plane.shape for part in parts):
        msg = (
            f'the method returned arrays of shapes {[p.shape for p in parts]} '
            f'for an image of {plane.shape}'
        )
        raise ValueError(msg)
    return parts[0].astype(plane.dtype), (parts[1] if len(parts) > 1 else None)


def _pack(
    frame: Frame,
    hole: np.ndarray,
    filled: np.ndarray,
    sigma: np.ndarray,
    name: str,
    add_keyword: Any,
) -> Any:
    """Put the filled pixels into a copy of the image."""
    data = frame.data.copy()
    data[hole] = filled[hole]
    changes: dict[str, Any] = {}
    if frame.uncertainty is not None:
        changes['uncertainty'] = frame.uncertainty.copy()
        changes['uncertainty'][hole] = _in_kind(sigma[hole], frame.uncertainty_type)
    empty = np.zeros(frame.shape, dtype=bool)
    empty[hole] = ~np.isfinite(filled[hole])
    if empty.any():
        msg = f'{int(empty.sum())} pixels could not be filled and are masked'
        warnings.warn(msg, AstroflatWarning, stacklevel=3)
        changes['mask'] = empty if frame.mask is None else empty | frame.mask
    if isinstance(frame.source, NDData) or hasattr(frame.source, '__fspath__'):
        n_filled = int(hole.sum())
        record(
            frame.meta,
            'inpaint',
            history=f'{n_filled} pixels filled ({name})',
            add_keyword=add_keyword,
            NINPAINT=(n_filled, 'pixels filled by inpainting'),
        )
    return frame.repack(data, **changes)


def _in_kind(sigma: np.ndarray, kind: str | None) -> np.ndarray:
    """Convert standard deviations to the image's kind of uncertainty."""
    if kind == 'std':
        return sigma
    with np.errstate(divide='ignore'):
        return sigma**2 if kind == 'var' else 1.0 / sigma**2


def _whole_sigma(frame: Frame, sigma: np.ndarray) -> np.ndarray:
    """Return the deviations of the fill, and elsewhere those of the image."""
    if frame.uncertainty is None:
        return sigma
    with np.errstate(invalid='ignore'):
        return np.where(np.isfinite(sigma), sigma, np.sqrt(frame.variance))
