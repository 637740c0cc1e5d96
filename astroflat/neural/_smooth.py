# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Vignetting and gradient of one frame, from the network of smooth fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.neural._cells import (
    N_SORTED,
    STRETCH,
    Cells,
    coordinates,
    sample_cells,
)
from astroflat.neural._rows import GridRows, write_out
from astroflat.neural._symmetry import N_WAYS, turn, turn_back

if TYPE_CHECKING:
    from astroflat.neural.runtime import Session

__all__ = ['SmoothFields', 'enlarge', 'find_smooth', 'frame_features', 'gate']


# Light of a cell below which its logarithm says nothing, in units of the level.
_DARK = 0.02


@dataclass(frozen=True)
class SmoothFields:
    """
    What the network says, on its own grid.

    Parameters
    ----------
    log_flat, gradient : `~numpy.ndarray`
        log V and G over the level, of mean 0.

    sigma_flat, sigma_gradient : `~numpy.ndarray`
        Their standard deviations.

    better : tuple of float
        Chances that V and G are better than none.

    distance : float
        How unusual the frame is: root mean square of its features in standard
        deviations of the frames of the training. NaN if the card does not say.

    level : float
        Level of the frame.

    cells : Cells
        What the network saw.
    """

    log_flat: np.ndarray
    gradient: np.ndarray
    sigma_flat: np.ndarray
    sigma_gradient: np.ndarray
    better: tuple[float, float]
    distance: float
    level: float
    cells: Cells

    @property
    def structure(self) -> float:
        """Scatter of the cells that the fields leave: how much scene there is."""
        groups, valid = self.cells.channels[:N_SORTED], self.cells.valid
        light = np.sinh(STRETCH * groups[5:9].mean(axis=0)) / STRETCH + 1
        light = np.maximum(light - enlarge(self.gradient, light.shape), _DARK)
        left = (np.log(light) - enlarge(self.log_flat, light.shape))[valid > 0]
        if not left.size:
            return 0.0
        return float(1.4826 * np.median(np.abs(left - np.median(left))))


def find_smooth(
    image: np.ndarray, bad: np.ndarray, session: Session, extra: dict[str, Any]
) -> SmoothFields | None:
    """
    Look for the smooth fields of a frame.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The frame, ``(ny, nx)``.

    bad : `~numpy.ndarray` of bool
        Its mask.

    session : `~astroflat.neural.Session`
        The network.

    extra : dict
        The numbers of its calibration.

    Returns
    -------
    SmoothFields or None
        None if the frame has no light.
    """
    cells = sample_cells(image, bad)
    if not cells.level > 0:
        return None
    fields, better, features = _run_all_ways(cells, session)
    mean = fields.mean(axis=0)
    scale = float(extra.get('sigma_scale', 1.0))
    sigma = scale * np.exp(np.clip(mean[2:], -12.0, 3.0))
    chances = 1 / (1 + np.exp(-better.mean(axis=0)))
    return SmoothFields(
        log_flat=mean[0] - mean[0].mean(),
        gradient=mean[1] - mean[1].mean(),
        sigma_flat=sigma[0],
        sigma_gradient=sigma[1],
        better=(float(chances[0]), float(chances[1])),
        distance=_distance(features.mean(axis=0), extra),
        level=cells.level,
        cells=cells,
    )


def frame_features(image: np.ndarray, bad: np.ndarray, session: Session) -> np.ndarray:
    """
    Return what the network sees in a frame, as numbers.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The frame, ``(ny, nx)``.

    bad : `~numpy.ndarray` of bool
        Its mask.

    session : `~astroflat.neural.Session`
        The network.

    Returns
    -------
    `~numpy.ndarray`
        Features of the frame turned in all eight ways, ``(8, c)``.
    """
    return _run_all_ways(sample_cells(image, bad), session)[2]


def _run_all_ways(
    cells: Cells, session: Session
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the network on the frame turned in all ways; turn its answers back."""
    fields, better, features = [None] * N_WAYS, [], []
    for odd in (0, 1):
        ways = [way for way in range(N_WAYS) if way % 2 == odd]
        turned = [turn(cells.channels, way) for way in ways]
        place = coordinates(*turned[0].shape[1:])
        batch = np.stack([np.concatenate([part, place]) for part in turned])
        out = session.run({'cells': np.ascontiguousarray(batch, np.float32)})
        for way, part in zip(ways, out['fields'], strict=True):
            fields[way] = turn_back(part, way)
        better.append(out['better'])
        features.append(out['features'])
    return np.stack(fields), np.concatenate(better), np.concatenate(features)


def _distance(features: np.ndarray, extra: dict[str, Any]) -> float:
    if 'features_mean' not in extra:
        return float('nan')
    mean, spread = (np.asarray(extra[f'features_{n}']) for n in ('mean', 'spread'))
    return float(np.sqrt(np.mean(((features - mean) / spread) ** 2)))


def gate(values: np.ndarray, sigma: np.ndarray, limits: tuple[float, float]) -> float:
    """
    Return how much of a field to apply.

    Parameters
    ----------
    values, sigma : `~numpy.ndarray`
        The field, of mean 0, and its uncertainty.

    limits : tuple of float
        Ratio of their root mean squares below which nothing is applied, and
        above which all is.

    Returns
    -------
    float
        0 to 1.
    """
    ratio = np.sqrt(np.mean(values**2)) / np.sqrt(np.mean(sigma**2))
    low, high = limits
    return float(np.clip((ratio - low) / (high - low), 0.0, 1.0))


def enlarge(field: np.ndarray, shape: tuple[int, int], order: int = 3) -> np.ndarray:
    """
    Interpolate a field on a grid of cells to the pixels of the frame.

    Parameters
    ----------
    field : `~numpy.ndarray`
        Values at the middles of the cells.

    shape : tuple of int
        Shape of the frame.

    order : int, optional
        Order of the spline.

    Returns
    -------
    `~numpy.ndarray`
        float32. A constant stays the same constant, borders included.
    """
    return write_out(GridRows(field, shape, order), shape)
