# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Multiplied or added?
====================

A dark corner may be vignetting, a bright one may be the glow of an amplifier. One sky
level cannot tell them apart, because both stay with the detector. Frames from twilight
into the night can: what follows the level is the flat F, what does not is the gradient
G.
"""

import matplotlib.pyplot as plt
import numpy as np

import astroflat as af

rng = np.random.default_rng(4)
y, x = np.mgrid[:160, :200] / 100 - 0.9
flat = 1 - 0.12 * (x**2 + y**2)
glow = 90 * np.exp(-((x - 1.1) ** 2 + (y + 0.9) ** 2) / 0.2)
levels = np.array([250, 400, 700, 1300, 2500, 5000])
frames = rng.poisson(levels[:, None, None] * flat + glow).astype('f4')

# %%
# `astroflat.solve_fields` fits both and tests whether the frames need both.
solution = af.solve_fields(frames, offsets=False)
print(solution.stages['model'])
print(solution.report)

# %%
# Frames of one level cannot tell: everything is taken for the flat, none is invented.
even = rng.poisson(np.full(6, 1000)[:, None, None] * flat + glow).astype('f4')
print(af.solve_fields(even, offsets=False).stages['model'])

# %%
# The truth above, what was found below.
gradient = solution.gradient.data
figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout='constrained')
error = solution.flat.data / flat * np.mean(flat / solution.flat.data) - 1
panels = [
    (flat / flat.mean(), 'F', None),
    (glow - glow.mean(), 'G', None),
    (frames[0], 'darkest frame', None),
    (solution.flat.data, 'F found', 0),
    (gradient - gradient.mean(), 'G found', 1),
    (100 * error, 'error of F (%)', (-1, 1)),
]
for ax, (image, title, limits) in zip(axes.flat, panels, strict=True):
    if isinstance(limits, int):
        reference = panels[limits][0]
        limits = (reference.min(), reference.max())
    low, high = limits or (None, None)
    shown = ax.imshow(image, vmin=low, vmax=high, origin='lower', cmap='gray')
    figure.colorbar(shown, ax=ax, shrink=0.8)
    ax.set(title=title, xticks=[], yticks=[])
