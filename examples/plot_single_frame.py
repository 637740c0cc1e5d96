# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
One frame and no flat
=====================

A star field with vignetting, dust and a gradient, simulated so that the truth is
known. `~astroflat.FlatCorrector` sees this one frame and nothing else.
"""

import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import make_scene, sample_fields
from astroflat.quality import flat_residual

rng = np.random.default_rng(11)
shape = (256, 384)
light = make_scene(shape, kind='starfield', rng=rng, level=3000)
truth = sample_fields(
    shape, difficulty=0.8, rng=rng, kinds=('vignetting', 'motes', 'linear')
)
frame = rng.poisson(light * truth.flat + 3000 * truth.gradient).astype('f4')

# %%
# The estimate is a `~astroflat.FlatSolution` like that of any other method: F and G
# with their uncertainties, and a report.

solution = af.FlatCorrector(device='cpu').estimate(frame)
print(solution.report)

# %%
# The residual of F against the truth, beside doing nothing:

for name, flat in (('nothing', np.ones(shape)), ('estimate', solution.flat.data)):
    residual = flat_residual(flat, truth.flat, dust_mask=truth.dust_mask)
    print(f'{name:10s}', {k: round(v, 2) for k, v in residual.items() if 'perc' in k})

# %%
# Where F is dark, so is the estimate; what the networks are not sure of they leave
# alone. The last panel is the chance that F is right to 1 %.

corrected = solution.correct(frame)
panels = {
    'frame': frame,
    'corrected': corrected,
    'true F': truth.flat,
    'estimated F': solution.flat.data,
    'confidence': solution.confidence,
}
fig, axes = plt.subplots(1, 5, figsize=(15, 2.8), layout='constrained')
for ax, (name, image) in zip(axes, panels.items(), strict=True):
    low, high = np.percentile(image, (1, 97))
    if 'F' in name:
        low, high = np.percentile(truth.flat, (0.5, 99.5))
    elif name == 'confidence':
        low, high = 0, 1
    ax.imshow(image, vmin=low, vmax=high, origin='lower', cmap='gray')
    ax.set_title(name)
    ax.set_axis_off()
