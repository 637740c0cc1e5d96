# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the denoiser is trained for, and how it is judged on the way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from astroflat.training._noise import Stabiliser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Validation', 'fit_doubt', 'flux_errors', 'supervised_loss']

_EDGES = (3.0, 5.0, 8.0, 14.0, 25.0, 60.0)


def supervised_loss(
    model: Any, batch: dict[str, torch.Tensor], *, flux: float = 0.3
) -> dict[str, torch.Tensor]:
    """
    Return the error of the noise found, and of the fluxes of faint stars.

    Parameters
    ----------
    model : callable
        Network.
    batch : dict
        As `astroflat.training._denoise_data.make_batch`.
    flux : float, optional
        Weight of the error of the fluxes.

    Returns
    -------
    dict of Tensor
        ``loss`` and its terms ``pixels`` and ``flux``.

    Notes
    -----
    The mean squared error alone makes faint stars fainter, since most dark
    places have none. The second term is the squared mean error of the fluxes
    of all stars of about the same true brightness, in standard deviations:
    single stars may scatter, but not their mean.
    """
    found = model(batch['v'])[:, :1].float()
    pixels = functional.huber_loss(found, batch['noise'], delta=4.0)
    errors = flux_errors(found, batch)
    squares = [
        _mean(errors.clamp(-5.0, 5.0), (batch['snr'] >= low) & (batch['snr'] < high))
        ** 2
        for low, high in itertools.pairwise(_EDGES)
    ]
    term = torch.stack(squares).mean()
    return {'loss': pixels + flux * term, 'pixels': pixels, 'flux': term}


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of the chosen values, 0 of none, without waiting for the device."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def flux_errors(found: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """
    Return the errors of the fluxes of the added stars.

    Parameters
    ----------
    found : Tensor
        Noise found by a network.
    batch : dict
        As `astroflat.training._denoise_data.make_batch`.

    Returns
    -------
    Tensor
        Error of a fit of the profile in standard deviations of a fit to the
        noisy image, ``(n, k)``.
    """
    readnoise, kind = batch['readnoise'], found.device.type
    # Sums of fluxes want all the digits.
    with torch.autocast(kind, enabled=False):
        clean, truth = (
            Stabiliser.inverse(values / batch['scale'], readnoise)[:, 0]
            for values in (batch['z'] - found.float(), batch['truth'])
        )
        variance = truth.clamp(min=0.0) + readnoise[:, 0] ** 2
        errors = _weighted(clean - truth, batch, 1)
        return errors / _weighted(variance, batch, 2).clamp(min=1e-12).sqrt()


def _weighted(
    images: torch.Tensor, batch: dict[str, torch.Tensor], power: int
) -> torch.Tensor:
    """Sum images under a power of the profile of each star."""
    profiles = batch['rows'] ** power, batch['columns'] ** power
    return torch.einsum('nyx,nky,nkx->nk', images, *profiles)


@dataclass
class Validation:
    """
    Judges a network on squares that it is not trained on.

    Parameters
    ----------
    batch : dict
        Squares with truth.
    say : callable, optional
        Takes one line of text.

    Notes
    -----
    PSNR in decibels, after the transform relative to 100 standard deviations
    and in electrons relative to the range from the 0.5th to the 99.5th
    percentile of the truth, in the mean over the squares. The Gaussian is the
    best of seven widths for each square.
    """

    batch: dict[str, torch.Tensor]
    say: Any = None
    reference: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Measure what the noisy squares and the best Gaussian give."""
        from scipy.ndimage import gaussian_filter

        z = self.batch['z'][:, 0].cpu().numpy()
        tries = [
            [gaussian_filter(image, sigma) for image in z]
            for sigma in (0.4, 0.6, 0.8, 1.1, 1.5, 2.2, 3.3)
        ]
        smooth = [
            self._scores(
                torch.from_numpy(np.stack(t)).to(self.batch['z'].device)[:, None]
            )
            for t in tries
        ]
        self.reference = {
            f'{name}_{where}': float(value)
            for where, k in (('sigma', 0), ('linear', 1))
            for name, value in (
                ('noisy', self._scores(self.batch['z'])[k].mean()),
                ('gauss', torch.stack([s[k] for s in smooth]).max(0).values.mean()),
            )
        }

    def __call__(self, model: Any) -> dict[str, float]:
        """
        Judge.

        Parameters
        ----------
        model : `torch.nn.Module`
            Network.

        Returns
        -------
        dict of float
            Numbers for the table.
        """
        model.eval()
        with torch.no_grad():
            result = torch.cat([model(v).float() for v in self.batch['v'].split(8)])
            found, sigma = result.split(1, dim=1)
            errors = flux_errors(found, self.batch)
        ours = self._scores(self.batch['z'] - found)
        row = {
            'psnr_sigma': float(ours[0].mean()),
            'psnr_linear': float(ours[1].mean()),
        }
        row |= self.reference
        inside = (found - self.batch['noise']).abs() < sigma
        row['within_sigma'] = 100.0 * float(inside.float().mean())
        for low, high in ((4.0, 6.0), (6.0, 12.0), (12.0, 60.0)):
            chosen = (self.batch['snr'] >= low) & (self.batch['snr'] < high)
            # Relative to the flux: an error of one at a ratio of five is 20 %.
            bias = (errors[chosen] / self.batch['snr'][chosen]).mean()
            row[f'flux_bias_{low:.0f}'] = 100.0 * float(bias)
        if self.say:
            self.say('  '.join(f'{key} {value:.2f}' for key, value in row.items()))
        return row

    def _scores(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """PSNR after the transform and in electrons, for each square."""
        truth, readnoise = self.batch['truth'], self.batch['readnoise']
        error = (values - truth).square().flatten(1).mean(1)
        scale = self.batch['scale']
        clean, true = (
            Stabiliser.inverse(x / scale, readnoise).flatten(1) for x in (values, truth)
        )
        ends = torch.tensor([0.005, 0.995], device=true.device)
        low, high = torch.quantile(true, ends, dim=1)
        linear = (clean - true).square().mean(1)
        peak = (high - low).clamp(min=1e-3)
        return 10.0 * torch.log10(1e4 / error), 10.0 * torch.log10(peak**2 / linear)


def fit_doubt(
    model: Any,
    batches: Callable[[torch.Generator], dict[str, torch.Tensor]],
    *,
    n_batches: int = 8,
    steps: int = 400,
    seed: int = 1,
) -> float:
    """
    Fit the layer that says what error a trained network leaves, in place.

    Parameters
    ----------
    model : DenoiseNet
        Trained network. Nothing else of it changes.
    batches : callable
        As for `astroflat.training.loop.fit`.
    n_batches : int, optional
        Batches whose features are kept.
    steps : int, optional
        Steps of the fit.
    seed : int, optional
        Start of the random numbers.

    Returns
    -------
    float
        Mean squared difference at the end.

    Notes
    -----
    The standard deviation is fitted to the size of the errors times
    ``sqrt(pi / 2)``, which has the same mean for normal errors and lets no
    single one count as much as its square.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    kept = [_features(model, batches(generator)) for _ in range(n_batches)]
    layer = model.doubt.requires_grad_(requires_grad=True)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        features, size = kept[step % n_batches]
        loss = (model.error(features) - 1.2533 * size).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    layer.requires_grad_(requires_grad=False)
    return float(loss.detach())


def _features(
    model: Any, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features at full resolution, and the size of the errors."""
    with torch.no_grad():
        v = batch['v']
        features = model.features(model.knee * torch.asinh(v / model.knee))
        error = (model(v)[:, :1] - batch['noise']).abs().clamp(max=6.0)
    return features, error
