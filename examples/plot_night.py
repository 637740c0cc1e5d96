# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A whole night in one call
=========================

A folder with bias frames, lights through two filters, and flats of one of them, taken
a month ago, before a speck of dust moved. `astroflat.run_night` finds out what there
is, checks the old flats with the lights and repairs them, for the filter without flats
as well, calibrates, and says what it did and what it is not sure of. The command
``astroflat night FOLDER`` does the same.
"""

# %%
# What the camera wrote
# ---------------------
# Two simulated nights of one field, and the flats that there are.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from scipy import ndimage

import astroflat as af
from astroflat.degradation import simulate_night
from astroflat.io.images import read_ccd

rng = np.random.default_rng(5)
shape = (256, 320)
y, x = np.mgrid[: shape[0], : shape[1]]
folder = Path(tempfile.mkdtemp())


def flat_with(y0, x0):
    """Return a vignette and two motes, one of them at a place to choose."""
    flat = np.exp(-0.3 * ((y / 256 - 0.5) ** 2 + (x / 320 - 0.5) ** 2))
    for yc, xc, depth in ((y0, x0, 0.09), (190, 220, 0.06)):
        distance = np.hypot(y - yc, x - xc)
        edge = 1 / (1 + np.exp((distance - 13) / 1.2))
        flat *= 1 - depth * (edge - 0.5 / (1 + np.exp((distance - 5) / 1.2)))
    return (flat / flat.mean()).astype('f4')


now, last_month = flat_with(96, 110), flat_with(90, 118)
nights = {}
for name, seed in (('R', 1), ('B', 2)):
    nights[name] = simulate_night(
        7, shape, flat=now, dither=15, gradient=0.02, filter_name=name, rng=seed
    )
    nights[name].write(folder / 'lights' / name)

camera = nights['R'].camera


def write(kind, i, level, date, **cards):
    """Write a bias or flat frame of the same camera."""
    electrons = rng.poisson(level, shape) + rng.normal(0, camera.read_noise, shape)
    header = fits.Header({'IMAGETYP': kind, 'DATE-OBS': date, **cards})
    light = nights['R'].frames[0].header
    header.update({k: light[k] for k in ('INSTRUME', 'GAIN') if k in light})
    raw = np.rint(electrons / camera.gain + camera.bias).astype('u2')
    fits.PrimaryHDU(raw, header).writeto(folder / f'{kind}_{i}.fits')


for i in range(5):
    write('bias', i, 0.0, '2025-03-01T19:00:00', EXPTIME=0.0)
    write('flat', i, 15000 * last_month, '2025-02-01T18:00:00', EXPTIME=2.0, FILTER='R')

# %%
# The plan
# --------
# What the headers tell, before any pixel is looked at. Nothing is written.
print(af.run_night(folder, dry_run=True))

# %%
# The night
# ---------
# Lines with ``!`` are doubts: read them.
report = af.run_night(folder)
print(report)

# %%
# Before and after
# ----------------
# The median of the lights, not registered: what stays with the camera shows. The truth
# is known here, so the error of what was applied can be given, beside that of the old
# flats and of doing nothing, without the noise of single pixels.
fig, axes = plt.subplots(2, 2, figsize=(8, 6.2), layout='constrained')
for row, name in zip(axes, nights, strict=True):
    places = sorted((folder / 'lights' / name).glob('light_*.fits'))
    raw = np.array([fits.getdata(p).astype('f4') for p in places]) - camera.bias
    done = [read_ccd(folder / 'calibrated/lights' / name / p.name).data for p in places]
    for ax, stack, title in zip(
        row, (raw, np.array(done)), ('raw', 'calibrated'), strict=True
    ):
        image = np.median(stack / np.median(stack, axis=(1, 2), keepdims=True), axis=0)
        ax.imshow(image, cmap='gray', origin='lower', vmin=0.9, vmax=1.1)
        ax.set_title(f'{name}, {title}')
        ax.set_axis_off()
    applied = np.median(raw / np.array(done), axis=0)
    for label, flat in (('applied', applied), ('old', last_month), ('none', 1.0)):
        error = ndimage.gaussian_filter(flat / now, 2)
        error = 100 * (error / np.median(error) - 1)
        rms, worst = np.std(error), np.abs(error).max()
        print(f'{name}: {label:8s} {rms:.2f} %, at worst {worst:.1f} %')

# %%
# Again
# -----
# What is done is not done twice; after a kill, the same call goes on.
print(af.run_night(folder).lines[-1])
