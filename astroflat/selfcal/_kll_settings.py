# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The arguments of `kll_flat`, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from astroflat.selfcal._kll_options import FitOptions

__all__ = ['Settings']

_FEWEST = 3


@dataclass(frozen=True)
class Settings:
    """
    The arguments of `kll_flat`, see there.

    Attributes
    ----------
    mask, weights, clip, levels, interpolation, smooth, groups, max_frames
        As there; ``clip`` is ``sigma_clip``.

    on_degenerate, tolerance, max_iterations, rng, mem_limit, threads, client
        As there; ``threads`` is ``n_threads``.

    progress_bar, add_keyword
        As there.
    """

    mask: np.ndarray | None
    weights: Any
    clip: float | None
    levels: str
    interpolation: Any
    smooth: float | None
    groups: Any
    max_frames: int
    on_degenerate: str
    tolerance: float
    max_iterations: int
    rng: np.random.Generator
    mem_limit: float
    threads: int
    client: Any
    progress_bar: bool
    add_keyword: Any

    def check(self, shape: tuple[int, ...]) -> Settings:
        """
        Check the arguments against each other.

        Parameters
        ----------
        shape : tuple of int
            Of the stack.

        Returns
        -------
        settings : Settings
            With weights and groups as arrays.

        Raises
        ------
        ValueError
            If one of them makes no sense.
        """
        n = shape[0]
        if n < _FEWEST:
            msg = f'{n} frames cannot tell a flat from the sky; give at least 4'
            raise ValueError(msg)
        for name, value, known in (
            ('levels', self.levels, ('free', 'fixed')),
            ('interpolation', self.interpolation, ('nearest', 'linear', 'cubic')),
            ('on_degenerate', self.on_degenerate, ('raise', 'warn', 'ignore')),
        ):
            if value not in known:
                msg = f'{name} must be one of {known}, not {value!r}'
                raise ValueError(msg)
        for name in ('clip', 'smooth', 'tolerance', 'max_iterations', 'max_frames'):
            value = getattr(self, name)
            if value is not None and not value > 0:
                name = {'clip': 'sigma_clip'}.get(name, name)
                msg = f'{name} must be positive, not {value!r}'
                raise ValueError(msg)
        return replace(
            self,
            weights=_check_weights(self.weights, shape),
            groups=_check_groups(self.groups, n),
        )

    @property
    def fit(self) -> FitOptions:
        """The settings of the fit."""
        return FitOptions(
            interpolation=self.interpolation,
            clip=self.clip,
            tolerance=self.tolerance,
            max_iterations=int(self.max_iterations),
            free_levels=self.levels == 'free',
            threads=self.threads,
            mem_limit=self.mem_limit,
        )


def _check_weights(weights: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return weights from 0 to 1."""
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=np.float32)
    if weights.shape not in (shape[:1], shape[1:3], shape[:3]):
        msg = (
            f'weights must have the shape {shape[:1]}, {shape[1:3]} or {shape[:3]}, '
            f'not {weights.shape}'
        )
        raise ValueError(msg)
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
        msg = 'weights must be finite, not negative and not all zero'
        raise ValueError(msg)
    return weights / weights.max()


def _check_groups(groups: Any, n: int) -> np.ndarray:
    """Return a label for each frame."""
    if groups is None:
        return np.zeros(n, dtype=int)
    if np.ndim(groups) == 0:
        if groups != int(groups) or not 1 <= groups <= n:
            msg = f'groups must be from 1 to {n}, the number of frames, not {groups!r}'
            raise ValueError(msg)
        return np.arange(n) * int(groups) // n
    labels = np.asarray(groups)
    if labels.shape != (n,):
        msg = f'groups must be a number or {n} labels, not of shape {labels.shape}'
        raise ValueError(msg)
    return np.unique(labels, return_inverse=True)[1].ravel()
