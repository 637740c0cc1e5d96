# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the networks for flats are told: named terms, each with its weight."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch.nn import functional

__all__ = ['LossWeights', 'flat_loss', 'pinball', 'scene_rms']

# 68.27 %: the share of a normal distribution within one standard deviation.
_ONE_SIGMA = 0.6827
# Dust of less than 0.4 % does not count as dust.
_PRESENT = 0.004


@dataclass(frozen=True)
class LossWeights:
    """
    Weights of the terms.

    Parameters
    ----------
    flat, added : float, optional
        Error of log V and of G, root mean square over each frame.
    sky : float, optional
        Error of the sum of the two, which is what an even sky shows: the
        light that comes out when the fields are put back, whatever is V and
        whatever is G. Never gated by a confidence.
    slope : float, optional
        Error of the slopes of log V.
    dust : float, optional
        Error of log D, heavier where there is dust.
    presence : float, optional
        Cross entropy of dust being there.
    spread, spread_dust : float, optional
        Pinball loss of the uncertainties.
    judge : float, optional
        Cross entropy of V and G being better than none.
    """

    flat: float = 1.0
    added: float = 1.0
    sky: float = 1.0
    slope: float = 1.0
    dust: float = 20.0
    presence: float = 0.1
    spread: float = 0.3
    spread_dust: float = 0.3
    judge: float = 0.02

    def to_dict(self) -> dict[str, float]:
        """Return the weights by name, for the card of a model."""
        return asdict(self)


def scene_rms(error: torch.Tensor, floor: float = 1e-3) -> torch.Tensor:
    """
    Root mean square of each frame.

    Parameters
    ----------
    error : torch.Tensor
        Shape ``(b, h, w)``.
    floor : float, optional
        Below this the square takes over, so that the slope stays finite.

    Returns
    -------
    torch.Tensor
        Shape ``(b,)``.
    """
    return (error.square().mean(dim=(1, 2)) + floor**2).sqrt()


def pinball(error: torch.Tensor, log_spread: torch.Tensor) -> torch.Tensor:
    """
    Loss that is least where 68 % of the errors are below the spread.

    Parameters
    ----------
    error : torch.Tensor
        Errors, of any sign.
    log_spread : torch.Tensor
        Logarithm of the predicted spread.

    Returns
    -------
    torch.Tensor
        Loss of each value.

    Notes
    -----
    Quantile regression (Koenker and Bassett 1978, `doi:10.2307/1913643
    <https://doi.org/10.2307/1913643>`_) of the absolute error.
    """
    spread = log_spread.clamp(-12.0, 3.0).exp()
    over = error.detach().abs() - spread
    return torch.maximum(_ONE_SIGMA * over, (_ONE_SIGMA - 1.0) * over)


def flat_loss(
    model: torch.nn.Module,
    batch: dict[str, torch.Tensor],
    weights: LossWeights | None = None,
) -> dict[str, torch.Tensor]:
    """
    Compare the answers of `FlatNets` with the truth.

    Parameters
    ----------
    model : torch.nn.Module
        A `FlatNets`.
    batch : dict of torch.Tensor
        The parts of `Frames` by name; those of one network alone will do.
    weights : LossWeights or None, optional
        Weights of the terms.

    Returns
    -------
    dict of torch.Tensor
        The terms, not weighted, and their weighted sum ``loss``.
    """
    weights = weights or LossWeights()
    fields, better, _, dust = model(batch.get('cells'), batch.get('pixels'))
    terms = {}
    if 'cells' in batch:
        terms |= _fields_terms(fields, better, batch['fields'])
    if 'pixels' in batch:
        terms |= _dust_terms(dust, batch['dust'], batch['valid'])
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return {'loss': total, **terms}


def _fields_terms(
    fields: torch.Tensor, better: torch.Tensor, truth: torch.Tensor
) -> dict[str, torch.Tensor]:
    error = fields[:, :2] - truth
    flat, added = scene_rms(error[:, 0]), scene_rms(error[:, 1])
    slope_y = error[:, 0].diff(dim=1).abs().mean()
    slope_x = error[:, 0].diff(dim=2).abs().mean()
    none = torch.stack([scene_rms(truth[:, 0], 0.0), scene_rms(truth[:, 1], 0.0)], 1)
    ours = torch.stack([flat, added], dim=1).detach()
    return {
        'flat': flat.mean(),
        'added': added.mean(),
        'sky': scene_rms(error.sum(dim=1)).mean(),
        'slope': slope_y + slope_x,
        'spread': 5.0 * pinball(error, fields[:, 2:]).mean(),
        'judge': functional.binary_cross_entropy_with_logits(
            better, (ours < none).to(better.dtype)
        ),
    }


def _dust_terms(
    dust: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor
) -> dict[str, torch.Tensor]:
    value, log_spread, logit = dust.split(1, dim=1)
    error = value - truth
    weight = 1.0 + (100.0 * truth.abs()).clamp_max(10.0)
    huber = functional.huber_loss(value, truth, reduction='none', delta=0.02) / 0.02
    present = (truth.abs() > _PRESENT).to(logit.dtype)
    presence = functional.binary_cross_entropy_with_logits(
        logit, present, reduction='none'
    )
    return {
        'dust': (valid * weight * huber).mean(),
        'presence': (valid * presence).mean(),
        'spread_dust': 20.0 * (valid * pinball(error, log_spread)).mean(),
    }
