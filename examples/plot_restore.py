# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sharpen and denoise
===================

`astroflat.Restorer` takes the blur and the noise out of a frame, each as much as
wanted. Here the sky is known, so that what comes out can be compared with it.
"""

# %%
# A sky and a frame of it
# -----------------------
# Stars and galaxies, as a telescope would see them with stars of 2 pixels, and as this
# one sees them: stars of 4 pixels, with wings, and the noise of a camera.
import matplotlib.pyplot as plt
import numpy as np
from astropy.modeling.models import Sersic2D
from scipy.signal import fftconvolve

import astroflat as af

rng = np.random.default_rng(7)
shape = (320, 480)
y, x = np.mgrid[: shape[0], : shape[1]]
light = np.zeros(shape)
for column, row, size, tilt in (
    (110, 210, 14, 0.5),
    (330, 120, 10, 2.2),
    (250, 260, 7, 1),
):
    galaxy = Sersic2D(120, size, 1.5, column, row, ellip=0.5, theta=tilt)
    light += galaxy(x, y)
places = np.stack([rng.uniform(8, side - 9, 90) for side in shape[::-1]], axis=1)
fluxes = 10 ** rng.uniform(2.8, 5.0, 90)


def stars(kernel):
    """Return the stars, each the image of a point at its fraction of a pixel."""
    image = np.zeros(np.add(shape, 40))
    for (column, row), flux in zip(places, fluxes, strict=True):
        i, j = round(column), round(row)
        image[j : j + 41, i : i + 41] += flux * kernel(
            size=41, offset=(column - i, row - j)
        )
    return image[20:-20, 20:-20]


def sharp_star(**options):
    """Return a star of the sharp image."""
    return af.psf.gaussian_kernel(2.0, **options)


def blurred_star(**options):
    """Return a star of the frame."""
    return af.psf.moffat_kernel(4.0, beta=3.0, ellipticity=0.1, theta=30, **options)


truth = fftconvolve(light, sharp_star(size=21), mode='same') + stars(sharp_star)
blurred = fftconvolve(light, blurred_star(size=61), mode='same') + stars(blurred_star)
electrons = rng.poisson(blurred + 200) + rng.normal(0, 4, shape)
frame = electrons.astype('f4')

# %%
# Restored
# --------
# The width of the stars is measured in the frame, as a function of the place.
restorer = af.Restorer(device='cpu')
restored, residual, report = restorer.restore(
    frame, gain=1.0, readnoise=4.0, offset=0.0, full_output=True
)


def show(ax, image, title):
    """Show faint and bright light together."""
    ax.imshow(np.arcsinh((image - 200) / 30), cmap='gray', vmin=-0.7, vmax=5)
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()


figure, axes = plt.subplots(2, 2, figsize=(11, 7.6), layout='constrained')
show(axes[0, 0], frame, 'frame')
show(axes[0, 1], restored, 'restored')
show(axes[1, 1], truth + 200, 'truth')
axes[1, 0].imshow(residual, cmap='gray', vmin=-60, vmax=60)
axes[1, 0].set_title('residual: frame − restored frame, blurred again', fontsize=10)
axes[1, 0].set_axis_off()
plt.show()

# %%
# The report measures stars before and after.
print(report)

# %%
# Beside the truth
# ----------------
# How far the frame and the restored one are from it, where there is light.
bright = truth > 20
for name, image in (('frame', frame), ('restored', restored)):
    error = np.sqrt(np.mean((image - 200 - truth)[bright] ** 2))
    print(f'{name:10s} rms error where there is light: {error:7.1f} electrons')

# %%
# The dials
# ---------
# Half of the strength leaves wider stars; without denoising the noise of the frame
# stays.
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout='constrained')
cut = np.s_[150:270, 50:170]
for ax, (strength, denoise) in zip(
    axes, ((0, 0), (0, 1), (0.5, 0.5), (1, 1)), strict=True
):
    image = restorer.restore(
        frame, strength=strength, denoise=denoise, gain=1.0, readnoise=4.0, offset=0.0
    )
    show(ax, image[cut], f'strength {strength}, denoise {denoise}')
plt.show()
