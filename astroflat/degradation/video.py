# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Videos of the Sun, the Moon or a bright object, with known truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.time import Time, TimeDelta

from astroflat.degradation._cameras import Camera, get_camera
from astroflat.degradation._dither import dither_offsets
from astroflat.degradation._lazy import LazyFrames
from astroflat.degradation._optics import MoteOptics
from astroflat.degradation._render import as_field
from astroflat.degradation._seeing import Seeing
from astroflat.degradation.sampler import (
    FieldKind,
    SampledFields,
    sample_fields,
)
from astroflat.degradation.scenes import Scene, SceneKind, draw_scene
from astroflat.degradation.sensor import read_out, shot_noise

__all__ = ['SimulatedVideo', 'simulate_video']

# A slow beam for solar video: nearby dust is sharp, far dust is small.
_SOLAR_OPTICS = {'f_ratio': 40.0, 'obstruction': 0.0, 'pixel_size': 3.5}

_KINDS = ('vignetting', 'motes', 'specks', 'fibers', 'response', 'smooth', 'linear')


@dataclass(frozen=True)
class SimulatedVideo:
    """
    A video and all that it was made of.

    Parameters
    ----------
    scene : Scene
        The sky, larger than a frame.
    fields : SampledFields or None
        Truth of the fields, if they were drawn.
    flat : ndarray of float32
        True multiplicative field F, ``(ny, nx)``, mean 1.
    gradient : ndarray of float32
        True additive field G in electrons, without the bias.
    shifts : ndarray
        Shift (dy, dx) of the scene in every frame, ``(n, 2)``, without the
        local motions of the seeing.
    seeing : Seeing
        Local motions and blur.
    camera : Camera
        The camera, with the bits of the video.
    times : `~astropy.time.Time`
        Times of the frames.
    seeds : ndarray
        Seed of the noise of every frame.

    Examples
    --------
    >>> from astroflat.degradation import simulate_video
    >>> video = simulate_video(3, (40, 60), rng=1)
    >>> video.frames[0].shape, str(video.frames[0].dtype), len(video.frames)
    ((40, 60), 'uint16', 3)
    """

    scene: Scene
    fields: SampledFields | None
    flat: np.ndarray
    gradient: np.ndarray
    shifts: np.ndarray
    seeing: Seeing
    camera: Camera
    times: Time
    seeds: np.ndarray

    def __len__(self) -> int:
        return len(self.shifts)

    @property
    def dust_mask(self) -> np.ndarray:
        """True under the dust, as far as it was drawn."""
        if self.fields is None:
            return np.zeros(self.flat.shape, dtype=bool)
        return self.fields.dust_mask

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the video, ``(n, ny, nx)``."""
        return (len(self), *self.flat.shape)

    @cached_property
    def frames(self) -> LazyFrames:
        """The frames as uint8 or uint16 arrays, made when they are looked at."""
        return LazyFrames(self.frame, len(self))

    def frame(self, index: int) -> np.ndarray:
        """
        Make one frame.

        Parameters
        ----------
        index : int
            Number of the frame.

        Returns
        -------
        ndarray of uint8 or uint16
            ADU.
        """
        rng = np.random.default_rng(int(self.seeds[index]))
        light = self.light(index) * self.flat + self.gradient
        electrons = shot_noise(np.maximum(light, 0.0), rng=rng)
        return read_out(electrons, camera=self.camera, rng=rng)

    def light(self, index: int) -> np.ndarray:
        """
        Make what one frame would be without fields, noise and bias.

        Parameters
        ----------
        index : int
            Number of the frame.

        Returns
        -------
        ndarray of float32
            Electrons per pixel.
        """
        shift = tuple(self.shifts[index])
        if self.seeing.strength == 0:
            return self.scene.render(shift)
        return self.seeing.look(self.scene, self._soft, shift, index)

    @cached_property
    def _soft(self) -> np.ndarray:
        """The scene blurred by the worst air of the video."""
        return self.seeing.soften(self.scene)

    def array(self) -> np.ndarray:
        """
        Make the whole video.

        Returns
        -------
        ndarray of uint8 or uint16
            ADU, ``(n, ny, nx)``.
        """
        return np.stack(list(self.frames))

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> Path:
        """
        Write the video as SER, one frame at a time.

        Parameters
        ----------
        path : str or path-like
            File to write.
        overwrite : bool, optional
            Replace an existing file.

        Returns
        -------
        `pathlib.Path`
            The file.
        """
        from astroflat.io import write_ser

        write_ser(
            path,
            iter(self.frames),
            bit_depth=self.camera.bits,
            color='mono',
            instrument=f'simulated {self.camera.name}',
            telescope='astroflat',
            times=self.times,
            overwrite=overwrite,
        )
        return Path(path)


def simulate_video(
    n: int = 200,
    shape: tuple[int, int] = (480, 640),
    *,
    kind: SceneKind = 'granulation',
    bits: Literal[8, 12, 16] = 12,
    drift: float = 12.0,
    pattern: Any = 'drift',
    seeing: float = 0.6,
    level: float = 0.6,
    difficulty: float = 0.6,
    kinds: Sequence[FieldKind] | None = None,
    flat: np.ndarray | SampledFields | None = None,
    gradient: np.ndarray | None = None,
    camera: Camera | str = 'planetary',
    optics: MoteOptics | None = None,
    frame_rate: float = 30.0,
    start: str | Time = '2025-06-21T10:00:00',
    rng: np.random.Generator | int | None = None,
    **options: Any,
) -> SimulatedVideo:
    """
    Simulate a video whose object drifts over a dusty detector.

    Parameters
    ----------
    n : int, optional
        Number of frames.
    shape : tuple of int, optional
        Shape of a frame, ``(ny, nx)``.
    kind : str, optional
        What it shows, one of `SCENE_KINDS`.
    bits : {8, 12, 16}, optional
        Bits of a sample. The gain is that at which the full well fills them.
    drift : float, optional
        Largest shift in pixels.
    pattern : str or array_like, optional
        Path of the shifts: ``'drift'`` (steady, with the error of a mount),
        ``'random'``, ``'spiral'``, ``'line'``, ``'none'``, or shifts
        ``(n, 2)`` as (dy, dx).
    seeing : float, optional
        Strength of the seeing: standard deviation of the local motions in
        pixels; the blur changes with it. 0 switches it off.
    level : float, optional
        Brightness of the scene as a share of the full well.
    difficulty : float, optional
        Strength of the fields, see `sample_fields`.
    kinds : sequence of str, optional
        Artifacts to draw, see `sample_fields`. By default vignetting, dust,
        response and a plane of stray light.
    flat : ndarray or SampledFields, optional
        Multiplicative field to use in place of a drawn one. Sampled fields
        bring their mask of the dust and their truth along, an array does not.
    gradient : ndarray, optional
        Additive field in electrons to use in place of a drawn one, which is
        stray light of a few percent.
    camera : Camera or str, optional
        Camera or its name in `CAMERAS`.
    optics : MoteOptics, optional
        The beam, which sets the size of the motes; f/40 by default.
    frame_rate : float, optional
        Frames per second.
    start : str or `~astropy.time.Time`, optional
        Time of the first frame (UTC).
    rng : `numpy.random.Generator`, int or None, optional
        Source of random numbers. The same seed gives the same video.
    **options
        More for `draw_scene`.

    Returns
    -------
    SimulatedVideo
        Frames, truth, and a writer for SER.

    Notes
    -----
    Every frame is ``S * F + G`` in electrons, with shot noise, read noise,
    gain, bias and rounding. Fields stay on the detector while the scene
    moves. Frames are made when they are looked at, each with a seed of its
    own, so that any part of the video is the same as in the whole.

    Examples
    --------
    >>> from astroflat.degradation import simulate_video
    >>> video = simulate_video(5, (48, 64), kind='active_region', bits=8, rng=2)
    >>> video.array().shape, str(video.array().dtype)
    ((5, 48, 64), 'uint8')
    >>> bool(abs(video.flat.mean() - 1) < 1e-5)
    True
    """
    rng = np.random.default_rng(rng)
    base = get_camera(camera)
    bias = max(2.0, base.bias * 2.0 ** (bits - base.bits))
    gain = base.full_well / (2.0**bits - 1.0 - bias)
    camera = get_camera(base, bits=bits, bias=bias, gain=gain)
    shifts = dither_offsets(n, pattern=pattern, amplitude=drift, rng=rng)
    electrons = level * camera.full_well
    scene = draw_scene(
        shape,
        kind=kind,
        rng=rng,
        level=electrons,
        margin=int(np.ceil(np.abs(shifts).max(initial=0.0))) + 2,
        **options,
    )
    sampled = flat
    if not isinstance(flat, SampledFields):
        optics = optics or MoteOptics(**_SOLAR_OPTICS)
        sampled = sample_fields(
            shape, difficulty=difficulty, rng=rng, kinds=kinds or _KINDS, optics=optics
        )
    if gradient is None:
        # By day the sky is dark beside the Sun: G is stray light.
        gradient = 0.15 * electrons * (sampled.gradient - sampled.gradient.min())
    own = flat is not None and sampled is not flat
    fields = None if own else sampled
    times = Time(start, scale='utc') + TimeDelta(
        np.arange(n) / frame_rate, format='sec'
    )
    return SimulatedVideo(
        scene=scene,
        fields=fields,
        flat=as_field(flat if own else sampled.flat, shape, name='flat'),
        gradient=as_field(gradient, shape, name='gradient'),
        shifts=shifts,
        seeing=Seeing.draw(n, strength=seeing, rng=rng),
        camera=camera,
        times=times,
        seeds=rng.integers(2**63, size=n),
    )
