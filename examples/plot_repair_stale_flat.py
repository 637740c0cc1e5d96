# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Repair a stale flat
===================

Last month's flat: since then the filter wheel stopped a little off its place, one
speck of dust fell off and another settled, and the flat was taken with light leaking
in. `astroflat.repair_flat` finds all that in a few frames of the night and mends it.
What is right stays as it is, to the last bit.
"""

# %%
# A month later
# -------------
# Six dithered frames, and a flat of which the motes are at other places and the
# vignette is 1.3 times too strong.
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

import astroflat as af
from astroflat.quality import flat_residual

rng = np.random.default_rng(7)
shape = (240, 320)
y, x = np.mgrid[: shape[0], : shape[1]]


def mote(y0, x0, radius, depth):
    """Return the shadow of a speck, a donut as behind a mirror telescope."""
    distance = np.hypot(y - y0, x - x0)
    edge = 1 / (1 + np.exp((distance - radius) / 1.3))
    return 1 - depth * (edge - 0.5 / (1 + np.exp((distance - 0.35 * radius) / 1.3)))


vignette = np.exp(-0.15 * (((y - 125) / 150) ** 2 + ((x - 150) / 150) ** 2))
response = rng.normal(1, 0.003, shape)
specks = [(60, 70, 14, 0.06), (180, 110, 12, 0.05), (100, 235, 13, 0.045)]
old = mote(*specks[0]) * mote(*specks[1]) * mote(*specks[2]) * mote(190, 250, 12, 0.05)
now = np.prod([mote(a + 5, b - 7, r, d) for a, b, r, d in specks], axis=0)
now *= mote(60, 160, 11, 0.05)
truth = vignette * now * response
stale = (vignette**1.3 * old * response * rng.normal(1, 0.001, shape)).astype('f4')

stars = rng.uniform(0, 1, (60, 3)) * [*shape, 1]
frames = []
for dy, dx in rng.uniform(-12, 12, (6, 2)):
    scene = (
        1 + rng.normal(0, 0.02) * (x / 160 - 1) + rng.normal(0, 0.02) * (y / 120 - 1)
    )
    for y0, x0, flux in stars:
        distance = (y - y0 - dy) ** 2 + (x - x0 - dx) ** 2
        scene += 4 * flux**6 * np.exp(-distance / 4.5)
    frames.append(rng.normal(1500 * scene * truth, 12))
frames = np.array(frames, dtype='f4')

# %%
# Pairs of ghosts
# ---------------
# Frames over the old flat, averaged: where a mote was, the flat leaves a bright ghost;
# where it is now, a dark one. The vignette that is too strong leaves bright corners.
solution = af.repair_flat(stale, frames)


def smooth(image):
    """Average the noise away."""
    return ndimage.gaussian_filter(np.where(np.isfinite(image), image, 1), 1.5)


fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout='constrained')
before = np.median(frames / stale, axis=0)
after = np.median(frames / solution.flat.data, axis=0)
for ax, image, title in zip(
    axes, (before, after), ('frames / old flat', 'frames / new flat'), strict=True
):
    level = np.median(image)
    ax.imshow(smooth(image) / level, cmap='gray', origin='lower', vmin=0.94, vmax=1.06)
    ax.set_title(title)
    ax.set_axis_off()

# %%
# What happened
# -------------
# Each mote is told apart: those that moved with the filter, the one that is gone, the
# new one. A change was made only where it made frames flatter that it was not made
# from.
solution.stages['motes']['x', 'y', 'radius', 'action', 'dx', 'dy', 'gain']

# %%
print(solution.report)

# %%
# How good it is
# --------------
# Against the truth, which is known here.
for name, flat in (('old flat', stale), ('new flat', solution.flat)):
    residual = flat_residual(flat, truth)
    parts = ('large', 'dust', 'total')
    print(name, '  '.join(f'{p} {residual[f"{p}_percent"]:.2f} %' for p in parts))

# %%
# A flat that is right
# --------------------
# Had the flat been right, it would have come back untouched.
fresh = (truth * rng.normal(1, 0.001, shape)).astype('f4')
again = af.repair_flat(fresh, frames)
print(again.report.numbers['n_changed_pixels'], 'pixels changed')
assert again.flat.data.tobytes() == fresh.tobytes()
