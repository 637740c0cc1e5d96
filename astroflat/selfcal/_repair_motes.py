# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The motes of a flat as templates that can be moved, and how well they fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astroflat.dust import DustDetection

__all__ = ['MotePatch', 'Template', 'make_templates', 'place', 'shifted']

# Smaller than this, in the logarithm, is exactly nothing.
TINY = 1e-5
# A patch is binned until the radius of its mote is about so many pixels.
_RADIUS = 10.0


@dataclass(frozen=True)
class Template:
    """
    The logarithm of the transmission of one mote.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The logarithm, 0 off the mote.

    box : tuple of slice
        Where it is in the flat.

    y, x, radius : float
        Place and size.

    row : int
        The row of the catalogue.
    """

    values: np.ndarray
    box: tuple[slice, slice]
    y: float
    x: float
    radius: float
    row: int


def make_templates(
    log_dust: np.ndarray, detection: DustDetection, min_radius: float = 2.0
) -> list[Template]:
    """
    Cut the dust of a flat into motes.

    Parameters
    ----------
    log_dust : `~numpy.ndarray`
        The logarithm of the transmission of the dust, 0 off it.

    detection : DustDetection
        The dust.

    min_radius : float, optional
        Smaller objects, hot and dead pixels mostly, stay what they are.

    Returns
    -------
    templates : list of Template
        The dark objects.
    """
    from scipy import ndimage

    owner = detection.labels[
        tuple(
            ndimage.distance_transform_edt(
                detection.labels == 0, return_distances=False, return_indices=True
            )
        )
    ]
    owner[log_dust == 0] = 0
    boxes = ndimage.find_objects(owner, max_label=len(detection.catalogue))
    templates = []
    for i, (row, box) in enumerate(zip(detection.catalogue, boxes, strict=True)):
        radius = float(row['radius'].value)
        if box is None or row['depth'] <= 0 or radius < min_radius:
            continue
        values = np.where(owner[box] == i + 1, log_dust[box], 0.0)
        y, x = float(row['y'].value), float(row['x'].value)
        templates.append(Template(values, box, y, x, radius, i))
    return templates


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

    scale : float
        By how much the scatter exceeds the noise, as a variance ratio.
    """

    data: np.ndarray
    weight: np.ndarray
    template: np.ndarray
    step: int
    scale: float = field(default=1.0)

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
        values = np.zeros(tuple(s.stop - s.start for s in box))
        inner = tuple(
            slice(t.start - s.start, t.stop - s.start)
            for t, s in zip(template.box, box, strict=True)
        )
        values[inner] = template.values
        w = weight[(slice(None), *box)].astype(np.float64)
        d = excess[(slice(None), *box)].astype(np.float64)
        total = _bin(w, step)
        mean = _bin(w * d, step) / np.maximum(total, 1e-300)
        mote = _bin(values[None], step)[0] / step**2
        patch = cls(mean + mote, total, mote, step)
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
        """Return the strength and the shift in pixels that fit best."""
        from scipy.optimize import least_squares

        w = self.weight[groups].sum(axis=0)
        d = (self.weight[groups] * self.data[groups]).sum(axis=0)
        d = self._flattened(d / np.maximum(w, 1e-300), w)
        root = np.sqrt(w / self.scale)

        def miss(p: np.ndarray) -> np.ndarray:
            return (root * (d - self._flattened(self.model(p[1:], p[0]), w))).ravel()

        first = [1.0, *np.asarray(start, float)]
        bounds = (
            [0.0, first[1] - reach, first[2] - reach],
            [5.0, first[1] + reach, first[2] + reach],
        )
        step = 1e-2
        result = least_squares(
            miss, first, bounds=bounds, x_scale=(0.2, 1, 1), diff_step=step, max_nfev=25
        )
        covariance = np.linalg.pinv(result.jac.T @ result.jac)
        return np.concatenate([result.x, np.sqrt(np.diag(covariance))])

    def power(self, one: np.ndarray, two: np.ndarray) -> float:
        """Return the chi-square that tells two models apart."""
        w = self.weight.sum(axis=0)
        return float(np.sum(w * self._flattened(one - two, w) ** 2)) / self.scale

    def _flattened(self, image: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Return an image less the quadratic surface that fits it best."""
        y, x = (np.linspace(-1, 1, n) for n in image.shape)
        y, x = y[:, None], x[None, :]
        one = np.ones(image.shape)
        terms = np.stack(
            [one, y * one, x * one, y * y * one, y * x * one, x * x * one], axis=-1
        ).reshape(-1, 6)
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


def _bin(stack: np.ndarray, step: int) -> np.ndarray:
    """Sum blocks of pixels; the last, incomplete ones are left out."""
    if step == 1:
        return stack
    n, ny, nx = stack.shape
    ny, nx = ny // step, nx // step
    cut = stack[:, : ny * step, : nx * step]
    return cut.reshape(n, ny, step, nx, step).sum(axis=(2, 4))
