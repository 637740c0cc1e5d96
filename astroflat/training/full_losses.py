# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a network at full resolution is told: named terms, each with its weight."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch.nn import functional

__all__ = ['FullWeights', 'full_loss', 'load_perceptual']

# A pixel is right where F is known to 1 %.
_RIGHT = 0.01
# Brightness of the corrected frame that the perceptual term sees as white.
_WHITE = 4.0

Perceptual = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class FullWeights:
    """
    Weights of the terms.

    Parameters
    ----------
    flat, added : float, optional
        Absolute error of log F and of G.
    slope : float, optional
        Absolute error of the slopes of log F.
    physics : float, optional
        Relative error of the corrected light. It is never gated by the
        confidence: a network must not be able to say away what it cannot do.
    confidence : float, optional
        Cross entropy of the confidence and of F being right to 1 %.
    perceptual : float, optional
        LPIPS of the corrected frame and the truth; needs torchmetrics.
    """

    flat: float = 1.0
    added: float = 1.0
    slope: float = 1.0
    physics: float = 0.5
    confidence: float = 0.02
    perceptual: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the weights by name, for the card of a model."""
        return asdict(self)


def full_loss(
    model: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    weights: FullWeights | None = None,
    perceptual: Perceptual | None = None,
) -> dict[str, torch.Tensor]:
    """
    Compare the answers of a network with the truth, where there is a frame.

    Parameters
    ----------
    model : torch.nn.Module
        Gives log F, G and confidence, as
        `~astroflat.training.attention_unet.AttentionResUNetFG`.
    batch : dict of torch.Tensor
        The parts of `~astroflat.training.full_frames.FullFrames` by name.
    weights : FullWeights or None, optional
        Weights of the terms.
    perceptual : callable or None, optional
        Distance of two batches of colour images in [-1, 1]; that of
        `load_perceptual` by default, if its weight is not 0.

    Returns
    -------
    dict of torch.Tensor
        The terms, not weighted, and their weighted sum ``loss``.
    """
    weights, valid = weights or FullWeights(), batch['valid']
    log_flat, gradient, confidence = model(batch['image'])
    log_flat, gradient = _centre(log_flat, valid), _centre(gradient, valid)
    error = log_flat - batch['log_flat']
    ours = _correct(batch['light'], log_flat, gradient)
    truth = _correct(batch['light'], batch['log_flat'], batch['gradient'])
    right = (error.detach().abs() < _RIGHT).to(confidence.dtype)
    terms = {
        'flat': _mean(error.abs(), valid),
        'added': _mean((gradient - batch['gradient']).abs(), valid),
        'slope': _slope(error, valid, 2) + _slope(error, valid, 3),
        'physics': _mean((ours - truth).abs() / (1.0 + truth.abs()), valid),
        'confidence': _mean(_entropy(confidence, right), valid),
    }
    if weights.perceptual:
        distance = perceptual or load_perceptual(str(ours.device))
        terms['perceptual'] = distance(_show(ours, valid), _show(truth, valid)).mean()
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return {'loss': total, **terms}


@functools.cache
def load_perceptual(device: str = 'cpu') -> Perceptual:
    """
    Load LPIPS from torchmetrics.

    Parameters
    ----------
    device : str, optional
        Where to compute it.

    Returns
    -------
    callable
        Distance of two batches of colour images in [-1, 1]. Its weights are
        downloaded by torchvision when they are not there yet.

    Raises
    ------
    ModuleNotFoundError
        If torchmetrics or torchvision is missing.

    Notes
    -----
    Zhang et al. 2018, `arXiv:1801.03924 <https://arxiv.org/abs/1801.03924>`_.
    """
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    except ImportError as error:
        msg = (
            'the perceptual term needs torchmetrics and torchvision: pip install '
            'torchmetrics torchvision, or leave its weight at 0'
        )
        raise ModuleNotFoundError(msg) from error
    metric = LearnedPerceptualImagePatchSimilarity(net_type='squeeze')
    return metric.to(device).requires_grad_(requires_grad=False)


def _mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return (values * valid).sum() / valid.sum().clamp_min(1.0)


def _centre(field: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Take the mean over each frame away: nobody can know it."""
    total = valid.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    return field - (field * valid).sum(dim=(2, 3), keepdim=True) / total


def _correct(
    light: torch.Tensor, log_flat: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    return (light - gradient) * (-log_flat.clamp(-3.0, 3.0)).exp()


def _slope(error: torch.Tensor, valid: torch.Tensor, axis: int) -> torch.Tensor:
    both = torch.minimum(
        valid.narrow(axis, 1, valid.shape[axis] - 1),
        valid.narrow(axis, 0, valid.shape[axis] - 1),
    )
    return _mean(error.diff(dim=axis).abs(), both)


def _entropy(confidence: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    # In float32: a cross entropy of probabilities is not allowed in bfloat16.
    with torch.autocast(confidence.device.type, enabled=False):
        return functional.binary_cross_entropy(
            confidence.float().clamp(1e-4, 1 - 1e-4), right.float(), reduction='none'
        )


def _show(light: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Stretch light to three equal colours in [-1, 1]."""
    grey = torch.asinh(light.clamp(0.0, _WHITE) * valid) / math.asinh(_WHITE)
    return (2.0 * grey - 1.0).clamp(-1.0, 1.0).expand(-1, 3, -1, -1)
