# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A pool of noise-free scenes on the device, refilled while a network trains.

Processes draw scenes with `astroflat.degradation.make_scene`; batches are cut
from what the pool holds, turned and mirrored at random.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroflat.degradation._kinds import SCENE_KINDS

if TYPE_CHECKING:
    import torch

__all__ = ['DrawnScenes', 'SceneChoice', 'ScenePool', 'draw_one']

_KINDS = tuple(kind for kind in SCENE_KINDS if kind != 'image')


@dataclass(frozen=True)
class SceneChoice:
    """
    Which scenes to draw.

    Parameters
    ----------
    shape : tuple of int, optional
        Shape of the scenes in pixels.
    kinds : tuple of str, optional
        Kinds to choose from, each as likely as any other; a name may be
        repeated.
    level : tuple of float, optional
        Lowest and highest level of the sky in electrons, on a logarithmic
        scale.
    fwhm : tuple of float, optional
        Lowest and highest width of the stars in pixels, on a logarithmic
        scale.
    """

    shape: tuple[int, int] = (256, 256)
    kinds: tuple[str, ...] = _KINDS
    level: tuple[float, float] = (20.0, 5000.0)
    fwhm: tuple[float, float] = (1.6, 7.0)


class DrawnScenes(NamedTuple):
    """
    Scenes cut from a pool.

    Parameters
    ----------
    images : `torch.Tensor`
        Electrons, ``(n, 1, ny, nx)`` float32.
    level : `torch.Tensor`
        Level of the sky, or of the mean Sun or Moon, ``(n,)``.
    fwhm : `torch.Tensor`
        Width of the stars in pixels, ``(n,)``.
    kind : `torch.Tensor`
        Place of the kind in `astroflat.degradation.SCENE_KINDS`, ``(n,)``.
    """

    images: torch.Tensor
    level: torch.Tensor
    fwhm: torch.Tensor
    kind: torch.Tensor


def draw_one(
    choice: SceneChoice, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float, int]]:
    """
    Draw a scene.

    Parameters
    ----------
    choice : SceneChoice
        Which scenes to draw.
    rng : `numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    tuple
        Image in electrons, and its level, width of stars and kind.
    """
    from astroflat.degradation.scenes import make_scene

    kind = choice.kinds[int(rng.integers(len(choice.kinds)))]
    level, fwhm = (
        math.exp(rng.uniform(math.log(low), math.log(high)))
        for low, high in (choice.level, choice.fwhm)
    )
    image = make_scene(choice.shape, kind=kind, rng=rng, level=level, fwhm=fwhm)
    return image, (level, fwhm, SCENE_KINDS.index(kind))


class ScenePool:
    """
    Scenes in the memory of a device, drawn by processes in the background.

    Parameters
    ----------
    size : int
        Number of scenes to hold.
    choice : SceneChoice, optional
        Which scenes to draw.
    device : str, optional
        Where to hold them.
    workers : int or None, optional
        Number of processes; by default one less than there are cores. With 0
        all scenes are drawn at once and never replaced: the same seed gives
        the same pool.
    seed : int, optional
        Start of the random numbers.

    Examples
    --------
    >>> from astroflat.training.scenes import SceneChoice, ScenePool
    >>> choice = SceneChoice(shape=(32, 32), kinds=('starfield',))
    >>> with ScenePool(3, choice, workers=0) as pool:  # doctest: +SKIP
    ...     pool.draw(2, 16).images.shape
    torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        size: int,
        choice: SceneChoice | None = None,
        *,
        device: str = 'cpu',
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        import torch

        self.choice = choice or SceneChoice()
        self.size, self.filled, self.made = size, 0, 0
        self.images = torch.zeros((size, *self.choice.shape), device=device)
        self.facts = torch.zeros((size, 3), device=device)
        if workers is None:
            workers = max(1, (os.cpu_count() or 2) - 1)
        self._processes: list[Any] = []
        if workers:
            self._start(workers, seed)
        else:
            rng = np.random.default_rng(seed)
            for _ in range(size):
                self._add([draw_one(self.choice, rng)])

    def _start(self, workers: int, seed: int) -> None:
        """Start the processes; they inherit nothing that torch has opened."""
        context = multiprocessing.get_context('spawn')
        self._queue = context.Queue(maxsize=8 * workers)
        self._stop = context.Event()
        for seeds in np.random.SeedSequence(seed).spawn(workers):
            process = context.Process(
                target=_work, args=(self.choice, seeds, self._queue, self._stop)
            )
            process.daemon = True
            process.start()
            self._processes.append(process)

    def wait(self, count: int, *, timeout: float = 120.0) -> int:
        """
        Wait until the pool holds some scenes.

        Parameters
        ----------
        count : int
            Number of scenes, at most the size of the pool.
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        int
            Number of scenes in the pool.

        Raises
        ------
        TimeoutError
            If none came in the time.
        RuntimeError
            If all processes have ended.
        """
        end = time.monotonic() + timeout
        while self.filled < min(count, self.size) and time.monotonic() < end:
            if self.refresh() == 0:
                if not any(process.is_alive() for process in self._processes):
                    msg = 'the processes that draw scenes have ended; see their errors'
                    raise RuntimeError(msg)
                time.sleep(0.02)
        if not self.filled:
            msg = f'no scene came in {timeout} s; use fewer pixels or more processes'
            raise TimeoutError(msg)
        return self.filled

    def refresh(self, limit: int = 256) -> int:
        """
        Take scenes that are ready, in place of the oldest.

        Parameters
        ----------
        limit : int, optional
            Most scenes to take.

        Returns
        -------
        int
            Number of scenes taken.
        """
        scenes = []
        while self._processes and len(scenes) < limit:
            try:
                scenes.append(self._queue.get_nowait())
            except queue.Empty:
                break
        if scenes:
            self._add(scenes)
        return len(scenes)

    def _add(self, scenes: list[tuple[np.ndarray, tuple]]) -> None:
        """Put scenes on the device."""
        import torch

        device = self.images.device
        places = [(self.made + k) % self.size for k in range(len(scenes))]
        index = torch.tensor(places, device=device)
        images = torch.from_numpy(np.stack([image for image, _ in scenes]))
        facts = torch.tensor([facts for _, facts in scenes], dtype=torch.float32)
        self.images[index] = images.to(device, torch.float32)
        self.facts[index] = facts.to(device)
        self.made += len(scenes)
        self.filled = min(self.size, self.made)

    def draw(
        self, count: int, size: int, *, generator: torch.Generator | None = None
    ) -> DrawnScenes:
        """
        Cut squares out of random scenes, turned and mirrored.

        Parameters
        ----------
        count : int
            Number of squares.
        size : int
            Their side in pixels.
        generator : `torch.Generator`, optional
            Source of random numbers, on the device of the pool.

        Returns
        -------
        DrawnScenes
            The squares and what is known of them.
        """
        import torch

        device, (ny, nx) = self.images.device, self.choice.shape

        def _whole(high: int) -> torch.Tensor:
            return torch.randint(high, (count, 1), device=device, generator=generator)

        steps = torch.arange(size, device=device)
        which = _whole(self.filled)[:, 0]
        axes = []
        for length in (ny, nx):
            along = torch.where(_whole(2) == 1, steps, size - 1 - steps)
            axes.append(_whole(length - size + 1) + along)
        images = self.images[
            which[:, None, None], axes[0][:, :, None], axes[1][:, None]
        ]
        turned = torch.where(_whole(2)[:, :, None] == 1, images, images.mT)
        level, fwhm, kind = self.facts[which].unbind(1)
        return DrawnScenes(turned[:, None], level, fwhm, kind.long())

    def close(self) -> None:
        """End the processes."""
        if not self._processes:
            return
        self._stop.set()
        for process in self._processes:
            process.join(timeout=0.2)
            if process.is_alive():
                process.terminate()
        self._queue.close()
        self._queue.cancel_join_thread()
        self._processes = []

    def __enter__(self) -> ScenePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _work(choice: SceneChoice, seeds: Any, scenes: Any, stop: Any) -> None:
    """Draw scenes until told to stop."""
    # One core each: the processes must not fight for them.
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
        os.environ[name] = '1'
    rng = np.random.default_rng(seeds)
    while not stop.is_set():
        scene = draw_one(choice, rng)
        while not stop.is_set():
            try:
                scenes.put(scene, timeout=0.5)
                break
            except queue.Full:
                continue
