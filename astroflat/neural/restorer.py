# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sharpen and denoise linear frames, each as much as wanted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from astroflat._exceptions import AstroflatWarning
from astroflat.neural._frames import is_mosaic, unpack_frame
from astroflat.neural._noise_estimate import FoundNoise, find_noise, header_value
from astroflat.neural._restore_binned import bin_factor, restore_binned
from astroflat.neural._restore_optics import Optics, find_optics
from astroflat.neural._restore_plane import Found, denoised, restore_plane
from astroflat.neural._restore_protect import check_protect, protection
from astroflat.neural._strips import run_strips

if TYPE_CHECKING:
    import os

    from astroflat._nddata import Frame
    from astroflat._report import QualityReport
    from astroflat.neural.models import Model

__all__ = ['Restoration', 'Restorer']


class Restoration(NamedTuple):
    """
    A restored frame, and how it compares with what it was made of.

    Parameters
    ----------
    image : CCDData or ndarray
        The restored frame, in the container of the input.

    residual : ndarray of float32
        The frame less the restored one blurred again by the point-spread function:
        noise, where nothing was invented or lost.

    report : QualityReport
        Widths, fluxes and places of stars before and after, and the verdict.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> image = np.random.default_rng(1).normal(100, 3, (64, 64)).astype('f4')
    >>> restorer = af.Restorer(device='cpu')
    >>> found = restorer.restore(image, fwhm=3.0, views=1, full_output=True)
    >>> found.image.shape, found.report.verdict
    ((64, 64), 'weak')
    """

    image: Any
    residual: np.ndarray
    report: QualityReport


@dataclass
class _Settings:
    """What was asked for, and what was found on the way."""

    gain: float | None
    readnoise: float | None
    offset: float | None
    saturation: float | None
    strength: float
    denoise: float
    protect: Any
    views: int
    tile: int | None
    progress: bool
    noise: list[FoundNoise] = field(default_factory=list)


class Restorer:
    """
    Sharpen and denoise linear frames with a network.

    Parameters
    ----------
    model : str, path-like or `~astroflat.neural.Model`, optional
        A network for the task 'restore', as in `~astroflat.neural.find_model`.

    device : {'auto', 'cpu', 'cuda'}, optional
        As in `~astroflat.neural.Session`.

    n_threads : int, optional
        As in `~astroflat.neural.Session`.

    Attributes
    ----------
    card : `~astroflat.neural.ModelCard`
        What the network is.

    device : str
        'cpu' or 'cuda', where it really runs.

    Raises
    ------
    ModelError, DeviceError
        As in `~astroflat.neural.Session`.

    Notes
    -----
    The frame must be linear and its noise independent from pixel to pixel.

    Linear filters made of the point-spread function of the frame sharpen it in
    several ways, from careful to bold, each conserving the sum of the light. The
    network mixes them pixel by pixel and corrects the mixture in a stretch whose
    inverse is exact. Fluxes of sources are then scaled to those of a linear filter.
    So any point-spread function can be used, also one that changes over the field.

    Stars become round Gaussians of half their width at full strength, but not
    narrower than 1.8 pixels; nothing finer is invented. Where stars are wider than 7
    pixels, means of bins are restored and interpolated. Saturated pixels, masked
    pixels and NaN stay as they are, and so do pixels that stand out more sharply than
    a star can: hot ones, and hits of particles. At strength 0 there is nothing to
    sharpen, and the network of `Denoiser` does the rest.

    Photometry belongs on the original frame.

    Examples
    --------
    >>> import astroflat as af
    >>> from astroflat.degradation import expose, make_scene
    >>> scene = make_scene((64, 64), kind='open_cluster', rng=1, level=200)
    >>> ccd = expose(scene, camera='cmos', rng=2)
    >>> sharp = af.Restorer(device='cpu').restore(ccd, fwhm=3.0, strength=0.7)
    >>> bool(sharp.data.max() > ccd.data.max()), sharp.header['AFMETH']
    (True, 'restore')
    """

    def __init__(
        self,
        model: str | os.PathLike | Model = 'default',
        *,
        device: Literal['auto', 'cpu', 'cuda'] = 'auto',
        n_threads: int | None = None,
    ) -> None:
        from astroflat.neural.models import find_model
        from astroflat.neural.sessions import get_session

        found = find_model(model, task='restore')
        self._session = get_session(found, device=device, n_threads=n_threads)
        self.card = found.card
        self.device = self._session.device

    def restore(
        self,
        image: Any,
        *,
        fwhm: Any = None,
        psf: Any = None,
        strength: float = 1.0,
        denoise: float = 1.0,
        protect: Any = None,
        gain: float | None = None,
        readnoise: float | None = None,
        offset: float | None = None,
        saturation: float | None = None,
        mask: Any = None,
        views: int = 2,
        tile: int | None = None,
        progress_bar: bool = False,
        full_output: bool = False,
    ) -> Any:
        """
        Sharpen and denoise a frame.

        Parameters
        ----------
        image : CCDData, NDData, Quantity, masked array, array_like or path
            Frame, ``(ny, nx)`` or ``(ny, nx, 3)``.

        fwhm : float or `~astroflat.psf.PSFField`, optional
            Full width at half maximum of the stars in pixels. By default the image of
            the stars is measured in the frame, over the field, as by
            `~astroflat.psf.measure_field`.

        psf : array_like or `~astroflat.psf.PSFField`, optional
            Image of a star instead, ``(ny, nx)``, without background. The star is
            where the centroid of its light within two widths is.

        strength : float, optional
            How much sharper, 0 to 1. At 1 stars get half their width.

        denoise : float, optional
            Part of the noise to remove, 0 to 1. What stays is the noise of the
            frame itself, pixel by pixel, never that of a sharpened frame: what the
            frame has more than the result blurred again.

        protect : {'bright', 'flat'} or array_like, optional
            Where to keep the frame as it is: in bright places, where nothing but
            noise varies, or where an array ``(ny, nx)`` is True or near 1.

        gain, readnoise, offset, saturation : float, optional
            As in `Denoiser.denoise`.

        mask : array_like of bool, optional
            More bad pixels. Masked pixels and NaN are neither changed nor used.

        views : int, optional
            How often the network sees everything, turned each time, 1 to 8. The
            mean is taken: more are better, and slower.

        tile : int, optional
            Side of the tiles in pixels.

        progress_bar : bool, optional
            Show the progress on standard error.

        full_output : bool, optional
            Return a `Restoration` instead of the frame alone.

        Returns
        -------
        result : same kind as ``image``, or `Restoration`
            Restored frame with mask, WCS, unit and header of the input. Its
            uncertainty is the standard deviation of its error, which neighbouring
            pixels share. With strength and denoise 0 it is the input to the bit.

        Raises
        ------
        ValueError
            If an argument is out of range, or if the noise cannot be found in a
            frame that is too small.

        `~astroflat.psf.TooFewStarsError`
            If neither ``fwhm`` nor ``psf`` is given, and there are too few stars.

        Warns
        -----
        AstroflatWarning
            If the header says that the frame is a mosaic of colours (``BAYERPAT``).
            What differs from colour to colour would be taken for noise.

        Examples
        --------
        >>> import numpy as np
        >>> import astroflat as af
        >>> rng = np.random.default_rng(1)
        >>> image = rng.poisson(np.full((64, 64), 400.0)).astype('f4')
        >>> restorer = af.Restorer(device='cpu')
        >>> clean = restorer.restore(image, fwhm=3.0, gain=1, readnoise=0, offset=0)
        >>> bool(clean.std() < 0.3 * image.std())
        True
        """
        for name, value in (('strength', strength), ('denoise', denoise)):
            if not 0.0 <= value <= 1.0:
                msg = f'{name} must be from 0 to 1, not {value}'
                raise ValueError(msg)
        if views not in range(1, 9):
            msg = f'views must be a whole number from 1 to 8, not {views}'
            raise ValueError(msg)
        frame = unpack_frame(image, name='image', mask=mask)
        check_protect(protect, frame.shape[:2])
        if is_mosaic(frame):
            _warn_of_mosaic()
        if saturation is None:
            saturation = header_value(frame.meta, ('SATURATE',), most=np.inf)
        settings = _Settings(
            gain,
            readnoise,
            offset,
            saturation,
            strength,
            denoise,
            protect,
            views,
            tile,
            progress_bar,
        )
        optics = find_optics(frame, fwhm, psf, strength, saturation)
        data = np.array(frame.data)
        error = np.empty(frame.shape, np.float32)
        residual = np.zeros(frame.shape, np.float32)
        chi = np.zeros(frame.shape, np.float32)
        # Nothing to do is nothing done: not even the last bit changes.
        if strength > 0 or denoise > 0:
            for part in _planes(frame):
                planes = self._plane(frame, part, optics, settings)
                data[part], error[part], residual[part], chi[part] = planes
        changes: dict[str, Any] = {'meta': self._meta(frame, optics, settings)}
        if strength > 0 or denoise > 0:
            changes['variance'] = error.astype(data.dtype) ** 2
        result = frame.repack(data, **changes)
        if not full_output:
            return result
        from astroflat.neural._restore_report import make_report

        return Restoration(result, residual, make_report(frame, data, optics, chi))

    def _plane(
        self, frame: Frame, part: tuple, optics: Optics, settings: _Settings
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Restore one plane: result, error, residual, the last over its noise."""
        data, bad = np.ascontiguousarray(frame.data[part]), frame.bad[part]
        full = np.zeros(data.shape, bool)
        if settings.saturation is not None:
            full = ~bad & (data >= settings.saturation)
        if (bad | full).all():
            nothing = np.full(data.shape, np.nan, np.float32)
            return data, nothing, nothing, nothing
        noise = self._noise(frame, data, bad | full, settings)
        found = self._found(data, bad, full, noise, optics, settings)
        keep = protection(settings.protect, data, bad, full, found, optics.fwhm)
        noisy = np.float32(1.0 - settings.denoise)
        result, error, chi = np.empty_like(data), found.error, found.sigma

        def finish(rows: slice) -> None:
            gone, stays, residual = bad[rows], keep[rows], found.residual[rows]
            own = noise.model.sigma(np.where(gone, 0.0, data[rows])).astype(np.float32)
            change = found.change[rows] + noisy * residual
            result[rows] = data[rows] + (1.0 - stays) * change
            left = np.sqrt(error[rows] ** 2 + noisy**2 * own**2)
            error[rows] = (1.0 - stays) * left + stays * own
            result[rows][gone] = data[rows][gone]
            error[rows][gone], residual[gone] = np.nan, np.nan
            chi[rows] = residual / own

        run_strips(finish, data.shape)
        return result, error, found.residual, chi

    @staticmethod
    def _noise(
        frame: Frame, data: np.ndarray, bad: np.ndarray, settings: _Settings
    ) -> FoundNoise:
        """Find the noise of a plane."""
        noise = find_noise(
            data,
            bad,
            meta=frame.meta,
            gain=settings.gain,
            readnoise=settings.readnoise,
            offset=settings.offset,
            is_electron=str(frame.unit) in ('electron', 'ph'),
        )
        settings.noise.append(noise)
        return noise

    def _found(
        self,
        data: np.ndarray,
        bad: np.ndarray,
        full: np.ndarray,
        noise: FoundNoise,
        optics: Optics,
        settings: _Settings,
    ) -> Found:
        """Run the network: that of the denoiser if nothing is to be sharpened."""
        options = {'tile': settings.tile, 'progress': settings.progress}
        if settings.strength == 0:
            return denoised(data, bad, noise.model, self._softener(), **options)
        varies, views = optics.varies, settings.views

        def restore(*plane: Any) -> Found:
            *arrays, model, at = plane
            return restore_plane(
                *arrays, model, self._session, at, varies=varies, views=views, **options
            )

        factor = bin_factor(optics.fwhm)
        parts = data, bad, full, noise.model, optics.at
        return (
            restore(*parts) if factor == 1 else restore_binned(restore, factor, *parts)
        )

    def _softener(self) -> Any:
        """Return the session of the denoiser, which knows all that is bright."""
        from astroflat.neural.models import find_model
        from astroflat.neural.sessions import get_session

        found = find_model('default', task='denoise')
        return get_session(
            found, device=self._session.device, n_threads=self._session.n_threads
        )

    def _meta(self, frame: Frame, optics: Optics, settings: _Settings) -> Any:
        """Return the metadata with what was done."""
        import copy

        from astroflat._provenance import record

        meta = copy.deepcopy(frame.meta)
        session = self._session if settings.strength else self._softener()
        cards = dict(session.header_cards())
        if settings.noise:
            model = settings.noise[0].model
            cards['AFGAIN'] = (
                round(model.gain, 6),
                'electrons per unit, for the noise',
            )
            cards['AFRDNOIS'] = (round(model.readnoise, 4), '[electron] read noise')
        cards['AFFWHMIN'] = (round(optics.fwhm, 3), '[pix] width of stars before')
        cards['AFFWHM'] = (round(optics.wanted, 3), '[pix] width of stars asked for')
        cards['AFPSF'] = (optics.source, 'where the width of stars is from')
        cards['AFSHARP'] = (settings.strength, 'strength of the sharpening')
        cards['AFDENOIS'] = (settings.denoise, 'part of the noise removed')
        record(
            meta,
            'restore',
            history=f'restored, stars from {optics.source}; measure on the original',
            **cards,
        )
        return meta


def _warn_of_mosaic() -> None:
    """Warn of a frame whose neighbours have other colours."""
    msg = (
        'the header says that the frame is a mosaic of colours (BAYERPAT), which are '
        'mixed here: restore the planes of astroflat.io.split_bayer each, or a frame '
        'in colour'
    )
    warnings.warn(msg, AstroflatWarning, stacklevel=3)


def _planes(frame: Frame) -> list[tuple]:
    """Return the indices of the planes."""
    if len(frame.shape) == 3:
        return [(slice(None), slice(None), k) for k in range(frame.shape[2])]
    return [(slice(None), slice(None))]
