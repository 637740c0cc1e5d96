# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Diffuse light that moves with the sky, on the coarse grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, sparse

if TYPE_CHECKING:
    from astroflat.selfcal._grid import Grid

__all__ = ['Scene']

# At least this share of what is seen passes for sky.
_LEAST_SKY = 0.25


@dataclass
class Scene:
    """
    Light of nebulae, in units of the sky of a typical frame.

    Parameters
    ----------
    shape : tuple of int
        Cells of the plane that holds all frames.

    corner : `~numpy.ndarray`
        ``(n, 2)``, where each frame begins in it, in cells.

    gain : `~numpy.ndarray`
        ``(n,)``, light of a frame per light of a typical one.

    links : list of `scipy.sparse.csr_matrix`
        How cells of a frame are made of those of the plane.

    values : `~numpy.ndarray`
        The light, one value per cell of the plane.

    used : `~numpy.ndarray` of int
        Cells that any frame sees.

    prior : `~numpy.ndarray`
        Prior variance of each of them.

    share, scatter : float
        Share of the sky with objects; scatter of what passes for sky.
    """

    shape: tuple[int, int]
    corner: np.ndarray
    gain: np.ndarray
    links: list
    values: np.ndarray
    used: np.ndarray
    prior: np.ndarray = field(default_factory=lambda: np.zeros(0))
    share: float = 0.0
    scatter: float = 0.003

    @classmethod
    def empty(cls, grid: Grid, offsets: np.ndarray, gain: np.ndarray) -> Scene:
        """
        Place frames in a plane.

        Parameters
        ----------
        grid : Grid
            Cells of a frame.

        offsets : `~numpy.ndarray`
            Of the frames, in pixels.

        gain : `~numpy.ndarray`
            Of the frames.

        Returns
        -------
        scene : Scene
            Dark.
        """
        corner = (offsets.max(axis=0) - offsets) / grid.cell
        shape = tuple(
            int(n) for n in np.array(grid.cells) + np.ceil(corner.max(axis=0)) + 1
        )
        links = [_link(grid.cells, shape, c) for c in corner]
        hits = np.asarray(sum(np.asarray(link.sum(axis=0)) for link in links)).ravel()
        size = shape[0] * shape[1]
        return cls(shape, corner, gain, links, np.zeros(size), np.flatnonzero(hits > 0))

    def light(self) -> np.ndarray:
        """Return the light in every cell of every frame."""
        return np.stack(
            [g * (m @ self.values) for g, m in zip(self.gain, self.links, strict=True)]
        )

    def rows(self, k: int) -> sparse.csr_matrix:
        """
        Return how a frame depends on the cells that are used.

        Parameters
        ----------
        k : int
            The frame.

        Returns
        -------
        rows : `scipy.sparse.csr_matrix`
            Cells of the frame by cells used.
        """
        return self.gain[k] * self.links[k][:, self.used]

    def products(
        self, gain: np.ndarray, slope: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the parts of the normal equations that hold the scene.

        Parameters
        ----------
        gain : `~numpy.ndarray`
            The flat.

        slope, weights : `~numpy.ndarray`
            Derivative by the logarithm of the flat, and weights, by frame.

        Returns
        -------
        across, inside : `~numpy.ndarray`
            Flat by scene, and scene by scene.
        """
        across = inside = 0
        for k in range(len(self.links)):
            rows = self.rows(k)
            across = across + rows.multiply((slope[k] * weights[k] * gain)[:, None])
            inside = inside + rows.T @ rows.multiply((weights[k] * gain**2)[:, None])
        return across.toarray(), inside.toarray()

    def roughness(self) -> np.ndarray:
        """Return how uneven the scene is around each cell of each frame."""
        seen = np.zeros(self.values.size)
        seen[self.used] = 1
        seen = seen.reshape(self.shape)
        share = np.maximum(ndimage.uniform_filter(seen, 3, mode='constant'), 1e-6)
        image = self.values.reshape(self.shape) * seen
        mean = ndimage.uniform_filter(image, 3, mode='constant') / share
        square = ndimage.uniform_filter((seen * (image - mean)) ** 2, 3)
        rough = np.sqrt(np.maximum(square, 0) / share).ravel()
        return np.stack(
            [g * (m @ rough) for g, m in zip(self.gain, self.links, strict=True)]
        )

    def weigh(self, residual: np.ndarray, weights: np.ndarray, doubt: float) -> None:
        """
        Tell objects from sky, and set the prior of every cell.

        Parameters
        ----------
        residual : `~numpy.ndarray`
            By frame, divided by the flat.

        weights : `~numpy.ndarray`
            By frame.

        doubt : float
            Uncertainty of the flat: structure below it is not believed.
        """
        total, norm = np.zeros(self.values.size), np.zeros(self.values.size)
        for k, link in enumerate(self.links):
            total += link.T @ (weights[k] * residual[k] * self.gain[k])
            norm += link.T @ (weights[k] * self.gain[k] ** 2)
        seen = norm > 0
        safe = np.where(seen, norm, 1)
        image = np.where(seen, self.values + total / safe, 0)
        noise = np.where(seen, 1 / np.sqrt(safe), np.inf)
        zero, self.scatter = _sky_of(image[seen])
        limit = zero + 3 * np.hypot(self.scatter, noise) + doubt
        found = ((image > limit) & seen).reshape(self.shape)
        found = ndimage.binary_dilation(found).ravel() & seen
        if (seen & ~found).sum() < _LEAST_SKY * seen.sum():
            found = seen & (image > np.quantile(image[seen], _LEAST_SKY))
        self.share = float(found.sum() / max(seen.sum(), 1))
        free = np.maximum(image - zero, 0.02) ** 2 + self.scatter**2
        self.prior = np.where(found, free, self.scatter**2)[self.used]

    def change(self, step: np.ndarray) -> None:
        """
        Take a step.

        Parameters
        ----------
        step : `~numpy.ndarray`
            Of the cells used.
        """
        self.values = self.values.copy()
        self.values[self.used] += step


def _link(
    cells: tuple[int, int], shape: tuple[int, int], corner: np.ndarray
) -> sparse.csr_matrix:
    """Return the matrix of linear interpolation."""
    parts = []
    for m, n, start in zip(cells, shape, corner, strict=True):
        position = np.arange(m) + start
        left = np.minimum(np.floor(position).astype(int), n - 2)
        share = position - left
        rows = np.concatenate([np.arange(m)] * 2)
        columns = np.concatenate([left, left + 1])
        values = np.concatenate([1 - share, share])
        parts.append(sparse.csr_matrix((values, (rows, columns)), shape=(m, n)))
    link = sparse.kron(parts[0], parts[1], format='csr')
    link.eliminate_zeros()
    return link


def _sky_of(values: np.ndarray) -> tuple[float, float]:
    """Return level and scatter of the sky, from what is below it."""
    ordered = np.sort(values)
    part = ordered
    while len(part) > max(8, 0.05 * len(ordered)):
        half = len(part) // 2
        width = part[half:] - part[: len(part) - half]
        start = int(np.argmin(width))
        part = part[start : start + half + 1]
    zero = min(float(np.median(part)), float(np.median(ordered)))
    zero = max(zero, float(np.quantile(ordered, _LEAST_SKY / 2)))
    below = zero - ordered[ordered < zero]
    scatter = 1.4826 * float(np.median(below)) if below.size > 3 else 0.003
    return zero, max(scatter, 0.0008)
