# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Random artifacts, one function per kind.

Every function draws the same numbers whatever the difficulty and then scales
them, so that a seed gives one layout of artifacts at all strengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astroflat.degradation import fields
from astroflat.degradation._fields_base import PixelModel
from astroflat.degradation._optics import MoteOptics
from astroflat.degradation._profiles_vignetting import circle_overlap

__all__ = ['DRAWS', 'Draw']


@dataclass(frozen=True)
class Draw:
    """
    What every draw needs.

    Parameters
    ----------
    shape : tuple of int
        Shape of the frame, ``(ny, nx)``.
    difficulty : float
        Strength, 0 to 1.
    optics : MoteOptics
        The beam at the detector.
    rng : numpy.random.Generator
        Source of random numbers of this kind alone.
    """

    shape: tuple[int, int]
    difficulty: float
    optics: MoteOptics
    rng: np.random.Generator

    @property
    def size(self) -> float:
        """Half the diagonal of the frame in pixels."""
        return 0.5 * math.hypot(*self.shape)

    @property
    def middle(self) -> tuple[float, float]:
        """Centre of the frame as (x, y)."""
        return 0.5 * (self.shape[1] - 1), 0.5 * (self.shape[0] - 1)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number from a range."""
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """Draw a positive number whose logarithm is uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def angle(self) -> float:
        """Draw a direction in radians."""
        return self.uniform(-math.pi, math.pi)

    def seed(self) -> int:
        """Draw the number of a pattern."""
        return int(self.rng.integers(2**31))

    def place(self) -> tuple[float, float]:
        """Draw a place on the frame as (x, y)."""
        ny, nx = self.shape
        return self.uniform(0, nx - 1), self.uniform(0, ny - 1)

    def centre(self, jitter: float) -> tuple[float, float]:
        """Draw a place near the middle, within a share of the half-diagonal."""
        x, y = self.middle
        angle, step = self.angle(), self.size * jitter * self.uniform(0, 1)
        return x + step * math.cos(angle), y + step * math.sin(angle)


def vignetting(draw: Draw) -> list[PixelModel]:
    """Draw natural vignetting and a steeper one: 5 to 60 % at the corners."""
    x, y = draw.centre(0.04)
    natural = draw.difficulty * draw.log_uniform(0.01, 0.15)
    focal = draw.size / math.sqrt((1.0 - natural) ** -0.5 - 1.0 + 1e-12)
    models = [fields.NaturalVignetting2D(x_0=x, y_0=y, focal_length=focal)]
    x, y = draw.centre(0.15)
    corner = draw.size + math.hypot(x - draw.middle[0], y - draw.middle[1])
    loss = draw.difficulty * (0.05 + 0.5 * draw.uniform(0, 1) ** 1.7)
    power, ellipticity, theta = (
        draw.uniform(2, 5.5),
        draw.uniform(0, 0.15),
        draw.angle(),
    )
    stop, mechanical, bright = (
        draw.uniform(0.95, 1.3),
        draw.uniform(0, 1),
        draw.uniform(0, 1),
    )
    if mechanical < 0.45:
        scale = corner / _stop_shift(loss, stop)
        models.append(
            fields.MechanicalVignetting2D(x_0=x, y_0=y, scale=scale, stop=stop)
        )
        return models
    # Stray light and wrong dark frames can turn the sign.
    sign = -0.25 if bright < 0.08 else 1.0
    corner /= 1.0 - ellipticity
    models.append(
        fields.Vignetting2D(
            amplitude=sign * loss,
            x_0=x,
            y_0=y,
            radius=corner,
            power=power,
            ellipticity=ellipticity,
            theta=theta,
        )
    )
    return models


def motes(draw: Draw) -> list[PixelModel]:
    """Draw the shadows on a window and on a filter, one size per surface."""
    lean = draw.uniform(-1.0, 1.0)
    models = []
    for low, high, most in ((0.7, 3.0, 26), (10.0, 35.0, 9)):
        distance, share = draw.log_uniform(low, high), draw.uniform(0.3, 1.0)
        radius = draw.optics.shadow_radius(distance)
        radius = min(max(radius, 2.0), 0.3 * min(draw.shape))
        shadows = [_mote(draw, radius, lean) for _ in range(most)]
        models += shadows[: round(most * share * draw.difficulty)]
    return models


def specks(draw: Draw) -> list[PixelModel]:
    """Draw hard irregular specks nearly in focus; more in slow beams."""
    most = 14 if draw.optics.f_ratio >= 15 else 5
    share = draw.uniform(0.3, 1.0)
    models = [_speck(draw) for _ in range(most)]
    return models[: math.ceil(most * share * draw.difficulty)]


def fibers(draw: Draw) -> list[PixelModel]:
    """Draw the shadows of one to three hairs."""
    share = draw.uniform(0.0, 1.0)
    models = [_fiber(draw) for _ in range(3)]
    return models[: math.ceil(3 * share * draw.difficulty)]


def response(draw: Draw) -> list[PixelModel]:
    """Draw the response of single pixels, 0.2 to 2 %."""
    amplitude = draw.difficulty * draw.log_uniform(0.002, 0.02)
    return [fields.ResponseNoise2D(amplitude=amplitude, scale=0, seed=draw.seed())]


def smooth(draw: Draw) -> list[PixelModel]:
    """Draw smooth blobs of the response, as of uneven coatings."""
    amplitude = draw.difficulty * draw.log_uniform(0.001, 0.008)
    scale = draw.log_uniform(8.0, 64.0)
    return [fields.ResponseNoise2D(amplitude=amplitude, scale=scale, seed=draw.seed())]


def lines(draw: Draw) -> list[PixelModel]:
    """Draw row and column patterns of the response."""
    models = []
    for axis in (0, 1):
        amplitude = draw.difficulty * draw.log_uniform(0.0005, 0.005)
        seed = draw.seed()
        models.append(fields.LineResponse2D(amplitude=amplitude, seed=seed, axis=axis))
    return models


def linear(draw: Draw) -> list[PixelModel]:
    """Draw a plane of any direction: 2 to 30 % of the sky over the diagonal."""
    slope = draw.difficulty * draw.log_uniform(0.02, 0.3) / (2.0 * draw.size)
    angle, (x, y) = draw.angle(), draw.middle
    return [
        fields.LinearGradient2D(
            slope_x=slope * math.cos(angle),
            slope_y=slope * math.sin(angle),
            x_0=x,
            y_0=y,
        )
    ]


def quadratic(draw: Draw) -> list[PixelModel]:
    """Draw a bowl, dome or saddle of up to 10 % of the sky at the corners."""
    height = draw.difficulty * draw.log_uniform(0.01, 0.1) / draw.size**2
    xx, xy, yy = draw.rng.uniform(-1.0, 1.0, 3)
    x, y = draw.middle
    return [
        fields.QuadraticGradient2D(
            xx=height * xx, xy=height * xy, yy=height * yy, x_0=x, y_0=y
        )
    ]


def moonlight(draw: Draw) -> list[PixelModel]:
    """Draw moonlight of 5 to 60 % of the sky, 15 to 90 degrees from the Moon."""
    # Its mean is part of the sky, which the scene has already: zero in the middle.
    amplitude = draw.difficulty * draw.log_uniform(0.05, 0.6)
    separation = draw.log_uniform(15.0, 90.0)
    # The frame is 0.3 to 6 degrees across.
    scale = draw.log_uniform(0.3, 6.0) / (2.0 * draw.size)
    x, y = draw.middle
    return [
        fields.Moonlight2D(
            amplitude=amplitude,
            x_0=x,
            y_0=y,
            separation=separation,
            theta=draw.angle(),
            scale=scale,
        ),
        fields.LinearGradient2D(constant=-amplitude, x_0=x, y_0=y),
    ]


def glow(draw: Draw) -> list[PixelModel]:
    """Draw amplifier glow from a corner or along an edge."""
    ny, nx = draw.shape
    amplitude = draw.difficulty * draw.log_uniform(0.02, 0.3)
    across, along = draw.size * draw.rng.uniform((0.05, 0.05), (0.35, 0.35))
    corner, right, top = draw.rng.integers(2, size=3)
    place = draw.uniform(0.0, 1.0)
    if corner:
        x, y = right * (nx - 1), top * (ny - 1)
        scales = (across, along)
    elif top:
        x, y = right * (nx - 1), place * (ny - 1)
        scales = (across, 4.0 * along)
    else:
        x, y = place * (nx - 1), right * (ny - 1)
        scales = (4.0 * along, across)
    return [
        fields.AmpGlow2D(
            amplitude=amplitude, x_0=x, y_0=y, scale_x=scales[0], scale_y=scales[1]
        )
    ]


def bias(draw: Draw) -> list[PixelModel]:
    """Draw what a worn bias frame leaves: columns and a ramp of the first rows."""
    columns = draw.difficulty * draw.log_uniform(0.0005, 0.005)
    ramp = draw.difficulty * draw.uniform(-0.03, 0.03)
    decay = draw.shape[0] * draw.log_uniform(0.02, 0.3)
    return [
        fields.BiasResidual2D(columns=columns, ramp=ramp, decay=decay, seed=draw.seed())
    ]


def _stop_shift(loss: float, stop: float) -> float:
    """Shift of a stop, in radii of the pupil, at which ``loss`` is lost."""
    shift = np.linspace(0.0, 1.0 + stop, 4001)
    area = math.pi * min(stop, 1.0) ** 2
    lost = 1.0 - circle_overlap(shift, 1.0, other=stop) / area
    return max(float(np.interp(loss, lost, shift)), 1e-3)


def _mote(draw: Draw, radius: float, lean: float) -> PixelModel:
    """Shadow of given radius somewhere, with the depth of a random particle."""
    x, y = draw.place()
    hole = draw.optics.obstruction
    depth = draw.difficulty * draw.log_uniform(0.005, 0.2)
    # The depth says how large the particle is; diffraction widens its edge.
    particle = radius * math.sqrt(depth * (1.0 - hole**2))
    spread = 0.25 * draw.uniform(0.2, 1.0) * math.sqrt(radius)
    edge = min(max(math.hypot(particle, spread), 0.7), 0.9 * radius)
    off_x = (x - draw.middle[0]) / draw.size
    off_y = (y - draw.middle[1]) / draw.size
    shift = 0.5 * lean * radius * (1.0 - hole) if hole else 0.0
    uneven = draw.uniform(-0.6, 0.6)
    return fields.DustMote2D(
        depth=depth,
        x_0=x,
        y_0=y,
        radius=radius,
        edge=edge,
        hole=hole,
        hole_x=shift * off_x,
        hole_y=shift * off_y,
        tilt_x=uneven * off_x,
        tilt_y=uneven * off_y,
    )


def _speck(draw: Draw) -> PixelModel:
    """Irregular dark speck of some pixels."""
    x, y = draw.place()
    size = draw.log_uniform(1.2, max(2.0, 0.012 * min(draw.shape)))
    lobes = draw.rng.normal(0.0, 0.09, 4)
    lobes = np.clip(lobes, -0.2, 0.2)
    return fields.DustSpeck2D(
        depth=draw.difficulty * draw.uniform(0.1, 0.8),
        x_0=x,
        y_0=y,
        a=size,
        b=size * draw.uniform(0.45, 1.0),
        theta=draw.angle(),
        edge=draw.log_uniform(0.8, 1.0 + 0.6 * size),
        cos_3=lobes[0],
        sin_3=lobes[1],
        cos_5=0.5 * lobes[2],
        sin_5=0.5 * lobes[3],
        rim=draw.difficulty * draw.uniform(0.0, 0.06),
    )


def _fiber(draw: Draw) -> PixelModel:
    """Bent hair of up to a fifth of the frame."""
    x, y = draw.place()
    length = draw.log_uniform(0.03, 0.2) * min(draw.shape)
    width = draw.log_uniform(1.2, 5.0)
    return fields.DustFiber2D(
        depth=draw.difficulty * draw.log_uniform(0.03, 0.5),
        x_0=x,
        y_0=y,
        length=length,
        width=width,
        theta=draw.angle(),
        curvature=draw.uniform(-2.0, 2.0) / length,
        edge=draw.uniform(1.0, 1.0 + width),
    )


#: Kind -> function, and how often it is there when not asked for by name.
DRAWS = {
    'vignetting': (vignetting, 0.95),
    'motes': (motes, 0.9),
    'specks': (specks, 0.25),
    'fibers': (fibers, 0.15),
    'response': (response, 0.9),
    'smooth': (smooth, 0.5),
    'lines': (lines, 0.4),
    'linear': (linear, 0.85),
    'quadratic': (quadratic, 0.5),
    'moonlight': (moonlight, 0.3),
    'glow': (glow, 0.3),
    'bias': (bias, 0.25),
}
