# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Frames of many sizes for a network that sees every pixel.

Each frame of a batch has a size of its own; the smaller ones are filled up with
zeros and the truth is only asked for where there is a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from astroflat.training.flat_frames import FrameComposer
from astroflat.training.flat_inputs import (
    _blocks,
    _level,
    _sorted,
    _spread,
    _stretch,
)
from astroflat.training.pools import ArrayPool

__all__ = ['FullComposer', 'FullFrames', 'describe_full', 'pad_frames']

# Sides of the frames as parts of those of the pool.
_SHARES = (1.0, 1.0, 0.75, 0.625, 0.5)
# Pixels of the cells that tell the noise.
_CELL = 4


@dataclass
class FullFrames:
    """
    A batch: what the network sees, and what it should say.

    Parameters
    ----------
    image : torch.Tensor
        Stretched frames, x, y and noise, ``(b, 4, h, w)``.
    light : torch.Tensor
        Frames over their level, ``(b, 1, h, w)``.
    log_flat, gradient : torch.Tensor
        log F and G over the level, ``(b, 1, h, w)``, of mean 0 over the frame.
    valid : torch.Tensor
        1 in the frame, 0 in what fills it up, ``(b, 1, h, w)``.
    """

    image: torch.Tensor
    light: torch.Tensor
    log_flat: torch.Tensor
    gradient: torch.Tensor
    valid: torch.Tensor


def pad_frames(
    frames: list[torch.Tensor], multiple: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Put frames of different sizes into one batch.

    Parameters
    ----------
    frames : list of torch.Tensor
        Each ``(c, h, w)``.
    multiple : int
        What the sides of the batch have to be multiples of.

    Returns
    -------
    batch : torch.Tensor
        Shape ``(b, c, h, w)``; every frame begins at the first pixel, and zeros
        fill the rest.
    valid : torch.Tensor
        1 where there is a frame, ``(b, 1, h, w)``.

    Examples
    --------
    >>> import torch
    >>> from astroflat.training.full_frames import pad_frames
    >>> batch, valid = pad_frames([torch.ones(1, 3, 5), torch.ones(1, 4, 2)], 4)
    >>> tuple(batch.shape), valid.sum(dim=(1, 2, 3)).tolist()
    ((2, 1, 4, 8), [15.0, 8.0])
    """
    high, wide = (
        -(-max(frame.shape[i] for frame in frames) // multiple) * multiple
        for i in (1, 2)
    )
    batch = frames[0].new_zeros(len(frames), len(frames[0]), high, wide)
    valid = frames[0].new_zeros(len(frames), 1, high, wide)
    for i, frame in enumerate(frames):
        h, w = frame.shape[1:]
        batch[i, :, :h, :w] = frame
        valid[i, :, :h, :w] = 1.0
    return batch, valid


def describe_full(light: torch.Tensor) -> torch.Tensor:
    """
    Make the input of `~astroflat.training.attention_unet.AttentionResUNetFG`.

    Parameters
    ----------
    light : torch.Tensor
        Frames over their level, ``(b, h, w)``, h and w multiples of 4.

    Returns
    -------
    torch.Tensor
        Stretched frames, x and y from -1 to 1, and the logarithm of the noise,
        ``(b, 4, h, w)``.
    """
    image = _stretch(light - 1.0)
    b, h, w = image.shape
    noise = _spread(_sorted(_blocks(image, _CELL))).expand(b, 1, h, w)
    y = torch.linspace(-1.0, 1.0, h, device=light.device)
    x = torch.linspace(-1.0, 1.0, w, device=light.device)
    y, x = torch.meshgrid(y, x, indexing='ij')
    place = torch.stack([x, y]).expand(b, 2, h, w)
    return torch.cat([image[:, None], place.to(image.dtype), noise], dim=1)


class FullComposer(FrameComposer):
    """
    Compose frames at full resolution, each of a size of its own.

    Parameters
    ----------
    pool : ArrayPool
        As for `~astroflat.training.flat_frames.FrameComposer`.
    multiple : int, optional
        What the network wants the sides to be multiples of.
    **kwargs : object
        Passed to the composer.
    """

    def __init__(self, pool: ArrayPool, *, multiple: int = 16, **kwargs: Any) -> None:
        super().__init__(pool, **kwargs)
        self.multiple = multiple

    def compose(self, n: int) -> FullFrames:
        """
        Compose a batch.

        Parameters
        ----------
        n : int
            Frames.

        Returns
        -------
        FullFrames
            Input and truth.
        """
        scene, smooth, dust, gradient = self._draw(n)
        flat = smooth * dust
        image = self._expose(scene, flat, gradient)
        parts = torch.stack([image, flat.log(), gradient], dim=1)
        made = [self._describe_one(self._cut(part)) for part in parts]
        batch, valid = pad_frames(made, self.multiple)
        image, rest = batch.split([4, 3], dim=1)
        return FullFrames(image, *rest.split(1, dim=1), valid)

    def _cut(self, part: torch.Tensor) -> torch.Tensor:
        """Cut a frame to a size of its own, around its middle."""
        size = part.shape[-1]
        for axis in (1, 2):
            share = _SHARES[int(len(_SHARES) * self._chance())]
            side = max(_CELL, round(share * size / _CELL) * _CELL)
            part = part.narrow(axis, (size - side) // 2, side)
        return part

    def _describe_one(self, part: torch.Tensor) -> torch.Tensor:
        """Return the four channels of the input and three of the truth."""
        image, log_flat, gradient = part
        level = _level(image[None])[0]
        light, gradient = image / level, gradient / level
        truth = [light, log_flat - log_flat.mean(), gradient - gradient.mean()]
        return torch.cat([describe_full(light[None])[0], torch.stack(truth)])
