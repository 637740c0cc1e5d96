# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network of the restorer: windowed attention at half resolution.

It sees an image and what linear filters with the real PSF made of it, mixes
the filtered images pixel by pixel, and corrects the mixture in a stretch
whose inverse is exact.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ['DIALS', 'PLANES', 'RestoreNet', 'SOFTENING', 'shrink', 'stretch']

#: Planes that the network sees, in this order.
PLANES = (
    'image',
    'denoised',
    'filtered_0',
    'filtered_1',
    'filtered_2',
    'filtered_3',
    'log_noise',
    'bad',
)
#: Numbers that it sees, in this order.
DIALS = ('fwhm', 'target', 'gain_0', 'gain_1', 'gain_2', 'gain_3')
#: Where the stretch turns from linear to logarithmic, in standard deviations.
SOFTENING = 3.0
# Numbers of the head for each pixel: shares and change of the restored, then of
# the denoised image.
_FILTERED, _SOFT = 4, 2
_HEAD = _FILTERED + 1 + _SOFT + 1


def stretch(values: torch.Tensor) -> torch.Tensor:
    """
    Stretch linear values.

    Parameters
    ----------
    values : Tensor
        In standard deviations of the noise.

    Returns
    -------
    Tensor
        Inverse hyperbolic sines.
    """
    return torch.asinh(values / SOFTENING)


def shrink(values: torch.Tensor) -> torch.Tensor:
    """
    Undo `stretch`.

    Parameters
    ----------
    values : Tensor
        Stretched values.

    Returns
    -------
    Tensor
        In standard deviations of the noise.
    """
    return SOFTENING * torch.sinh(values)


class RestoreNet(nn.Module):
    """
    Restore images at the resolution of their pixels.

    Parameters
    ----------
    width : int, optional
        Channels.
    groups : int, optional
        Residual groups of two blocks, plain and shifted, and a convolution.
    heads : int, optional
        Heads of the attention.
    window : int, optional
        Side of the windows in pixels of half resolution, even.
    ratio : float, optional
        Width of the hidden layer of a block, relative to that of the network.

    Notes
    -----
    The blocks are those of Swin (Liu et al. 2021, doi:10.1109/ICCV48922.2021.00986)
    in the residual groups of SwinIR (Liang et al. 2021,
    doi:10.1109/ICCVW54120.2021.00210), behind a stem that turns squares of two by
    two pixels into channels: a quarter of the windows. Shifted windows hang over the
    border, which is continued by zeros, instead of being rolled around it.
    """

    def __init__(
        self,
        width: int = 80,
        *,
        groups: int = 4,
        heads: int = 2,
        window: int = 8,
        ratio: float = 2.0,
    ) -> None:
        super().__init__()
        self.settings = {
            'width': width,
            'groups': groups,
            'heads': heads,
            'window': window,
            'ratio': ratio,
        }
        self.multiple = 2 * window
        self.unfold, self.fold = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.stem = nn.Conv2d(4 * len(PLANES), width, 3, padding=1)
        self.dials = nn.Sequential(nn.Linear(len(DIALS), 32), nn.SiLU())
        self.groups = nn.ModuleList(
            _Group(width, heads, window, ratio) for _ in range(groups)
        )
        self.join = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 4 * _HEAD, 3, padding=1)
        self.doubt = nn.Conv2d(width, 4, 1)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            # At the start, of filters those without much noise.
            self.head.bias[4:8] = 2.0
            self.head.bias[24:28] = 1.0

    def forward(self, planes: torch.Tensor, dials: torch.Tensor) -> torch.Tensor:
        """
        Restore.

        Parameters
        ----------
        planes : Tensor
            `PLANES`, ``(n, 8, ny, nx)``, linear, in standard deviations of the
            noise.
        dials : Tensor
            `DIALS`, ``(n, 6)``.

        Returns
        -------
        Tensor
            The image at the wanted resolution and at its own, both without
            noise, and the standard deviation of the error of the first,
            ``(n, 3, ny, nx)``.
        """
        x = self.stem(self.unfold(self._features(planes)))
        facts = self.dials(dials)
        first = x
        for group in self.groups:
            x = group(x, facts)
        x = functional.gelu(self.join(x) + first)
        with torch.autocast(x.device.type, enabled=False):
            x, planes = x.float(), planes.float()
            found = self._mix(planes, self.fold(self.head(x)))
            # What the error is believed to be changes nothing else.
            doubt = self.fold(self.doubt(x.detach())).clamp(-8.0, 8.0)
            error = torch.exp(doubt + math.log(2.0) * planes[:, 6:7])
            return torch.cat((found, error), dim=1)

    @staticmethod
    def _features(planes: torch.Tensor) -> torch.Tensor:
        """Return what the network computes with: small numbers."""
        return torch.cat((0.5 * stretch(planes[:, :6]), planes[:, 6:]), dim=1)

    @staticmethod
    def _mix(planes: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Mix the planes with the shares found, and change the mixtures."""
        parts = []
        for start, first, n in ((0, 2, _FILTERED), (_FILTERED + 1, 0, _SOFT)):
            shares = torch.softmax(found[:, start : start + n], dim=1)
            mixed = (shares * planes[:, first : first + n]).sum(1, keepdim=True)
            change = found[:, start + n : start + n + 1].clamp(-4.0, 4.0)
            parts.append(shrink(stretch(mixed) + change))
        return torch.cat(parts, dim=1)


class _Group(nn.Module):
    """Two blocks and a convolution around which the input goes."""

    def __init__(self, width: int, heads: int, window: int, ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(width, heads, window, shift, ratio) for shift in (0, window // 2)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        y = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            y = block(y, facts)
        return x + self.conv(y.permute(0, 3, 1, 2))


class _Block(nn.Module):
    """Attention in windows, then each pixel for itself; steered by the dials."""

    def __init__(
        self, width: int, heads: int, window: int, shift: int, ratio: float
    ) -> None:
        super().__init__()
        hidden = int(ratio * width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.steer = nn.Linear(32, 2 * width)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.attention = WindowAttention(width, heads, window, shift)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        scale, offset = self.steer(facts)[:, None, None, :].chunk(2, dim=-1)
        x = x + self.attention(self.norm1(x) * (1.0 + scale) + offset)
        return x + self.mlp(self.norm2(x))


class WindowAttention(nn.Module):
    """
    Attention between the pixels of a window.

    Parameters
    ----------
    width : int
        Channels.
    heads : int
        Heads; they share the channels.
    window : int
        Side of the windows.
    shift : int
        How far the windows are moved.
    """

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        places = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
        ).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + window - 1
        index = apart[0] * (2 * window - 1) + apart[1]
        self.register_buffer('index', index.flatten(), persistent=False)

    def bias(self) -> torch.Tensor:
        """
        Return what the distance of two pixels adds to their score.

        Returns
        -------
        Tensor
            ``(heads, window**2, window**2)``.
        """
        n = self.window**2
        return self.table[self.index].reshape(n, n, self.heads).permute(2, 0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Let the pixels of each window see each other.

        Parameters
        ----------
        x : Tensor
            ``(n, ny, nx, width)``; the sides are multiples of the window.

        Returns
        -------
        Tensor
            As the input.
        """
        size, s, k = x.shape, self.shift, self.window
        if s:
            x = functional.pad(x, (0, 0, s, k - s, s, k - s))
        rows, columns, width = x.shape[1], x.shape[2], x.shape[3]
        x = x.reshape(-1, rows // k, k, columns // k, k, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, width)
        x = self._attend(x)
        x = x.reshape(-1, rows // k, columns // k, k, k, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, width)
        return x[:, s : s + size[1], s : s + size[2]] if s else x

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        """Attention in each window, ``(windows, pixels, width)``."""
        n, width = x.shape[1], x.shape[2]
        qkv = self.qkv(x).reshape(-1, n, 3, self.heads, width // self.heads)
        q, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if x.is_cuda:
            # The same in one kernel; spelled out elsewhere, which exports well.
            bias = self.bias().to(q.dtype)[None]
            mixed = functional.scaled_dot_product_attention(q, key, value, bias)
        else:
            scale = (width // self.heads) ** -0.5
            scores = (q * scale) @ key.transpose(-2, -1) + self.bias()
            mixed = torch.softmax(scores, dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(-1, n, width))


def count_parameters(model: Any) -> int:
    """
    Count the numbers that are learnt.

    Parameters
    ----------
    model : torch.nn.Module
        Network.

    Returns
    -------
    int
        Parameters.
    """
    return sum(p.numel() for p in model.parameters())
