# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the denoiser is trained for, and how it is judged on the way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from astroflat.training._denoise_stars import APERTURES, aperture_errors
from astroflat.training._noise import Stabiliser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Validation', 'fit_doubt', 'flux_errors', 'supervised_loss']

# Ratios of signal to noise between which the mean of the errors has to vanish.
_EDGES = (3.0, 5.0, 8.0, 14.0, 30.0, 80.0, 250.0)
_WIDTHS = (4, 16)


def supervised_loss(
    model: Any,
    batch: dict[str, torch.Tensor],
    *,
    flux: float = 0.5,
    single: float = 0.02,
    wide: float = 0.03,
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
        Weight of the mean errors of the fluxes.
    single : float, optional
        Weight of the errors of single fluxes.
    wide : float, optional
        Weight of the errors of means over 4 and 16 pixels.

    Returns
    -------
    dict of Tensor
        ``loss`` and its terms ``pixels``, ``flux``, ``single`` and ``wide``.

    Notes
    -----
    The mean squared error alone makes faint stars fainter, since most dark
    places have none. The term of the fluxes is the squared mean error of all
    stars of about the same true brightness, in standard deviations: single
    stars may scatter, but not their mean. Its empty places keep the network
    from adding the same flux to everything.
    """
    found = model(batch['v'])[:, :1].float()
    pixels = functional.huber_loss(found, batch['noise'], delta=4.0)
    error, plain = flux_errors(found, batch)
    terms = {
        'pixels': pixels,
        'flux': torch.stack(_squared_means(error, plain, batch)).mean(),
        'single': functional.huber_loss(error, torch.zeros_like(error), delta=3.0),
        'wide': _wide_errors(found - batch['noise']),
    }
    weights = {'pixels': 1.0, 'flux': flux, 'single': single, 'wide': wide}
    return {'loss': sum(weights[k] * v for k, v in terms.items()), **terms}


def _squared_means(
    error: torch.Tensor, plain: torch.Tensor, batch: dict[str, torch.Tensor]
) -> list[torch.Tensor]:
    """
    Squares of the mean errors of fluxes.

    One for each step in brightness, each aperture, and for simple fields and all
    others apart: means over unlike stars would hide what is wrong with each.
    """
    snr = batch['snr']
    # The noise of the frame is 0 in the mean, and bright stars keep it: without
    # it the mean is known better.
    error = (error - plain * (0.5 * (snr > 3.0) + 0.5 * (snr > 6.0))).clamp(-5.0, 5.0)
    steps = [(snr >= low) & (snr < high) for low, high in itertools.pairwise(_EDGES)]
    sizes = [batch['aperture'] == k for k in range(len(APERTURES))]
    simple = batch['simple'][:, None].expand_as(snr)
    groups = itertools.product((snr == 0, *steps), sizes, (simple, ~simple))
    return [_squared_mean(error, a & b & c) for a, b, c in groups]


def _squared_mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """
    Square of the mean of the chosen values, without their scatter.

    It is the mean of the products of two different values, whose expectation is
    the square of theirs: who cannot help to scatter is not asked for less.
    """
    count, values = chosen.sum(), values * chosen
    products = values.sum() ** 2 - (values**2).sum()
    return products / (count * (count - 1)).clamp(min=2)


def _wide_errors(error: torch.Tensor) -> torch.Tensor:
    """Squared means over some pixels, each 1 for noise as it was."""
    means = [
        (width * functional.avg_pool2d(error, width)).square().clamp(max=25.0).mean()
        for width in _WIDTHS
    ]
    return torch.stack(means).mean()


def flux_errors(
    found: torch.Tensor, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return the errors of the fluxes in apertures.

    Parameters
    ----------
    found : Tensor
        Noise found by a network.
    batch : dict
        As `astroflat.training._denoise_data.make_batch`.

    Returns
    -------
    tuple of Tensor
        Errors of the sums of electrons in apertures above a ring, ``(n, k)``, in
        standard deviations of their noise: after denoising, and before.
    """
    readnoise, device = batch['readnoise'], found.device
    # Sums of fluxes want all the digits.
    with torch.autocast(device.type, enabled=False):
        stabiliser = _stabiliser(str(device))
        z = (batch['z'] - found.float()) / batch['scale']
        truth = batch['electrons']
        errors = stabiliser.unbiased(z, readnoise) - truth, batch['plain'] - truth
        return aperture_errors(errors, truth + readnoise**2, batch)


@lru_cache(maxsize=2)
def _stabiliser(device: str) -> Stabiliser:
    """Transform, whose table takes a second to make."""
    return Stabiliser(device)


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
            errors, plain = flux_errors(found, self.batch)
        ours = self._scores(self.batch['z'] - found)
        row = {
            'psnr_sigma': float(ours[0].mean()),
            'psnr_linear': float(ours[1].mean()),
        }
        row |= self.reference
        inside = (found - self.batch['noise']).abs() < sigma
        row['within_sigma'] = 100.0 * float(inside.float().mean())
        snr, change = self.batch['snr'], errors - plain
        for low, high in ((5.0, 8.0), (8.0, 14.0), (14.0, 30.0), (30.0, 250.0)):
            chosen = (snr >= low) & (snr < high)
            # Relative to the flux: an error of one at a ratio of five is 20 %.
            bias = change[chosen].clamp(-5.0, 5.0).mean() / snr[chosen].mean()
            row[f'flux_bias_{low:.0f}'] = 100.0 * float(bias)
        row['flux_empty'] = float(errors[snr == 0].mean())
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
