# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
A reduction with ccdproc
========================

A night of frames and a twilight flat that is a month old. Its vignetting and the
response of its pixels are still right, but dust has settled on the filter since. The
reduction is ccdproc's: bias, dark, flat. What is new is one step: the dust that the old
flat does not know is measured in the frames of the night itself.
"""

# %%
# The files of the night
# ----------------------
# 25 dithered frames, 15 dark and 15 bias frames, 9 frames of the old twilight flat.
import tempfile
from pathlib import Path

import ccdproc
import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from astropy.io import fits

import astroflat as af
from astroflat.degradation import MoteOptics, expose, sample_fields, simulate_night
from astroflat.quality import photometric_flatness

rng = np.random.default_rng(8)
shape = (360, 480)
fields = sample_fields(
    shape,
    difficulty=0.8,
    kinds=('vignetting', 'motes', 'response'),
    optics=MoteOptics(f_ratio=20, obstruction=0.36, pixel_size=9),
    rng=9,
)
night = simulate_night(
    25,
    shape,
    flat=fields,
    dither=60,
    gradient=0.03,
    camera='ccd',
    density=6000,
    sky=2000,
    exposure=120,
    rng=rng,
)
folder = Path(tempfile.mkdtemp())
night.write(folder)


def write_frames(name, n, light, flat=None):
    """Write frames of a closed shutter or of the twilight sky."""
    for i in range(n):
        ccd = expose(
            light,
            camera='ccd',
            flat=flat,
            exposure=night.exposure if name == 'DARK' else 1,
            pattern=night.pattern,
            rng=rng,
        )
        ccd.header['IMAGETYP'] = name
        ccd.header['FILTER'] = 'R'
        path = folder / f'{name.lower()}_{i:04d}.fits'
        fits.PrimaryHDU(ccd.data, ccd.to_hdu()[0].header).writeto(path)


old_flat = fields.component('vignetting', 'response')
write_frames('DARK', 15, np.zeros(shape))
write_frames('BIAS', 15, np.zeros(shape))
write_frames('FLAT', 9, np.full(shape, 45000.0), flat=old_flat)

files = ccdproc.ImageFileCollection(folder)
print(files.summary['file', 'imagetyp', 'exptime', 'filter'][::15])

# %%
# The usual reduction
# -------------------
# All of this is plain ccdproc.


def select(kind):
    """Return the files of a kind."""
    return files.files_filtered(imagetyp=kind, include_path=True)


bias = ccdproc.combine(select('BIAS'), unit='adu', method='average')
dark = ccdproc.combine(select('DARK'), unit='adu', method='average')
twilight = ccdproc.combine(
    [
        ccdproc.subtract_bias(ccd, bias)
        for ccd in files.ccds(imagetyp='FLAT', ccd_kwargs={'unit': 'adu'})
    ],
    method='median',
)
for master in (bias, dark, twilight):
    master.uncertainty = None

reduced = []
for ccd in files.ccds(imagetyp='LIGHT', ccd_kwargs={'unit': 'adu'}):
    ccd = ccdproc.subtract_dark(ccd, dark, exposure_time='EXPTIME', exposure_unit=u.s)
    ccd = ccdproc.flat_correct(ccd, twilight)
    reduced.append(ccd)

# %%
# The dust of this night
# ----------------------
# The median of the frames, not registered, has lost the stars. What is left is the sky,
# flat but for the dust. `astroflat.dust_flat` would make this median by itself; here it
# is made before, to look at it.
median = af.median_flat(reduced, scale='median', sigma_clip=2.5)
solution = af.dust_flat(median)
print(solution.report)

# %%
# The flat is exactly 1 off the dust. ``norm_value=1`` tells ccdproc to leave it so.
final = [ccdproc.flat_correct(ccd, solution.flat, norm_value=1) for ccd in reduced]
clean = solution.flat.data == 1
assert all(
    np.array_equal(after.data[clean], before.data[clean])
    for after, before in zip(final, reduced, strict=True)
)

figure, axes = plt.subplots(2, 2, figsize=(11, 8.3), layout='constrained')
panels = {
    'reduced with the old flat': reduced[0].data,
    'median of 25 frames, not registered': median.data,
    'flat of the dust': solution.flat.data,
    'reduced, and the dust corrected': final[0].data,
}
for ax, (title, image) in zip(axes.flat, panels.items(), strict=True):
    low, high = np.percentile(image, (0.3, 97 if image.max() > 2 else 100))
    ax.imshow(image, cmap='gray', vmin=low, vmax=high, origin='lower')
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# What it is worth
# ----------------
# The same stars, measured in all frames, at many places of the detector: what differs
# is noise and the error of the flat. Circles are the true dust.
gain = night.camera.gain
before = photometric_flatness(reduced, gain=gain)
after = photometric_flatness(
    final, gain=gain, catalogue=before.stars, offsets=before.offsets
)
style = {'s': 12, 'cmap': 'RdBu_r', 'vmin': -60, 'vmax': 60}

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout='constrained', sharey=True)
for ax, result, title in zip(axes, (before, after), ('before', 'after'), strict=True):
    rows = result.table[np.asarray(result.table['noise_mmag']) < 20]
    x, y, residual = (np.asarray(rows[n]) for n in ('x', 'y', 'residual_mmag'))
    dusty = fields.dust_mask[np.rint(y).astype(int), np.rint(x).astype(int)]
    rms = np.sqrt(np.mean(residual[dusty] ** 2))
    shown = ax.scatter(x, y, c=residual, **style)
    ax.contour(fields.dust_mask, [0.5], colors='0.6', linewidths=0.5)
    ax.set_title(f'{title}: {rms:.0f} mmag rms under the dust', fontsize=10)
    ax.set_aspect('equal')
figure.colorbar(shown, ax=axes, label='fainter than the mean of the star by mmag')
plt.show()
