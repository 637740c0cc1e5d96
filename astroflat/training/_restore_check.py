# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How the restorer is judged while it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from astroflat.training._restore_loss import flux_errors

__all__ = ['Validation', 'weighted_errors']


def weighted_errors(
    found: torch.Tensor, batch: dict[str, torch.Tensor], *, truth: str = 'target'
) -> torch.Tensor:
    """
    Return flux-weighted errors.

    Parameters
    ----------
    found : Tensor
        Images ``(n, 1, ny, nx)``.
    batch : dict
        As `astroflat.training._restore_loss.restore_loss`.
    truth : str, optional
        What to compare with.

    Returns
    -------
    Tensor
        For each image the sum of the absolute errors weighted by the light over
        its local level, relative to the same sum of the light itself.
    """
    target = batch[truth]
    light = target.clamp(min=0.0) * batch['weight']
    error = ((found - target).abs() * light).flatten(1).sum(1)
    return error / (light * target).flatten(1).sum(1).clamp(min=1e-6)


@dataclass
class Validation:
    """
    Judges a network on squares that it is not trained on.

    Parameters
    ----------
    batches : list of dict
        Squares with truth.
    say : callable, optional
        Takes one line of text.

    Notes
    -----
    ``error`` is the median of the flux-weighted errors in percent; ``wiener`` that of
    the best of the linear filters for each image; ``noise`` the standard deviation of
    the error of the denoised image in units of the noise; ``bias_10`` and so on the
    mean error of the fluxes of stars of this signal-to-noise ratio, in percent.
    """

    batches: list[dict[str, torch.Tensor]]
    say: Any = None
    reference: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Judge the linear filters."""
        best = []
        for batch in self.batches:
            tries = [weighted_errors(batch['planes'][:, i : i + 1], batch)
                     for i in (0, 2, 3, 4, 5)]  # fmt: skip
            best.append(torch.stack(tries).min(0).values)
        self.reference = {'wiener': 100.0 * float(torch.cat(best).median())}

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
        errors, noises, biases, ratios = [], [], [], []
        with torch.no_grad():
            for batch in self.batches:
                found = model(batch['planes'], batch['dials']).float()
                errors.append(weighted_errors(found[:, :1], batch))
                off = (found[:, 1:2] - batch['clean']) / batch['shot'] * batch['weight']
                noises.append(off.clamp(-5, 5).square().flatten(1).mean(1).sqrt())
                biases.append(flux_errors(found[:, :1], batch).flatten())
                ratios.append(batch['snr'].flatten())
        row = {
            'error': 100.0 * float(torch.cat(errors).median()),
            'noise': float(torch.cat(noises).median()),
            **self.reference,
            **_biases(torch.cat(biases), torch.cat(ratios)),
        }
        if self.say:
            self.say('  '.join(f'{key} {value:.3f}' for key, value in row.items()))
        return row


def _biases(errors: torch.Tensor, ratios: torch.Tensor) -> dict[str, float]:
    """Mean relative errors of the fluxes in percent."""
    row = {}
    for low, high in ((5, 10), (10, 20), (20, 50), (50, 200), (200, 2000)):
        chosen = (ratios >= low) & (ratios < high) & (errors != 0)
        relative = errors[chosen] / ratios[chosen]
        # The median: a star beside a brighter one has any error.
        value = relative.clamp(-1.0, 1.0).median() if len(relative) else torch.zeros(())
        row[f'bias_{low}'] = 100.0 * float(value)
    return row
