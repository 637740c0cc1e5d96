# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The motes of a flat as templates that can be moved, and how well they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from astroflat.dust import DustDetection

__all__ = ['MotePatch', 'Template', 'make_templates', 'place', 'shifted']

# Smaller than this, in the logarithm, is exactly nothing.
TINY = 1e-5
# A patch is binned until the radius of its mote is about so many pixels.
_RADIUS = 8.0
# A mote with its middle so near to that of a larger one, in radii, is a part of it.
_INSIDE = 0.8
_MAX_STEPS, _TOLERANCE, _MAX_DAMPING = 25, 2e-3, 1e5


@dataclass(frozen=True)
class Template:
    """
    The logarithm of the transmission of one mote.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The logarithm, 0 off the mote, without noise: this is what is moved.

    raw : `~numpy.ndarray`
        The same as it is in the flat.

    box : tuple of slice
        Where it is in the flat.

    y, x, radius : float
        Place and size.

    row : int
        The row of the catalogue.
    """

    values: np.ndarray
    raw: np.ndarray
    box: tuple[slice, slice]
    y: float
    x: float
    radius: float
    row: int


def make_templates(
    log_dust: np.ndarray,
    raw: np.ndarray,
    detection: DustDetection,
    *,
    min_radius: float = 2.0,
) -> list[Template]:
    """
    Cut the dust of a flat into motes.

    Parameters
    ----------
    log_dust, raw : `~numpy.ndarray`
        The logarithm of the transmission of the dust, without and with its
        noise, 0 off it.

    detection : DustDetection
        The dust.

    min_radius : float, optional
        Smaller objects, hot and dead pixels mostly, stay what they are.

    Returns
    -------
    templates : list of Template
        The dark objects. One that lies inside another belongs to it.
    """
    from scipy import ndimage

    owner = detection.labels[
        tuple(
            ndimage.distance_transform_edt(
                detection.labels == 0, return_distances=False, return_indices=True
            )
        )
    ]
    owner = np.where(log_dust == 0, 0, owner)
    families = _families(detection.catalogue, min_radius)
    owner = families[owner]
    boxes = ndimage.find_objects(owner)
    templates = []
    for i, row in enumerate(detection.catalogue):
        if families[i + 1] != i + 1 or i >= len(boxes) or boxes[i] is None:
            continue
        part = owner[boxes[i]] == i + 1
        values, own = (
            np.where(part, image[boxes[i]], 0.0) for image in (log_dust, raw)
        )
        y, x, radius = (float(row[name].value) for name in ('y', 'x', 'radius'))
        templates.append(Template(values, own, boxes[i], y, x, radius, i))
    return templates


def _families(catalogue: Any, min_radius: float) -> np.ndarray:
    """Return the number of the mote that each label belongs to; 0 for none."""
    y, x, radius = (np.asarray(catalogue[n].value, float) for n in ('y', 'x', 'radius'))
    depth = np.asarray(catalogue['depth'], float)
    family = np.zeros(len(catalogue) + 1, int)
    # The largest first, so that what lies inside can join it.
    for i in np.argsort(-radius):
        if depth[i] <= 0 or radius[i] < min_radius:
            continue
        family[i + 1] = i + 1
        heads = np.flatnonzero(family[1:] == np.arange(1, len(family)))
        for k in heads[np.argsort(-radius[heads])]:
            if k != i and np.hypot(y[i] - y[k], x[i] - x[k]) < _INSIDE * radius[k]:
                family[i + 1] = k + 1
                break
    return family


def shifted(values: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """
    Shift a smooth image by a fraction of a pixel; what leaves it is lost.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The image, 0 at its border.

    dy, dx : float
        The shift.

    Returns
    -------
    result : `~numpy.ndarray`
        The shifted image, exactly 0 where it is below 1e-5.
    """
    from scipy import ndimage

    if dy == 0 and dx == 0:
        return values.copy()
    moved = ndimage.shift(values, (dy, dx), order=3, mode='constant')
    moved[np.abs(moved) < TINY] = 0
    return moved


def place(
    template: Template, shift: tuple[float, float], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """
    Move a template.

    Parameters
    ----------
    template : Template
        The mote.

    shift : tuple of float
        (dy, dx) in pixels.

    shape : tuple of int
        The shape of the flat.

    Returns
    -------
    box : tuple of slice
        Where it is now, inside the flat.

    values : `~numpy.ndarray`
        Its values there.
    """
    whole = [int(np.rint(s)) for s in shift]
    part = [s - w for s, w in zip(shift, whole, strict=True)]
    # A shifted spline needs room.
    room = 4
    values = shifted(np.pad(template.values, room), *part)
    inner, box = [], []
    for cut, step, n in zip(template.box, whole, shape, strict=True):
        start, stop = cut.start + step - room, cut.stop + step + room
        low, high = min(max(0, start), n), max(0, min(n, stop))
        high = max(low, high)
        box.append(slice(low, high))
        inner.append(slice(low - start, high - start))
    return tuple(box), values[tuple(inner)]


@dataclass
class MotePatch:
    """
    The surroundings of a mote in all groups of frames, binned.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Logarithm of what the frames show, ``(k, h, w)``.

    weight : `~numpy.ndarray`
        Its inverse variance.

    template : `~numpy.ndarray`
        The mote of the flat in the same window.

    step : int
        The size of a bin in pixels.

    own : `~numpy.ndarray`
        The mote as it is in the flat.

    scale : float
        By how much the scatter exceeds the noise, as a variance ratio.
    """

    data: np.ndarray
    weight: np.ndarray
    template: np.ndarray
    step: int
    own: np.ndarray
    scale: float = 1.0

    @classmethod
    def cut(
        cls,
        excess: np.ndarray,
        weight: np.ndarray,
        template: Template,
        reach: float,
    ) -> MotePatch:
        """Cut a patch out of images and bin it."""
        step = max(1, int(template.radius / _RADIUS))
        margin = int(np.ceil(reach + max(8, 0.5 * template.radius)))
        shape = excess.shape[1:]
        box = tuple(
            slice(max(0, s.start - margin), min(n, s.stop + margin))
            for s, n in zip(template.box, shape, strict=True)
        )
        values, own = np.zeros((2, *(s.stop - s.start for s in box)))
        inner = tuple(
            slice(t.start - s.start, t.stop - s.start)
            for t, s in zip(template.box, box, strict=True)
        )
        values[inner], own[inner] = template.values, template.raw
        w = weight[(slice(None), *box)].astype(np.float64)
        d = excess[(slice(None), *box)].astype(np.float64)
        total = _bin(w, step)
        mean = _bin(w * d, step) / np.maximum(total, 1e-300)
        mote, own = _bin(np.stack([values, own]), step) / step**2
        # What the frames show: the noise of the flat goes out with its mote.
        patch = cls(mean + own, total, mote, step, own)
        patch.scale = patch._scatter()
        return patch

    def rest(self, groups: Any, model: np.ndarray) -> float:
        """Return the chi-square that a model leaves, less a quadratic surface."""
        w = self.weight[groups].sum(axis=0)
        if not (w > 0).any():
            return 0.0
        d = (self.weight[groups] * self.data[groups]).sum(axis=0)
        d = d / np.maximum(w, 1e-300) - model
        return float(np.sum(w * self._flattened(d, w) ** 2)) / self.scale

    def model(self, shift: Any, strength: float = 1.0) -> np.ndarray:
        """Return the mote moved by a shift in pixels."""
        dy, dx = (s / self.step for s in shift)
        return strength * shifted(self.template, dy, dx)

    def fit(
        self, groups: Any, start: Any = (0.0, 0.0), reach: float = 8.0
    ) -> np.ndarray:
        """Return strength and shift in pixels that fit best, and their errors."""
        w = self.weight[groups].sum(axis=0)
        d = (self.weight[groups] * self.data[groups]).sum(axis=0)
        root = np.sqrt(w / self.scale)
        surface = np.linalg.qr(root.ravel()[:, None] * _terms(w.shape))[0]

        def reduced(image: np.ndarray) -> np.ndarray:
            values = (root * image).ravel()
            return values - surface @ (surface.T @ values)

        first = np.array([1.0, *(s / self.step for s in start)])
        room = np.array([5.0, reach / self.step, reach / self.step])
        low, high = first - room, first + room
        low[0], high[0] = 0.0, 5.0
        data = reduced(d / np.maximum(w, 1e-300))
        best, matrix = _descend(self.template, data, reduced, first, low, high)
        errors = np.sqrt(np.diag(np.linalg.pinv(matrix.T @ matrix)))
        # The template is smoother than the mote, and shallower by this factor.
        still, mote = reduced(self.own), reduced(self.template)
        factor = max(0.5, float(still @ mote) / max(float(mote @ mote), 1e-300))
        scale = np.array([1 / factor, self.step, self.step])
        return np.concatenate([best * scale, errors * scale])

    def power(self, one: np.ndarray, two: np.ndarray) -> float:
        """Return the chi-square that tells two models apart."""
        w = self.weight.sum(axis=0)
        return float(np.sum(w * self._flattened(one - two, w) ** 2)) / self.scale

    def _flattened(self, image: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Return an image less the quadratic surface that fits it best."""
        terms = _terms(image.shape)
        flat_w = w.reshape(-1)
        normal = terms.T @ (flat_w[:, None] * terms)
        normal += 1e-12 * np.trace(normal) * np.eye(6)
        right = terms.T @ (flat_w * image.reshape(-1))
        return image - (terms @ np.linalg.solve(normal, right)).reshape(image.shape)

    def _scatter(self) -> float:
        """Return how much more the groups scatter than their noise, at least 1."""
        w = self.weight.sum(axis=0)
        d = (self.weight * self.data).sum(axis=0) / np.maximum(w, 1e-300)
        rest = self._flattened(d - self.template, w)
        near = (self.template == 0) & (w > 0)
        if near.sum() < 20:
            return 1.0
        # Texture beside the mote: sources below the noise, pattern of the chip.
        return max(1.0, float(np.median(w[near] * rest[near] ** 2)) / 0.4549)


def _terms(shape: tuple[int, int]) -> np.ndarray:
    """Return the terms of a quadratic surface, ``(pixels, 6)``."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing='ij')
    terms = np.stack([np.ones(shape), y, x, y * y, y * x, x * x], axis=-1)
    return terms.reshape(-1, 6)


def _descend(
    template: np.ndarray,
    data: np.ndarray,
    reduced: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit strength and shift in bins by damped Gauss-Newton steps."""
    from scipy import ndimage

    spline = ndimage.spline_filter(template, order=3)

    def linear(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mote = ndimage.shift(spline, p[1:], order=3, prefilter=False)
        slopes = [-p[0] * slope for slope in np.gradient(mote)]
        matrix = np.stack([reduced(part) for part in (mote, *slopes)], axis=-1)
        return data - p[0] * matrix[:, 0], matrix

    rest, matrix = linear(values)
    damping = 1e-2
    for _ in range(_MAX_STEPS):
        normal = matrix.T @ matrix
        normal[np.diag_indices(3)] *= 1 + damping
        normal[np.diag_indices(3)] += 1e-12 * np.trace(normal) + 1e-300
        step = np.linalg.solve(normal, matrix.T @ rest)
        trial = np.clip(values + step, low, high)
        new_rest, new_matrix = linear(trial)
        if new_rest @ new_rest <= rest @ rest:
            moved = np.abs(trial - values).max()
            values, rest, matrix = trial, new_rest, new_matrix
            damping /= 5
            if moved < _TOLERANCE:
                break
        else:
            damping *= 10
            if damping > _MAX_DAMPING:
                break
    return values, matrix


def _bin(stack: np.ndarray, step: int) -> np.ndarray:
    """Sum blocks of pixels; the last, incomplete ones are left out."""
    if step == 1:
        return stack
    n, ny, nx = stack.shape
    ny, nx = ny // step, nx // step
    cut = stack[:, : ny * step, : nx * step]
    return cut.reshape(n, ny, step, nx, step).sum(axis=(2, 4))
