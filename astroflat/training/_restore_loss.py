# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the restorer is trained for: named terms that can be switched off."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import torch
from torch.nn import functional

from astroflat.training._restore_stars import profiles
from astroflat.training.restore_nets import stretch

__all__ = ['WEIGHTS', 'flux_errors', 'restore_loss']

#: Weights of the terms.
WEIGHTS = {
    'pixels': 1.0,
    'clean': 0.5,
    'slope': 0.5,
    'laplacian': 0.25,
    'histogram': 0.02,
    'bright': 0.3,
    'background': 0.2,
    'flux': 0.1,
    'bias': 0.05,
    'doubt': 0.02,
}
_EDGES = (5.0, 8.0, 12.0, 20.0, 40.0, 100.0, 400.0, 4000.0)
_SCALES = (1.5, 3.0, 6.0)
# Relative errors that nobody asks to be better than.
_FLOOR = 0.01
# Of the size of a normal number, the mean logarithm is this less than 0.
_MEAN_LOG = 0.635


def restore_loss(
    model: Any,
    batch: dict[str, torch.Tensor],
    *,
    weights: dict[str, float] | None = None,
) -> dict[str, torch.Tensor]:
    """
    Return the errors of both results of the network.

    Parameters
    ----------
    model : callable
        Network.
    batch : dict
        As `astroflat.training._restore_data.SquareMaker` makes.
    weights : dict, optional
        Weights of the terms, by default `WEIGHTS`; one of 0 is not computed.

    Returns
    -------
    dict of Tensor
        ``loss`` and its terms.

    Notes
    -----
    ``pixels`` and ``clean`` are the mean absolute errors after the stretch, of the
    restored and of the denoised image; ``slope`` and ``laplacian`` those of the
    differences of neighbours; ``histogram`` compares how often which values come;
    ``bright`` is the error relative to the light, where there is some;
    ``background`` the mean square after smoothing where there is none; ``flux`` the
    error after smoothing in units of its noise; ``bias`` the squared mean error of
    the aperture fluxes of stars of about the same brightness; ``doubt`` the error of
    what the network says of its error, which changes nothing else.
    """
    weights = WEIGHTS if weights is None else weights
    found = model(batch['planes'], batch['dials'])
    with torch.autocast(found.device.type, enabled=False):
        found = found.float()
        terms = {
            name: _TERMS[name](found, batch)
            for name, weight in weights.items()
            if weight
        }
        total = sum(weights[name] * term for name, term in terms.items())
    return {'loss': total, **terms}


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def _pixels(found: torch.Tensor, batch: dict) -> torch.Tensor:
    error = stretch(found[:, :1]) - stretch(batch['target'])
    return _mean(error.abs(), batch['weight'])


def _clean(found: torch.Tensor, batch: dict) -> torch.Tensor:
    error = stretch(found[:, 1:2]) - stretch(batch['clean'])
    return _mean(error.abs(), batch['weight'])


def _slope(found: torch.Tensor, batch: dict) -> torch.Tensor:
    error = (stretch(found[:, :1]) - stretch(batch['target'])) * batch['weight']
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def _laplacian(found: torch.Tensor, batch: dict) -> torch.Tensor:
    error = (stretch(found[:, :1]) - stretch(batch['target'])) * batch['weight']
    inner = error[:, :, 1:-1, 1:-1]
    around = error[:, :, :-2, 1:-1] + error[:, :, 2:, 1:-1]
    around = around + error[:, :, 1:-1, :-2] + error[:, :, 1:-1, 2:]
    return (around - 4.0 * inner).abs().mean()


def _histogram(found: torch.Tensor, batch: dict) -> torch.Tensor:
    """Difference of cumulative histograms with soft edges, over sparse pixels."""
    edges = torch.linspace(-1.0, 6.0, 22, device=found.device)
    pair = torch.cat((found[:, :1], batch['target']), dim=1)[:, :, ::2, ::2]
    values = stretch(pair).flatten(2)[..., None]
    shares = torch.sigmoid((edges - values) / 0.1).mean(2)
    return (shares[:, 0] - shares[:, 1]).abs().mean()


def _bright(found: torch.Tensor, batch: dict) -> torch.Tensor:
    """Relative error where there is light; noise excuses, as it should."""
    target = batch['target']
    scale = batch['shot'] + _FLOOR * target.abs() + 1.0
    where = batch['weight'] * (target > 5.0 * batch['shot'])
    error = (found[:, :1] - target) / scale
    return _mean(functional.huber_loss(error, torch.zeros_like(error), reduction='none')
                 .clamp(max=50.0), where)  # fmt: skip


def _background(found: torch.Tensor, batch: dict) -> torch.Tensor:
    """Return what is seen in the dark after smoothing, where the truth is smooth."""
    target = batch['target']
    high = functional.max_pool2d(target, 9, 1, 4)
    low = -functional.max_pool2d(-target, 9, 1, 4)
    where = batch['weight'] * (high - low < 1.0)
    error = _smooth(found[:, :1] - target, 2.0)
    return _mean(error.square().clamp(max=4.0), where)


def _smooth(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian over mirrored borders."""
    rows = _smoother(values.shape[-2], sigma, values.device)
    columns = _smoother(values.shape[-1], sigma, values.device)
    return rows @ values @ columns.mT


@cache
def _smoother(size: int, sigma: float, device: torch.device) -> torch.Tensor:
    """Matrix that smooths a column: on a GPU faster than any convolution."""
    half = math.ceil(2.5 * sigma)
    x = torch.arange(-half, half + 1)
    profile = torch.exp(-0.5 * (x / sigma) ** 2)
    place = (torch.arange(size)[:, None] + x).abs()
    place = torch.where(place > size - 1, 2 * (size - 1) - place, place)
    matrix = torch.zeros((size, size))
    matrix.scatter_add_(1, place, (profile / profile.sum()).expand(size, -1))
    return matrix.to(device)


def _flux(found: torch.Tensor, batch: dict) -> torch.Tensor:
    """Smoothed errors at several scales, in units of the noise of such a mean."""
    truth = torch.cat((batch['target'], batch['clean']), dim=1)
    errors = (found[:, :2] - truth) * batch['weight']
    errors = errors.reshape(-1, 1, *errors.shape[2:])
    shot = batch['shot'].square().repeat_interleave(2, dim=0).reshape(errors.shape)
    target = batch['target'].repeat_interleave(2, dim=0).reshape(errors.shape)
    total = 0.0
    for sigma in _SCALES:
        noise = _smooth(shot, sigma) / (4.0 * math.pi * sigma**2)
        floor = _FLOOR * _smooth(target, sigma)
        ratio = _smooth(errors, sigma) / torch.sqrt(noise + floor**2 + 1e-6)
        total = total + functional.huber_loss(ratio, torch.zeros_like(ratio))
    return total / len(_SCALES)


def flux_errors(
    found: torch.Tensor, batch: dict[str, torch.Tensor], *, truth: str = 'target'
) -> torch.Tensor:
    """
    Return the errors of the fluxes of stars in soft apertures.

    Parameters
    ----------
    found : Tensor
        Image ``(n, 1, ny, nx)``.
    batch : dict
        As `restore_loss`.
    truth : str, optional
        What to compare with.

    Returns
    -------
    Tensor
        ``(n, k)``, in standard deviations that belong to the ``snr`` of the star:
        an error as large as the star is as large as its ratio.
    """
    size = found.shape[-1]
    sigma = 0.6 * batch['fwhm']
    rows = profiles(batch['y'], sigma, size, unit=False)
    columns = profiles(batch['x'], sigma, size, unit=False)
    error = (found - batch[truth]) * batch['weight'] * batch['sigma']
    sums = torch.einsum('nyx,nky,nkx->nk', error[:, 0], rows, columns)
    # The Gaussian aperture holds less than all of the light of a star.
    width = batch['wanted'] if truth == 'target' else batch['fwhm']
    share = sigma**2 / (sigma**2 + (width / 2.3548) ** 2)
    relative = sums / (share[:, None] * batch['flux'].clamp(min=1e-6))
    inside = (batch['y'] > 8) & (batch['y'] < size - 9)
    inside = inside & (batch['x'] > 8) & (batch['x'] < size - 9)
    return torch.where(inside & (batch['flux'] > 0), relative * batch['snr'], 0.0)


def _bias(found: torch.Tensor, batch: dict) -> torch.Tensor:
    total = 0.0
    for channel, truth in ((0, 'target'), (1, 'clean')):
        errors = flux_errors(found[:, channel : channel + 1], batch, truth=truth)
        for low, high in itertools.pairwise(_EDGES):
            chosen = (batch['snr'] >= low) & (batch['snr'] < high) & (errors != 0)
            # Bright stars are wanted to a percent, not to their tiny noise.
            scale = (batch['snr'] * _FLOOR).clamp(min=1.0)
            mean = _mean((errors / scale).clamp(-6.0, 6.0), chosen.float())
            total = total + mean**2
    return total / (2.0 * (len(_EDGES) - 1))


def _doubt(found: torch.Tensor, batch: dict) -> torch.Tensor:
    """Error of the logarithm of the error, whose mean is that of a normal one."""
    size = (found[:, :1] - batch['target']).detach().abs() / batch['shot']
    believed = torch.log(found[:, 2:] / batch['shot']) - _MEAN_LOG
    return _mean((believed - torch.log(size + 1e-3)).square(), batch['weight'])


_TERMS = {
    'pixels': _pixels,
    'clean': _clean,
    'slope': _slope,
    'laplacian': _laplacian,
    'histogram': _histogram,
    'bright': _bright,
    'background': _background,
    'flux': _flux,
    'bias': _bias,
    'doubt': _doubt,
}
