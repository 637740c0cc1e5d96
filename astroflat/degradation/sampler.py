# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Random fields F and G with known truth, of graded difficulty."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable

from astroflat.degradation import fields
from astroflat.degradation._draws import DRAWS, Draw
from astroflat.degradation._fields_base import PixelModel, ShadowModel
from astroflat.degradation._kinds import FIELD_KINDS, FieldKind
from astroflat.degradation._optics import MoteOptics
from astroflat.degradation._render import box_slices, render_product, render_sum

__all__ = ['FIELD_KINDS', 'SampledFields', 'sample_fields']

# Deviation from 1 beyond which a pixel counts as under dust.
_DUST_THRESHOLD = 0.002


@dataclass(frozen=True)
class SampledFields:
    """
    A flat, a gradient and what they were made of.

    Parameters
    ----------
    flat : ndarray of float32
        Multiplicative field F, ``(ny, nx)``, positive, mean 1.
    gradient : ndarray of float32
        Additive field G in units of the sky level, of any sign.
    dust_mask : ndarray of bool
        True where the dust alone changes the light by more than 0.2 %.
    truth : `~astropy.table.QTable`
        One row per artifact: ``kind``, ``model``, ``component`` (F or G),
        ``x``, ``y``, ``radius`` (pixels, NaN where it has none),
        ``amplitude`` (largest relative effect on the frame or, for G, in
        units of the sky) and ``parameters`` (JSON).
    models : tuple
        The `astropy.modeling` models, in the order of ``truth``.
    kinds : tuple of str
        Kind of each model.
    optics : MoteOptics
        The beam that was assumed.
    scale : float
        Mean of the product of the models, by which ``flat`` was divided.

    Examples
    --------
    >>> from astroflat.degradation import sample_fields
    >>> sampled = sample_fields((64, 96), rng=1, kinds=['motes', 'linear'])
    >>> sampled.flat.shape, str(sampled.flat.dtype)
    ((64, 96), 'float32')
    >>> sorted(set(sampled.truth['kind'].tolist()))
    ['linear', 'motes']
    """

    flat: np.ndarray
    gradient: np.ndarray
    dust_mask: np.ndarray
    truth: QTable
    models: tuple[PixelModel, ...]
    kinds: tuple[str, ...]
    optics: MoteOptics
    scale: float

    def component(self, *kinds: FieldKind) -> np.ndarray:
        """
        Evaluate some kinds alone.

        Parameters
        ----------
        *kinds : str
            Kinds that all multiply or all add.

        Returns
        -------
        ndarray of float32
            Product of the transmissions, not normalised, or sum of the added
            signals.

        Raises
        ------
        ValueError
            If kinds of both sorts, or unknown kinds, are asked for.

        Examples
        --------
        >>> from astroflat.degradation import sample_fields
        >>> sampled = sample_fields((64, 64), rng=1)
        >>> bool((sampled.component('motes') <= 1).all())
        True
        """
        _check_kinds(kinds)
        chosen = [
            model
            for model, kind in zip(self.models, self.kinds, strict=True)
            if kind in kinds
        ]
        factors = [isinstance(model, fields.MULTIPLIES) for model in chosen]
        if any(factors) and not all(factors):
            msg = f'kinds {kinds} both multiply and add; ask for them apart'
            raise ValueError(msg)
        render = render_product if all(factors) else render_sum
        return render(chosen, self.flat.shape)


def sample_fields(
    shape: tuple[int, int],
    *,
    difficulty: float = 0.5,
    rng: np.random.Generator | int | None = None,
    kinds: Sequence[FieldKind] | FieldKind | None = None,
    optics: MoteOptics | None = None,
) -> SampledFields:
    """
    Draw a random flat and gradient with known truth.

    Parameters
    ----------
    shape : tuple of int
        Shape of the frame, ``(ny, nx)``.
    difficulty : float, optional
        Strength of everything, from 0 (F = 1, G = 0) to 1.
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers. The same seed gives the same fields.
    kinds : sequence of str, optional
        Artifacts to draw, out of `FIELD_KINDS`; all of these are drawn. By
        default a random choice.
    optics : MoteOptics, optional
        The beam at the detector, which sets the size of the motes. By default
        a random telescope, of which the frame is the whole detector.

    Returns
    -------
    SampledFields
        Flat, gradient, mask of the dust, truth table and models.

    Raises
    ------
    ValueError
        If an argument is out of range or a kind is not known.

    Notes
    -----
    The layout depends on the seed alone, its strength on ``difficulty``: the
    artifacts of a low difficulty are among those of a higher one, weaker.
    Each kind has its own stream of random numbers, so leaving one out does
    not change the others. Fields are evaluated in float32, dust on the boxes
    that it covers.

    Examples
    --------
    >>> from astroflat.degradation import sample_fields
    >>> sampled = sample_fields((100, 120), difficulty=0.7, rng=5)
    >>> bool(abs(sampled.flat.mean() - 1) < 1e-6), bool(sampled.flat.min() > 0)
    (True, True)
    """
    shape = _check_shape(shape)
    if not 0.0 <= difficulty <= 1.0:
        msg = f'difficulty must be between 0 and 1, not {difficulty}'
        raise ValueError(msg)
    if isinstance(kinds, str):
        kinds = (kinds,)
    _check_kinds(kinds or ())
    rng = np.random.default_rng(rng)
    own = _draw_optics(shape, rng)
    drawn = _draw_models(shape, difficulty, rng, kinds, optics or own)
    models = [model for _, model in drawn]
    factors = [model for model in models if isinstance(model, fields.MULTIPLIES)]
    terms = [model for model in models if not isinstance(model, fields.MULTIPLIES)]
    dust = render_product((m for m in factors if isinstance(m, ShadowModel)), shape)
    flat = render_product((m for m in factors if not isinstance(m, ShadowModel)), shape)
    flat *= dust
    # Means of rows in float32 are exact enough and spare a pass in float64.
    scale = float(flat.mean(axis=1).mean(dtype=np.float64))
    flat /= np.float32(scale)
    return SampledFields(
        flat=flat,
        gradient=render_sum(terms, shape),
        dust_mask=_dust_mask(dust, factors),
        truth=_truth(drawn, shape),
        models=tuple(models),
        kinds=tuple(kind for kind, _ in drawn),
        optics=optics or own,
        scale=scale,
    )


def _draw_models(
    shape: tuple[int, int],
    difficulty: float,
    rng: np.random.Generator,
    kinds: Sequence[str] | None,
    optics: MoteOptics,
) -> list[tuple[str, PixelModel]]:
    """Draw the artifacts of all kinds, each from a stream of its own."""
    seeds = rng.integers(2**63, size=len(DRAWS))
    chances = rng.uniform(size=len(DRAWS))
    drawn = []
    for (kind, (function, often)), seed, chance in zip(
        DRAWS.items(), seeds, chances, strict=True
    ):
        wanted = chance < often if kinds is None else kind in kinds
        if wanted and difficulty > 0:
            draw = Draw(shape, difficulty, optics, np.random.default_rng(seed))
            drawn += [(kind, model) for model in function(draw)]
    return drawn


def _dust_mask(dust: np.ndarray, models: Iterable[PixelModel]) -> np.ndarray:
    """Mask the pixels that dust darkens, or brightens at its rim."""
    from scipy.ndimage import binary_closing

    mask = dust < 1.0 - _DUST_THRESHOLD
    mask |= dust > 1.0 + _DUST_THRESHOLD
    for model in models:
        # Between a shadow and its bright rim the light crosses 1.
        if isinstance(model, fields.DustSpeck2D) and model.rim.value:
            box = box_slices(model, dust.shape)
            steps = math.ceil(model.edge.value)
            mask[box] |= binary_closing(mask[box], iterations=steps)
    return mask


def _draw_optics(shape: tuple[int, int], rng: np.random.Generator) -> MoteOptics:
    """Draw a telescope whose detector is 6 to 36 mm wide."""
    width, f_ratio = np.exp(rng.uniform(np.log([6.0, 3.5]), np.log([36.0, 14.0])))
    obstruction = rng.uniform(0.2, 0.45) if rng.uniform() < 0.7 else 0.0
    return MoteOptics(
        f_ratio=float(f_ratio),
        obstruction=float(obstruction),
        pixel_size=float(1000.0 * width / max(shape)),
    )


def _truth(drawn: list[tuple[str, PixelModel]], shape: tuple[int, int]) -> QTable:
    """Tabulate what was drawn."""
    rows = [_row(kind, model, shape) for kind, model in drawn]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 8
    table = QTable(meta={'shape': list(shape)})
    for name, column in zip(('kind', 'model', 'component'), columns[:3], strict=True):
        table[name] = np.array(column, dtype=str)
    for name, column in zip(('x', 'y', 'radius'), columns[3:6], strict=True):
        table[name] = np.array(column, dtype=float) * u.pix
    table['amplitude'] = np.array(columns[6], dtype=float)
    table['parameters'] = np.array(columns[7], dtype=str)
    return table


def _row(kind: str, model: PixelModel, shape: tuple[int, int]) -> tuple:
    """Give kind, model, component, x, y, radius, amplitude and parameters."""
    values = dict(zip(model.param_names, model.parameters.tolist(), strict=True))
    component = 'F' if isinstance(model, fields.MULTIPLIES) else 'G'
    return (
        kind,
        type(model).__name__,
        component,
        values.get('x_0', math.nan),
        values.get('y_0', math.nan),
        _radius(model),
        _amplitude(model, component, shape),
        json.dumps({name: float(f'{value:.12g}') for name, value in values.items()}),
    )


def _radius(model: PixelModel) -> float:
    """Radius of a shadow in pixels, NaN for what fills the frame."""
    if isinstance(model, fields.DustMote2D):
        return float(model.radius.value)
    return model.reach if isinstance(model, ShadowModel) else math.nan


def _amplitude(model: PixelModel, component: str, shape: tuple[int, int]) -> float:
    """Largest deviation from no effect, on a coarse grid for wide fields."""
    for name in ('depth', 'columns'):
        if name in model.param_names:
            return float(getattr(model, name).value)
    if isinstance(model, (fields.ResponseNoise2D, fields.LineResponse2D)):
        return float(model.amplitude.value)
    y = np.linspace(0, shape[0] - 1, 33)[:, None]
    x = np.linspace(0, shape[1] - 1, 33)[None]
    values = model.evaluate(x, y, *(float(value) for value in model.parameters))
    return float(np.abs(values - (component == 'F')).max())


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return a shape of two positive whole numbers or raise."""
    try:
        ny, nx = (int(size) for size in shape)
    except (TypeError, ValueError):
        ny = nx = 0
    if ny < 1 or nx < 1:
        msg = f'shape must be (ny, nx) with positive sizes, not {shape!r}'
        raise ValueError(msg)
    return ny, nx


def _check_kinds(kinds: Iterable[str]) -> None:
    """Raise for a kind that is not known."""
    unknown = sorted(set(kinds) - set(DRAWS))
    if unknown:
        msg = f'kinds {unknown} are not known; choose from {", ".join(DRAWS)}'
        raise ValueError(msg)
