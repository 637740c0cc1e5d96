# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Less noise, same light
======================

`~astroflat.Denoiser` predicts the noise of a frame from the neighbours of each pixel
and takes it away. The result is for looking and finding; it says so in its header, and
photometry belongs on the original.
"""

import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import expose, make_scene

rng = np.random.default_rng(7)
scene = make_scene((200, 280), kind='globular_cluster', rng=rng, level=120)
noisy = expose(scene, camera='cmos', rng=rng)
many = np.mean([expose(scene, camera='cmos', rng=rng).data for _ in range(60)], axis=0)

# %%
# Gain, read noise and offset come from the header, from you, or from the frame
# itself.
clean = af.Denoiser(device='cpu').denoise(noisy)
print(repr(clean.header['AFMETH']), clean.uncertainty.__class__.__name__)

# %%
# The mean of sixty exposures stands for the truth. Of the noise this much is left:
before = np.std(noisy.data - many)
after = np.std(clean.data - many)
print(f'{before:.1f} -> {after:.1f}')
print(f'sum of the frame: {clean.data.sum() / noisy.data.sum() - 1:+.1e}')

# %%
figure, axes = plt.subplots(1, 4, figsize=(13, 2.8), layout='constrained')
low, high = np.percentile(many, (1, 99))
panels = {'noisy': noisy.data, 'denoised': clean.data, 'mean of sixty': many}
for ax, (name, image) in zip(axes, panels.items(), strict=False):
    ax.imshow(image, vmin=low, vmax=high, origin='lower', cmap='gray')
    ax.set(title=name, xticks=[], yticks=[])
taken = noisy.data - clean.data
axes[3].imshow(taken, vmin=-3 * before, vmax=3 * before, origin='lower', cmap='gray')
axes[3].set(title='what was taken away', xticks=[], yticks=[])
