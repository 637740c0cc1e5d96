# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Is a flat right? Ask the stars
==============================

The same stars are measured on many places of the detector. A right flat makes each of
them equally bright everywhere; what it leaves is an error in millimagnitudes, without
any truth at hand. `astroflat.quality.photometric_flatness` does it, before and after.
"""

import matplotlib.pyplot as plt
import numpy as np

from astroflat.quality import photometric_flatness

rng = np.random.default_rng(1)
shape = (240, 320)
y, x = np.mgrid[: shape[0], : shape[1]]
flat = 1 - 0.15 * ((x - 160) ** 2 + (y - 120) ** 2) / 160**2
flat /= flat.mean()
stars = rng.uniform((60, 60), (180, 260), (40, 2))
fluxes = rng.uniform(2e3, 8e3, 40)
offsets = rng.uniform(-50, 50, (10, 2))

frames = np.full((10, *shape), 400.0)
for frame, shift in zip(frames, offsets, strict=True):
    for (sy, sx), flux in zip(stars + shift, fluxes, strict=True):
        frame += flux * np.exp(-((x - sx) ** 2 + (y - sy) ** 2) / 3.4)
frames = frames * flat + rng.normal(0, 8, frames.shape)

# %%
# Without a flat, with the right one, and with one whose vignetting is half as strong,
# as a flat with stray light would have it.
stray = 0.5 * (1 + flat)
results = {
    'no flat': photometric_flatness(frames, offsets=offsets),
    'right flat': photometric_flatness(frames, flat, offsets=offsets),
    'flat with stray light': photometric_flatness(frames, stray, offsets=offsets),
}
for name, result in results.items():
    print(f'{name:22s} {result.flatness_mmag:6.1f} mmag')

# %%
# Where on the detector stars come out too bright or too faint (mmag). The sky of the
# last one would be flat: only the stars know.
figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout='constrained')
for ax, (name, result) in zip(axes, results.items(), strict=True):
    shown = ax.imshow(result.map(6), vmin=-80, vmax=80, origin='lower', cmap='coolwarm')
    ax.set(title=f'{name}: {result.flatness_mmag:.0f} mmag', xticks=[], yticks=[])
figure.colorbar(shown, ax=axes, label='residual (mmag)')
