# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A median and its uncertainty
============================

The median along time keeps what stays on the detector and drops what does not: stars
that drift, satellites, cosmic rays. `astroflat.median_flat` gives the exact median in
bounded memory, and for each pixel an uncertainty that is measured in the data. Here
both are compared with the truth.
"""

# %%
# Twilight frames with stars and cosmic rays
# ------------------------------------------
# The sky has another brightness in each frame, and the telescope is not guided.
import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import MoteOptics, draw_scene, expose, sample_fields

rng = np.random.default_rng(20)
shape = (240, 320)
camera = 'ccd'
optics = MoteOptics(f_ratio=10, obstruction=0.36, pixel_size=9)
truth = sample_fields(
    shape,
    kinds=('vignetting', 'motes'),
    difficulty=0.6,
    optics=optics,
    rng=np.random.default_rng(9),
).flat
stars = draw_scene(shape, kind='starfield', level=1e4, margin=80, density=3000, rng=rng)

frames = [
    expose(
        stars.render(tuple(rng.uniform(-80, 80, 2)), background=level),
        camera=camera,
        flat=truth,
        cosmic_rays=40,
        rng=rng,
    )
    for level in rng.uniform(9000, 18000, 41)
]

# %%
# Combine them
# ------------
# ``scale='median'`` brings the frames to one level, ``bias`` is subtracted first: a
# pedestal that is left in makes every flat too shallow.
bias = np.full(shape, 1250.0)
median = af.median_flat(frames, bias=bias, scale='median')
print(median.meta['NCOMBINE'], median.unit, median.uncertainty.uncertainty_type)

level = np.median(median.data / truth)
error = median.data / level - truth
sigma = median.uncertainty.array / level

figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout='constrained')
panels = [
    ('one of 41 frames', frames[20].data, 'gray'),
    ('their median', median.data / level, 'gray'),
    ('its uncertainty in %', 100 * sigma, 'viridis'),
]
for ax, (title, image, cmap) in zip(axes, panels, strict=True):
    low, high = np.percentile(image, (0.5, 99.5))
    shown = ax.imshow(image, cmap=cmap, vmin=low, vmax=high, origin='lower')
    figure.colorbar(shown, ax=ax, shrink=0.8)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()
plt.show()

# %%
# Is the uncertainty right?
# -------------------------
# The error of a median of :math:`n` values of a normal distribution is
# :math:`1.2533\,\sigma/\sqrt{n}`, a quarter more than that of the mean: the price of
# not being disturbed by stars. If the uncertainties are right, error over uncertainty
# has a standard deviation of 1. And the error must fall as :math:`1/\sqrt{n}`.
numbers = [5, 9, 15, 21, 31, 41]
true_error, predicted = [], []
for n in numbers:
    part = af.median_flat(frames[:n], bias=bias, scale='median')
    ratio = part.data / truth
    residual = ratio / np.median(ratio) - 1
    true_error.append(1.4826 * np.median(np.abs(residual)))
    predicted.append(np.median(part.uncertainty.array / part.data))

pull = error / sigma
width = 1.4826 * np.median(np.abs(pull - np.median(pull)))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout='constrained')
bins = np.linspace(-5, 5, 81)
left.hist(pull.ravel(), bins, density=True, color='0.75', label='all pixels')
normal = np.exp(-0.5 * bins**2) / np.sqrt(2 * np.pi)
left.plot(bins, normal, color='tab:red', label='normal distribution')
left.set(xlabel='error / uncertainty', title=f'robust width {width:.2f}')
left.legend(frameon=False)
right.loglog(numbers, 100 * np.array(predicted), color='tab:red', label='predicted')
right.loglog(numbers, 100 * np.array(true_error), 'ko', label='true error')
right.set(xlabel='frames', ylabel='error of a pixel in %')
right.set_xticks(numbers, numbers)
right.set_yticks([0.2, 0.3, 0.4, 0.5], ['0.2', '0.3', '0.4', '0.5'])
right.minorticks_off()
right.legend(frameon=False)
plt.show()
