# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A flat from the night itself
============================

No flat was taken. The science frames were dithered, so what stays with the detector
is the flat: `astroflat.sky_flat` finds it between the stars, with its uncertainty, and
says what it is worth.
"""

# %%
# A night without a flat
# ----------------------
# Twelve dithered frames of a star field; the sky changes, and its gradient turns.
import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import simulate_night

night = simulate_night(
    12, (256, 320), dither=30, sky=6000, gradient=0.03, difficulty=0.7, rng=30
)
frames = list(night.frames)
bias = night.camera.bias

# %%
# The flat and its verdict
# ------------------------
# The offsets are known here; without them they are measured. One frame is left out, to
# see what the flat does to a frame that it was not made of.
solution = af.sky_flat(frames[1:], offsets=night.offsets[1:], bias=bias)
print(solution.report)

# %%
# Compared with the truth
# -----------------------
# What is left at the lower edge is glow of the amplifier: light that is added, not
# multiplied. At one level of the sky the two look the same; frames of several levels
# and `astroflat.solve_fields` tell them apart.
error = 100 * (solution.flat.data / night.flat - 1)
error -= np.median(error)
sigma = 100 * solution.flat.uncertainty.array / solution.flat.data
raw = frames[0].data - float(bias)
clean = solution.correct(raw)

figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout='constrained')
low, high = np.percentile(night.flat, (1, 99))
panels = [
    (night.flat, 'the truth', (low, high)),
    (solution.flat.data, 'found', (low, high)),
    (error, f'error: {error.std():.2f} % rms', (-3, 3)),
    (raw / np.median(raw), 'a frame left out', (0.85, 1.1)),
    (clean / np.median(clean), 'corrected', (0.85, 1.1)),
    (sigma, f'uncertainty: {np.sqrt(np.mean(sigma**2)):.2f} % rms', (0, 3)),
]
for axis, (image, title, (bottom, top)) in zip(axes.flat, panels, strict=True):
    shown = axis.imshow(image, origin='lower', vmin=bottom, vmax=top, cmap='gray')
    axis.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axis, shrink=0.7)
plt.show()
