# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoising against truth, beside classical filters at their best setting.

Run ``python benchmarks/denoise.py`` (some minutes) or ``--quick``. With
``--real FOLDER ...`` it also takes folders of repeated exposures: each frame is
compared with the mean of all others.

Classical filters work after the same variance stabilisation with the true gain,
and each frame is filtered at several settings, of which the one that is closest to
the truth counts: nobody knows it without the truth. Ours gets what the header says.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter
from skimage.restoration import (
    denoise_nl_means,
    denoise_tv_chambolle,
    denoise_wavelet,
)

import astroflat as af
from astroflat.degradation import CAMERAS, draw_scene, expose
from astroflat.neural._stabilise import NoiseModel
from astroflat.quality import (
    DetectionSettings,
    find_sources,
    image_metrics,
    match_sources,
)

FWHM = 3.0
SETTINGS = DetectionSettings(fwhm=FWHM)
BINS = ((5, 7), (7, 10), (10, 20), (20, 50), (50, 200))
FILTERS = {
    'Gaussian': [
        (gaussian_filter, {'sigma': s}) for s in (0.4, 0.6, 0.8, 1.1, 1.5, 2.2, 3.3)
    ],
    'median': [(median_filter, {'size': s}) for s in (2, 3, 5, 7)],
    'non-local means': [
        (
            denoise_nl_means,
            {'h': h, 'sigma': 1.0, 'patch_size': 5, 'patch_distance': 6},
        )
        for h in (0.4, 0.6, 0.8, 1.1)
    ],
    'wavelet': [
        (denoise_wavelet, {'sigma': s, 'method': 'BayesShrink', 'wavelet': 'sym4'})
        for s in (0.7, 1.0, 1.4)
    ],
    'total variation': [
        (denoise_tv_chambolle, {'weight': w}) for w in (0.3, 0.6, 1.0, 1.6, 2.5)
    ],
}


def cases(quick):
    """Yield name, truth and frame of each case."""
    kinds = ('starfield', 'galaxies', 'emission_nebula')
    skies = {'ccd': (50, 1000), 'cmos': (20, 300), 'dslr': (100,)}
    for camera, levels in skies.items():
        for level in levels:
            for kind in kinds[:1] if quick else kinds:
                yield one_case(camera, level, kind, size=256 if quick else 512)


def one_case(camera, level, kind, size):
    """
    Expose a scene with many more faint stars of known place.

    Parameters
    ----------
    camera, kind : str
        Camera and scene.
    level : float
        Sky in electrons.
    size : int
        Side in pixels.

    Returns
    -------
    tuple
        Name, truth in ADU, frame, places and signal-to-noise ratios of the stars.
    """
    model = replace(CAMERAS[camera], hot_fraction=0.0, dark_current=0.0)
    scene = draw_scene((size, size), kind=kind, rng=11, level=level, fwhm=FWHM).render()
    rng = np.random.default_rng([level, size])
    sigma = FWHM / 2.3548
    n = int(size**2 * 6e-4)
    x, y = rng.uniform(15, size - 15, (2, n))
    # Signal-to-noise ratio of a fit of the profile before this sky.
    snr = 4.0 * 60.0 ** rng.uniform(0, 1, n)
    noise = np.sqrt(4 * np.pi * sigma**2 * (level + model.read_noise**2))
    rows, columns = (np.arange(size) - place[:, None] for place in (y, x))
    rows, columns = (np.exp(-0.5 * (d / sigma) ** 2) for d in (rows, columns))
    weight = snr * noise / (2 * np.pi * sigma**2)
    scene = scene + np.einsum('k,ky,kx->yx', weight, rows, columns).astype('f4')
    frame = expose(scene, camera=model, exposure=0.0, rng=5)
    truth = np.minimum(scene, model.full_well) / model.gain + model.bias
    return f'{camera}, {kind}, {level:g} e-', truth, frame, (x, y, snr), model


def stabilised(function, options, frame, noise):
    """Filter a frame after the transform, and come back without bias."""
    return noise.unbiased(function(noise.forward(frame), **options))


def results(frame, truth, model, denoiser, filters=FILTERS):
    """Yield name, result and seconds of each method."""
    noise = NoiseModel(model.gain, model.read_noise, model.bias)
    data = frame.data.astype(np.float64)
    yield 'noisy', data, 0.0
    for name, settings in filters.items():
        start = time.perf_counter()
        tries = [stabilised(f, options, data, noise) for f, options in settings]
        seconds = (time.perf_counter() - start) / len(settings)
        errors = [
            np.mean((noise.forward(t) - noise.forward(truth)) ** 2) for t in tries
        ]
        yield name, tries[int(np.argmin(errors))], seconds
    start = time.perf_counter()
    clean = denoiser.denoise(frame)
    yield 'astroflat', clean.data.astype(np.float64), time.perf_counter() - start


def measure(result, truth, frame, stars, model):
    """Return the numbers of one result."""
    full = frame.data >= model.saturation - 1
    noise = NoiseModel(model.gain, model.read_noise, model.bias)
    row = image_metrics(result, truth, before=frame.data, mask=full)
    row = {k: row[k] for k in ('psnr_db', 'ssim')}
    z, z_true, z_raw = (noise.forward(a) for a in (result, truth, frame.data))
    row['left'] = float(np.sqrt(np.mean((z - z_true)[~full] ** 2)))
    # What was taken away should be noise, which knows nothing of the sky.
    taken, sky = (z_raw - z)[~full], z_true[~full]
    row['correlation'] = float(np.corrcoef(taken, sky)[0, 1]) if taken.std() else 0.0
    row['background'] = float(np.median((result - truth)[~full]))
    x, y, snr = stars
    error = np.where(full, np.nan, result - truth)
    errors, true = fluxes(error, x, y), fluxes(np.where(full, np.nan, truth), x, y)
    row['stars'] = [snr.tolist(), errors.tolist(), true.tolist()]
    places = np.random.default_rng(3).uniform(15, len(truth) - 15, (2, 400))
    row['apertures'] = _scatter(fluxes(error, *places))
    sky_noise = find_sources(frame.data.astype(float), settings=SETTINGS).meta['noise']
    match = match_sources(result, truth, settings=SETTINGS, noise=sky_noise, mask=full)
    row['found'] = [(float(a), float(b)) for a, b in _places(match.pairs)]
    row['asked'] = len(match.missed) + match.n_found
    row['complete'], row['false'] = match.completeness, len(match.extra)
    return row


def fluxes(image, x, y, radius=1.5 * FWHM, ring=(2.5 * FWHM, 4.5 * FWHM)):
    """
    Sum apertures above the mean of a ring, so that errors add up.

    A median or a clipped mean of the ring would depend on the noise itself.

    Parameters
    ----------
    image : ndarray
        Image; NaN where a pixel does not count.
    x, y : ndarray
        Places in pixels.
    radius : float, optional
        Radius of the apertures.
    ring : tuple of float, optional
        Radii of the ring.

    Returns
    -------
    ndarray
        Fluxes; NaN if a bad pixel is in the aperture.
    """
    half, sums = int(ring[1]) + 2, []
    padded = np.pad(image, half, constant_values=np.nan)
    offsets = np.arange(-half, half + 1)
    for x_0, y_0 in zip(x, y, strict=True):
        i, j = round(y_0), round(x_0)
        stamp = padded[i : i + 2 * half + 1, j : j + 2 * half + 1]
        distance = np.hypot(offsets[:, None] + i - y_0, offsets + j - x_0)
        sky = np.nanmean(stamp[(distance > ring[0]) & (distance < ring[1])])
        sums.append(np.sum(stamp[distance < radius] - sky))
    return np.array(sums)


def _places(pairs):
    """Places of the sources of the truth that were found."""
    chosen = pairs[np.asarray(pairs['counted'], bool)]
    return zip(chosen['x_reference'], chosen['y_reference'], strict=True)


def summarise(rows, noisy):
    """
    Put the numbers of one method over all cases together.

    Parameters
    ----------
    rows, noisy : list of dict
        Numbers of the method and of the noisy frames.

    Returns
    -------
    dict
        One row of the table.
    """
    mean = {
        k: float(np.mean([r[k] for r in rows]))
        for k in ('psnr_db', 'ssim', 'left', 'correlation', 'background', 'seconds')
    }
    mean['false'] = sum(r['false'] for r in rows)
    gains = [b['apertures'] / r['apertures'] for r, b in zip(rows, noisy, strict=True)]
    mean['sky_gain'] = float(np.median(gains))
    kept = lost = 0
    for row, before in zip(rows, noisy, strict=True):
        have = {(round(x, 1), round(y, 1)) for x, y in row['found']}
        had = {(round(x, 1), round(y, 1)) for x, y in before['found']}
        kept, lost = kept + len(have & had), lost + len(had - have)
    mean['kept'] = 100.0 * kept / max(kept + lost, 1)
    asked = sum(r['asked'] for r in rows)
    mean['complete'] = 100.0 * sum(len(r['found']) for r in rows) / max(asked, 1)
    mean['bins'] = [_bin(rows, noisy, *edges) for edges in BINS]
    return mean


def _bin(rows, noisy, low, high):
    """Bias in per cent with its error, and the gain in signal to noise, of a bin."""
    relative, spread = [], []
    for row, before in zip(rows, noisy, strict=True):
        snr, error, true = (np.array(a) for a in row['stars'])
        raw = np.array(before['stars'][1])
        good = (snr >= low) & (snr < high) & np.isfinite(error) & (true > 0)
        relative += list(error[good] / true[good])
        spread.append((_scatter(raw[good]), _scatter(error[good])))
    before, after = np.array(spread).T
    relative = np.array(relative)
    bias, error = _clipped_mean(relative)
    with np.errstate(divide='ignore'):
        ratio = np.median(before / np.maximum(after, 1e-9))
    return {'bias': 100 * bias, 'error': 100 * error, 'gain': float(ratio)}


def _scatter(values):
    """Robust standard deviation."""
    values = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _clipped_mean(values):
    """Mean within five scatters of the median, and its error."""
    middle, width = np.median(values), _scatter(values)
    values = values[np.abs(values - middle) <= 5 * width + 1e-12]
    return float(values.mean()), float(values.std() / max(len(values), 1) ** 0.5)


def simulated(denoiser, quick, filters=FILTERS):
    """Return the table of simulated frames: one row for each method."""
    table = {}
    for name, truth, frame, stars, model in cases(quick):
        for method, result, seconds in results(frame, truth, model, denoiser, filters):
            row = measure(result, truth, frame, stars, model)
            table.setdefault(method, []).append(
                {**row, 'seconds': seconds, 'case': name}
            )
        best = max(table[m][-1]['psnr_db'] for m in ('noisy', *filters))
        print(
            f'{name}: classical {best:.2f} dB, ours {row["psnr_db"]:.2f} dB', flush=True
        )
    return {m: summarise(rows, table['noisy']) for m, rows in table.items()}


def real(folder, denoiser, *, size=1024):
    """
    Compare each of several exposures with the mean of the others.

    Parameters
    ----------
    folder : Path
        Folder of FITS files of one shape, exposed alike and not shifted.
    denoiser : Denoiser
        Ours.
    size : int, optional
        Largest side of the part in the middle that is used.

    Returns
    -------
    dict
        Root mean square of the difference to the mean of the others in the noise
        of one frame, for each method; the noise of that mean is taken off.
    """
    frames = [af.read_image(p)[0] for p in sorted(folder.glob('*.fit*'))]
    frames = [np.asarray(_middle(f, size), np.float64) for f in frames]
    table = {}
    for k, frame in enumerate(frames):
        others = [f for i, f in enumerate(frames) if i != k]
        reference = np.mean(others, axis=0)
        shared = np.var(others, axis=0, ddof=1) / len(others)
        scale = np.median(frame) / np.median(reference)
        methods = {'noisy': frame, 'astroflat': denoiser.denoise(frame)}
        for s in (0.4, 0.6, 0.8, 1.1, 1.5, 2.2):
            methods[f'Gaussian {s}'] = gaussian_filter(frame, s)
        # Bright pixels would decide alone: faint 90 per cent.
        faint = reference <= np.quantile(reference, 0.9)
        for name, result in methods.items():
            square = np.mean((result - scale * reference)[faint] ** 2)
            own = max(square - np.mean(shared[faint]) * scale**2, 0.0)
            table.setdefault(name, []).append(own)
    noisy = np.mean(table['noisy'])
    return {m: float(np.sqrt(np.mean(v) / noisy)) for m, v in table.items()}


def _middle(image, size):
    """Cut the middle out."""
    return image[
        tuple(slice(max(0, (n - size) // 2), (n + size) // 2) for n in image.shape)
    ]


def as_rst(table):
    """Return the table of the documentation."""
    head = ['method', 'PSNR', 'SSIM', 'noise left', 'kept', 'found', 'false']
    head += ['background', 'correlation', *(f'bias {a}-{b}' for a, b in BINS)]
    head += [f'S/N {a}-{b}' for a, b in BINS[:3]] + ['S/N sky', 'time']
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in [head, *(_cells(m, r) for m, r in table.items())]:
        lines += [f'   {"*" if i == 0 else " "} - {cell}' for i, cell in enumerate(row)]
    return '\n'.join(lines) + '\n'


def _cells(method, row):
    """Return one row as text."""
    cells = [
        method,
        f'{row["psnr_db"]:.2f}',
        f'{row["ssim"]:.3f}',
        f'{row["left"]:.3f}',
    ]
    cells += [f'{row["kept"]:.1f} %', f'{row["complete"]:.1f} %', f'{row["false"]:d}']
    cells += [f'{row["background"]:+.2f}', f'{row["correlation"]:+.3f}']
    cells += [f'{b["bias"]:+.1f} ± {b["error"]:.1f} %' for b in row['bins']]
    cells += [f'{b["gain"]:.2f}' for b in row['bins'][:3]]
    return [*cells, f'{row["sky_gain"]:.2f}', f'{row["seconds"]:.2f} s']


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--ours', action='store_true', help='no classical filters')
    parser.add_argument('--model', default='default')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rst', type=Path)
    parser.add_argument('--real', type=Path, nargs='*', default=[])
    args = parser.parse_args()
    denoiser = af.Denoiser(args.model, device='cpu')
    filters = {} if args.ours else FILTERS
    tables = {'simulated': simulated(denoiser, args.quick, filters)}
    text = as_rst(tables['simulated'])
    print(text)
    for folder in args.real:
        tables[folder.name] = real(folder, denoiser)
        print(folder.name, json.dumps(tables[folder.name], indent=1))
    if args.rst:
        args.rst.write_text(text, encoding='utf-8')
    if args.json:
        args.json.write_text(json.dumps(tables, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
