# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Noisy squares with truth for the denoiser, made on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from astroflat.degradation._kinds import SCENE_KINDS
from astroflat.training._denoise_noise import add_defects, add_spikes, soften, uneven
from astroflat.training._denoise_stars import add_stars
from astroflat.training._noise import Stabiliser, local_level, log_uniform

if TYPE_CHECKING:
    from astroflat.training.scenes import DrawnScenes, ScenePool

__all__ = ['NoisySquares', 'make_batch']

# Kinds that are lit by a sky and have stars before it.
_NIGHT = [i for i, k in enumerate(SCENE_KINDS) if i <= SCENE_KINDS.index('dark_nebula')]
# Part of the squares with a wide point spread.
_SOFT = 0.25


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
    scenes: DrawnScenes,
    stabiliser: Stabiliser,
    generator: torch.Generator,
    *,
    defects: float = 1.0,
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
    defects : float, optional
        How many squares have noise beyond that of photons and readout: uneven
        response, rows and columns, glitches. 1 for as many as by default, 0 for
        none.

    Returns
    -------
    dict of Tensor
        ``v``, the height above the local level in standard deviations, which
        is what the network sees; ``noise``, what it has to find; ``z`` and
        ``truth``, image and truth after the transform; ``electrons``, the truth
        before it, and ``plain``, what has only the noise of photons and readout;
        ``readnoise``; ``simple``, whether there are only stars; and of the stars
        that were added what `add_stars` says.
    """
    electrons, fwhm = soften(
        _sky(scenes, generator), scenes.fwhm, share=_SOFT, generator=generator
    )
    n = len(electrons)
    draw = {'like': electrons, 'generator': generator}
    readnoise = log_uniform(n, 0.5, 15.0, **draw)
    lit = _is_night(scenes).flatten()
    electrons, stars = add_stars(electrons, fwhm, lit, readnoise, generator)
    sigma = torch.sqrt(electrons.flatten(1).median(1).values + readnoise.flatten() ** 2)
    sigma = sigma.reshape(n, 1, 1, 1)
    electrons = add_spikes(electrons, sigma, generator)
    options = {'amount': defects, 'generator': generator}
    seen = uneven(electrons, **options)
    observed = torch.poisson(seen, generator=generator)
    observed += readnoise * _normal(electrons, generator)
    plain = observed
    observed = add_defects(observed, electrons, sigma, **options)
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
        'plain': plain,
        'electrons': electrons,
        'scale': scale,
        'readnoise': believed,
        'simple': scenes.kind == SCENE_KINDS.index('starfield'),
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


def _uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(like.shape, device=like.device, generator=generator)


def _normal(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(like.shape, device=like.device, generator=generator)
