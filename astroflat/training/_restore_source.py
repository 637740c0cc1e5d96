# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The pools of a training of the restorer; torch is imported when it is needed."""

from __future__ import annotations

from typing import Any

__all__ = ['Source']


class Source:
    """
    The pools that squares are made of.

    Parameters
    ----------
    size : int
        Side of the squares in pixels.
    capacity : int
        Pieces of extended light to hold.
    workers : int or None
        Processes that draw light.
    seed : int
        Start of the random numbers.
    """

    def __init__(self, size: int, capacity: int, workers: int | None, seed: int):
        from astroflat.training._restore_light import draw_extended
        from astroflat.training.pools import ArrayPool

        self.size, self.seed, self.capacity = size, seed, capacity
        self.side = max(size + 32, min(2 * size, 256))
        self._draw, self._made = draw_extended, ArrayPool
        self._makers: dict[Any, Any] = {}
        self.pool = ArrayPool(
            [(draw_extended, 1.0)],
            size=self.side,
            capacity=capacity,
            n_workers=workers,
            seed=seed + 1,
        )

    def __enter__(self) -> Source:
        self.pool.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def fill(self, device: str) -> None:
        """
        Wait until the pool is full.

        Parameters
        ----------
        device : str
            Where it is to be.
        """
        import torch

        self.pool.device = torch.device(device)
        self.pool.wait(['light'], self.capacity)

    def maker(self, device: str, kernels: int, batch: int) -> Any:
        """
        Return what makes batches, once there is enough to make them of.

        Parameters
        ----------
        device : str
            Where.
        kernels : int
            Point-spread functions to hold.
        batch : int
            Squares in a batch.

        Returns
        -------
        SquareMaker
            The same one for the same arguments.
        """
        import torch

        from astroflat.training._restore_data import SquareMaker
        from astroflat.training._restore_psf import KernelPool

        key = device, kernels, batch
        if key not in self._makers:
            self.pool.device = torch.device(device)
            made = KernelPool(kernels, device, seed=self.seed)
            self.pool.wait(['light'], min(self.capacity, 128))
            self._makers[key] = SquareMaker(self.pool, made, batch, self.size)
        return self._makers[key]

    def held_out(
        self, device: str, batch: int, n: int, kernels: int
    ) -> list[dict[str, Any]]:
        """
        Return batches of scenes and optics that no training draws.

        Parameters
        ----------
        device : str
            Where.
        batch : int
            Squares in a batch.
        n : int
            Batches.
        kernels : int
            Point-spread functions of the training; there are fewer here.

        Returns
        -------
        list of dict
            The same ones for the same arguments.
        """
        import torch

        from astroflat.training._restore_data import SquareMaker
        from astroflat.training._restore_psf import KernelPool

        key = device, batch, n, kernels
        most = min(32, self.capacity)
        if key not in self._makers:
            pool = self._made(
                [(self._draw, 1.0)],
                size=self.side,
                capacity=most,
                n_workers=0,
                seed=987_654,
                device=device,
            )
            pool.wait(['light'], most)
            made = KernelPool(min(128, kernels), device, seed=987_654)
            maker = SquareMaker(pool, made, batch, self.size)
            generator = torch.Generator(device=device).manual_seed(7)
            self._makers[key] = [maker(generator) for _ in range(n)]
        return self._makers[key]
