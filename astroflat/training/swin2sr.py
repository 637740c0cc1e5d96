# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Swin2SR at scale 1: what the restorer is compared with.

The parameters have the names of ``Swin2SRForImageSuperResolution`` of the package
``transformers``, so that its public checkpoints can be loaded and trained on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ['Swin2SR', 'load_public']

# Of the class of transformers: parts of other scales, and what is not learnt.
_NOT_USED = ('upsample.', 'conv_before_upsample', 'conv_bicubic', 'conv_up', 'conv_hr')
_CONSTANTS = ('relative_coords_table', 'relative_position_index')


class Swin2SR(nn.Module):
    """
    Swin2SR that gives images of the size of its input.

    Parameters
    ----------
    channels : int, optional
        Channels of the images.
    width : int, optional
        Channels of the network.
    depths : sequence of int, optional
        Blocks of each stage.
    heads : int, optional
        Heads of the attention.
    window : int, optional
        Side of the windows in pixels; the sides of images must be multiples.
    ratio : float, optional
        Width of the hidden layer of a block, relative to that of the network.

    Notes
    -----
    The defaults are those of the lightweight configuration. The class of transformers
    subtracts means of natural pictures first and adds them to the result; this one
    does neither.

    References
    ----------
    Conde, M. V. et al. 2022, Swin2SR, ECCV Workshops,
    doi:10.1007/978-3-031-25063-7_42
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        width: int = 60,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: int = 6,
        window: int = 8,
        ratio: float = 2.0,
    ) -> None:
        super().__init__()
        self.multiple = window
        body = nn.Module()
        body.first_convolution = nn.Conv2d(channels, width, 3, padding=1)
        body.embeddings = nn.Module()
        body.embeddings.patch_embeddings = _Project(width, norm=True)
        body.encoder = nn.Module()
        body.encoder.stages = nn.ModuleList(
            _Stage(width, depth, heads, window, ratio) for depth in depths
        )
        body.layernorm = nn.LayerNorm(width)
        body.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        self.swin2sr = body
        self.final_convolution = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """
        Restore images.

        Parameters
        ----------
        images : Tensor
            ``(n, channels, ny, nx)``.

        Returns
        -------
        Tensor
            As the input.
        """
        body = self.swin2sr
        first = body.first_convolution(images)
        x = body.embeddings.patch_embeddings(first)
        for stage in body.encoder.stages:
            x = stage(x)
        x = body.layernorm(x).permute(0, 3, 1, 2)
        return images + self.final_convolution(body.conv_after_body(x) + first)


class _Project(nn.Module):
    """A convolution over single pixels, and a norm; channels go last."""

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        self.projection = nn.Conv2d(width, width, 1)
        self.layernorm = nn.LayerNorm(width) if norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.projection(x).permute(0, 2, 3, 1)
        return x if self.layernorm is None else self.layernorm(x)


class _Stage(nn.Module):
    """Blocks and a convolution around which the input goes."""

    def __init__(
        self, width: int, depth: int, heads: int, window: int, ratio: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _Layer(width, heads, window, window // 2 * (i % 2), ratio)
            for i in range(depth)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.patch_embed = _Project(width, norm=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.layers:
            y = layer(y)
        return x + self.patch_embed(self.conv(y.permute(0, 3, 1, 2)))


class _Layer(nn.Module):
    """Attention and a perceptron, each with its norm behind it."""

    def __init__(
        self, width: int, heads: int, window: int, shift: int, ratio: float
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attention = nn.Module()
        self.attention.self = _Attention(width, heads, window)
        self.attention.output = _Dense(width, width)
        self.layernorm_before = nn.LayerNorm(width)
        self.intermediate = _Dense(width, int(ratio * width))
        self.output = _Dense(int(ratio * width), width)
        self.layernorm_after = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.layernorm_before(self._attend(x))
        hidden = functional.gelu(self.intermediate(x))
        return x + self.layernorm_after(self.output(hidden))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        """Attention in windows, rolled around the borders if they are shifted."""
        n, ny, nx, width = x.shape
        k, s = self.window, self.shift
        mask = None
        if s:
            x = torch.roll(x, (-s, -s), (1, 2))
            mask = _apart(ny, nx, k, s, x)
        x = x.reshape(n, ny // k, k, nx // k, k, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, -1, k * k, width)
        x = self.attention.output(self.attention.self(x, mask))
        x = x.reshape(n, ny // k, nx // k, k, k, width)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, ny, nx, width)
        return torch.roll(x, (s, s), (1, 2)) if s else x


def _apart(ny: int, nx: int, window: int, shift: int, like: torch.Tensor) -> Any:
    """Scores that keep pixels apart which only the rolling brought together."""
    places = []
    for size in (ny, nx):
        steps = torch.arange(size, device=like.device)
        places.append((steps >= size - window).long() + (steps >= size - shift).long())
    region = 3 * places[0][:, None] + places[1]
    region = region.reshape(ny // window, window, nx // window, window)
    region = region.transpose(1, 2).reshape(-1, window * window)
    differ = region[:, :, None] != region[:, None, :]
    return -200.0 * differ.to(like.dtype)


class _Dense(nn.Module):
    """A linear layer under the name that it has in transformers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(x)


class _Attention(nn.Module):
    """Cosine attention with a position bias that a small network gives."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.continuous_position_bias_mlp = nn.Sequential(
            nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False)
        )
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        steps = torch.arange(1.0 - window, window) * 8.0 / max(window - 1, 1)
        steps = torch.sign(steps) * torch.log2(steps.abs() + 1.0) / math.log2(8.0)
        table = torch.stack(torch.meshgrid(steps, steps, indexing='ij'), dim=-1)
        self.register_buffer('table', table.reshape(-1, 2), persistent=False)
        places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = places[:, None] - places[None] + window - 1
        index = apart[..., 0] * (2 * window - 1) + apart[..., 1]
        self.register_buffer('index', index.flatten(), persistent=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend in windows ``(n, windows, pixels, width)``."""
        n, windows, pixels, width = x.shape

        def split(y: torch.Tensor) -> torch.Tensor:
            shape = n, windows, pixels, self.heads, width // self.heads
            return y.reshape(shape).transpose(2, 3)

        q = functional.normalize(split(self.query(x)), dim=-1)
        k = functional.normalize(split(self.key(x)), dim=-1)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        scores = (q @ k.transpose(-2, -1)) * scale + self._bias(pixels)
        if mask is not None:
            scores = scores + mask[:, None]
        mixed = torch.softmax(scores, dim=-1) @ split(self.value(x))
        return mixed.transpose(2, 3).reshape(n, windows, pixels, width)

    def _bias(self, pixels: int) -> torch.Tensor:
        """Return the scores of the distances, ``(heads, pixels, pixels)``."""
        bias = self.continuous_position_bias_mlp(self.table)[self.index]
        bias = bias.reshape(pixels, pixels, self.heads).permute(2, 0, 1)
        return 16.0 * torch.sigmoid(bias)


def load_public(model: Swin2SR, state: Mapping[str, torch.Tensor]) -> list[str]:
    """
    Fill a network with a checkpoint of transformers, as far as it has the parts.

    Parameters
    ----------
    model : Swin2SR
        Network, filled in place.
    state : mapping of str to Tensor
        Weights of a ``Swin2SRForImageSuperResolution``, of any scale.

    Returns
    -------
    list of str
        Names of parameters that stay as they are: at most those of the last
        convolution, which checkpoints of other scales do not have.

    Raises
    ------
    ValueError
        If the checkpoint is of another kind.
    """
    own = model.state_dict()
    given = {
        name: value
        for name, value in state.items()
        if not name.startswith(_NOT_USED) and not name.endswith(_CONSTANTS)
    }
    unknown = sorted(set(given) - set(own))
    other = [k for k in given if k in own and given[k].shape != own[k].shape]
    missing = sorted(set(own) - set(given))
    left = [name for name in missing if not name.startswith('final_convolution')]
    if unknown or other or left:
        msg = (
            'the checkpoint is not one of this configuration of Swin2SR: '
            f'unknown {unknown[:3]}, of another shape {other[:3]}, missing {left[:3]}'
        )
        raise ValueError(msg)
    model.load_state_dict(given, strict=False)
    return missing
