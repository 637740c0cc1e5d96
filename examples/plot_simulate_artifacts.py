# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A catalogue of artifacts
========================

Every image is a sky, multiplied by a field :math:`F` and raised by a field :math:`G`,
with the noise of the photons and of the camera:

.. math:: I = S F + G + \\text{noise}

`astroflat.degradation` draws the fields at random from models of what causes them. The
same seed gives the same fields, each kind can be had alone, and the truth is kept.
"""

# %%
# One kind at a time
# ------------------
# The size of the shadow of a grain depends on the beam and on how far before the sensor
# the grain sits: here a telescope of f/10 with a central obstruction, hence the holes.
# Each panel is stretched to its own range, which is written above it. :math:`F` is a
# ratio, :math:`G` in units of the sky level.
import matplotlib.pyplot as plt
import numpy as np

from astroflat.degradation import MoteOptics, expose, make_scene, sample_fields

MULTIPLY = {
    'vignetting': 'vignetting',
    'motes': 'motes on filter and window',
    'specks': 'specks on the sensor',
    'fibers': 'fibres',
    'response': 'pixel response',
    'smooth': 'smooth response',
    'lines': 'rows and columns',
}
ADD = {
    'linear': 'linear gradient',
    'quadratic': 'quadratic gradient',
    'moonlight': 'moonlight',
    'glow': 'amplifier glow',
    'bias': 'bias residual',
}

shape = (300, 400)
optics = MoteOptics(f_ratio=10, obstruction=0.36, pixel_size=9)

figure, axes = plt.subplots(3, 4, figsize=(11, 7.4), layout='constrained')
for ax, (kind, title) in zip(axes.flat, (MULTIPLY | ADD).items(), strict=True):
    sampled = sample_fields(shape, difficulty=0.8, kinds=kind, optics=optics, rng=2)
    letter, field = ('F', sampled.flat) if kind in MULTIPLY else ('G', sampled.gradient)
    ax.imshow(field, cmap='gray' if letter == 'F' else 'magma', origin='lower')
    ax.set_title(
        f'{title}\n{letter} from {field.min():.3f} to {field.max():.3f}', fontsize=9
    )
    ax.set_axis_off()
plt.show()

# %%
# The truth is a table with one row for each artifact.
fields = sample_fields(shape, difficulty=0.7, optics=optics, rng=9)
table = fields.truth['kind', 'x', 'y', 'radius', 'amplitude'][:8]
for name in ('x', 'y', 'radius', 'amplitude'):
    table[name].info.format = '.3g'
table.pprint()

# %%
# In a frame
# ----------
# A sky, seen through the fields by a cooled camera. The brightest tenth of the pixels
# is white, as one would stretch an image to see the faint parts of a nebula: there the
# artifacts are as strong as the nebula itself.
level = 2500.0
scene = make_scene(
    shape, kind='reflection_nebula', rng=8, level=level, brightness=0.15, density=4000
)
frame = expose(
    scene,
    camera='cmos',
    flat=fields.flat,
    gradient=fields.gradient * level,
    rng=5,
)

panels = {
    'the sky': scene,
    f'F from {fields.flat.min():.2f} to {fields.flat.max():.2f}': fields.flat,
    'the raw frame': frame.data,
}
figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout='constrained')
for ax, (title, image) in zip(axes, panels.items(), strict=True):
    low, high = np.percentile(image, (0.5, 99.5 if image is fields.flat else 90))
    ax.imshow(image, cmap='gray', vmin=low, vmax=high, origin='lower')
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()
plt.show()
