# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Closed forms against limits, brute force and the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from astroflat.degradation import MoteOptics, profiles
from astroflat.degradation._profiles_vignetting import overlap_slopes

radii = st.floats(0.05, 20.0)


@given(distance=st.floats(0.0, 50.0), radius=radii, other=radii)
def test_overlap_is_symmetric_and_bounded(distance, radius, other):
    """The common area is that of neither circle first, within the smaller."""
    area = profiles.circle_overlap(np.array(distance), radius, other=other)
    assert_allclose(
        area,
        profiles.circle_overlap(np.array(distance), other, other=radius),
        atol=1e-9,
    )
    assert 0.0 <= area <= math.pi * min(radius, other) ** 2 * (1 + 1e-12)


def test_overlap_limits_are_exact():
    """Separate circles share nothing, a circle inside shares all of itself."""
    distance = np.array([0.0, 0.9, 3.0, 3.1, 100.0])
    area = profiles.circle_overlap(distance, 2.0, other=1.0)
    assert_allclose(area[[0, 1]], math.pi, rtol=1e-14)
    assert np.array_equal(area[2:], [0.0, 0.0, 0.0])


def test_overlap_of_equal_circles_has_a_centre():
    """Two equal circles with one centre share a whole circle."""
    assert_allclose(
        profiles.circle_overlap(np.array(0.0), 1.5, other=1.5), math.pi * 2.25
    )


def test_overlap_against_counting():
    """The formula agrees with counting the points of a fine grid."""
    x, y = np.meshgrid(np.linspace(-3, 3, 2001), np.linspace(-3, 3, 2001))
    cell = (6 / 2000) ** 2
    for distance, radius, other in ((0.7, 1.0, 1.2), (1.6, 1.3, 0.9), (0.2, 2.0, 0.4)):
        both = (np.hypot(x, y) < radius) & (np.hypot(x - distance, y) < other)
        area = profiles.circle_overlap(np.array(distance), radius, other=other)
        assert_allclose(area, both.sum() * cell, rtol=2e-3)


def test_overlap_slopes_against_differences():
    """Chord and arcs are the derivatives of the area."""
    d, step = np.array([0.4, 1.0, 1.9]), 1e-6
    chord, arc, other = overlap_slopes(d, 1.5, 1.0)

    def slope(high, low):
        return (high - low) / (2 * step)

    def area(distance, radius, other):
        return profiles.circle_overlap(distance, radius, other=other)

    assert_allclose(
        -chord, slope(area(d + step, 1.5, 1.0), area(d - step, 1.5, 1.0)), atol=1e-8
    )
    assert_allclose(
        arc, slope(area(d, 1.5 + step, 1.0), area(d, 1.5 - step, 1.0)), atol=1e-8
    )
    assert_allclose(
        other, slope(area(d, 1.5, 1.0 + step), area(d, 1.5, 1.0 - step)), atol=1e-8
    )


def test_natural_vignetting_is_the_fourth_power_of_the_cosine():
    """Natural vignetting is cos(arctan(r / f)) ** 4."""
    x = np.linspace(-700, 900, 50)
    value = profiles.natural_vignetting(x, 31.0, x_0=10.0, y_0=-5.0, focal_length=800.0)
    angle = np.arctan(np.hypot(x - 10.0, 36.0) / 800.0)
    assert_allclose(value, np.cos(angle) ** 4, rtol=1e-13)


def test_radial_vignetting_value_at_its_radius():
    """The amplitude is lost at the radius, along the major axis."""
    theta, radius = 0.7, 300.0
    kwargs = {'amplitude': 0.4, 'x_0': 5.0, 'y_0': 9.0, 'radius': radius}
    kwargs |= {'power': 3.3, 'ellipticity': 0.2, 'theta': theta}
    x, y = 5.0 + radius * math.cos(theta), 9.0 + radius * math.sin(theta)
    assert_allclose(profiles.radial_vignetting(x, y, **kwargs), 0.6, rtol=1e-12)
    x, y = 5.0 - 0.8 * radius * math.sin(theta), 9.0 + 0.8 * radius * math.cos(theta)
    assert_allclose(profiles.radial_vignetting(x, y, **kwargs), 0.6, rtol=1e-12)


def test_mechanical_vignetting_is_free_in_the_middle_and_monotone():
    """A wide stop leaves the middle alone; outside it the light falls steadily."""
    r = np.linspace(0, 2300, 400)
    value = profiles.mechanical_vignetting(
        r, 0.0, x_0=0.0, y_0=0.0, scale=1000.0, stop=1.25
    )
    assert_allclose(value[r <= 250], 1.0, rtol=1e-13)
    assert (np.diff(value) <= 1e-15).all()
    assert (value[r >= 2250] == 0).all()


def test_mechanical_vignetting_of_a_small_stop_is_normalised():
    """A stop smaller than the pupil still gives 1 in the middle."""
    value = profiles.mechanical_vignetting(
        np.array(0.0), 0.0, x_0=0.0, y_0=0.0, scale=500.0, stop=0.4
    )
    assert_allclose(value, 1.0, rtol=1e-13)


def _brute_mote(size, radius, hole, particle, shift):
    """Shadow by sliding a disc of the pupil's shape over a particle."""
    fine = 4
    axis = (np.arange(size * fine) + 0.5) / fine - size / 2
    x, y = np.meshgrid(axis, axis)
    pupil = (np.hypot(x, y) < radius) & (np.hypot(x - shift, y) >= hole * radius)
    axis = np.arange(size * fine) / fine - size / 2
    speck = np.hypot(axis, axis[:, None]) < particle
    product = np.fft.ifft2(np.fft.fft2(pupil) * np.fft.fft2(np.fft.ifftshift(speck)))
    lost = product.real / pupil.sum()
    return 1.0 - lost.reshape(size, fine, size, fine).mean(axis=(1, 3))


@pytest.mark.parametrize(('hole', 'shift'), [(0.0, 0.0), (0.4, 0.0), (0.35, 3.0)])
def test_mote_against_brute_force(hole, shift):
    """The donut is the pupil smeared by the particle, as slid over a fine grid."""
    size, radius, particle = 64, 16.0, 4.0
    expected = _brute_mote(size, radius, hole, particle, shift)
    axis = np.arange(size) - (size - 1) / 2
    depth = (particle / radius) ** 2 / (1 - hole**2)
    value = profiles.mote(
        axis,
        axis[:, None],
        depth=depth,
        x_0=0.0,
        y_0=0.0,
        radius=radius,
        edge=particle,
        hole=hole,
        hole_x=shift,
    )
    assert_allclose(value, expected, atol=0.03 * depth)


def test_mote_is_exactly_one_outside():
    """Nothing is lost beyond the soft edge, nor in a wide hole."""
    axis = np.arange(-60.0, 61.0)
    value = profiles.mote(
        axis,
        axis[:, None],
        depth=0.2,
        x_0=0.5,
        y_0=0.0,
        radius=30.0,
        edge=5.0,
        hole=0.5,
    )
    rho = np.hypot(axis - 0.5, axis[:, None])
    assert (value[rho >= 35.0] == 1.0).all()
    assert_allclose(value[rho <= 10.0], 1.0, atol=1e-12)
    assert_allclose(value[(rho > 20.0) & (rho < 25.0)], 0.8, atol=1e-12)


def test_mote_tilt_changes_the_lighting_of_the_ring():
    """The ring is deeper on the side to which it is tilted."""
    x = np.array([-20.0, 20.0])
    value = profiles.mote(
        x, 0.0, depth=0.1, x_0=0.0, y_0=0.0, radius=25.0, edge=3.0, hole=0.3, tilt_x=0.5
    )
    assert_allclose(1.0 - value, [0.06, 0.14], rtol=1e-12)


def test_mote_with_a_shifted_hole_never_brightens():
    """A hole moved over the rim does not make light."""
    axis = np.arange(-40.0, 41.0)
    value = profiles.mote(
        axis,
        axis[:, None],
        depth=0.3,
        x_0=0.0,
        y_0=0.0,
        radius=20.0,
        edge=4.0,
        hole=0.5,
        hole_x=16.0,
    )
    assert value.max() <= 1.0


def test_mote_from_optics_sizes():
    """The shadow's diameter is distance over focal ratio, its depth that of areas."""
    optics = MoteOptics(f_ratio=8.0, obstruction=0.4, pixel_size=5.0)
    shadow = profiles.mote_from_optics(optics, distance=20.0, particle=200.0)
    assert_allclose(shadow['radius'], 20.0e3 / 8.0 / 5.0 / 2)
    assert shadow['hole'] == 0.4
    spread = 0.55 * 20e3 / 200 / 2
    assert_allclose(shadow['edge'], math.hypot(100.0, spread) / 5.0)
    lit = shadow['radius'] ** 2 * (1 - 0.16)
    assert_allclose(shadow['depth'], 20.0**2 / lit, rtol=1e-12)


def test_mote_loses_the_light_that_the_particle_stops():
    """Summed over the shadow, the loss is the area of the particle."""
    optics = MoteOptics(f_ratio=10.0, obstruction=0.3, pixel_size=4.0)
    shadow = profiles.mote_from_optics(optics, distance=4.0, particle=60.0)
    axis = np.arange(-120.0, 121.0)
    value = profiles.mote(axis, axis[:, None], x_0=0.0, y_0=0.0, **shadow)
    assert_allclose((1.0 - value).sum(), math.pi * 7.5**2, rtol=3e-3)


def test_particle_larger_than_the_beam_stops_all():
    """Nearly in focus a particle is opaque."""
    optics = MoteOptics(f_ratio=40.0, pixel_size=3.0)
    shadow = profiles.mote_from_optics(optics, distance=0.5, particle=200.0)
    assert_allclose(shadow['depth'], 1.0, rtol=2e-3)
    value = profiles.mote(np.array([0.0, 20.0]), 0.0, x_0=0.0, y_0=0.0, **shadow)
    assert_allclose(value, 0.0, atol=2e-3)


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        ({'f_ratio': 0.0}, 'f_ratio'),
        ({'f_ratio': 5.0, 'obstruction': 1.0}, 'obstruction'),
        ({'f_ratio': 5.0, 'pixel_size': -1.0}, 'pixel_size'),
    ],
)
def test_optics_refuses_what_cannot_be(arguments, word):
    """A beam needs a positive focal ratio and an obstruction below 1."""
    with pytest.raises(ValueError, match=word):
        MoteOptics(**arguments)


def test_mote_from_optics_refuses_a_distance_of_zero():
    """A particle on the detector has no cone."""
    with pytest.raises(ValueError, match='distance'):
        profiles.mote_from_optics(MoteOptics(f_ratio=5.0), distance=0.0, particle=9.0)


def test_speck_inside_outline_and_outside():
    """A speck is dark inside, half as dark on its outline, and 1 beyond."""
    x = np.array([0.0, 8.0, 9.1])
    value = profiles.speck(x, 0.0, depth=0.6, x_0=0.0, y_0=0.0, a=8.0, b=4.0, edge=2.0)
    assert_allclose(value, [0.4, 0.7, 1.0], rtol=1e-6)
    value = profiles.speck(
        0.0, np.array([4.0, 7.0]), depth=0.6, x_0=0.0, y_0=0.0, a=8.0, b=4.0, edge=2.0
    )
    assert_allclose(value, [0.7, 1.0], rtol=1e-6)


def test_speck_lobes_follow_the_harmonics():
    """The outline moves by the harmonics of the angle."""
    angle = np.linspace(-3, 3, 41)
    lobes = {'cos_3': 0.1, 'sin_3': -0.05, 'cos_5': 0.03, 'sin_5': 0.06}
    outline = 1 + 0.1 * np.cos(3 * angle) - 0.05 * np.sin(3 * angle)
    outline += 0.03 * np.cos(5 * angle) + 0.06 * np.sin(5 * angle)
    value = profiles.speck(
        10 * outline * np.cos(angle),
        10 * outline * np.sin(angle),
        depth=0.5,
        x_0=0.0,
        y_0=0.0,
        a=10.0,
        b=10.0,
        **lobes,
    )
    assert_allclose(value, 0.75, atol=1e-6)


def test_speck_rim_is_bright_and_bounded():
    """The fringe lies outside the outline and is no higher than asked for."""
    x = np.linspace(0, 20, 500)
    value = profiles.speck(
        x, 0.0, depth=0.5, x_0=0.0, y_0=0.0, a=8.0, b=8.0, edge=2.0, rim=0.05
    )
    assert 1.02 < value.max() <= 1.05
    assert (value[x > 13.0] == 1.0).all()


def test_fiber_follows_its_bend():
    """The dark line is a parabola of the given curvature."""
    along = np.linspace(-40, 40, 21)
    value = profiles.fiber(
        3.0 + along,
        7.0 + 0.5 * 0.01 * along**2,
        depth=0.3,
        x_0=3.0,
        y_0=7.0,
        length=100.0,
        width=4.0,
        curvature=0.01,
    )
    assert_allclose(value, 0.7, rtol=1e-12)
    beside = profiles.fiber(
        3.0, 12.0, depth=0.3, x_0=3.0, y_0=7.0, length=100.0, width=4.0
    )
    assert beside == 1.0


def test_moonlight_of_krisciunas_and_schaefer():
    """The ratio over the frame is that of the published function."""

    def published(rho):
        return 10**5.36 * (1.06 + math.cos(math.radians(rho)) ** 2) + 10 ** (
            6.15 - rho / 40
        )

    value = profiles.moonlight(
        np.array([0.0, 1000.0]),
        0.0,
        amplitude=50.0,
        x_0=0.0,
        y_0=0.0,
        separation=30.0,
        theta=0.0,
        scale=0.005,
    )
    assert_allclose(value, [50.0, 50.0 * published(25.0) / published(30.0)], rtol=1e-12)


def test_amp_glow_falls_by_e():
    """The glow falls to 1/e over its scale."""
    value = profiles.amp_glow(
        np.array([0.0, 30.0]),
        0.0,
        amplitude=2.0,
        x_0=0.0,
        y_0=0.0,
        scale_x=30.0,
        scale_y=5.0,
    )
    assert_allclose(value, [2.0, 2.0 / math.e])


def test_gradients_are_polynomials():
    """Plane and quadratic surface are what their names say."""
    y, x = np.mgrid[:5, :7].astype(float)
    plane = profiles.linear_gradient(x, y, slope_x=2.0, slope_y=-1.0, x_0=3.0, y_0=2.0)
    assert_allclose(plane, 2 * (x - 3) - (y - 2))
    bowl = profiles.quadratic_gradient(x, y, xx=1.0, xy=-2.0, yy=0.5, x_0=3.0, y_0=2.0)
    assert_allclose(bowl, (x - 3) ** 2 - 2 * (x - 3) * (y - 2) + 0.5 * (y - 2) ** 2)


def test_white_noise_is_normal_and_independent():
    """Mean 0, variance 1, no correlation with neighbours, seeds or axes."""
    axis = np.arange(600.0)
    field = profiles.white_noise(axis, axis[:, None], seed=11)
    n = field.size
    assert abs(field.mean()) < 4 / math.sqrt(n)
    assert abs(field.var() - 1) < 4 * math.sqrt(2 / n)
    others = (
        (field[:, 1:], field[:, :-1]),
        (field[1:], field[:-1]),
        (field, field.T),
        (field, profiles.white_noise(axis, axis[:, None], seed=12)),
    )
    for one, two in others:
        assert abs((one * two).mean()) < 6 / math.sqrt(n)
    share = np.mean(np.abs(field) < 1.0)
    assert abs(share - 0.6827) < 0.02


def test_white_noise_is_a_function_of_the_place():
    """A crop, a single pixel and float32 coordinates give the same numbers."""
    axis = np.arange(100.0)
    field = profiles.white_noise(axis, axis[:, None], seed=3)
    crop = profiles.white_noise(axis[20:30], axis[40:50, None], seed=3)
    assert np.array_equal(crop, field[40:50, 20:30])
    single = profiles.white_noise(axis.astype('f4'), axis[:, None].astype('f4'), seed=3)
    assert single.dtype == np.float32
    assert_allclose(single, field, atol=1e-6)


def test_lattice_noise_joins_axes_as_it_joins_points():
    """The fast way for rows and columns gives the numbers of the general way."""
    x, y = np.arange(70.0), np.arange(50.0)[:, None]
    grid = profiles.lattice_noise(x, y, scale=9.0, seed=5)
    points = profiles.lattice_noise(
        *np.broadcast_arrays(x + np.zeros((50, 1)), y + np.zeros(70)), scale=9.0, seed=5
    )
    assert_allclose(grid, points, atol=1e-12)
    crop = profiles.lattice_noise(x[30:], y[20:], scale=9.0, seed=5)
    assert_allclose(crop, grid[20:, 30:], atol=1e-12)


def test_lattice_noise_has_unit_variance_on_average():
    """Over many cells the variance is 1."""
    axis = np.arange(800.0)
    values = [
        profiles.lattice_noise(axis, axis[:, None], scale=8.0, seed=seed).var()
        for seed in range(4)
    ]
    assert abs(np.mean(values) - 1) < 0.03


def test_line_noise_is_constant_along_lines():
    """Rows differ, and columns do not, or the other way round."""
    x, y = np.arange(30.0), np.arange(40.0)[:, None]
    rows = profiles.line_noise(x, y, seed=1, axis=0)
    columns = profiles.line_noise(x, y, seed=1, axis=1)
    assert rows.shape == columns.shape == (40, 30)
    assert np.ptp(rows, axis=1).max() == 0.0
    assert np.ptp(columns, axis=0).max() == 0.0
    assert abs(np.corrcoef(rows[:30, 0], columns[0])[0, 1]) < 0.6


def test_profiles_keep_single_precision():
    """Float32 coordinates and plain numbers give float32 fields."""
    x, y = np.arange(8, dtype='f4'), np.arange(6, dtype='f4')[:, None]
    place = {'x_0': 3.0, 'y_0': 2.0}
    fields = [
        profiles.radial_vignetting(x, y, amplitude=0.2, radius=9.0, **place),
        profiles.natural_vignetting(x, y, focal_length=20.0, **place),
        profiles.mechanical_vignetting(x, y, scale=20.0, stop=1.1, **place),
        profiles.mote(x, y, depth=0.1, radius=3.0, edge=1.0, hole=0.3, **place),
        profiles.speck(x, y, depth=0.1, a=3.0, b=2.0, theta=0.3, **place),
        profiles.fiber(x, y, depth=0.1, length=5.0, width=2.0, theta=0.3, **place),
        profiles.amp_glow(x, y, amplitude=1.0, scale_x=4.0, scale_y=5.0, **place),
        profiles.moonlight(
            x, y, amplitude=1.0, separation=30.0, theta=0.1, scale=0.1, **place
        ),
        profiles.lattice_noise(x, y, scale=3.0, seed=1),
    ]
    assert {str(field.dtype) for field in fields} == {'float32'}
