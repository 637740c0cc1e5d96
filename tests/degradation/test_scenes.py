# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Synthetic skies: seeds, fluxes, offsets, textures."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from numpy.testing import assert_allclose
from scipy import ndimage

from astroflat.degradation import SCENE_KINDS, _textures, draw_scene, make_scene
from astroflat.degradation._scene import shift_canvas
from astroflat.degradation._scenes_galaxies import sersic
from astroflat.degradation._scenes_moon import _shade
from astroflat.degradation._scenes_stars import (
    PointSpread,
    add_stars,
    cluster_places,
    star_fluxes,
)
from astroflat.degradation._scenes_sun import granulation

KINDS = [kind for kind in SCENE_KINDS if kind != 'image']
DAY = ('granulation', 'sunspot', 'active_region', 'moon')


def _slope(image):
    """Slope of the power spectrum between a tenth and a third of Nyquist."""
    window = np.outer(*(np.hanning(size) for size in image.shape))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    k = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, image.shape), indexing='ij'))
    bins = np.geomspace(0.02, 0.15, 9)
    place = np.digitize(k, bins)
    mean = [power[place == i].mean() for i in range(1, len(bins))]
    return -np.polyfit(np.log(np.sqrt(bins[1:] * bins[:-1])), np.log(mean), 1)[0]


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind(kind):
    """Each kind gives a positive float32 image at the level, twice the same."""
    image = make_scene((90, 120), kind=kind, rng=5, level=400.0)
    assert image.shape == (90, 120)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.min() > 0
    assert (
        image.tobytes()
        == make_scene((90, 120), kind=kind, rng=5, level=400.0).tobytes()
    )
    assert (
        image.tobytes()
        != make_scene((90, 120), kind=kind, rng=6, level=400.0).tobytes()
    )
    if kind in DAY:
        assert_allclose(image.mean(), 400.0, rtol=0.15)
    else:
        assert image.min() >= 399.99


def test_stars_have_the_flux_of_the_catalogue():
    """A lone star, summed, has its flux; its place is its centre of light."""
    image = np.zeros((301, 301), np.float32)
    psf = PointSpread(fwhm=3.5, beta=4.0)
    x, y = np.array([150.3]), np.array([149.6])
    add_stars(image, x, y, np.array([5e4]), psf=psf, floor=1e-3)
    assert_allclose(image.sum(), 5e4, rtol=2e-3)
    assert_allclose(ndimage.center_of_mass(image), (149.6, 150.3), atol=5e-3)


def test_stars_have_the_width_that_was_asked_for():
    """Half the peak is found at half the width."""
    psf = PointSpread(fwhm=5.0, beta=3.0)
    image = np.zeros((101, 101), np.float32)
    place = np.array([50.0])
    add_stars(image, place, place, np.array([1e5]), psf=psf, floor=1e-3)
    profile = image[50, 50:] / image[50, 50]
    assert_allclose(2 * np.interp(-0.5, -profile, np.arange(51.0)), 5.0, atol=0.1)


def test_stars_are_drawn_out_in_the_corners():
    """With aberration a star in the corner is wider and points to the middle."""
    psf = PointSpread(fwhm=4.0, beta=4.0, growth=0.3, ellipticity=0.3, size=100.0)
    image = np.zeros((161, 161), np.float32)
    place = np.array([70.0])
    add_stars(image, place, place, np.array([1e6]), psf=psf, floor=1e-2)
    y, x = np.mgrid[:161, :161] - 70.0
    near = np.hypot(x, y) < 12
    weight = image * near
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    ratio = (weight * along**2).sum() / (weight * across**2).sum()
    assert 1.2 < ratio < 2.0


def test_stars_off_the_frame_send_their_wings():
    """A bright star beside the frame lights its edge, and nothing breaks."""
    image = np.zeros((50, 50), np.float32)
    psf = PointSpread(fwhm=3.0)
    far = np.array([-6.0, 1e5, 25.0])
    add_stars(
        image, far, np.array([25.0, 0.0, 58.0]), np.full(3, 1e6), psf=psf, floor=0.1
    )
    assert image[25, 0] > 100 > image[0, 49]


def test_star_counts_follow_the_power_law():
    """The number brighter than f falls with the slope."""
    flux = star_fluxes(
        200_000, faintest=1.0, brightest=1e6, slope=0.7, rng=np.random.default_rng(1)
    )
    ratio = (flux > 10).sum() / (flux > 1000).sum()
    assert_allclose(ratio, 10 ** (0.7 * 2), rtol=0.05)


def test_cluster_has_its_core():
    """Half the central density is found at the core radius."""
    x, y = cluster_places(400_000, core=20.0, edge=400.0, rng=np.random.default_rng(1))
    count, edges = np.histogram(np.hypot(x, y), bins=np.arange(0, 41, 4.0))
    density = count / np.diff(edges**2)
    centre = 0.5 * (edges[1:] + edges[:-1])
    assert_allclose(
        density / density[0] * 1.04, 1 / (1 + (centre / 20) ** 2), rtol=0.12
    )


def test_catalogue_matches_the_image():
    """The brightest stars of the catalogue are peaks of the image."""
    scene = draw_scene((200, 240), kind='starfield', rng=2, density=400)
    image = scene.render()
    inside = (
        (scene.sources['x'].value > 5)
        & (scene.sources['x'].value < 234)
        & (scene.sources['y'].value > 5)
        & (scene.sources['y'].value < 194)
    )
    assert np.all(np.diff(scene.sources['flux'].value) <= 0)
    for row in scene.sources[inside][:5]:
        x, y = round(row['x'].value), round(row['y'].value)
        box = image[y - 3 : y + 4, x - 3 : x + 4]
        assert box.max() > 1.2 * np.median(image)


def test_whole_offsets_move_the_scene_exactly():
    """A shift by whole pixels moves extended light without any change."""
    scene = draw_scene((60, 80), kind='granulation', rng=3, margin=5)
    still, moved = scene.render(), scene.render((3, -2))
    assert np.array_equal(moved[3:, :-2], still[:-3, 2:])


@pytest.mark.parametrize('kind', ['starfield', 'emission_nebula'])
def test_fractions_of_a_pixel_move_the_light(kind):
    """A shift by a fraction is undone by the opposite shift."""
    scene = draw_scene((90, 90), kind=kind, rng=3, margin=5, fwhm=4.0, density=500)
    still, moved = scene.render(), scene.render((0.4, 0.0))
    back = ndimage.shift(moved.astype(float), (-0.4, 0.0), order=5, mode='nearest')
    error = np.abs(back - still)[8:-8, 8:-8] / still[8:-8, 8:-8]
    assert np.percentile(error, 99) < 0.01


def test_offset_needs_a_margin():
    """An offset beyond the margin is refused."""
    scene = draw_scene((40, 40), kind='moon', rng=3, margin=2)
    with pytest.raises(ValueError, match='margin'):
        scene.render((0.0, 2.5))


def test_background_and_transparency():
    """The sky is added as asked for, and clouds dim all but the sky."""
    scene = draw_scene((60, 60), kind='emission_nebula', rng=3, level=100.0)
    clear = scene.render(background=0.0)
    cloudy = scene.render(background=70.0, transparency=0.5)
    assert_allclose(cloudy, 0.5 * clear + 70.0, atol=1.0, rtol=1e-3)


def test_power_law_has_its_slope():
    """The spectrum of the noise falls as asked for."""
    for slope in (2.0, 3.0):
        field = _textures.power_law(
            (512, 512), slope=slope, rng=np.random.default_rng(1)
        )
        assert_allclose(_slope(field), slope, atol=0.2)


@pytest.mark.parametrize(
    'kind', ['emission_nebula', 'dark_nebula', 'reflection_nebula']
)
def test_nebulae_have_the_spectra_of_the_interstellar_medium(kind):
    """Their power falls with a slope of about 2.5 to 4, and they fill the frame."""
    scene = draw_scene((400, 400), kind=kind, rng=4, fwhm=1.5)
    assert 2.3 < _slope(np.log(scene.diffuse)) < 4.5
    cells = scene.diffuse.reshape(8, 50, 8, 50).mean(axis=(1, 3))
    assert (cells.std() / cells.mean() > 0.1) & (cells.min() > 0)


def test_granulation_has_bright_cells_and_dark_lanes():
    """Cells are brighter than the lanes between them, at the contrast asked for."""
    image = granulation((300, 300), rng=np.random.default_rng(1))
    parts = _textures.cells(
        (300, 300), scale=14.0, rng=np.random.default_rng(1), spread=0.55, wobble=0.13
    )
    lanes, cells = image[parts.border < 1.0].mean(), image[parts.border > 4.0].mean()
    assert cells / lanes > 1.15
    assert_allclose(image.std(), 0.09, rtol=1e-3)


def test_sunspot_has_umbra_penumbra_and_surface():
    """There are three levels of brightness."""
    image = make_scene((400, 400), kind='sunspot', rng=1, level=1.0)
    umbra, penumbra = image < 0.35, (image > 0.6) & (image < 0.85)
    assert 0.005 < umbra.mean() < 0.2
    assert 0.02 < penumbra.mean() < 0.4
    assert_allclose(np.median(image[image > 0.88]), 1.0, atol=0.06)


def test_moon_casts_shadows_away_from_the_sun():
    """A wall lit from the left throws a shadow of its height over the tangent."""
    height = np.zeros((3, 200), np.float32)
    height[:, 50:53] = 10.0
    light = _shade(height, np.arctan(0.25))
    dark = light[1] < 0.2 * light[1, 0]
    # The last pixels are in half-shadow.
    assert_allclose(dark[53:].sum(), 38, atol=3)
    assert not dark[:45].any()


def test_sersic_holds_half_its_light_within_the_effective_radius():
    """The coefficient of the profile is the one of its definition."""
    radius = np.linspace(0, 400, 400_001)
    for n in (1.0, 4.0):
        light = np.cumsum(sersic(radius, r_e=2.0, n=n) * radius)
        assert_allclose(np.interp(0.5 * light[-1], light, radius), 2.0, rtol=0.02)


def test_cells_divide_the_plane():
    """Borders are near and seeds within reach everywhere."""
    parts = _textures.cells((200, 220), scale=15, rng=np.random.default_rng(1))
    assert parts.border.min() >= 0
    assert 2.0 < parts.border.mean() < 6.0
    assert parts.radius.max() < 30
    assert 100 < len(np.unique(parts.value)) < 320


def test_streaks_follow_the_field():
    """Correlation is long along the field and short across it."""
    noise = np.random.default_rng(1).standard_normal((120, 120), np.float32)
    one = np.ones((120, 120), np.float32)
    lines = _textures.streaks(noise, (0 * one, one), length=12)
    along = (lines[:, 6:] * lines[:, :-6]).mean()
    across = (lines[6:] * lines[:-6]).mean()
    assert along > 0.5
    assert abs(across) < 0.15


def test_shift_canvas_mirrors_beyond_the_edge():
    """Where the canvas ends its mirror image goes on."""
    canvas = np.arange(5.0)[None]
    assert shift_canvas(canvas, (0, -2), (1, 9))[0].tolist() == [
        2,
        1,
        0,
        1,
        2,
        3,
        4,
        3,
        2,
    ]


def test_own_image_is_cut_mirrored_and_scaled():
    """A user's picture fills any frame at the level that was asked for."""
    rng = np.random.default_rng(1)
    picture = CCDData(rng.uniform(50, 150, (40, 30)), unit=u.adu)
    image = make_scene((60, 20), kind='image', image=picture, level=2000.0)
    assert image.shape == (60, 20)
    scale = 2000.0 / np.median(picture.data)
    assert_allclose(image[10:50], picture.data[:, 5:25] * scale, rtol=1e-6)
    assert_allclose(image[9], image[11])


def test_own_colour_image_becomes_grey():
    """Three channels are averaged."""
    picture = np.ones((8, 9, 3)) * [1.0, 2.0, 6.0]
    assert_allclose(make_scene((8, 9), kind='image', image=picture, level=10.0), 10.0)


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        ({'kind': 'aurora'}, 'kind'),
        ({'kind': 'image'}, 'image'),
        ({'kind': 'moon', 'image': np.ones((4, 4))}, 'image'),
        ({'level': 0.0}, 'level'),
        ({'fwhm': -1.0}, 'fwhm'),
        ({'margin': 1.5}, 'margin'),
        ({'kind': 'image', 'image': np.zeros((4, 4))}, 'median'),
    ],
)
def test_arguments_out_of_range(arguments, word):
    """What cannot be is refused with the name of the argument."""
    with pytest.raises(ValueError, match=word):
        draw_scene((20, 20), rng=1, **arguments)


@pytest.mark.parametrize('shape', [(7, 50), (50,), 9, (20, 20, 3)])
def test_shapes_that_hold_no_scene(shape):
    """A scene needs two axes of eight pixels."""
    with pytest.raises(ValueError, match='shape'):
        make_scene(shape, rng=1)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('shape', [(8, 8), (9, 150), (120, 8)])
def test_small_and_narrow_scenes(shape, kind):
    """Every kind fits the smallest and the narrowest frames."""
    image = make_scene(shape, kind=kind, rng=1)
    assert image.shape == shape
    assert np.isfinite(image).all()
    assert image.min() >= 0
