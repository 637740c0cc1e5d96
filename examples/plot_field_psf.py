# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Stars over the field
====================

Off the axis of a telescope stars are wider and longer. `astroflat.psf` simulates this
by wave optics, measures it in the stars of an image, and gives the image of a star at
every place, which `astroflat.Restorer` takes.
"""

# %%
# Aberrations
# -----------
# The image of a star through a telescope of 20 cm, by Zernike polynomials in the order
# of Noll, each with an rms of 0.15 waves. The pixels are a seventh of the resolution.
import matplotlib.pyplot as plt
import numpy as np

import astroflat as af

telescope = {'pupil_diameter': 0.2, 'wavelength': 550, 'obstruction': 0.3}
names = {
    4: 'defocus',
    5: 'astigmatism (sine)',
    6: 'astigmatism (cosine)',
    7: 'coma along y',
    8: 'coma along x',
    9: 'trefoil',
    11: 'spherical',
}
figure, axes = plt.subplots(2, 4, figsize=(11, 5.8), layout='constrained')
for ax, j in zip(axes.flat, (0, *names), strict=True):
    psf = af.psf.zernike_psf(81, {j: 0.15} if j else {}, pixel_scale=0.08, **telescope)
    ax.imshow(psf**0.5, cmap='magma', origin='lower')
    ax.set_title(f'{j}: {names[j]}' if j else 'none', fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# A field
# -------
# Coma grows with the distance from the axis, astigmatism and the curvature of the field
# with its square; the detector is tilted a little. The air adds 2.2 arcseconds.
truth = af.psf.simulate_field(
    (600, 900),
    **telescope,
    pixel_scale=0.8,
    seeing=2.2,
    coma=0.25,
    astigmatism=0.15,
    curvature=0.25,
    tilt=(0.12, 0.0),
)
rng = np.random.default_rng(4)
image = rng.normal(300, 8, truth.shape)
for x, y, flux in zip(
    rng.integers(20, 880, 150),
    rng.integers(20, 580, 150),
    10 ** rng.uniform(3.7, 5.3, 150),
    strict=True,
):
    image[y - 20 : y + 21, x - 20 : x + 21] += flux * truth.kernel_at(x, y, size=41)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout='constrained')
left.imshow(image, cmap='gray', vmin=280, vmax=500, origin='lower')
left.set_title('image', fontsize=10)
grid = [
    [truth.kernel_at(x, y, size=25) ** 0.5 for x in np.linspace(0, 899, 9)]
    for y in np.linspace(0, 599, 6)
]
right.imshow(np.block(grid), cmap='magma', origin='lower')
right.set_title('images of a star, nine by six places', fontsize=10)
right.set_axis_off()
plt.show()

# %%
# Measured
# --------
# Stars that are saturated, close to others or at the edge are left out; a smooth
# function of the place goes through the others.
field = af.psf.measure_field(image)
field.plot(figure=plt.figure(figsize=(11, 4), layout='constrained'))
plt.show()

# %%
# The report says how many stars there are, and what a single width would have missed.
for name, value in field.report.numbers.items():
    print(f'{name:30s} {value:.4g}')

# %%
# Beside the truth, which a real image does not have:
y, x = np.mgrid[0:599:40j, 0:899:60j]
width, true = field.fwhm_at(x, y), truth.fwhm_at(x, y)
print(f'measured field: {100 * np.sqrt(np.mean((width / true - 1) ** 2)):.1f} % (rms)')
print(f'one width:      {100 * np.sqrt(np.mean((field.fwhm / true - 1) ** 2)):.1f} %')

# %%
# Aberrations again
# -----------------
# With a telescope given, its aberrations can be measured in the same stars. Near the
# focus their errors are large; so this is another exposure, 0.3 waves out of focus.
optics = {**telescope, 'pixel_scale': 0.8, 'seeing': 2.2}
defocused = af.psf.simulate_field(
    (400, 600), coma=0.3, astigmatism=0.2, tilt=(0.15, 0), constant={4: 0.3}, **optics
)
second = np.full(defocused.shape, 300.0)
for x, y, flux in zip(
    rng.integers(20, 580, 26),
    rng.integers(20, 380, 26),
    10 ** rng.uniform(4.5, 5.3, 26),
    strict=True,
):
    star = defocused.kernel_at(x, y, size=35)
    second[y - 17 : y + 18, x - 17 : x + 18] += flux * star
second = rng.normal(second, np.sqrt(second))
wavefront = af.psf.measure_zernikes(second, fwhm=4, n_stars=18, gain=1, **optics)
wavefront.plot(figure=plt.figure(figsize=(13, 3.8), layout='constrained'))
plt.show()

# %%
# In a corner, in waves (rms):
errors, true = wavefront.errors_at(20, 20), defocused.coefficients_at(20, 20)
for j, value in wavefront.coefficients_at(20, 20).items():
    print(f'{j}: {value:6.3f} ± {errors[j]:.3f}, true {true[j]:6.3f}')

# %%
# ``field.kernel_at(x, y)`` is the image of a star at a place;
# ``af.Restorer().restore(image, psf=field)`` sharpens each place by its own star.
kernel = field.kernel_at(30, 30)
print(kernel.shape, round(float(kernel.sum()), 6))
