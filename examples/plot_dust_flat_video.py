# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A flat for a solar video
========================

At f/40 each grain of dust on the sensor is a hard black speck, and a video of the Sun
cannot be taken again with the dust wiped off. But the Sun drifts, and the dust does
not. Here is the whole way from such a video to one without specks, with a comparison
to the truth.
"""

# %%
# The video
# ---------
# 80 frames of 12 bits with seeing and drift, written as SER. Only the file is used.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import sample_fields, simulate_video

shape = (360, 480)
specks = [
    sample_fields(shape, difficulty=0.9, kinds=('specks', 'fibers'), rng=seed)
    for seed in (2, 5, 7, 9)
]
dust = np.prod([draw.component('specks', 'fibers') for draw in specks], axis=0)
vignette = sample_fields(shape, difficulty=0.6, kinds='vignetting', rng=2).flat
video = simulate_video(
    80,
    shape,
    kind='active_region',
    drift=40,
    pattern='random',
    flat=dust * vignette,
    gradient=np.zeros(shape),
    level=0.45,
    rng=5,
)
folder = Path(tempfile.mkdtemp())
video.write(folder / 'sun.ser')
bias = np.full(shape, video.camera.bias)

# %%
# The flat
# --------
# One call: median, dust, what would be there without it, and the ratio.
solution = af.dust_flat(folder / 'sun.ser', bias=bias)
print(solution.report)

# %%
# All stages are kept. The flat is exactly 1 where there is no dust.
stages = solution.stages
median, clean = stages['median'].data, stages['clean'].data
low, high = np.percentile(median, (0.5, 99.5))

figure, axes = plt.subplots(2, 2, figsize=(11, 8.3), layout='constrained')
panels = {
    'median along time': (median, low, high),
    'dust': (stages['weight'], 0, 1),
    'filled in': (clean, low, high),
    'flat = median / filled in, from 0.7 to 1.1': (solution.flat.data, 0.7, 1.1),
}
for ax, (title, (image, vmin, vmax)) in zip(axes.flat, panels.items(), strict=True):
    ax.imshow(image, cmap='gray', vmin=vmin, vmax=vmax, origin='lower')
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# Corrected
# ---------
# Each frame is divided by the flat. ``correct`` takes one image;
# `astroflat.correct_frames` streams the whole video.
frame = video.frame(0) - bias
corrected = solution.correct(frame)
report = af.correct_frames(
    folder / 'sun.ser',
    solution,
    output=folder / 'clean.ser',
    bias=bias,
    restore_bias=True,
)
print(f'{report.n_frames} frames corrected, {report.n_clipped} samples clipped')

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout='constrained')
low, high = np.percentile(frame, (0.3, 99.7))
for ax, image, title in zip(
    axes, (frame, corrected), ('raw', 'corrected'), strict=True
):
    ax.imshow(image, cmap='gray', vmin=low, vmax=high, origin='lower')
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# Against the truth
# -----------------
# The dust is known here, so that what is left of it can be measured: the error of the
# flat under all dust deeper than 3 %, found or not, beside that of doing nothing.
from astroflat.quality import flat_residual

deep = np.abs(dust - 1) > 0.03
for name, flat in {'doing nothing': 1.0, 'astroflat': solution.flat}.items():
    left = flat_residual(flat, dust, dust_mask=deep)
    print(f'{name:14s} {left["dust_percent"]:5.2f} %  {left["dust_mmag"]:6.1f} mmag')
