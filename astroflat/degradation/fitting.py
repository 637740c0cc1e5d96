# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Recover the parameters of artifacts from an image of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from astroflat._exceptions import AstroflatError
from astroflat._nddata import unpack
from astroflat.degradation._fields_base import PixelModel
from astroflat.degradation.fields import DustMote2D, Vignetting2D

__all__ = ['fit_mote', 'fit_vignetting']

# A vignette has a handful of parameters: more pixels than this add nothing.
_SAMPLES = 60_000


def fit_vignetting(
    flat: Any,
    *,
    mask: Any = None,
    model: PixelModel | None = None,
    free_shape: bool = False,
    max_iterations: int = 200,
) -> PixelModel:
    """
    Fit a model of vignetting to a flat.

    Parameters
    ----------
    flat : array_like, CCDData, path
        Flat field, ``(ny, nx)``, of any positive scale.
    mask : array_like of bool, optional
        True for pixels to leave out, such as those under dust.
    model : PixelModel, optional
        Model of vignetting to start from: `Vignetting2D` (the default),
        `NaturalVignetting2D` or `MechanicalVignetting2D`.
    free_shape : bool, optional
        Fit ellipticity and direction as well, if the model has them.
    max_iterations : int, optional
        Limit of the fit.

    Returns
    -------
    PixelModel
        The fitted model, 1 on the optical axis.  ``meta['scale']`` is the
        value of the flat there, ``meta['rms']`` the standard deviation of
        the residuals relative to it.

    Raises
    ------
    AstroflatError
        If the fit does not converge or too few pixels are good.

    Notes
    -----
    Least squares with the derivatives of the model and its bounds, on at most
    60000 evenly spread pixels; done three times, leaving out residuals beyond
    four standard deviations, which takes care of small motes.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation import fit_vignetting
    >>> from astroflat.degradation.fields import Vignetting2D
    >>> y, x = np.mgrid[:80, :100]
    >>> true = Vignetting2D(amplitude=0.3, x_0=55, y_0=35, radius=64, power=2.5)
    >>> fitted = fit_vignetting(2.0 * true(x, y))
    >>> [round(float(value), 3) for value in (fitted.x_0.value, fitted.power.value)]
    [55.0, 2.5]
    """
    x, y, values = _pixels(flat, mask)
    centre = 0.5 * (x.min() + x.max()), 0.5 * (y.min() + y.max())
    start = _start_vignette(centre, x, y, values) if model is None else model.copy()
    if free_shape and 'theta' in start.param_names:
        start.ellipticity.fixed = start.theta.fixed = False
        # At zero ellipticity the direction has no effect to follow.
        start.ellipticity = start.ellipticity.value or 0.05
    one = np.ones((values.size, 1))
    good = np.ones(values.size, dtype=bool)
    for _ in range(3):
        start, residual = _solve(
            start, one[good], x[good], y[good], values[good], max_iterations
        )
        scale = float(start.meta.pop('linear')[0])
        off = np.abs(values - scale * start(x, y))
        spread = 1.4826 * float(np.median(off))
        good = off <= max(4.0 * spread, 1e-9 * scale)
    fitted = _canonical(start)
    fitted.meta.update(scale=scale, rms=float(residual.std() / scale))
    return fitted


def fit_mote(
    flat: Any,
    *,
    x_0: float,
    y_0: float,
    radius: float,
    mask: Any = None,
    model: DustMote2D | None = None,
    free_lighting: bool = False,
    max_iterations: int = 300,
) -> DustMote2D:
    """
    Fit the shadow of one mote, with a plane for what is around it.

    Parameters
    ----------
    flat : array_like, CCDData, path
        Flat field, or a median of frames, of any positive scale.
    x_0, y_0 : float
        Rough centre in pixels.
    radius : float
        Rough radius in pixels.
    mask : array_like of bool, optional
        True for pixels to leave out.
    model : DustMote2D, optional
        Shadow to start from; by default depth, edge and hole are guessed.
    free_lighting : bool, optional
        Fit the shift of the hole and the tilt of the ring as well.
    max_iterations : int, optional
        Limit of the fit.

    Returns
    -------
    DustMote2D
        The fitted shadow.  ``meta['scale']`` is the value of the flat around
        it, ``meta['rms']`` the standard deviation of the residuals relative
        to it.

    Raises
    ------
    AstroflatError
        If the fit does not converge or too few pixels are good.

    Notes
    -----
    Least squares with the derivatives of the model and its bounds, on a box
    twice as wide as the shadow, for the mote times a plane.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation import fit_mote
    >>> from astroflat.degradation.fields import DustMote2D
    >>> y, x = np.mgrid[:90, :90]
    >>> true = DustMote2D(depth=0.08, x_0=44, y_0=46, radius=18, edge=4, hole=0.4)
    >>> fitted = fit_mote(true(x, y), x_0=42, y_0=47, radius=20)
    >>> [round(float(value), 3) for value in (fitted.depth.value, fitted.hole.value)]
    [0.08, 0.4]
    """
    reach = 2.0 * radius + 3.0
    x, y, values = _pixels(flat, mask, box=(x_0, y_0, reach))
    start = _start_mote(x_0, y_0, radius, x, y, values) if model is None else model
    start = start.copy()
    for name in ('hole_x', 'hole_y', 'tilt_x', 'tilt_y'):
        getattr(start, name).fixed = not free_lighting
    design = np.stack([np.ones(x.size), (x - x_0) / reach, (y - y_0) / reach], axis=1)
    fitted, residual = _solve(start, design, x, y, values, max_iterations)
    constant, slope_x, slope_y = fitted.meta.pop('linear')
    scale = constant + slope_x * (fitted.x_0.value - x_0) / reach
    scale = float(scale + slope_y * (fitted.y_0.value - y_0) / reach)
    fitted.meta.update(scale=scale, rms=float(residual.std() / scale))
    return fitted


def _pixels(
    flat: Any, mask: Any, *, box: tuple[float, float, float] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Good pixels of a frame or box as x, y and values in float64."""
    frame = unpack(flat, name='flat', mask=mask)
    good, step = ~frame.bad, 1
    if box is not None:
        window = np.zeros_like(good)
        ny, nx = good.shape
        left, right = math.floor(box[0] - box[2]), math.ceil(box[0] + box[2]) + 1
        top, bottom = math.floor(box[1] - box[2]), math.ceil(box[1] + box[2]) + 1
        window[max(0, top) : min(ny, bottom), max(0, left) : min(nx, right)] = True
        good &= window
    elif good.size > _SAMPLES:
        step = math.ceil(math.sqrt(good.size / _SAMPLES))
    y, x = np.nonzero(good[::step, ::step])
    values = frame.data[::step, ::step][y, x].astype(np.float64)
    if values.size < 20:
        msg = f'only {values.size} good pixels to fit; at least 20 are needed'
        raise AstroflatError(msg)
    return x * float(step), y * float(step), values


def _start_vignette(
    centre: tuple[float, float], x: np.ndarray, y: np.ndarray, values: np.ndarray
) -> Vignetting2D:
    """Guess a vignette from the values near the middle and near the corners."""
    distance = np.hypot(x - centre[0], y - centre[1])
    radius = float(distance.max())
    inner = np.median(values[distance <= np.percentile(distance, 10)])
    outer = np.median(values[distance >= np.percentile(distance, 97)])
    return Vignetting2D(
        amplitude=1.0 - outer / inner,
        x_0=centre[0],
        y_0=centre[1],
        radius=radius,
        power=2.5,
    )


def _canonical(model: PixelModel) -> PixelModel:
    """Return the usual one of several sets of parameters for the same field."""
    model = model.copy()
    if 'stop' in model.param_names and model.stop.value < 1.0:
        # Pupil and stop can change places.
        model.scale = model.scale.value * model.stop.value
        model.stop = 1.0 / model.stop.value
    if 'ellipticity' in model.param_names and model.ellipticity.value < 0.0:
        # So can the axes of the ellipse.
        stretch = 1.0 - model.ellipticity.value
        name = 'radius' if 'radius' in model.param_names else 'scale'
        setattr(model, name, getattr(model, name).value * stretch)
        model.ellipticity = 1.0 - 1.0 / stretch
        model.theta = model.theta.value + 0.5 * math.pi
    if 'theta' in model.param_names:
        model.theta = (model.theta.value + 0.5 * math.pi) % math.pi - 0.5 * math.pi
    return model


def _start_mote(
    x_0: float,
    y_0: float,
    radius: float,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
) -> DustMote2D:
    """Guess depth and hole from the values in, around and amid the shadow."""
    distance = np.hypot(x - x_0, y - y_0) / radius
    around = np.median(values[distance > 1.4])
    ring = np.median(values[(distance > 0.5) & (distance < 0.85)])
    middle = np.median(values[distance < max(0.2, 1.5 / radius)])
    depth = float(np.clip(1.0 - ring / around, 1e-3, 0.95))
    # A middle nearly as bright as the surroundings means there is a hole.
    hole = 0.35 if 1.0 - middle / around < 0.6 * depth else 0.1
    return DustMote2D(
        depth=depth, x_0=x_0, y_0=y_0, radius=radius, edge=0.25 * radius, hole=hole
    )


def _solve(
    model: PixelModel,
    design: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    max_iterations: int,
) -> tuple[PixelModel, np.ndarray]:
    """Fit ``(design @ linear) * model`` to values; give model and residuals."""
    from scipy.optimize import least_squares

    problem = _Problem(model, design, x, y, values)
    low, high = _bounds(model, problem.free, design.shape[1])
    result = least_squares(
        problem.residuals,
        np.clip(problem.start(), low, high),
        jac=problem.jacobian,
        bounds=(low, high),
        x_scale='jac',
        max_nfev=max_iterations,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-15,
    )
    if not result.success:
        msg = f'the fit did not converge: {result.message} Give a better start.'
        raise AstroflatError(msg)
    fitted = model.copy()
    fitted.parameters = problem.parameters(result.x)
    fitted.meta['linear'] = result.x[: design.shape[1]]
    return fitted, -problem.residuals(result.x)


class _Problem:
    """Residuals and derivatives of a model times a linear factor."""

    def __init__(
        self,
        model: PixelModel,
        design: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        values: np.ndarray,
    ) -> None:
        self.model, self.design, self.values = model, design, values
        self.x, self.y = x, y
        self.free = [name for name in model.param_names if not model.fixed[name]]
        self.column = [model.param_names.index(name) for name in self.free]
        self.n = design.shape[1]

    def start(self) -> np.ndarray:
        """Solve for the linear factor of the model as it is."""
        shape = self.model(self.x, self.y)[:, None]
        linear = np.linalg.lstsq(self.design * shape, self.values, rcond=None)[0]
        return np.concatenate([linear, self.model.parameters[self.column]])

    def parameters(self, p: np.ndarray) -> np.ndarray:
        """Give all parameters of the model, the fixed ones too."""
        parameters = np.array(self.model.parameters)
        parameters[self.column] = p[self.n :]
        return parameters

    def residuals(self, p: np.ndarray) -> np.ndarray:
        """Give model minus values."""
        shape = self.model.evaluate(self.x, self.y, *self.parameters(p))
        return (self.design @ p[: self.n]) * shape - self.values

    def jacobian(self, p: np.ndarray) -> np.ndarray:
        """Give the derivatives of the residuals, one column per unknown."""
        parameters = self.parameters(p)
        shape = self.model.evaluate(self.x, self.y, *parameters)
        slopes = self.model.fit_deriv(self.x, self.y, *parameters)
        inner = np.stack([slopes[index] for index in self.column], axis=1)
        level = (self.design @ p[: self.n])[:, None]
        return np.hstack([self.design * shape[:, None], level * inner])


def _bounds(
    model: PixelModel, free: list[str], n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of ``n`` linear coefficients without any and of the parameters."""
    low, high = np.full(n + len(free), -np.inf), np.full(n + len(free), np.inf)
    for index, name in enumerate(free, start=n):
        lower, upper = model.bounds[name]
        low[index] = -np.inf if lower is None else lower
        high[index] = np.inf if upper is None else upper
    return low, high
