# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""From the description of a scene to its frames and their truth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

from astroflat.degradation import (
    CAMERAS,
    NOISE_LEVELS,
    SampledFields,
    SensorPattern,
    expose,
    make_scene,
    sample_fields,
    simulate_night,
)
from benchmarks.blindflat.design import GROUPS

EXPOSURE = 60.0
# Stray light of the Sun and the Moon is weaker than a gradient of the night sky.
_STRAY = 0.2


@dataclass(frozen=True)
class Case:
    """
    Frames and what they were made of, all in ADU.

    Parameters
    ----------
    entry : dict
        Description of the scene.

    frames : list of `~astropy.nddata.CCDData`
        Calibrated frames: bias and dark current are subtracted; float32.

    flat : `~numpy.ndarray`
        True flat, mean 1.

    gradients : list of `~numpy.ndarray`
        True additive field of each frame.

    light : list of `~numpy.ndarray`
        What each frame would be without fields and noise, sky included.

    dust_mask : `~numpy.ndarray` of bool
        True under the dust.

    fields : `~astroflat.degradation.SampledFields` or None
        What the fields of a single frame were made of.
    """

    entry: dict
    frames: list[CCDData]
    flat: np.ndarray
    gradients: list[np.ndarray]
    light: list[np.ndarray]
    dust_mask: np.ndarray
    fields: SampledFields | None = None

    @property
    def single(self):
        """Whether it is a single frame and not a night."""
        return 'geometry' not in self.entry

    @property
    def at_night(self):
        """Whether there is a sky between the objects."""
        return self.entry['kind'] not in GROUPS['Sun and Moon']


def make_case(entry):
    """
    Simulate a scene.

    Parameters
    ----------
    entry : dict
        Its description, out of the manifest.

    Returns
    -------
    Case
        Frames and truth. The same description gives the same bytes.
    """
    return _night(entry) if 'geometry' in entry else _single(entry)


def fingerprint(case):
    """
    Summarise a scene so that a change of the simulator is noticed.

    Parameters
    ----------
    case : Case
        The scene.

    Returns
    -------
    dict
        ``truth``, the SHA-256 of means of flat, light and gradient in 4 x 4
        blocks, rounded to 0.1 % of the level, so that the last bits of a
        library hardly ever matter; ``level`` and ``noise``, median and noise
        of the first frame in ADU, to be compared with a tolerance.
    """
    digest = hashlib.sha256()
    level = float(np.median(case.light[0]))
    for image, unit in (
        (case.flat, 1.0),
        (case.light[-1], level),
        (case.gradients[-1], level),
    ):
        means = np.rint(1e3 * _blocks(image) / unit).astype(np.int64)
        digest.update(means.astype('<i8').tobytes())
    expected = case.light[0] * case.flat + case.gradients[0]
    error = np.abs(case.frames[0].data - expected)
    return {
        'truth': digest.hexdigest(),
        'level': float(f'{np.median(case.frames[0].data):.5g}'),
        'noise': float(f'{1.4826 * np.median(error):.4g}'),
    }


def same_fingerprint(first, second):
    """
    Compare two fingerprints.

    Parameters
    ----------
    first, second : dict
        See `fingerprint`.

    Returns
    -------
    bool
        Whether the truth is the same, and level and noise agree within 1 and
        3 per cent.
    """
    return (
        first['truth'] == second['truth']
        and abs(first['level'] / second['level'] - 1) < 0.01
        and abs(first['noise'] / second['noise'] - 1) < 0.03
    )


def _single(entry):
    """Simulate one frame."""
    rng = np.random.default_rng(entry['seed'])
    shape, kind = tuple(entry['shape']), entry['kind']
    at_night = kind not in GROUPS['Sun and Moon']
    noise = NOISE_LEVELS[entry['noise']]
    camera = replace(CAMERAS['cmos'], read_noise=noise.read_noise)
    light = make_scene(shape, kind=kind, rng=rng, level=noise.level)
    sampled = sample_fields(shape, difficulty=entry['difficulty'], rng=rng)
    strength = noise.level * (1.0 if at_night else _STRAY)
    gradient = np.float32(strength) * sampled.gradient
    light += _veil(light, sampled.flat, gradient, noise.level)
    pattern = SensorPattern.draw(shape, camera=camera, rng=rng)
    raw = expose(
        light,
        camera=camera,
        flat=sampled.flat,
        gradient=gradient,
        exposure=EXPOSURE,
        pattern=pattern,
        cosmic_rays=2.0 if at_night else 0.0,
        rng=rng,
    )
    return Case(
        entry=entry,
        frames=[_calibrate(raw, camera, pattern, EXPOSURE)],
        flat=sampled.flat,
        gradients=[gradient / np.float32(camera.gain)],
        light=[light / np.float32(camera.gain)],
        dust_mask=sampled.dust_mask,
        fields=sampled,
    )


def _night(entry):
    """Simulate the frames of a night."""
    noise = NOISE_LEVELS[entry['noise']]
    camera = replace(CAMERAS['cmos'], read_noise=noise.read_noise)
    night = simulate_night(
        entry['n'],
        tuple(entry['shape']),
        kind=entry['kind'],
        pattern=entry['pattern'],
        dither=entry['dither'],
        sky=noise.level,
        gradient=entry['gradient'],
        difficulty=entry['difficulty'],
        camera=camera,
        exposure=EXPOSURE,
        rng=entry['seed'],
    )
    gain = np.float32(camera.gain)
    return Case(
        entry=entry,
        frames=[_calibrate(f, camera, night.pattern, EXPOSURE) for f in night.frames],
        flat=night.flat,
        gradients=[gradient / gain for gradient in night.gradients],
        light=[night.light(i) / gain for i in range(len(night))],
        dust_mask=night.dust_mask,
    )


def _veil(light, flat, gradient, level):
    """Return the scattered light that keeps the darkest pixel positive."""
    lowest = float((light + gradient / flat).min())
    return np.float32(max(0.0, 0.01 * level - lowest))


def _calibrate(raw, camera, pattern, exposure):
    """Subtract bias and dark current, known exactly, from a raw frame."""
    dark = camera.bias + exposure * pattern.dark_rate / camera.gain
    header = raw.header.copy()
    header['PEDESTAL'] = 0.0
    header['SATURATE'] = camera.saturation - camera.bias
    data = (raw.data - dark).astype(np.float32)
    return CCDData(data, unit=u.adu, meta=header, wcs=raw.wcs)


def _blocks(image):
    """Return the means of 4 x 4 blocks of an image."""
    rows = np.array_split(np.asarray(image, dtype=np.float64), 4, axis=0)
    return np.array([[b.mean() for b in np.array_split(r, 4, axis=1)] for r in rows])
