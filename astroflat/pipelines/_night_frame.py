# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""One light of a night: calibrated, flattened, perhaps denoised, and written."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._provenance import add_history, record, set_card
from astroflat.pipelines._night_flats import SettledFlat
from astroflat.pipelines._night_masters import _thin, read_master
from astroflat.pipelines._night_noise import Noise
from astroflat.pipelines._night_overscan import prepare
from astroflat.pipelines._night_sections import Sections
from astroflat.pipelines._night_store import publish, read_json, write_json

if TYPE_CHECKING:
    from astropy.nddata import CCDData

__all__ = ['FrameTask', 'process_frame']

_LOCK = threading.Lock()


@dataclass(frozen=True)
class FrameTask:
    """
    A light to be calibrated.

    Parameters
    ----------
    name : str
        Its path in the folder of the night.

    key : str
        A hash of all that the result depends on.

    source, record : str
        The file, and where to write what was done.

    folder : str
        The folder of the results.

    outputs : dict
        The names of the results: ``'calibrated'``, ``'denoised'``,
        ``'restored'``.

    bias, dark : str or None
        Masters.

    scale : float
        What the dark is multiplied by.

    zero : str or None
        The bias, which tells what counts are light or dark current.

    noise, flat : str or None
        What was measured of the camera, and decided on the flat.

    history : tuple of str
        Lines for the header.

    cards : dict
        Cards for the header.

    device : str
        Where networks run.

    sections : Sections
        Overscan and trim.
    """

    name: str
    key: str
    source: str
    record: str
    folder: str
    outputs: dict[str, str]
    bias: str | None = None
    dark: str | None = None
    scale: float = 1.0
    zero: str | None = None
    noise: str | None = None
    flat: str | None = None
    history: tuple[str, ...] = ()
    cards: dict[str, Any] = field(default_factory=dict)
    device: str = 'auto'
    sections: Sections = field(default_factory=Sections)


def process_frame(task: FrameTask) -> dict[str, Any]:
    """
    Calibrate a light, and write it and its record.

    Parameters
    ----------
    task : FrameTask
        What to do.

    Returns
    -------
    record : dict
        The files with their sizes, and numbers.
    """
    from astroflat.io.images import read_ccd

    noise = Noise.read(task.noise)
    settled = SettledFlat(**read_json(task.flat))
    raw = read_ccd(task.source)
    numbers: dict[str, Any] = _saturation(raw)
    if task.sections:
        raw = prepare(raw, task.sections)
    image = _offsets(raw, task, noise)
    image, flat = _flatten(image, settled, task)
    numbers |= flat | _statistics(image)
    _sign(image, task, numbers)
    files = {task.outputs['calibrated']: _write(task, 'calibrated', image)}
    doubts = list(flat.get('doubts', []))
    for step, function in (('denoised', _denoise), ('restored', _restore)):
        if step not in task.outputs:
            continue
        try:
            result = function(image, noise, task)
        except ValueError as error:
            doubts.append(f'not {step}: {error}')
            continue
        files[task.outputs[step]] = _write(task, step, result)
    done = {
        'name': task.name,
        'key': task.key,
        'status': 'done',
        'files': files,
        **{k: v for k, v in numbers.items() if k != 'doubts'},
        'doubts': doubts,
        'noise_words': noise.words,
    }
    write_json(task.record, done)
    return done


def _write(task: FrameTask, step: str, image: CCDData) -> int:
    """Write a result; return its size."""
    from astroflat.io import write_image

    path = Path(task.folder) / task.outputs[step]
    return publish(path, lambda temporary: write_image(image, temporary))


@functools.lru_cache(maxsize=6)
def _kept(path: str) -> Any:
    """Read a master, and keep it for the next frame."""
    return read_master(path)


@functools.lru_cache(maxsize=2)
def _kept_solution(path: str) -> Any:
    """Read a flat, and keep it for the next frame."""
    return SettledFlat(**read_json(path)).correct()


def _shared(read: Any, path: str | None) -> Any:
    """Read once, also when several threads ask for the same."""
    if path is None:
        return None
    with _LOCK:
        return read(path)


def _saturation(raw: CCDData) -> dict[str, Any]:
    """Count pixels at the limit of what the camera can tell."""
    full = raw.meta.get('SATURATE')
    if not isinstance(full, (int, float)):
        full = np.iinfo(raw.data.dtype).max if raw.data.dtype.kind in 'iu' else np.inf
    return {'n_saturated': int(np.count_nonzero(raw.data >= full))}


def _offsets(raw: CCDData, task: FrameTask, noise: Noise) -> CCDData:
    """Subtract bias and dark with ccdproc, with the noise of the camera."""
    import ccdproc
    from astropy import units as u

    image = raw.copy()
    if image.data.dtype.kind in 'iu':
        image.data = image.data.astype(np.float32)
    paths = (task.bias, task.dark, task.zero)
    bias, dark, zero = (_shared(_kept, path) for path in paths)
    known = noise.gain is not None and image.unit == u.adu
    if image.uncertainty is None and known:
        zero = next((z for z in (bias, zero, dark) if z is not None), None)
        image.uncertainty = _photon_noise(image, zero, noise)
    if bias is not None:
        image = ccdproc.subtract_bias(image, bias, add_keyword=None)
    if dark is not None:
        image = ccdproc.subtract_dark(
            image,
            dark,
            dark_exposure=1.0 * u.s,
            data_exposure=task.scale * u.s,
            exposure_unit=u.s,
            scale=task.scale != 1,
            add_keyword=None,
        )
    return image


def _photon_noise(image: CCDData, zero: CCDData | None, noise: Noise) -> Any:
    """Return the standard deviation of a raw frame: photons and read noise."""
    import ccdproc
    from astropy import units as u

    light = image if zero is None else ccdproc.subtract_bias(image, zero)
    light.uncertainty = None
    deviation = ccdproc.create_deviation(
        light,
        gain=noise.gain * u.electron / u.adu,
        readnoise=(noise.readnoise or 0.0) * u.electron,
        disregard_nan=True,
        add_keyword=None,
    ).uncertainty
    deviation.array = deviation.array.astype(image.data.dtype)
    return deviation


def _flatten(
    image: CCDData, settled: SettledFlat, task: FrameTask
) -> tuple[CCDData, dict[str, Any]]:
    """Divide by the flat of the group, or by that of the frame itself."""
    if settled.method == 'single':
        return _by_networks(image, task)
    solution = _shared(_kept_solution, task.flat)
    said = {'flat': settled.method, 'verdict': settled.verdict}
    if solution is None:
        return image, said
    return solution.correct(image, add_keyword=None, n_threads=1), said


def _by_networks(image: CCDData, task: FrameTask) -> tuple[CCDData, dict[str, Any]]:
    """Find the fields of a frame in the frame."""
    solution = _corrector(task.device).estimate(image)
    report = solution.report
    said = {'flat': 'FlatCorrector', 'verdict': report.verdict}
    if report.reasons:
        said['doubts'] = list(report.reasons)
    if report.verdict == 'reject':
        said['doubts'] = ['its flat is rejected and not applied', *report.reasons]
        return image, said
    result = solution.correct(image, add_keyword=None, n_threads=1)
    known = solution.flat.meta
    for name in ('AFMODEL', 'AFMODSHA', 'AFMODEL2', 'AFMODSH2', 'AFPROV'):
        if name in known:
            set_card(result.meta, name, (known[name], known.comments[name]))
    return result, said


@functools.lru_cache(maxsize=1)
def _corrector(device: str) -> Any:
    """Return the networks that find fields."""
    from astroflat.neural import FlatCorrector

    return FlatCorrector(device=device)


@functools.lru_cache(maxsize=1)
def _denoiser(device: str) -> Any:
    """Return the network that denoises."""
    from astroflat.neural import Denoiser

    return Denoiser(device=device)


@functools.lru_cache(maxsize=1)
def _restorer(device: str) -> Any:
    """Return the network that restores."""
    from astroflat.neural import Restorer

    return Restorer(device=device)


def _denoise(image: CCDData, noise: Noise, task: FrameTask) -> CCDData:
    """Remove the noise of a calibrated frame."""
    return _denoiser(task.device).denoise(
        image, gain=noise.gain, readnoise=noise.readnoise or None
    )


def _restore(image: CCDData, noise: Noise, task: FrameTask) -> CCDData:
    """Sharpen a calibrated frame."""
    return _restorer(task.device).restore(
        image, gain=noise.gain, readnoise=noise.readnoise or None
    )


def _statistics(image: CCDData) -> dict[str, Any]:
    """Return the level of the sky, its noise, and the bad pixels."""
    data = _thin(image.data)
    good = np.isfinite(data)
    if image.mask is not None:
        good &= ~_thin(image.mask)
    values = data[good].astype(np.float64)
    sky = noise = None
    if values.size:
        sky = float(np.median(values))
        # The fainter half: the other one holds the stars.
        noise = float(1.4826 * np.median(sky - values[values <= sky]))
    masked = 0 if image.mask is None else int(np.count_nonzero(image.mask))
    return {'sky': sky, 'noise': noise, 'n_masked': masked}


def _sign(image: CCDData, task: FrameTask, numbers: dict[str, Any]) -> None:
    """Write to the header what was done."""
    words = f'calibrated; flat by {numbers["flat"]}, verdict {numbers["verdict"]}'
    cards = {
        **task.cards,
        'AFFLAT': (numbers['flat'], 'how the flat was found'),
        'AFVERD': (numbers['verdict'], 'verdict on the flat'),
        'NMASKED': (numbers['n_masked'], 'masked pixels'),
    }
    record(image.meta, 'night', history=words, **cards)
    for line in task.history:
        add_history(image.meta, line)
