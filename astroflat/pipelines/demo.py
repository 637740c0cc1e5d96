# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The main job on data with known truth.

A drifting solar video gives a flat of its dust; a dithered night gives a full
flat. Both are applied to their own frames, and what is left is measured
against the truth, beside doing nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._report import QualityReport

if TYPE_CHECKING:
    import os

    from astroflat.degradation import SimulatedNight, SimulatedVideo
    from astroflat.solution import FlatSolution

__all__ = ['DemoResult', 'run_demo']

_PARTS = ('total', 'large', 'dust', 'pixel')


@dataclass(frozen=True)
class DemoResult:
    """
    What the demonstration made and measured.

    Parameters
    ----------
    folder : `pathlib.Path`
        Where the files are.

    residuals : dict
        For 'video' and 'night', the residuals of 'nothing' and 'astroflat'
        against the true flat, as from `astroflat.quality.flat_residual`.

    report : QualityReport
        The same with a verdict.

    solutions : dict of FlatSolution
        The two flats.

    images : dict
        What the figure shows: frames before and after.
    """

    folder: Path
    residuals: dict[str, dict[str, dict[str, float]]]
    report: QualityReport
    solutions: dict[str, FlatSolution]
    images: dict[str, Any] = field(default_factory=dict, repr=False)

    def table(self) -> list[str]:
        """
        Return the residuals as lines of text.

        Returns
        -------
        lines : list of str
            One line for each part, in per cent and millimagnitudes.
        """
        lines = [
            'rms error of the flat field against the truth',
            f'{"":18s}{"doing nothing":>22s}{"astroflat":>22s}',
        ]
        for job, parts in (('video', ('dust',)), ('night', _PARTS)):
            for part in parts:
                cells = [
                    f'{row[f"{part}_percent"]:8.2f} % {row[f"{part}_mmag"]:6.1f} mmag'
                    for row in self.residuals[job].values()
                ]
                name = f'{job}, {part}'
                lines.append(f'{name:18s}' + ''.join(f'{c:>22s}' for c in cells))
        return lines


def run_demo(
    folder: str | os.PathLike,
    *,
    quick: bool = False,
    seed: int = 1,
    overwrite: bool = False,
    n_threads: int | None = None,
    progress_bar: bool = False,
) -> DemoResult:
    """
    Simulate a video and a night, make their flats, correct and measure.

    Parameters
    ----------
    folder : path-like
        Where everything is written; made if needed.

    quick : bool, optional
        Fewer and smaller frames: a few seconds.

    seed : int, optional
        The seed of everything random.

    overwrite : bool, optional
        Whether existing files may be replaced.

    n_threads : int, optional
        The number of threads; all processors by default.

    progress_bar : bool, optional
        Show the progress on standard error.

    Returns
    -------
    result : DemoResult
        Residuals, flats and report. In the folder are ``video.ser``, its
        flat as ``video_flat.fits`` and, with 16 bit, ``video_flat.tif``, and
        ``video_corrected.ser``; ``night/`` with ``night_flat.fits`` and
        ``night_corrected/``; and ``report.json``.

    Raises
    ------
    FileExistsError
        If there are files of an earlier run and ``overwrite`` is `False`.

    Examples
    --------
    >>> import tempfile
    >>> from astroflat.pipelines.demo import run_demo
    >>> result = run_demo(tempfile.mkdtemp(), quick=True)
    >>> night = result.residuals['night']
    >>> night['astroflat']['total_mmag'] < night['nothing']['total_mmag'] / 4
    True
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    options = {'n_threads': n_threads, 'progress_bar': progress_bar}
    video = _simulate_video(quick, seed)
    solutions, residuals, images = {}, {}, {}
    solutions['video'] = _video_job(video, folder, overwrite, options)
    residuals['video'] = _residuals(
        solutions['video'],
        video.fields.component('specks', 'fibers'),
        video.dust_mask,
    )
    images['video'] = _video_images(video, solutions['video'])
    night = _simulate_night(quick, seed)
    solutions['night'] = _night_job(night, folder, overwrite, options)
    residuals['night'] = _residuals(solutions['night'], night.flat, night.dust_mask)
    images['night'] = _night_images(folder, solutions['night'])
    report = _report(residuals, solutions)
    report.write(folder / 'report.json', overwrite=overwrite)
    return DemoResult(folder, residuals, report, solutions, images)


def _simulate_video(quick: bool, seed: int) -> SimulatedVideo:
    """Return a solar video with hard specks, fibres and vignetting."""
    from astroflat.degradation import sample_fields, simulate_video

    shape = (240, 320) if quick else (480, 640)
    rng = np.random.default_rng(seed)
    kinds = ('vignetting', 'specks', 'fibers')
    fields = sample_fields(shape, difficulty=0.9, rng=rng, kinds=kinds)
    return simulate_video(
        40 if quick else 150,
        shape,
        kind='granulation',
        drift=40,
        pattern='random',
        flat=fields,
        gradient=np.zeros(shape, np.float32),
        rng=rng,
    )


def _simulate_night(quick: bool, seed: int) -> SimulatedNight:
    """Return a night with vignetting, motes, response and amplifier glow."""
    from astroflat.degradation import simulate_night

    return simulate_night(
        15 if quick else 25,
        (256, 320) if quick else (600, 800),
        dither=50,
        sky=6000,
        difficulty=0.6,
        gradient=0.04,
        kinds=('vignetting', 'motes', 'response', 'glow'),
        rng=np.random.default_rng(seed + 1),
    )


def _video_job(
    video: SimulatedVideo, folder: Path, overwrite: bool, options: dict
) -> FlatSolution:
    """Write the video, make its flat, write it and the corrected video."""
    from astroflat.io import write_flat
    from astroflat.pipelines.apply import correct_frames
    from astroflat.pipelines.dust_flat import dust_flat

    path = folder / 'video.ser'
    video.write(path, overwrite=overwrite)
    bias = np.full(video.flat.shape, video.camera.bias, np.float32)
    solution = dust_flat(path, bias=bias, **options)
    write_flat(solution, folder / 'video_flat.fits', overwrite=overwrite)
    # Half of the range for 1.0 leaves room for bright rims above 1.
    write_flat(
        solution,
        folder / 'video_flat.tif',
        dtype='uint16',
        scale=32768,
        overwrite=overwrite,
    )
    correct_frames(
        path,
        solution,
        output=folder / 'video_corrected.ser',
        bias=bias,
        restore_bias=True,
        overwrite=overwrite,
        **options,
    )
    return solution


def _night_job(
    night: SimulatedNight, folder: Path, overwrite: bool, options: dict
) -> FlatSolution:
    """Write the night, make its flat, write it and the corrected frames."""
    from astropy.nddata import CCDData

    from astroflat.combine import median_flat
    from astroflat.io import write_flat
    from astroflat.pipelines.apply import correct_frames
    from astroflat.solution import FlatSolution

    night.write(folder / 'night', overwrite=overwrite)
    dark = CCDData(_master_dark(night), unit='adu')
    dark.write(folder / 'night' / 'truth' / 'dark.fits', overwrite=overwrite)
    lights = sorted((folder / 'night').glob('light_*.fits'))
    median = median_flat(lights, scale='median', dark=dark, sigma_clip=2.5, **options)
    solution = FlatSolution.from_image(median, method='median')
    write_flat(solution, folder / 'night_flat.fits', overwrite=overwrite)
    correct_frames(
        lights,
        solution,
        output=folder / 'night_corrected',
        bias=dark,
        dtype='float32',
        overwrite=overwrite,
        **options,
    )
    return solution


def _master_dark(night: SimulatedNight, n: int = 15) -> np.ndarray:
    """Return the mean of dark frames: bias, dark current and glow."""
    from astroflat.degradation import expose

    darkness = np.zeros(night.flat.shape)
    frames = [
        expose(
            darkness,
            camera=night.camera,
            gradient=night.fixed,
            exposure=night.exposure,
            pattern=night.pattern,
            rng=int(night.seeds[0]) + i,
        ).data
        for i in range(n)
    ]
    return np.mean(frames, axis=0, dtype=float).astype(np.float32)


def _residuals(
    solution: FlatSolution, truth: np.ndarray, dust: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return the residuals of doing nothing and of the solution."""
    from astroflat.quality import flat_residual

    return {
        'nothing': flat_residual(1.0, truth, dust_mask=dust),
        'astroflat': flat_residual(solution.flat, truth, dust_mask=dust),
    }


def _video_images(video: SimulatedVideo, solution: FlatSolution) -> list:
    """Return a frame before, its correction and what it should be, close up."""
    frame = video.frame(0).astype(np.float32) - video.camera.bias
    truth = video.light(0) / video.camera.gain
    part = _dusty_part(solution.flat.data)
    return [
        ('one frame of the video, close up', frame[part], 'sun'),
        ('corrected by its own dust flat', solution.correct(frame)[part], 'sun'),
        ('the dust flat', solution.flat.data[part], 'flat'),
        ('truth: what the Sun sent', truth[part], 'truth'),
    ]


def _dusty_part(flat: np.ndarray) -> tuple[slice, slice]:
    """Return a quarter of the width and height, where there is most dust."""
    from scipy.ndimage import uniform_filter

    size = [max(1, n // 4) for n in flat.shape]
    dust = uniform_filter(np.abs(1.0 - flat), size, mode='constant')
    centre = np.unravel_index(np.argmax(dust), flat.shape)
    starts = [
        int(np.clip(c - k // 2, 0, n - k))
        for c, k, n in zip(centre, size, flat.shape, strict=True)
    ]
    return tuple(slice(a, a + k) for a, k in zip(starts, size, strict=True))


def _night_images(folder: Path, solution: FlatSolution) -> list:
    """Return the first light before and after, and the flat."""
    from astroflat.io.images import read_ccd

    light = read_ccd(folder / 'night' / 'light_0001.fits')
    dark = read_ccd(folder / 'night' / 'truth' / 'dark.fits')
    done = read_ccd(folder / 'night_corrected' / 'light_0001.fits')
    truth = read_ccd(folder / 'night' / 'truth' / 'flat.fits')
    return [
        ('one frame of the night', light.data - dark.data, 'sky'),
        ('corrected by the flat of the night', done, 'sky'),
        ('the flat', solution.flat, 'flat'),
        ('truth: the flat', truth, 'flat'),
    ]


def _report(
    residuals: dict[str, dict[str, dict[str, float]]],
    solutions: dict[str, FlatSolution],
) -> QualityReport:
    """Compare the residuals with doing nothing."""
    numbers = {
        f'{job}_{who}_{name}': value
        for job, rows in residuals.items()
        for who, row in rows.items()
        for name, value in row.items()
    }
    numbers['video_verdict'] = solutions['video'].report.verdict
    limits = {'video_dust_gain': 3.0, 'night_total_gain': 3.0}
    report = QualityReport('demo', numbers, limits)
    for key, limit in limits.items():
        job, part, _ = key.split('_')
        before, after = (r[f'{part}_percent'] for r in residuals[job].values())
        report = report.check(
            after * limit < before,
            'reject',
            f'{job}: {part} error {after:.2f} %, doing nothing {before:.2f} %',
        )
    return report
