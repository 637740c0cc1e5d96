# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The two networks that are shipped for single frames.

`FieldsNet` looks at a whole frame, reduced to some 64 x 64 cells, and says
what is smooth: vignetting and gradient. `DustNet` looks at cells of 4 x 4
pixels, anywhere, and says what is small: the shadows of dust. Neither has
statistics over pixels in its layers, so `DustNet` gives the same in tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ['Attention', 'ChannelNorm', 'DustNet', 'FieldsNet', 'FlatNets', 'Residual']

_TINY = 1e-6


class ChannelNorm(nn.Module):
    """
    Scale the channels of every pixel to unit mean square.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Normalise a batch.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, c, h, w)``.

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        if x.is_cuda:
            # The same in one kernel: the channels are last in memory.
            last = x.permute(0, 2, 3, 1)
            weight = self.weight.to(x.dtype)
            return functional.rms_norm(last, weight.shape, weight, _TINY).permute(
                0, 3, 1, 2
            )
        power = x.float().square().mean(dim=1, keepdim=True)
        return x * torch.rsqrt(power + _TINY).to(x.dtype) * self.weight[:, None, None]


class Residual(nn.Module):
    """
    Two convolutions on a normalised copy, added to the trunk.

    The trunk itself is never normalised: how strong a structure is, is what
    has to come out.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Apply the block.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, c, h, w)``.

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        y = self.second(functional.gelu(self.first(self.norm(x))))
        return torch.addcmul(x, y, self.gain[:, None, None].to(y.dtype))


class Attention(nn.Module):
    """
    Let every place of the coarsest grid see all others.

    Parameters
    ----------
    channels : int
        Number of channels.
    heads : int, optional
        Heads of the attention.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.mix = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.gain = nn.Parameter(torch.full((channels,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Apply the block.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, c, h, w)``.

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        b, c, h, w = x.shape
        mixed = self.mix(self.norm(x)).reshape(
            b, 3 * self.heads, c // self.heads, h * w
        )
        q, k, v = mixed.transpose(2, 3).chunk(3, dim=1)
        y = functional.scaled_dot_product_attention(q, k, v)
        y = self.out(y.transpose(2, 3).reshape(b, c, h, w))
        return torch.addcmul(x, y, self.gain[:, None, None].to(y.dtype))


def _stage(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels) for _ in range(depth)))


class _Encoder(nn.Module):
    """Stem, and stages on ever coarser grids; returns the trunk of each."""

    def __init__(self, inputs: int, widths: Sequence[int], depths: Sequence[int]):
        super().__init__()
        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            _stage(width, depth) for width, depth in zip(widths, depths, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stages[0](self.stem(x))
        trunks = [x]
        for down, stage in zip(self.down, self.stages[1:], strict=True):
            trunks.append(stage(down(trunks[-1])))
        return trunks


class _Decoder(nn.Module):
    """Back to finer grids, with what the encoder saw there."""

    def __init__(self, widths: Sequence[int], depth: int, last: int) -> None:
        super().__init__()
        coarse = range(len(widths) - 1, last, -1)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[i], widths[i - 1], 2, stride=2) for i in coarse
        )
        self.stages = nn.ModuleList(_stage(widths[i - 1], depth) for i in coarse)

    def forward(self, trunks: list[torch.Tensor]) -> torch.Tensor:
        x = trunks[-1]
        for i, (up, stage) in enumerate(zip(self.up, self.stages, strict=True)):
            x = stage(up(x) + trunks[-2 - i])
        return x


class FieldsNet(nn.Module):
    """
    Vignetting and gradient of a whole frame.

    Parameters
    ----------
    inputs : int, optional
        Channels: 16 sorted values of the cells, valid share, noise, and three
        coordinates.
    widths : sequence of int, optional
        Channels on each grid, from the finest.
    depths : sequence of int, optional
        Residual blocks on each grid.
    """

    def __init__(
        self,
        inputs: int = 21,
        widths: Sequence[int] = (32, 64, 96, 160),
        depths: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.encoder = _Encoder(inputs, widths, depths)
        self.middle = nn.Sequential(
            Attention(widths[-1]),
            Residual(widths[-1]),
            Attention(widths[-1]),
        )
        self.decoder = _Decoder(widths, 2, 1)
        self.head = nn.Conv2d(widths[1], 4, 3, padding=1)
        self.judge = nn.Sequential(
            nn.Linear(widths[-1], 64), nn.GELU(), nn.Linear(64, 2)
        )

    def forward(
        self, x: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Predict the smooth fields.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, 21, h, w)``, h and w multiples of 8.

        Returns
        -------
        fields : torch.Tensor
            Shape ``(b, 4, h / 2, w / 2)``: log V and G over the level, both of
            mean 0, and the logarithms of their uncertainties.
        better : torch.Tensor
            Shape ``(b, 2)``: logits of the chance that V and G are better than
            none.
        features : torch.Tensor
            Shape ``(b, c)``: what tells an unusual frame.
        """
        trunks = self.encoder(x)
        trunks[-1] = self.middle(trunks[-1])
        features = trunks[-1].mean(dim=(2, 3))
        out = self.head(self.decoder(trunks)).float()
        values = 0.1 * out[:, :2]
        values = values - values.mean(dim=(2, 3), keepdim=True)
        fields = torch.cat([values, out[:, 2:] - 4.0], dim=1)
        return fields, self.judge(features.detach()).float(), features.float()


class DustNet(nn.Module):
    """
    Shadows of dust in cells of 4 x 4 pixels.

    Parameters
    ----------
    inputs : int, optional
        Channels: the 16 pixels of a cell as they are and sorted, valid share
        and noise.
    widths : sequence of int, optional
        Channels on each grid, from the finest.
    depths : sequence of int, optional
        Residual blocks on each grid.
    """

    def __init__(
        self,
        inputs: int = 34,
        widths: Sequence[int] = (32, 48, 64, 96),
        depths: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.encoder = _Encoder(inputs, widths, depths)
        self.decoder = _Decoder(widths, 2, 0)
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Predict the dust.

        Parameters
        ----------
        x : torch.Tensor
            Shape ``(b, 34, h, w)``, h and w multiples of 8.

        Returns
        -------
        torch.Tensor
            Shape ``(b, 3, 2 h, 2 w)``: log D on 2 x 2 pixels, the logarithm of
            its uncertainty, and the logit of dust being there.
        """
        out = functional.pixel_shuffle(self.head(self.decoder(self.encoder(x))), 2)
        out = out.float()
        return torch.cat([0.1 * out[:, :1], out[:, 1:2] - 4.0, out[:, 2:]], dim=1)


class FlatNets(nn.Module):
    """
    Both networks, trained on the same frames.

    Parameters
    ----------
    fields : FieldsNet or None, optional
        The network of the smooth fields.
    dust : DustNet or None, optional
        The network of the dust.
    """

    def __init__(
        self, fields: FieldsNet | None = None, dust: DustNet | None = None
    ) -> None:
        super().__init__()
        self.fields = fields or FieldsNet()
        self.dust = dust or DustNet()

    def forward(self, cells: torch.Tensor | None, pixels: torch.Tensor | None) -> tuple:
        """
        Run both, or one of them.

        Parameters
        ----------
        cells : torch.Tensor or None
            For `FieldsNet`.
        pixels : torch.Tensor or None
            For `DustNet`.

        Returns
        -------
        tuple
            The three outputs of the first and the one of the second; None for
            what was given nothing.
        """
        fields = (None, None, None) if cells is None else self.fields(cells)
        return (*fields, None if pixels is None else self.dust(pixels))
