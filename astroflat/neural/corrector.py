# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""F and G of a single frame, by networks; the correction itself is arithmetic."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty

from astroflat._nddata import Frame
from astroflat._provenance import record
from astroflat.neural._compose import (
    Mode,
    Networks,
    Parts,
    PlaneFields,
    estimate_plane,
    share_channels,
)
from astroflat.neural._corrector_report import make_report
from astroflat.neural._frames import is_mosaic, unpack_frame
from astroflat.neural._plane_images import write_plane
from astroflat.neural._strips import run_strips
from astroflat.neural.models import find_model
from astroflat.neural.sessions import get_session
from astroflat.solution import FlatSolution

if TYPE_CHECKING:
    from astroflat.neural.cards import ModelCard
    from astroflat.neural.models import Model

__all__ = ['FlatCorrector']

_MODES = ('both', 'multiplicative', 'additive')
_PARTS = ('all', 'dust', 'smooth')
# A smaller frame has too few cells to tell a field from a sky.
_SMALLEST = 64
# Display software raises light to about this power.
_GAMMA = 2.2


class FlatCorrector:
    """
    Find the flat and the gradient of a frame from the frame alone.

    Parameters
    ----------
    model : str, path-like or tuple, optional
        ``'default'``, the networks that come with astroflat; or a pair of
        models, for the smooth fields and for the dust, each as in
        `astroflat.neural.find_model`; or a folder with ``flat-fields.onnx``
        and ``flat-dust.onnx``.

    device : {'auto', 'cpu', 'cuda'}, optional
        Where the networks run. ``'cuda'`` raises if it cannot be used.

    n_threads : int, optional
        Threads of the networks, as in `~astroflat.neural.Session`. What is done
        around them takes all processors that this process may use.

    Notes
    -----
    One network sees the whole frame, reduced to some 64 x 64 cells, and gives
    what is smooth: log V and G, with their uncertainties. The other sees cells
    of 4 x 4 pixels, at several bins for large frames, and gives the shadows of
    dust. Both see each cell as the sorted values of its pixels, in which stars
    separate from the sky; the first is run on the frame turned in all eight
    ways, so that its answer turns with the frame. Fields that are not larger
    than their uncertainty are not applied, and dust is applied only where an
    object is dust for sure: F is exactly 1, and G exactly 0, where nothing is
    known.

    One image hardly tells a slope of the flat from a slope of the sky. The
    networks answer with the mean of what is possible, so slopes come out too
    small rather than wrong; the sum of both, the evenness of the corrected
    sky, is better determined than either. Several dithered frames know more,
    see `astroflat.self_flat`.

    The constants of F and G cannot be known: the flat has mean 1, the gradient
    mean 0.

    Examples
    --------
    >>> import numpy as np
    >>> import astroflat as af
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[-1:1:256j, -1:1:256j]
    >>> vignetting = 1 - 0.2 * (x**2 + y**2)
    >>> frame = rng.poisson(5000 * vignetting).astype('f4')
    >>> solution = af.FlatCorrector(device='cpu').estimate(frame)
    >>> bool(abs(solution.flat.data / vignetting * 0.867 - 1).std() < 0.02)
    True
    """

    def __init__(
        self,
        model: Any = 'default',
        *,
        device: Literal['auto', 'cpu', 'cuda'] = 'auto',
        n_threads: int | None = None,
    ) -> None:
        self._models = _find_pair(model)
        fields, dust = (
            get_session(found, device=device, n_threads=n_threads)
            for found in self._models
        )
        self._networks = Networks(fields, dust)

    @property
    def card(self) -> ModelCard:
        """The card of the network of the smooth fields."""
        return self._models[0].card

    @property
    def cards(self) -> dict[str, ModelCard]:
        """The cards of both networks by name."""
        return {model.card.name: model.card for model in self._models}

    @property
    def device(self) -> str:
        """Where the networks really run: 'cpu' or 'cuda'."""
        return self._networks.fields.device

    def __repr__(self) -> str:
        names = ', '.join(f'{m.card.name} {m.card.version}' for m in self._models)
        return f'<FlatCorrector {names} on {self.device}>'

    def estimate(
        self,
        data: Any,
        *,
        mask: Any = None,
        mode: Mode = 'both',
        parts: Parts = 'all',
        strength: float = 1.0,
        channels: Literal['joint', 'separate'] = 'joint',
        stretched: bool = False,
    ) -> FlatSolution:
        """
        Estimate the fields of a frame.

        Parameters
        ----------
        data : CCDData, NDData, Quantity, masked array, array_like or path
            The frame, ``(ny, nx)`` or ``(ny, nx, 3)``, of at least 64 x 64
            pixels, linear, without bias and dark current, in any unit. It is
            not changed. With BAYERPAT in its header it is taken for a mosaic.

        mask : array_like of bool, optional
            Pixels to leave out, besides those that ``data`` masks and those
            that are not finite.

        mode : {'both', 'multiplicative', 'additive'}, optional
            Whether the unevenness of the sky is due to F, to G, or to both.

        parts : {'all', 'dust', 'smooth'}, optional
            What to correct: everything, only dust (F is then exactly 1 off
            it), or only what is smooth.

        strength : float, optional
            From 0, nothing, to 1.

        channels : {'joint', 'separate'}, optional
            Whether the colours of a frame share F, as those of one sensor do.
            G is always their own.

        stretched : bool, optional
            Whether the frame is stretched for display, by a power law as
            photographs are. Then a purely multiplicative correction of the
            stretched frame is estimated; it is never better than ``'weak'``.

        Returns
        -------
        solution : FlatSolution
            F and G with uncertainties, ``confidence``: the chance that F is
            right to 1 %, and a report. Its verdict is ``'reject'`` for a frame
            unlike those of the training.

        Raises
        ------
        ValueError
            If the frame is too small, or an option is not known.
        """
        _check(mode=(mode, _MODES), parts=(parts, _PARTS))
        _check(channels=(channels, ('joint', 'separate')))
        if not 0 <= strength <= 1:
            msg = f'strength={strength!r}; it must be between 0 and 1'
            raise ValueError(msg)
        frame = unpack_frame(data, name='data', mask=mask)
        # The fields have errors of their own, whatever kind those of the frame are.
        frame = replace(frame, uncertainty=None, uncertainty_type=None)
        planes, bad = _planes(frame)
        if stretched:
            planes = [_linear(*pair) for pair in zip(planes, bad, strict=True)]
            mode = 'multiplicative'
        found = [
            estimate_plane(
                plane, hole, self._networks, mode=mode, parts=parts, strength=strength
            )
            for plane, hole in zip(planes, bad, strict=True)
        ]
        if channels == 'joint':
            found = share_channels(found, bad)
        return self._solution(frame, found, bad, stretched=stretched)

    def _solution(
        self,
        frame: Frame,
        found: list[PlaneFields],
        bad: list[np.ndarray],
        *,
        stretched: bool,
    ) -> FlatSolution:
        """Put the planes together."""
        power = 1 / _GAMMA if stretched else 1.0
        images = [
            write_plane(plane, hole, power)
            for plane, hole in zip(found, bad, strict=True)
        ]
        flat, sigma, confidence = (
            _join(list(parts), frame) for parts in list(zip(*images, strict=True))[:3]
        )
        holes = _join(bad, frame)
        meta = frame.meta
        numbers = [image.numbers for image in images]
        report = make_report(numbers, self.card, stretched=stretched)
        record(meta, 'FlatCorrector', history=self._history(), **self._cards())
        return FlatSolution(
            flat=frame.ccd(
                flat,
                mask=holes if holes.any() else None,
                uncertainty=StdDevUncertainty(sigma, copy=False),
                unit=u.dimensionless_unscaled,
                meta=meta,
            ),
            gradient=None if stretched else self._gradient(frame, found),
            confidence=confidence,
            report=report,
            stages={'planes': found},
            method='FlatCorrector',
        )

    def _gradient(self, frame: Frame, found: list[PlaneFields]) -> CCDData | None:
        """Return G in the unit of the data, or None where there is none."""
        if not any(plane.gates[1] for plane in found):
            return None
        sigma = _join([plane.sigma_gradient for plane in found], frame)
        return frame.ccd(
            _join([plane.gradient for plane in found], frame),
            mask=None,
            uncertainty=StdDevUncertainty(sigma, copy=False),
            unit=frame.unit or u.dimensionless_unscaled,
        )

    def _history(self) -> str:
        names = ' and '.join(m.card.name for m in self._models)
        return f'flat and gradient of one frame by {names}'

    def _cards(self) -> dict[str, tuple[str, str]]:
        """Give the networks, their hashes, and where they ran."""
        dust = self._networks.dust.header_cards()
        return {
            **self._networks.fields.header_cards(),
            'AFMODEL2': dust['AFMODEL'],
            'AFMODSH2': dust['AFMODSHA'],
        }


def _find_pair(model: Any) -> tuple[Model, Model]:
    """Find both networks."""
    tasks = ('flat-fields', 'flat-dust')
    # A folder of this name is not meant by the default.
    named = isinstance(model, (str, os.PathLike)) and model != 'default'
    if named and (folder := Path(model).expanduser()).is_dir():
        names = [folder / f'{task}.onnx' for task in tasks]
    elif isinstance(model, (tuple, list)):
        names = list(model)
    else:
        names = [model, model]
    if len(names) != len(tasks):
        msg = f'model has {len(names)} networks; give two, for fields and for dust'
        raise ValueError(msg)
    pairs = zip(names, tasks, strict=True)
    first, second = (find_model(name, task=task) for name, task in pairs)
    return first, second


def _check(**options: tuple[Any, tuple[str, ...]]) -> None:
    for name, (value, allowed) in options.items():
        if value not in allowed:
            msg = f'{name}={value!r}; it must be one of {", ".join(allowed)}'
            raise ValueError(msg)


def _planes(frame: Frame) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Split a frame into planes and their masks."""
    if min(frame.shape[:2]) < _SMALLEST:
        msg = (
            f'data has the shape {frame.shape}; fields cannot be told from the sky '
            f'on less than {_SMALLEST} x {_SMALLEST} pixels'
        )
        raise ValueError(msg)
    bad = np.empty(frame.shape, bool)

    def mark(rows: slice) -> None:
        np.logical_not(np.isfinite(frame.data[rows], out=bad[rows]), out=bad[rows])
        if frame.mask is not None:
            bad[rows] |= frame.mask[rows]

    run_strips(mark, frame.shape)
    return _split(frame.data, frame), _split(bad, frame)


def _pattern(frame: Frame) -> str | None:
    """Return the Bayer pattern of a mosaic."""
    return str(frame.meta['BAYERPAT']).strip().upper() if is_mosaic(frame) else None


def _split(image: np.ndarray, frame: Frame) -> list[np.ndarray]:
    """Split an image into planes of one colour."""
    if frame.data.ndim == 3:
        return [np.ascontiguousarray(image[..., i]) for i in range(image.shape[2])]
    pattern = _pattern(frame)
    if pattern is None:
        return [image]
    from astroflat.io import split_bayer

    planes = list(split_bayer(image, pattern).values())
    return [_as_large(plane, planes[0].shape) for plane in planes]


def _as_large(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Repeat the last row and column that a mosaic of odd sides lacks."""
    lacks = [(0, want - have) for want, have in zip(shape, plane.shape, strict=True)]
    if any(last for _, last in lacks):
        return np.pad(plane, lacks, mode='edge')
    return np.ascontiguousarray(plane)


def _linear(plane: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Undo a power law on a copy."""
    top = np.max(plane, where=~bad, initial=0)
    top = top if top > 0 else 1.0
    return np.clip(plane / top, 0, None) ** np.float32(_GAMMA)


def _join(planes: list[np.ndarray], frame: Frame) -> np.ndarray:
    """Put planes together as `_split` took them apart."""
    if frame.data.ndim == 3:
        return np.stack(planes, axis=-1)
    pattern = _pattern(frame)
    if pattern is None:
        return planes[0]
    from astroflat.io import merge_bayer, split_bayer

    cells = split_bayer(frame.data, pattern).items()
    parts = {
        name: plane[: cell.shape[0], : cell.shape[1]]
        for (name, cell), plane in zip(cells, planes, strict=True)
    }
    return merge_bayer(parts, pattern)
