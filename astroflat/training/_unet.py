# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The network of the denoiser: a small U-Net that predicts the noise.

It has no statistics over pixels or batches, so a tile gives what the whole
image gives. Its input has noise of standard deviation 1.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

__all__ = ['BlurPool', 'DenoiseNet']

# Above this no error is told from another.
_WORST = 3.0


class BlurPool(nn.Module):
    """
    Halve the resolution after a binomial blur.

    Parameters
    ----------
    channels : int
        Number of channels.

    Notes
    -----
    Without the blur halving aliases, which shows as a checkerboard (Zhang
    2019, ICML; Höck et al. 2022, N2V2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8.0
        kernel = torch.outer(row, row).repeat(channels, 1, 1, 1)
        self.register_buffer('kernel', kernel, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """
        Halve.

        Parameters
        ----------
        x : Tensor
            Features, sides a multiple of 2.

        Returns
        -------
        Tensor
            Features of half the sides.
        """
        kernel = self.kernel.to(x.dtype)
        return functional.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class _Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        with torch.no_grad():
            # Starts near the identity, as a network without norms needs.
            self.second.weight *= 0.2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions find."""
        return x + self.second(functional.relu(self.first(x)))


class DenoiseNet(nn.Module):
    """
    Predict the noise of a stabilised image.

    Parameters
    ----------
    widths : tuple of int, optional
        Channels at full, half, quarter ... resolution.
    blocks : tuple of int, optional
        Blocks on the way down at each resolution; one less on the way up, but
        at least one.
    top_skip : bool, optional
        Hand features over at full resolution. Without it (N2V2) no pixel finds
        a short way to itself, as blind-spot training wants.
    blur : bool, optional
        Blur with a binomial before halving, instead of the mean of four pixels.
    largest : float, optional
        Most that a pixel is ever changed, in standard deviations.
    reach : float, optional
        Height above the local level, in standard deviations, at which changes
        have faded by half; far above it pixels pass as they are.

    Notes
    -----
    The input ``v`` is what an image has above its smooth local level, in
    standard deviations of the noise. Large values are compressed by
    ``s asinh(v / s)``; the answer fades with ``1 / (1 + (v / reach)**4)`` and
    is bounded by ``largest``. The way of the image itself around the network
    is linear and exact. There are no biases (Mohan et al. 2020, ICLR): an
    image without any noise or structure comes out as it was, bit for bit.
    The error that is left is read off the features by a layer of its own,
    fitted when all else is trained.
    """

    multiple = 8

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96, 96),
        *,
        blocks: tuple[int, ...] = (1, 1, 1, 1),
        top_skip: bool = True,
        blur: bool = True,
        largest: float = 12.0,
        reach: float = 200.0,
    ) -> None:
        super().__init__()
        self.largest, self.reach, self.knee = largest, reach, 8.0
        self.top_skip = top_skip
        self.head = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, (width, below) in enumerate(itertools.pairwise(widths)):
            self.down.append(_blocks(width, blocks[level]))
            pool = BlurPool(width) if blur else nn.AvgPool2d(2)
            convolution = nn.Conv2d(width, below, 3, padding=1, bias=False)
            self.down.append(nn.Sequential(pool, convolution))
            self.up.insert(0, nn.Conv2d(below, width, 3, padding=1, bias=False))
            self.up.insert(1, _blocks(width, max(1, blocks[level] - 1)))
        self.bottom = _blocks(widths[-1], blocks[-1])
        self.tail = nn.Conv2d(widths[0], 1, 3, padding=1, bias=False)
        self.doubt = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.doubt.requires_grad_(requires_grad=False)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.doubt.weight)
        nn.init.constant_(self.doubt.bias, -1.0)
        self.settings = {
            'widths': list(widths),
            'blocks': list(blocks),
            'top_skip': top_skip,
            'blur': blur,
            'largest': largest,
            'reach': reach,
        }

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        """
        Predict the noise, and what error is left.

        Parameters
        ----------
        v : Tensor
            Height above the local level in standard deviations,
            ``(n, 1, ny, nx)``, sides a multiple of 8.

        Returns
        -------
        Tensor
            Two channels, float32: the noise, to be subtracted, and the standard
            deviation of the error after that, both in units of the input.
        """
        x = self.features(self.knee * torch.asinh(v / self.knee))
        gate = 1.0 / (1.0 + (v.float() / self.reach) ** 4)
        raw = self.tail(x).float()
        noise = gate * self.largest * torch.tanh(raw / self.largest)
        # Where nothing is changed all of the noise is left. The root of nothing has
        # an endless slope, so nothing is learned through it.
        error = torch.sqrt(gate * self.error(x).detach() ** 2 + 1.0 - gate)
        return torch.cat((noise, error), dim=1)

    def error(self, features: torch.Tensor) -> torch.Tensor:
        """
        Return the standard deviation of the error that is left.

        Parameters
        ----------
        features : Tensor
            Features at full resolution.

        Returns
        -------
        Tensor
            Standard deviation, at most 3: larger ones are not told apart.
        """
        raw = functional.softplus(self.doubt(features).float())
        return _WORST * torch.tanh(raw / _WORST)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """
        Return the features at full resolution.

        Parameters
        ----------
        x : Tensor
            Compressed image.

        Returns
        -------
        Tensor
            Features.
        """
        x = functional.relu(self.head(x))
        skips = []
        for level in range(0, len(self.down), 2):
            x = self.down[level](x)
            skips.append(x)
            x = self.down[level + 1](x)
        x = self.bottom(x)
        for level in range(0, len(self.up), 2):
            # Before the convolution would cost four times as much.
            x = self.up[level](x)
            x = functional.interpolate(x, scale_factor=2.0, mode='nearest')
            skip = skips.pop()
            if skips or self.top_skip:
                x = x + skip
            x = self.up[level + 1](x)
        return x


def _blocks(width: int, count: int) -> nn.Sequential:
    """Return blocks, one after another."""
    return nn.Sequential(*(_Block(width) for _ in range(count)))
