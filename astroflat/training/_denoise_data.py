# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noisy squares with truth for the denoiser, made on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from astroflat.degradation._kinds import SCENE_KINDS
from astroflat.training._noise import Stabiliser, local_level, log_uniform

if TYPE_CHECKING:
    from astroflat.training.scenes import DrawnScenes, ScenePool

__all__ = ['NoisySquares', 'make_batch']

# Kinds that are lit by a sky and have stars before it.
_NIGHT = [i for i, k in enumerate(SCENE_KINDS) if i <= SCENE_KINDS.index('dark_nebula')]
_STARS = 12
_FAINTEST, _BRIGHTEST = 1.5, 60.0


@dataclass
class NoisySquares:
    """
    Makes batches: scenes of a pool under random skies, cameras and noise.

    Parameters
    ----------
    pool : ScenePool
        Noise-free scenes.
    count : int
        Squares in a batch.
    size : int
        Their side in pixels, a multiple of 16.
    """

    pool: ScenePool
    count: int
    size: int

    def __post_init__(self) -> None:
        """Prepare the transform."""
        self.stabiliser = Stabiliser(str(self.pool.images.device))

    def __call__(self, generator: torch.Generator) -> dict[str, Any]:
        """
        Draw a batch.

        Parameters
        ----------
        generator : `torch.Generator`
            Source of random numbers.

        Returns
        -------
        dict
            As `make_batch`.
        """
        self.pool.refresh(limit=32)
        scenes = self.pool.draw(self.count, self.size, generator=generator)
        return make_batch(scenes, self.stabiliser, generator)


def make_batch(
    scenes: DrawnScenes, stabiliser: Stabiliser, generator: torch.Generator
) -> dict[str, Any]:
    """
    Expose scenes.

    Parameters
    ----------
    scenes : DrawnScenes
        Noise-free scenes.
    stabiliser : Stabiliser
        Transform.
    generator : `torch.Generator`
        Source of random numbers.

    Returns
    -------
    dict of Tensor
        ``v``, the height above the local level in standard deviations, which
        is what the network sees; ``noise``, what it has to find; ``z`` and
        ``truth``, image and truth after the transform; ``readnoise``; and of
        the stars that were added ``profiles`` along both axes and ``snr``.
    """
    electrons = _sky(scenes, generator)
    n = len(electrons)
    draw = {'like': electrons, 'generator': generator}
    readnoise = log_uniform(n, 0.5, 15.0, **draw)
    electrons, stars = _add_stars(electrons, scenes, readnoise, generator)
    sigma = torch.sqrt(electrons.flatten(1).median(1).values + readnoise.flatten() ** 2)
    sigma = sigma.reshape(n, 1, 1, 1)
    electrons = electrons + _spikes(electrons, sigma, generator)
    observed = torch.poisson(electrons, generator=generator)
    observed += readnoise * _normal(electrons, generator)
    # Numbers of a converter: whole multiples of the gain, for most cameras.
    gain = sigma * log_uniform(n, 0.01, 0.5, **draw)
    whole = _uniform(electrons[:, :, :1, :1], generator) < 0.7
    observed = torch.where(whole, torch.round(observed / gain) * gain, observed)
    # The user's read noise and gain are never quite right.
    believed = readnoise * log_uniform(n, 0.9, 1.1, **draw)
    scale = log_uniform(n, 0.95, 1.05, **draw)
    z = stabiliser.forward(observed, believed) * scale
    truth = stabiliser.expected(electrons, believed) * scale
    level = local_level(z)
    return {
        'v': z - level,
        'noise': z - truth,
        'z': z,
        'truth': truth,
        'scale': scale,
        'readnoise': believed,
        **stars,
    }


def _sky(scenes: DrawnScenes, generator: torch.Generator) -> torch.Tensor:
    """Change the exposure and, at night, the brightness of the sky."""
    images = scenes.images
    n = len(images)
    draw = {'like': images, 'generator': generator}
    level = scenes.level.reshape(n, 1, 1, 1)
    dark = log_uniform(n, 0.25, 3.0, **draw) - 1.0
    dark = torch.where(_uniform(dark, generator) < 0.5, dark, torch.zeros_like(dark))
    dark = torch.where(_is_night(scenes), dark, torch.zeros_like(dark))
    images = (images + dark * level).clamp(min=0.0)
    return images * log_uniform(n, 0.125, 8.0, **draw)


def _is_night(scenes: DrawnScenes) -> torch.Tensor:
    """Whether a scene has a sky, for each square."""
    night = torch.tensor(_NIGHT, device=scenes.kind.device)
    return torch.isin(scenes.kind, night).reshape(-1, 1, 1, 1)


def _add_stars(
    electrons: torch.Tensor,
    scenes: DrawnScenes,
    readnoise: torch.Tensor,
    generator: torch.Generator,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Add faint stars of known flux; those of the Sun and Moon have none."""
    n, _, ny, nx = electrons.shape
    device = electrons.device
    sky = electrons.flatten(1).median(1).values.reshape(n, 1, 1, 1)
    width = scenes.fwhm.reshape(n, 1, 1) / 2.3548
    profiles = []
    for size in (ny, nx):
        place = torch.rand((n, _STARS, 1), device=device, generator=generator)
        axis = torch.arange(size, device=device) - place * (size - 1)
        profile = torch.exp(-0.5 * (axis / width) ** 2)
        profiles.append(profile / (2.5066 * width))
    u = torch.rand((n, _STARS), device=device, generator=generator)
    snr = _FAINTEST * (_BRIGHTEST / _FAINTEST) ** u
    snr = torch.where(_is_night(scenes).reshape(n, 1), snr, torch.zeros_like(snr))
    # Of a fit of the profile before this sky.
    area = 12.566 * width[:, :, 0] ** 2
    flux = snr * torch.sqrt(area * (sky + readnoise**2).reshape(n, 1))
    light = torch.einsum('nk,nky,nkx->nyx', flux, *profiles)
    stars = {'rows': profiles[0], 'columns': profiles[1], 'snr': snr, 'flux': flux}
    return electrons + light[:, None], stars


def _spikes(
    electrons: torch.Tensor, sigma: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Hot pixels and hits of particles: they are signal, not noise."""
    often = 1e-3 * _uniform(sigma, generator) ** 2
    where = _uniform(electrons, generator) < often
    height = 4.0 * 75.0 ** _uniform(electrons, generator)
    return torch.where(where, height * sigma, torch.zeros_like(electrons))


def _uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(like.shape, device=like.device, generator=generator)


def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, device=like.device, generator=generator)
