# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Frames with known fields, composed on the device of the training.

Everything is done on batches: skies, vignetting, dust and gradients of a pool
are turned at random, weakened together by a difficulty, put together and
exposed, and the frames are cut into what the networks see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from astroflat.neural._cells import BLOCK
from astroflat.training.flat_inputs import _level, describe_cells, describe_pixels
from astroflat.training.pools import ArrayPool

__all__ = [
    'FrameComposer',
    'FrameOptions',
    'Frames',
    'Parts',
]

#: Networks that a training is for.
Parts = Literal['both', 'fields', 'dust']

# Stray light of the Sun and the Moon is weaker than a gradient of the night sky.
_STRAY = 0.2


@dataclass(frozen=True)
class FrameOptions:
    """
    How often frames have what.

    Parameters
    ----------
    day : float, optional
        Share of frames of the Sun and the Moon.
    clean : float, optional
        Share of frames without any field.
    absent : float, optional
        Chance of each field to be absent in another frame.
    masked : float, optional
        Share of frames with a masked rectangle.
    levels : tuple of float, optional
        Range of the sky level in electrons.
    """

    day: float = 0.35
    clean: float = 0.1
    absent: float = 0.08
    masked: float = 0.1
    levels: tuple[float, float] = (70.0, 20_000.0)

    def __post_init__(self) -> None:
        """Refuse shares that cannot be."""
        for name in ('day', 'clean', 'absent', 'masked'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                msg = f'{name} must be between 0 and 1, not {getattr(self, name)}'
                raise ValueError(msg)


@dataclass
class Frames:
    """
    A batch: what the networks see, and what they should say.

    Parameters
    ----------
    cells : torch.Tensor or None
        Input of `FieldsNet`, ``(b, 21, h, w)``; None with ``parts='dust'``.
    pixels : torch.Tensor or None
        Input of `DustNet`, ``(b, 34, h', w')``; None with ``parts='fields'``.
    fields : torch.Tensor or None
        log V and G over the level, of mean 0, ``(b, 2, h / 2, w / 2)``.
    dust : torch.Tensor or None
        log D, ``(b, 1, 2 h', 2 w')``.
    valid : torch.Tensor or None
        Share of valid pixels of the cells of ``pixels``, on the grid of
        ``dust``.
    """

    cells: torch.Tensor | None = None
    pixels: torch.Tensor | None = None
    fields: torch.Tensor | None = None
    dust: torch.Tensor | None = None
    valid: torch.Tensor | None = None

    def to_dict(self) -> dict[str, torch.Tensor]:
        """Return what there is by name."""
        return {
            name: values for name, values in vars(self).items() if values is not None
        }


class FrameComposer:
    """
    Compose batches of frames out of a pool.

    Parameters
    ----------
    pool : ArrayPool
        With the names ``night``, ``day``, ``smooth``, ``dust`` and
        ``gradient``.
    options : FrameOptions or None, optional
        How often frames have what.
    seed : int, optional
        Seed of the generator on the device.
    parts : {'both', 'fields', 'dust'}, optional
        The networks that frames are described for.

    Attributes
    ----------
    ceiling : float
        Highest difficulty that is drawn, 1 unless it is set.
    """

    def __init__(
        self,
        pool: ArrayPool,
        *,
        options: FrameOptions | None = None,
        seed: int = 1,
        parts: Parts = 'both',
    ) -> None:
        self.pool = pool
        self.parts = parts
        self.options = options or FrameOptions()
        self.ceiling = 1.0
        self.device = pool.device
        self.rng = torch.Generator(device=self.device).manual_seed(seed)
        self.host = torch.Generator().manual_seed(seed)

    def follow(self, generator: torch.Generator) -> None:
        """
        Draw the next batches from a generator of the caller.

        Parameters
        ----------
        generator : torch.Generator
            Source of random numbers on the device of the pool.
        """
        self.rng = generator
        seed = torch.randint(2**62, (), generator=generator, device=self.device)
        self.host.manual_seed(int(seed))

    def compose(self, n: int) -> Frames:
        """
        Compose a batch.

        Parameters
        ----------
        n : int
            Frames; four times fewer if they are of four times the size.

        Returns
        -------
        Frames
            Input and truth.
        """
        large = self._chance() < 0.2
        n = max(1, n // 4) if large else n
        scene, smooth, dust, gradient = self._draw(n)
        if large:
            scene, smooth, dust, gradient = (
                _enlarge(x, 2) for x in (scene, smooth, dust, gradient)
            )
        scene, smooth, dust, gradient = self._crop(scene, smooth, dust, gradient)
        image = self._expose(scene, smooth * dust, gradient)
        level = _level(image)
        image, gradient = image / level - 1.0, gradient / level
        return self._describe(
            image, smooth, dust, gradient, 2 * BLOCK if large else BLOCK
        )

    # ------------------------------------------------------------ draws
    def _chance(self) -> float:
        return float(torch.rand((), generator=self.host))

    def _uniform(self, n: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        values = torch.rand(n, 1, 1, generator=self.rng, device=self.device)
        return low + (high - low) * values

    def _log_uniform(self, n: int, low: float, high: float) -> torch.Tensor:
        return torch.exp(self._uniform(n, math.log(low), math.log(high)))

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.rng, device=self.device)

    def _pick(self, name: str, n: int) -> torch.Tensor:
        """Take entries at random, turned and mirrored in groups of eight."""
        top = self.pool.filled(name)
        index = torch.randint(top, (n,), generator=self.rng, device=self.device)
        rows = self.pool.arrays[name][index].float()
        parts = [self._turn(part) for part in rows.chunk(max(1, n // 8))]
        return torch.cat(parts)

    def _turn(self, part: torch.Tensor) -> torch.Tensor:
        quarter = int(torch.randint(4, (), generator=self.host))
        part = torch.rot90(part, quarter, (1, 2))
        return part.flip(2) if self._chance() < 0.5 else part

    def _draw(self, n: int) -> tuple[torch.Tensor, ...]:
        """Draw light, V, D and G of square frames, sky or mean of 1."""
        at_day = self._uniform(n) < self.options.day
        scene = torch.where(at_day, self._pick('day', n), self._pick('night', n)) + 1.0
        difficulty = (
            self.ceiling * self._uniform(n) * (self._uniform(n) >= self.options.clean)
        )

        def strength() -> torch.Tensor:
            return difficulty * (self._uniform(n) >= self.options.absent)

        smooth = 1.0 + strength() * self._pick('smooth', n)
        dust = 1.0 + strength() * self._dust(n)
        gradient = strength() * self._pick('gradient', n)
        gradient = torch.where(at_day, _STRAY * gradient, gradient)
        smooth = smooth.clamp_min(0.05)
        return scene, smooth / smooth.mean(dim=(1, 2), keepdim=True), dust, gradient

    def _dust(self, n: int) -> torch.Tensor:
        """Draw dust, sometimes enlarged, so that large shadows are seen too."""
        dust = self._pick('dust', n)
        chance = self._chance()
        if chance < 0.7:
            return dust
        factor = 2 if chance < 0.9 else 4
        size = dust.shape[-1] // factor
        y, x = torch.randint(dust.shape[-1] - size + 1, (2,), generator=self.host)
        return _enlarge(dust[:, y : y + size, x : x + size], factor)

    def _crop(self, *images: torch.Tensor) -> list[torch.Tensor]:
        """Cut square frames to a random aspect, from the middle."""
        size = images[0].shape[-1]
        share = (1.0, 1.0, 1.0, 0.75, 0.625)[int(5 * self._chance())]
        short = round(share * size / 64) * 64
        start = (size - short) // 2
        cut = [slice(None), slice(None)]
        cut[int(2 * self._chance())] = slice(start, start + short)
        return [image[:, cut[0], cut[1]] for image in images]

    # --------------------------------------------------------- exposure
    def _expose(
        self, scene: torch.Tensor, flat: torch.Tensor, gradient: torch.Tensor
    ) -> torch.Tensor:
        """Expose in electrons; the frame is returned in units of the sky."""
        n = len(scene)
        lowest = (scene + gradient / flat).amin(dim=(1, 2), keepdim=True)
        scene = scene + (0.01 - lowest).clamp_min(0.0)
        level = self._log_uniform(n, *self.options.levels)
        light = scene * flat * self._response(n, scene.shape[1:]) + gradient
        electrons = torch.poisson((level * light).clamp(0.0, 1e6), generator=self.rng)
        electrons = torch.minimum(electrons, (4.0 * level).clamp_min(5e4))
        electrons = electrons + self._uniform(n, 2.0, 12.0) * self._normal(*scene.shape)
        gain = self._log_uniform(n, 0.2, 3.0)
        electrons = gain * torch.round(electrons / gain)
        return self._hot(electrons / level)

    def _response(self, n: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw the response of pixels, rows and columns."""
        part = self._log_uniform(n, 2e-4, 2e-2) * self._normal(n, *shape)
        rows = self._log_uniform(n, 5e-5, 5e-3) * self._normal(n, shape[0], 1)
        columns = self._log_uniform(n, 5e-5, 5e-3) * self._normal(n, 1, shape[1])
        return (1.0 + part + rows + columns).clamp_min(0.3)

    def _hot(self, image: torch.Tensor) -> torch.Tensor:
        """Add pixels that the dark frame did not catch."""
        hit = torch.rand(image.shape, generator=self.rng, device=self.device) < 2e-4
        size = torch.rand(image.shape, generator=self.rng, device=self.device)
        return image + hit * torch.exp(size * 5.0 - 2.0)

    # ------------------------------------------------------ description
    def _describe(
        self,
        image: torch.Tensor,
        smooth: torch.Tensor,
        dust: torch.Tensor,
        gradient: torch.Tensor,
        block: int,
    ) -> Frames:
        frames = Frames()
        if self.parts != 'dust':
            valid = self._valid(image, block)
            frames.cells = describe_cells(image, valid, block)
            fields = torch.stack([smooth.log(), gradient], dim=1)
            fields = functional.avg_pool2d(fields, 2 * block)
            frames.fields = fields - fields.mean(dim=(2, 3), keepdim=True)
        if self.parts != 'fields':
            self._describe_dust(frames, image, smooth, dust, gradient)
        return frames

    def _describe_dust(
        self,
        frames: Frames,
        image: torch.Tensor,
        smooth: torch.Tensor,
        dust: torch.Tensor,
        gradient: torch.Tensor,
    ) -> None:
        # What is left of the smooth fields when dust is looked for.
        n = len(image)
        left = 0.3 * self._normal(n, 1, 1) * (self._uniform(n) < 0.7)
        add = 0.3 * self._normal(n, 1, 1) * (self._uniform(n) < 0.7)
        flat = (image + 1.0 - (1.0 - add) * gradient) / smooth ** (1.0 - left)
        flat, dust = self._window(flat, dust)
        seen = self._valid(flat, BLOCK)
        frames.pixels = describe_pixels(flat / _level(flat) - 1.0, seen)
        frames.dust = functional.avg_pool2d(dust[:, None], 2).clamp_min(0.02).log()
        frames.valid = _enlarge(seen, 2)[:, None]

    def _window(
        self, image: torch.Tensor, dust: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cut a window of at most 256 pixels."""
        starts = [
            int(torch.randint(max(1, size - 255), (), generator=self.host))
            for size in image.shape[1:]
        ]
        cut = tuple(slice(start, start + 256) for start in starts)
        return image[:, *cut], dust[:, *cut]

    def _valid(self, image: torch.Tensor, block: int) -> torch.Tensor:
        """Draw cells that are masked: a rectangle in some frames."""
        n, ny, nx = image.shape
        h, w = ny // block, nx // block
        masked = self._uniform(n) < self.options.masked
        edges = self._uniform(4 * n).reshape(4, n, 1, 1)
        y = (torch.arange(h, device=self.device) / h)[:, None]
        x = (torch.arange(w, device=self.device) / w)[None]
        inside = (y >= edges[0]) & (y < edges[0] + 0.4 * edges[1])
        inside = inside & (x >= edges[2]) & (x < edges[2] + 0.4 * edges[3])
        return (~(inside & masked)).to(image.dtype)


def _enlarge(image: torch.Tensor, factor: int) -> torch.Tensor:
    return functional.interpolate(
        image[:, None], scale_factor=factor, mode='bilinear', align_corners=False
    )[:, 0]
