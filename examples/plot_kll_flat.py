# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A full flat from a video of the Sun
===================================

Dust can be cut out of a median and filled in. Vignetting and the response of single
pixels cannot: in one image nothing tells them from the Sun. In a video something does.
The Sun moves over the detector, and what does not move with it is the flat.
"""

# %%
# The video
# ---------
# 24 frames of 12 bits, written as SER. The telescope wobbles by a few pixels.
# Vignetting, dust and pixel response are on the detector; only the file is used.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import sample_fields, simulate_video

shape = (192, 256)
kinds = ('vignetting', 'motes', 'specks', 'response')
fields = sample_fields(shape, difficulty=0.7, kinds=kinds, rng=3)
video = simulate_video(
    24,
    shape,
    kind='active_region',
    drift=6,
    pattern='random',
    seeing=0.2,
    flat=fields,
    gradient=np.zeros(shape),
    rng=5,
)
folder = Path(tempfile.mkdtemp())
video.write(folder / 'sun.ser')

# %%
# The flat
# --------
# One call. The offsets between the frames are measured on the granulation, then sky
# and flat are found together. The bias must be subtracted, as from any flat.
solution = af.kll_flat(folder / 'sun.ser', bias=video.camera.bias)
print(solution.report)

# %%
# Against the truth
# -----------------
# Here the flat is known. The median of the frames is what is usually taken for lack of
# anything better; the Sun is still in it.
median = af.median_flat(folder / 'sun.ser', bias=video.camera.bias).data
median = median / median.mean()
for name, flat in {'nothing': 1, 'median': median, 'kll': solution.flat.data}.items():
    print(f'{name:8s} {100 * np.std(flat / video.flat):5.2f} % left')

figure, axes = plt.subplots(2, 2, figsize=(11, 8.3), layout='constrained')
panels = {
    'a frame': (video.frame(0), *np.percentile(video.frame(0), (0.5, 99.5))),
    'median / truth, from 0.9 to 1.1': (median / video.flat, 0.9, 1.1),
    'flat, from 0.6 to 1.3': (solution.flat.data, 0.6, 1.3),
    'flat / truth, from 0.9 to 1.1': (solution.flat.data / video.flat, 0.9, 1.1),
}
for ax, (title, (image, vmin, vmax)) in zip(axes.flat, panels.items(), strict=True):
    ax.imshow(image, cmap='gray', vmin=vmin, vmax=vmax, origin='lower')
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# How sure it is
# --------------
# Each pixel has its uncertainty. If it is right, two thirds of the errors are smaller.
error = np.abs(solution.flat.data / video.flat - 1)
sigma = solution.flat.uncertainty.array
inside = np.mean(error < sigma)
print(
    f'{100 * np.median(sigma):.2f} % typical; {100 * inside:.0f} % of the errors inside'
)

# %%
# A telescope that moves in one direction only leaves stripes undetermined. That is
# noticed from the offsets alone, before anything is computed.
along = video.shifts * [0, 1]
try:
    af.kll_flat(folder / 'sun.ser', along, bias=video.camera.bias)
except af.DegenerateDithersError as undetermined:
    print(*undetermined.modes, sep='\n')
