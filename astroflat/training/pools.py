# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Pools of simulated skies and fields in the memory of the training device.

Workers run the simulator on the processor and send small batches of arrays;
the pool grows, then replaces its oldest entries, while the training goes on.
Skies, vignetting, dust and gradients are kept apart and combined at random, so
that a few thousand of each make an endless variety of frames.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = [
    'ArrayPool',
    'Producer',
    'draw_components',
    'draw_day',
    'draw_night',
]

#: Makes a named set of arrays of one shape from a generator.
Producer = Callable[[np.random.Generator, int], Mapping[str, np.ndarray]]

#: Kinds of skies between whose objects there is sky, and of those without.
STARS = ('starfield', 'open_cluster', 'globular_cluster', 'galaxies')
NEBULAE = ('emission_nebula', 'reflection_nebula', 'dark_nebula')
_DAY = ('granulation', 'sunspot', 'active_region', 'moon')
_BATCH = 8
# What is near 1 is kept as its distance from 1: half precision is relative.
_TOP = 6e4


def draw_night(
    rng: np.random.Generator, size: int, kinds: Sequence[str] = STARS + NEBULAE
) -> dict[str, np.ndarray]:
    """
    Draw a sky at night.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of random numbers.
    size : int
        Side of the square frame in pixels.
    kinds : sequence of str, optional
        Kinds of `astroflat.degradation.make_scene`, one of which is drawn.

    Returns
    -------
    dict
        ``night``, float16 of shape ``(size, size)``: the light in units of
        the sky level, less 1.
    """
    return {'night': _draw_scene(rng, size, kinds)}


def draw_day(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """
    Draw a piece of the Sun or the Moon.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of random numbers.
    size : int
        Side of the square frame in pixels.

    Returns
    -------
    dict
        ``day``, float16 of shape ``(size, size)``: the light in units of its
        mean, less 1.
    """
    return {'day': _draw_scene(rng, size, _DAY)}


def _draw_scene(
    rng: np.random.Generator, size: int, kinds: Sequence[str]
) -> np.ndarray:
    """Draw a scene of one of the kinds, in units of its level, less 1."""
    from astroflat.degradation import make_scene

    kind = kinds[rng.integers(len(kinds))]
    fwhm = 3.0 if rng.uniform() < 0.4 else float(np.exp(rng.uniform(0.4, 1.7)))
    scene = make_scene((size, size), kind=kind, rng=rng, level=1000.0, fwhm=fwhm)
    return np.clip(scene / 1000.0 - 1.0, -1.0, _TOP).astype(np.float16)


def draw_components(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """
    Draw the parts of F and G at full difficulty, apart.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of random numbers.
    size : int
        Side of the square frame in pixels.

    Returns
    -------
    dict
        ``smooth`` and ``dust``, their transmissions less 1, and ``gradient``
        in units of the sky; float16 of shape ``(size, size)``.
    """
    from astroflat.degradation import sample_fields

    sampled = sample_fields((size, size), difficulty=1.0, rng=rng)
    wide = sampled.component('vignetting', 'smooth')
    dust = sampled.component('motes', 'specks', 'fibers')
    return {
        'smooth': (wide / wide.mean() - 1.0).astype(np.float16),
        'dust': (dust - 1.0).astype(np.float16),
        'gradient': sampled.gradient.astype(np.float16),
    }


class ArrayPool:
    """
    Arrays on a device that workers keep adding to.

    Parameters
    ----------
    producers : sequence of (callable, float)
        Each with its share of the workers' turns.
    size : int, optional
        Side of the arrays in pixels.
    capacity : int, optional
        Entries of each name that are kept.
    n_workers : int or None, optional
        Processes; one less than there are processors by default. With 0 the
        pool is made by `wait`, in this process, and never changes after that.
    seed : int, optional
        Seed of the workers, each of which has its own stream.
    device : str or torch.device, optional
        Where the arrays are kept.

    Notes
    -----
    The order in which batches arrive depends on the machine. A run is
    reproducible in what it draws from, not in its order; without workers it is
    in both.
    """

    def __init__(
        self,
        producers: Sequence[tuple[Producer, float]],
        *,
        size: int = 256,
        capacity: int = 20_000,
        n_workers: int | None = None,
        seed: int = 1,
        device: Any = 'cpu',
    ) -> None:
        self.size, self.capacity, self.device = size, capacity, torch.device(device)
        self.arrays: dict[str, torch.Tensor] = {}
        self.made: dict[str, int] = {}
        context = mp.get_context('fork' if os.name == 'posix' else 'spawn')
        self._queue = context.Queue(maxsize=64)
        self._producers, self._seed = list(producers), seed
        n = max(1, (os.cpu_count() or 2) - 1) if n_workers is None else n_workers
        self._workers = [
            context.Process(
                target=_work,
                args=(self._queue, list(producers), size, (seed, i)),
                daemon=True,
            )
            for i in range(n)
        ]

    def start(self) -> ArrayPool:
        """Start the workers; before the device is first used, they are forks."""
        for worker in self._workers:
            worker.start()
        return self

    def close(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()

    def __len__(self) -> int:
        """Entries of the name that has fewest."""
        return min((self.filled(name) for name in self.made), default=0)

    def filled(self, name: str) -> int:
        """
        Return the number of entries of a name.

        Parameters
        ----------
        name : str
            The name.

        Returns
        -------
        int
            At most the capacity.
        """
        return min(self.made.get(name, 0), self.capacity)

    def take(self, *, limit: int = 8) -> int:
        """
        Move what the workers have made onto the device.

        Parameters
        ----------
        limit : int, optional
            Batches to take at most.

        Returns
        -------
        int
            Batches that were taken.
        """
        for taken in range(limit):
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                return taken
            for name, values in batch.items():
                self._store(name, torch.from_numpy(values))
        return limit

    def wait(self, names: Sequence[str], n: int, *, timeout: float = 600.0) -> None:
        """
        Wait until there are enough entries.

        Parameters
        ----------
        names : sequence of str
            Names that are needed.
        n : int
            How many entries of each.
        timeout : float, optional
            Seconds after which to give up.

        Raises
        ------
        TimeoutError
            If the workers did not make them in time.
        RuntimeError
            If a worker failed.
        """
        if not self._workers:
            self._fill(names, n)
            return
        end = time.monotonic() + timeout
        while min(self.made.get(name, 0) for name in names) < n:
            if not self.take():
                time.sleep(0.05)
                self._check_alive()
            if time.monotonic() > end:
                msg = f'the workers made {self.made} in {timeout:g} s, not {n} of each'
                raise TimeoutError(msg)

    def _check_alive(self) -> None:
        """Stop waiting for workers that have failed."""
        failed = [w.exitcode for w in self._workers if w.exitcode]
        if failed:
            msg = f'{len(failed)} workers failed, see above; workers=0 shows where'
            raise RuntimeError(msg)

    def _fill(self, names: Sequence[str], n: int) -> None:
        """Draw entries here, from the producers whose names are short."""
        rng = np.random.default_rng((self._seed, 0))
        made: dict[int, set[str]] = {}
        while True:
            short = {name for name in names if self.made.get(name, 0) < n}
            able = [
                i for i in range(len(self._producers)) if short & made.get(i, short)
            ]
            if not able:
                return
            shares = np.array([self._producers[i][1] for i in able], dtype=float)
            i = able[rng.choice(len(able), p=shares / shares.sum())]
            row = self._producers[i][0](rng, self.size)
            made[i] = set(row)
            for name, values in row.items():
                self._store(name, torch.from_numpy(values[None]))

    def _store(self, name: str, values: torch.Tensor) -> None:
        """Write a batch into the ring of its name."""
        if name not in self.arrays:
            shape = (self.capacity, *values.shape[1:])
            self.arrays[name] = torch.zeros(
                shape, dtype=values.dtype, device=self.device
            )
            self.made[name] = 0
        start = self.made[name]
        index = torch.arange(start, start + len(values)) % self.capacity
        self.arrays[name][index.to(self.device)] = values.to(self.device)
        self.made[name] = start + len(values)


def _work(
    out: Any,
    producers: list[tuple[Producer, float]],
    size: int,
    seed: tuple[int, int],
) -> None:
    """Make batches until the process is stopped."""
    if hasattr(os, 'nice'):
        # The process that keeps the device busy goes first.
        os.nice(10)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    shares = np.array([share for _, share in producers], dtype=float)
    while True:
        function = producers[rng.choice(len(producers), p=shares / shares.sum())][0]
        rows = [function(rng, size) for _ in range(_BATCH)]
        out.put({name: np.stack([row[name] for row in rows]) for name in rows[0]})
