# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The reference design at full resolution: one network, F, G and confidence.

It is slower than what is shipped (`astroflat.training.flat_nets`) and here to
compare with, and to train where every pixel is wanted. Its normalisation takes
means over the whole input, so it must see a frame in one piece.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

__all__ = ['AttentionGate', 'AttentionResUNetFG', 'GroupResidual']

# At most this many groups for the normalisation.
_GROUPS = 8


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


class GroupResidual(nn.Module):
    """
    Two convolutions with group normalisation, and a way around them.

    Parameters
    ----------
    inputs, outputs : int
        Numbers of channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            _norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.second = nn.Sequential(
            _norm(outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        same = inputs == outputs
        self.around = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Apply the block.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, inputs, h, w)``.

        Returns
        -------
        torch.Tensor
            Shape ``(b, outputs, h, w)``.
        """
        return self.around(x) + self.second(self.first(x))


class AttentionGate(nn.Module):
    """
    Let through of a skip what the coarser grid asks for.

    Parameters
    ----------
    channels : int
        Channels of the skip and of the signal from below.

    Notes
    -----
    Additive attention (Oktay et al. 2018, `arXiv:1804.03999
    <https://arxiv.org/abs/1804.03999>`_).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.skip = nn.Conv2d(channels, inner, 1)
        self.signal = nn.Conv2d(channels, inner, 1)
        self.gate = nn.Conv2d(inner, 1, 1)

    def forward(self, skip: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        """
        Weaken a skip.

        Parameters
        ----------
        skip, signal : torch.Tensor
            Shape ``(b, c, h, w)``.

        Returns
        -------
        torch.Tensor
            The skip times a factor between 0 and 1 for each pixel.
        """
        asked = functional.relu(self.skip(skip) + self.signal(signal))
        return skip * torch.sigmoid(self.gate(asked))


class AttentionResUNetFG(nn.Module):
    """
    U-Net of residual blocks with attention gates on its skips.

    Parameters
    ----------
    inputs : int, optional
        Channels: the image, its two coordinates, and the local noise.
    width : int, optional
        Channels at full resolution; they double with each coarser grid.
    depth : int, optional
        Number of grids. Height and width of the input have to be multiples of
        ``2 ** (depth - 1)``, see ``multiple``.
    blocks : int, optional
        Residual blocks on each grid of either side.

    Attributes
    ----------
    multiple : int
        What the sides of the input have to be multiples of.

    Notes
    -----
    Residual blocks (He et al. 2016, `doi:10.1109/CVPR.2016.90
    <https://doi.org/10.1109/CVPR.2016.90>`_) with group normalisation (Wu and
    He 2018, `arXiv:1803.08494 <https://arxiv.org/abs/1803.08494>`_), which does
    not depend on the batch; and no dropout, which would change the level of
    what has to come out.

    Examples
    --------
    >>> import torch
    >>> from astroflat.training.attention_unet import AttentionResUNetFG
    >>> net = AttentionResUNetFG(width=4, depth=3)
    >>> log_flat, gradient, confidence = net(torch.zeros(1, 4, 24, 32))
    >>> tuple(log_flat.shape), net.multiple
    ((1, 1, 24, 32), 4)
    """

    def __init__(
        self, inputs: int = 4, *, width: int = 64, depth: int = 5, blocks: int = 1
    ) -> None:
        super().__init__()
        if width < 1 or depth < 1 or blocks < 1:
            msg = (
                f'width, depth and blocks must be >= 1, not {width}, {depth}, {blocks}'
            )
            raise ValueError(msg)
        self.multiple = 2 ** (depth - 1)
        widths = [width * 2**i for i in range(depth)]
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.encoder = nn.ModuleList(
            _stage(a, b, blocks) for a, b in zip([width, *widths], widths, strict=False)
        )
        pairs = list(itertools.pairwise(widths))[::-1]
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.gates = nn.ModuleList(AttentionGate(a) for a, _ in pairs)
        self.decoder = nn.ModuleList(_stage(2 * a, a, blocks) for a, _ in pairs)
        self.last = nn.Sequential(_norm(width), nn.SiLU())
        self.heads = nn.Conv2d(width, 3, 1)

    def forward(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Predict the fields of frames.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, 4, h, w)``.

        Returns
        -------
        log_flat : torch.Tensor
            log F, of either sign, ``(b, 1, h, w)``.
        gradient : torch.Tensor
            G over the level of the frame, of either sign.
        confidence : torch.Tensor
            Between 0 and 1.
        """
        x = self.encoder[0](self.stem(x))
        skips = [x]
        for stage in self.encoder[1:]:
            x = stage(functional.avg_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for up, gate, stage in zip(self.up, self.gates, self.decoder, strict=True):
            x = up(functional.interpolate(x, scale_factor=2.0, mode='nearest'))
            x = stage(torch.cat([gate(skips.pop(), x), x], dim=1))
        log_flat, gradient, logit = self.heads(self.last(x)).float().split(1, dim=1)
        return 0.1 * log_flat, 0.1 * gradient, torch.sigmoid(logit)


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    first = GroupResidual(inputs, outputs)
    return nn.Sequential(
        first, *(GroupResidual(outputs, outputs) for _ in range(blocks - 1))
    )
