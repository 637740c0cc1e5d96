# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Find the dust
=============

`astroflat.detect_dust` finds the shadows of dust in an image of which the sky is even
or blurred: a flat, the median of a video, a stack of unregistered frames. Each object
gets its own significance, so that a faint ring 60 pixels wide and a hard speck of 3
pixels are found side by side at the same setting.
"""

# %%
# In a flat
# ---------
# Nine exposures of a lamp with a CCD behind a telescope of f/20 with a central
# obstruction.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle

import astroflat as af
from astroflat.degradation import MoteOptics, expose, sample_fields, simulate_video

KIND_COLORS = {
    'disc': 'tab:cyan',
    'donut': 'tab:orange',
    'speck': 'tab:red',
    'fibre': 'tab:olive',
}


def show(ax, image, detection):
    """Show an image with a circle about each object."""
    low, high = np.nanpercentile(image, (0.5, 99.5))
    ax.imshow(image, cmap='gray', vmin=low, vmax=high, origin='lower')
    for row in detection.catalogue:
        place, radius = (row['x'].value, row['y'].value), row['radius'].value
        color = KIND_COLORS.get(str(row['kind']), 'white')
        ax.add_patch(Circle(place, 1.3 * radius + 3, fill=False, color=color))
    ax.set_axis_off()


rng = np.random.default_rng(3)
shape = (480, 640)
optics = MoteOptics(f_ratio=20, obstruction=0.36, pixel_size=9)
truth = sample_fields(
    shape,
    difficulty=0.7,
    kinds=('vignetting', 'motes', 'specks', 'fibers', 'response'),
    optics=optics,
    rng=5,
)
lamp = np.full(shape, 45000.0)
frames = [expose(lamp, camera='ccd', flat=truth.flat, rng=rng) for _ in range(9)]
flat = af.median_flat(frames, bias=np.full(shape, 1250.0))
found = af.detect_dust(flat)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.3), layout='constrained')
show(left, flat.data, found)
left.set_title(f'{len(found.catalogue)} objects in a flat', fontsize=10)
shown = right.imshow(found.probability, cmap='magma', vmin=0, vmax=1, origin='lower')
right.contour(truth.dust_mask, [0.5], colors='white', linewidths=0.5)
right.set_title('probability of dust; white: true dust deeper than 0.2 %', fontsize=10)
right.set_axis_off()
figure.colorbar(shown, ax=right, shrink=0.8)
plt.show()

# %%
# The catalogue has one row for each object.
columns = found.catalogue['x', 'y', 'radius', 'depth', 'kind', 'snr']
columns.sort('snr', reverse=True)
for name in ('x', 'y', 'radius', 'depth', 'snr'):
    columns[name].info.format = '.3g'
columns[:10].pprint()

# %%
# In a video of 8 bits
# --------------------
# The same call on the median of a solar video. The slow beam of f/40 makes specks hard.
# The granulation, blurred by the drift, is not dust, and is left alone.
dirt = sample_fields(
    shape,
    difficulty=0.9,
    kinds=('vignetting', 'motes', 'specks', 'fibers'),
    optics=MoteOptics(f_ratio=40, pixel_size=2.9),
    rng=9,
)
video = simulate_video(
    60,
    shape,
    bits=8,
    drift=40,
    pattern='random',
    flat=dirt,
    gradient=np.zeros(shape),
    rng=11,
)
median = af.median_flat(video.array(), bias=np.full(shape, video.camera.bias))
in_video = af.detect_dust(median)
deep = np.abs(dirt.component('motes', 'specks', 'fibers') - 1) > 0.03

figure, axes = plt.subplots(1, 3, figsize=(11, 3.1), layout='constrained')
axes[0].imshow(video.frame(0), cmap='gray', origin='lower')
axes[0].set_title('one frame', fontsize=10)
show(axes[1], median.data, in_video)
axes[1].set_title(f'median: {len(in_video.catalogue)} objects', fontsize=10)
axes[2].imshow(in_video.mask, cmap='gray', origin='lower')
axes[2].contour(deep, [0.5], colors='tab:red', linewidths=0.7)
axes[2].set_title('mask; red: true dust deeper than 3 %', fontsize=10)
for ax in axes:
    ax.set_axis_off()
plt.show()
