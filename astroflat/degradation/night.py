# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Nights of dithered frames, with known truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.time import Time, TimeDelta
from astropy.wcs import WCS

from astroflat.degradation._cameras import Camera, get_camera
from astroflat.degradation._dither import dither_offsets
from astroflat.degradation._night_frames import SimulatedNight
from astroflat.degradation._optics import MoteOptics
from astroflat.degradation._render import as_field
from astroflat.degradation._sky import SkyDrift
from astroflat.degradation.sampler import (
    FieldKind,
    SampledFields,
    sample_fields,
)
from astroflat.degradation.scenes import SceneKind, draw_scene
from astroflat.degradation.sensor import SensorPattern

__all__ = ['SimulatedNight', 'simulate_night']

# Kinds that a night draws; its gradients turn, so they are not among these.
_FLAT_KINDS = ('vignetting', 'motes', 'response', 'smooth')
_FIXED_TERMS = ('glow', 'bias')


def simulate_night(
    n: int = 20,
    shape: tuple[int, int] = (512, 512),
    *,
    kind: SceneKind = 'starfield',
    dither: float = 20.0,
    pattern: Any = 'random',
    whole_pixels: bool = False,
    sky: float = 1000.0,
    sky_drift: float = 0.5,
    gradient: float = 0.1,
    turn: float = 60.0,
    clouds: float = 0.0,
    difficulty: float = 0.5,
    flat: np.ndarray | SampledFields | None = None,
    kinds: Sequence[FieldKind] | None = None,
    camera: Camera | str = 'cmos',
    optics: MoteOptics | None = None,
    exposure: float = 120.0,
    cosmic_rays: float = 2.0,
    filter_name: str = 'R',
    pixel_scale: float = 1.0,
    start: str | Time = '2025-03-01T20:00:00',
    rng: np.random.Generator | int | None = None,
    **options: Any,
) -> SimulatedNight:
    """
    Simulate a night of dithered exposures of one field.

    Parameters
    ----------
    n : int, optional
        Number of frames.
    shape : tuple of int, optional
        Shape of a frame, ``(ny, nx)``.
    kind : str, optional
        What it shows, one of `SCENE_KINDS`.
    dither : float, optional
        Largest offset along either axis in pixels.
    pattern : str or array_like, optional
        ``'random'``, ``'spiral'``, ``'grid'``, ``'line'``, ``'drift'``,
        ``'none'``, or offsets ``(n, 2)`` as (dy, dx).
    whole_pixels : bool, optional
        Round the offsets to whole pixels.
    sky : float, optional
        Mean level of the sky in electrons per pixel.
    sky_drift : float, optional
        Relative change of the sky over the night.
    gradient : float, optional
        Gradient of the sky across the diagonal in units of its level.
    turn : float, optional
        Degrees by which the gradient turns during the night.
    clouds : float, optional
        Standard deviation of the transparency.
    difficulty : float, optional
        Strength of the flat and of glow and bias, see `sample_fields`.
    flat : ndarray or SampledFields, optional
        Multiplicative field to use in place of a drawn one. Then glow and bias
        are drawn only if asked for by ``kinds``. Sampled fields bring their
        mask of the dust and their truth along, and their gradient, in units
        of ``sky``, in place of glow and bias; an array does not.
    kinds : sequence of str, optional
        Artifacts to draw: those that stay on the detector. By default
        vignetting, motes and pixel and smooth response.
    camera : Camera or str, optional
        Camera or its name in `CAMERAS`.
    optics : MoteOptics, optional
        The beam, which sets the size of the motes.
    exposure : float, optional
        Exposure time in seconds.
    cosmic_rays : float, optional
        Mean number of cosmic rays on a frame.
    filter_name : str, optional
        Name of the filter, for the headers.
    pixel_scale : float, optional
        Arcseconds per pixel, for the WCS.
    start : str or `~astropy.time.Time`, optional
        Start of the first exposure (UTC).
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers. The same seed gives the same night.
    **options
        More for `draw_scene`, such as ``fwhm`` and ``density``.

    Returns
    -------
    SimulatedNight
        Frames, truth, and a writer for FITS.

    Notes
    -----
    ``I = S F + G`` per frame, S with the sky at the level of that frame. The
    plane of G turns; its sign and the drift of the sky are random. An offset
    (dy, dx) puts on pixel (y + dy, x + dx) what is on (y, x) without it.

    Examples
    --------
    >>> from astroflat.degradation import simulate_night
    >>> night = simulate_night(3, (40, 60), dither=5, kind='emission_nebula', rng=4)
    >>> night.offsets.shape, night.sky.shape, night.gradients[0].shape
    ((3, 2), (3,), (40, 60))
    """
    rng = np.random.default_rng(rng)
    camera = get_camera(camera)
    shape = (int(shape[0]), int(shape[1]))
    offsets = dither_offsets(n, pattern=pattern, amplitude=dither, rng=rng)
    offsets = np.rint(offsets) if whole_pixels else offsets
    margin = math.ceil(np.abs(offsets).max(initial=0.0)) + 2
    scene = draw_scene(shape, kind=kind, rng=rng, level=sky, margin=margin, **options)
    sampled = flat
    if not isinstance(flat, SampledFields):
        wanted = _kinds(kinds, flat, rng)
        sampled = sample_fields(
            shape, difficulty=difficulty, rng=rng, kinds=wanted, optics=optics
        )
    own = flat is not None and sampled is not flat
    drift = SkyDrift.draw(
        n,
        level=sky,
        change=sky_drift,
        gradient=gradient,
        turn=turn,
        clouds=clouds,
        shape=shape,
        rng=rng,
    )
    step = TimeDelta((exposure + 8.0) * np.arange(n), format='sec')
    return SimulatedNight(
        scene=scene,
        fields=None if own else sampled,
        flat=as_field(flat if own else sampled.flat, shape, name='flat'),
        fixed=np.float32(sky) * sampled.gradient,
        drift=drift,
        offsets=offsets,
        camera=camera,
        pattern=SensorPattern.draw(shape, camera=camera, rng=rng),
        times=Time(start, scale='utc', format='isot') + step,
        exposure=float(exposure),
        cosmic_rays=float(cosmic_rays),
        filter_name=filter_name,
        wcs=_wcs(shape, pixel_scale, rng),
        seeds=rng.integers(2**63, size=n),
    )


def _kinds(
    kinds: Sequence[str] | None, flat: Any, rng: np.random.Generator
) -> tuple[str, ...]:
    """Kinds to draw, without those that a night makes itself."""
    terms = tuple(kind for kind in _FIXED_TERMS if rng.uniform() < 0.3)
    if kinds is None:
        return _FLAT_KINDS + terms if flat is None else ()
    moving = {'linear', 'quadratic', 'moonlight'} & set(kinds)
    if moving:
        msg = f'kinds {sorted(moving)} move with the sky; use gradient= and turn='
        raise ValueError(msg)
    return tuple(kinds)


def _wcs(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> WCS:
    """Tangent projection somewhere in the northern sky, rotated a little."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ['RA---TAN', 'DEC--TAN']
    wcs.wcs.cunit = ['deg', 'deg']
    wcs.wcs.crval = [rng.uniform(0.0, 360.0), rng.uniform(-10.0, 70.0)]
    wcs.wcs.crpix = [0.5 * (shape[1] + 1), 0.5 * (shape[0] + 1)]
    angle, step = rng.uniform(-0.1, 0.1), scale / 3600.0
    cos, sin = math.cos(angle), math.sin(angle)
    wcs.wcs.cd = step * np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.set()
    return wcs
