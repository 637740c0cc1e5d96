# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Remove noise from linear frames, and say what error is left."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._exceptions import AstroflatWarning
from astroflat.neural._denoise_plane import denoise_plane
from astroflat.neural._frames import is_mosaic, unpack_frame
from astroflat.neural._noise_estimate import FoundNoise, find_noise, header_value

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from astroflat._nddata import Frame
    from astroflat.neural.models import Model

__all__ = ['Denoiser']

# A frame this much noisier or quieter than its gain says was not read out like
# that: it was stacked, scaled or resampled.
_ODD = 1.3


@dataclass
class _Settings:
    """What was asked for, and what was found on the way."""

    gain: float | None
    readnoise: float | None
    offset: float | None
    saturation: float | None
    strength: float
    max_bin: int = 4
    noise: list[FoundNoise] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)


class Denoiser:
    """
    Remove noise from linear frames with a network.

    Parameters
    ----------
    model : str, path-like or `~astroflat.neural.Model`, optional
        A network for the task 'denoise', as in `~astroflat.neural.find_model`.

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
    The frame must be linear and its noise independent from pixel to pixel: raw or
    calibrated, but not stretched, resampled or demosaicked.

    Noise is made 1 everywhere by the generalised Anscombe transform, the smooth
    local level is subtracted, and the network predicts the noise that is left,
    which is subtracted from the pixel. The inverse is exact, and unbiased where
    noise was removed. No pixel is changed by more than 12 standard deviations of
    its noise; far above the local level, in bright stars, nothing is changed.

    Where nothing is sharp, the network looks at means over pixels instead, whose
    noise it knows better; the header says so (``AFBIN``).

    Photometry belongs on the original frame: what the network does not recognise as
    a source it takes for noise.

    References
    ----------
    Mäkitalo, M. and Foi, A. 2013, IEEE Transactions on Image Processing 22, 91,
    doi:10.1109/TIP.2012.2202675

    Examples
    --------
    >>> import astroflat as af
    >>> from astroflat.degradation import expose, make_scene
    >>> scene = make_scene((64, 64), rng=1, level=100)
    >>> ccd = expose(scene, camera='cmos', rng=2)
    >>> clean = af.Denoiser(device='cpu').denoise(ccd)
    >>> bool(clean.data.std() < ccd.data.std()), clean.header['AFMETH']
    (True, 'denoise')
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

        found = find_model(model, task='denoise')
        self._session = get_session(found, device=device, n_threads=n_threads)
        self.card = found.card
        self._model = found
        self.device = self._session.device

    def denoise(
        self,
        image: Any,
        *,
        gain: float | None = None,
        readnoise: float | None = None,
        offset: float | None = None,
        saturation: float | None = None,
        mask: Any = None,
        bayer: bool | None = None,
        strength: float = 1.0,
        max_bin: int = 4,
        tile: int | None = None,
        progress_bar: bool = False,
    ) -> Any:
        """
        Remove noise from a frame.

        Parameters
        ----------
        image : CCDData, NDData, Quantity, masked array, array_like or path
            Frame, ``(ny, nx)`` or ``(ny, nx, 3)``.

        gain : float, optional
            Electrons per unit of the data. By default that of the header
            (``EGAIN``, or a ``GAIN`` that is one), else from the frame.

        readnoise : float, optional
            Read noise in electrons. By default ``RDNOISE`` of the header, else
            from the frame.

        offset : float, optional
            Value of a pixel without light (bias, pedestal). By default such that
            the noise of the sky is that of the frame.

        saturation : float, optional
            Pixels from this value on stay as they are. By default ``SATURATE``
            of the header.

        mask : array_like of bool, optional
            More bad pixels. Masked pixels and NaN are neither changed nor used.

        bayer : bool, optional
            Whether the frame is a mosaic of colours, whose four kinds of pixels
            are denoised apart. By default, whether the header has a pattern in
            ``BAYERPAT`` or ``COLORTYP``.

        strength : float, optional
            Part of the noise to remove, 0 to 1.

        max_bin : int, optional
            Where nine of ten stars are at least 6 pixels wide and nothing else is
            sharper, the network looks at means over 2 x 2 up to this many pixels,
            and all that is finer is noise. 1 to never do this.

        tile : int, optional
            Side of the tiles in pixels.

        progress_bar : bool, optional
            Show the progress on standard error.

        Returns
        -------
        result : same kind as ``image``
            Denoised frame with mask, WCS, unit and header of the input. Its
            uncertainty is the standard deviation of the error that is left,
            which neighbouring pixels share. For a path, a CCDData.

        Raises
        ------
        ValueError
            If an argument is out of range, or if the noise cannot be found in a
            frame that is too small.

        Warns
        -----
        AstroflatWarning
            If the noise of the frame is not that of the gain; then what is
            measured counts.

        Examples
        --------
        >>> import numpy as np
        >>> import astroflat as af
        >>> rng = np.random.default_rng(1)
        >>> image = rng.poisson(np.full((64, 64), 400.0)).astype('f4')
        >>> denoiser = af.Denoiser(device='cpu')
        >>> clean = denoiser.denoise(image, gain=1, readnoise=0, offset=0)
        >>> bool(clean.std() < 0.3 * image.std()), bool(abs(clean.mean() - 400) < 1)
        (True, True)
        """
        if not 0.0 <= strength <= 1.0:
            msg = f'strength must be from 0 to 1, not {strength}'
            raise ValueError(msg)
        frame = unpack_frame(image, name='image', mask=mask)
        if saturation is None:
            saturation = header_value(frame.meta, ('SATURATE',), most=np.inf)
        if max_bin < 1:
            msg = f'max_bin must be at least 1, not {max_bin}'
            raise ValueError(msg)
        settings = _Settings(gain, readnoise, offset, saturation, strength, max_bin)
        data, left = np.array(frame.data), np.empty(frame.shape, np.float32)
        for part in _planes(frame, bayer):
            data[part], left[part] = self._plane(
                frame, part, settings, tile, progress_bar
            )
        _warn_if_odd(settings)
        return frame.repack(
            data,
            variance=left.astype(data.dtype) ** 2,
            meta=self._meta(frame, settings),
        )

    def adapt(
        self, frames: Sequence[Any], output: str | os.PathLike, **options: Any
    ) -> Denoiser:
        """
        Train the network further on own frames, without truth.

        Parameters
        ----------
        frames : sequence of CCDData, array_like or path
            Linear frames of one camera.

        output : path-like
            The ONNX file to write.

        **options
            ``aligned=True`` if the frames show the same sky pixel by pixel: then
            each is predicted from another one. Otherwise blind spots are used.
            More in ``astroflat.training.adapt``.

        Returns
        -------
        denoiser : Denoiser
            A denoiser with the new network; this one stays as it is.

        Raises
        ------
        ImportError
            If PyTorch (the extra ``train``) is not installed.

        Examples
        --------
        >>> import astroflat as af
        >>> denoiser = af.Denoiser(device='cpu')
        >>> mine = denoiser.adapt(['a.fits', 'b.fits'], 'mine.onnx')  # doctest: +SKIP
        """
        try:
            from astroflat.training.adapt import adapt

            path = adapt(frames, output, model=self._model, **options)
        except ModuleNotFoundError as error:
            msg = f"{error.name} is missing: pip install 'astroflat[train]'"
            raise ImportError(msg) from error
        return Denoiser(path, device=self._session.device)

    def _plane(
        self,
        frame: Frame,
        part: tuple,
        settings: _Settings,
        tile: int | None,
        progress_bar: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Denoise one plane."""
        data, bad = np.ascontiguousarray(frame.data[part]), frame.bad[part]
        full = np.zeros(data.shape, bool)
        if settings.saturation is not None:
            full = ~bad & (data >= settings.saturation)
        if (bad | full).all():
            return data, np.full(data.shape, np.nan, np.float32)
        found = find_noise(
            data,
            bad | full,
            meta=frame.meta,
            gain=settings.gain,
            readnoise=settings.readnoise,
            offset=settings.offset,
            is_electron=str(frame.unit) in ('electron', 'ph'),
        )
        result, left, scale, side = denoise_plane(
            data,
            bad,
            found.model,
            self._session,
            strength=settings.strength,
            most=settings.max_bin,
            tile=tile,
            progress=progress_bar,
        )
        # What is full has no noise to remove; its neighbours still see it.
        result[full] = data[full]
        left[full] = found.model.sigma(data[full])
        settings.noise.append(found)
        settings.scales.append(scale)
        settings.sides.append(side)
        return result, left

    def _meta(self, frame: Frame, settings: _Settings) -> Any:
        """Return the metadata with what was done."""
        import copy

        from astroflat._provenance import record

        meta = copy.deepcopy(frame.meta)
        cards = dict(self._session.header_cards())
        if settings.noise:
            model = settings.noise[0].model
            cards['AFGAIN'] = (
                round(model.gain, 6),
                'electrons per unit, for the noise',
            )
            cards['AFRDNOIS'] = (round(model.readnoise, 4), '[electron] read noise')
            cards['AFOFFSET'] = (round(model.offset, 4), 'value without light')
            cards['AFNOISE'] = (round(settings.scales[0], 4), 'noise found / expected')
        if settings.sides:
            cards['AFBIN'] = (max(settings.sides), '[pix] side of bins of the network')
        cards['AFDENOIS'] = (settings.strength, 'part of the noise removed')
        source = settings.noise[0].source if settings.noise else 'nothing'
        record(
            meta,
            'denoise',
            history=f'denoised, gain from {source}; measure on the original',
            **cards,
        )
        return meta


def _planes(frame: Frame, bayer: bool | None) -> list[tuple]:
    """Return the indices of the planes that are denoised apart."""
    if len(frame.shape) == 3:
        return [(slice(None), slice(None), k) for k in range(frame.shape[2])]
    if bayer is None:
        bayer = is_mosaic(frame, ('BAYERPAT', 'COLORTYP'))
    if not bayer:
        return [(slice(None), slice(None))]
    return [(slice(y, None, 2), slice(x, None, 2)) for y in (0, 1) for x in (0, 1)]


def _warn_if_odd(settings: _Settings) -> None:
    """Warn if the noise of the frame is not that of its gain."""
    known = [n.source in ('argument', 'header', 'unit') for n in settings.noise]
    odd = [
        scale
        for scale, known_ in zip(settings.scales, known, strict=True)
        # Without any noise there is nothing to be wrong about.
        if known_ and scale > 0.02 and not 1.0 / _ODD < scale < _ODD
    ]
    if odd:
        msg = (
            f'the noise of the frame is {odd[0]:.2f} times that of its gain and read '
            'noise; it may be stacked or scaled. The measured noise is used'
        )
        warnings.warn(msg, AstroflatWarning, stacklevel=3)
