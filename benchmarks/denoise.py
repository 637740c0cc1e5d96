# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Denoising against truth, beside classical filters at their best setting.

Run ``python benchmarks/denoise.py`` (some minutes) or ``--quick``; ``--cameras`` does
a part, ``--merge`` puts the JSON files of parts together. With ``--real FOLDER ...`` it
takes folders of repeated exposures: each frame is compared with the mean of all others.
``--n2v PYTHON`` trains Noise2Void of CAREamics, in that environment, on three frames.

Classical filters work after the same variance stabilisation with the true gain,
and each frame is filtered at several settings, of which the one that is closest to
the truth counts: nobody knows it without the truth. Ours gets what the header says;
the adapted network was trained further on all frames of a camera, without truth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import denoise_real
import denoise_tables
import numpy as np
from denoise_tables import scatter
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


def cases(quick, cameras=('ccd', 'cmos', 'dslr'), exposures=1):
    """Yield name, truth and frame of each case; more exposures have other noise."""
    kinds = ('starfield', 'galaxies', 'emission_nebula')
    skies = {'ccd': (50, 1000), 'cmos': (20, 300), 'dslr': (100,)}
    for camera in cameras:
        for level in skies[camera]:
            for kind in kinds[:1] if quick else kinds:
                for seed in range(5, 5 + exposures):
                    size = 256 if quick else 512
                    yield one_case(camera, level, kind, size=size, seed=seed)


def one_case(camera, level, kind, size, seed=5):
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
    seed : int, optional
        Of the noise.

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
    frame = expose(scene, camera=model, exposure=0.0, rng=seed)
    truth = np.minimum(scene, model.full_well) / model.gain + model.bias
    return f'{camera}, {kind}, {level:g} e-', truth, frame, (x, y, snr), model


def stabilised(function, options, frame, noise):
    """Filter a frame after the transform, and come back without bias."""
    return noise.unbiased(function(noise.forward(frame), **options))


def results(frame, truth, model, networks, filters=FILTERS):
    """Yield name, result and seconds of each method."""
    noise = NoiseModel(model.gain, model.read_noise, model.bias)
    data = frame.data.astype(np.float64)
    yield 'noisy frame', data, 0.0
    for name, settings in filters.items():
        start = time.perf_counter()
        tries = [stabilised(f, options, data, noise) for f, options in settings]
        seconds = (time.perf_counter() - start) / len(settings)
        errors = [
            np.mean((noise.forward(t) - noise.forward(truth)) ** 2) for t in tries
        ]
        yield name, tries[int(np.argmin(errors))], seconds
    for name, denoiser in networks.items():
        start = time.perf_counter()
        clean = denoiser.denoise(frame)
        yield name, clean.data.astype(np.float64), time.perf_counter() - start


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
    # The pixels within 0.71 of the middle: one or two, and what a reader of the
    # image alone takes for their signal-to-noise ratio.
    cores = [fluxes(a, x, y, radius=0.71) for a in (error, error + truth)]
    row['cores'] = [core.tolist() for core in cores]
    row['noise'] = find_sources(np.asarray(result, float), settings=SETTINGS).meta[
        'noise'
    ]
    places = np.random.default_rng(3).uniform(15, len(truth) - 15, (2, 400))
    row['apertures'] = scatter(fluxes(error, *places))
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


def simulated(denoiser, quick, cameras, *, filters=FILTERS, adapted=True, exposures=1):
    """
    Denoise simulated frames with all methods.

    Parameters
    ----------
    denoiser : Denoiser
        Ours.
    quick : bool
        Few and small frames.
    cameras : sequence of str
        Which.
    filters : dict, optional
        Classical filters.
    adapted : bool, optional
        Train the network further on the frames of each camera.
    exposures : int, optional
        Exposures of each sky with each camera.

    Returns
    -------
    dict
        List of the numbers of all frames, for each method.
    """
    rows = {}
    for camera in cameras:
        made = list(cases(quick, [camera], exposures))
        networks = {'astroflat': denoiser}
        if adapted:
            frames = [frame for _, _, frame, _, _ in made]
            networks['astroflat, adapted'] = adapt(denoiser, frames)
        for name, truth, frame, stars, model in made:
            for method, result, seconds in results(
                frame, truth, model, networks, filters
            ):
                row = measure(result, truth, frame, stars, model)
                rows.setdefault(method, []).append(
                    {**row, 'seconds': seconds, 'case': name}
                )
            best = max(rows[m][-1]['psnr_db'] for m in ('noisy frame', *filters))
            ours = rows['astroflat'][-1]['psnr_db']
            print(f'{name}: classical {best:.2f} dB, ours {ours:.2f} dB', flush=True)
    return rows


def adapt(denoiser, frames, **options):
    """Return the network, trained further on frames without truth."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'adapted.onnx'
        return denoiser.adapt(frames, path, steps=150, **options)


def real(folder, denoiser, *, filters=FILTERS, adapted=True):
    """
    Compare each of several exposures with the mean of the others.

    Parameters
    ----------
    folder : Path
        As in `denoise_real.read_exposures`.
    denoiser : Denoiser
        Ours.
    filters : dict, optional
        Classical filters.
    adapted : bool, optional
        Train the network further on these exposures.

    Returns
    -------
    dict
        For the faint and the bright part of the pixels, as `denoise_real.compare`.
    """
    exposures = denoise_real.read_exposures(folder)
    networks = {'astroflat': denoiser}
    if adapted:
        size = min(96, min(exposures.frames.shape[1:]) // 16 * 16)
        frames = list(exposures.frames.astype('f4'))
        try:
            networks['astroflat, adapted'] = adapt(denoiser, frames, size=size)
        except ValueError as error:
            # Noise that neighbours share can not be learned without truth.
            print(f'{folder.name}: not adapted: {str(error).splitlines()[1]}')
    wide = [(gaussian_filter, {'sigma': s}) for s in (5.0, 8.0, 12.0)]
    if 'Gaussian' in filters:
        filters = {**filters, 'Gaussian': [*filters['Gaussian'], *wide]}

    def methods(frame):
        yield from denoise_real.classical(frame, filters)
        for name, network in networks.items():
            yield name, np.asarray(network.denoise(frame))

    tables = denoise_real.compare(exposures, methods)
    return {part: denoise_real.best_settings(t) for part, t in tables.items()}


def noise2void(python, denoiser, seconds):
    """
    Compare with Noise2Void on three star fields.

    Parameters
    ----------
    python : path-like
        Interpreter of an environment with CAREamics.
    denoiser : Denoiser
        Ours.
    seconds : float
        For the training.

    Returns
    -------
    dict
        PSNR of each frame, and times for a million pixels.
    """
    chosen = [('ccd', 1000), ('cmos', 300), ('dslr', 100)]
    made = [one_case(c, level, 'starfield', 512) for c, level in chosen]
    noises = [NoiseModel(m.gain, m.read_noise, m.bias) for *_, m in made]
    images = [
        n.forward(frame.data)
        for n, (_, _, frame, _, _) in zip(noises, made, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / 'in.npz', Path(folder) / 'out.npz'
        np.savez(source, images=np.array(images))
        script = Path(__file__).with_name('denoise_n2v.py')
        command = [python, script, source, target, str(seconds)]
        subprocess.run(list(map(str, command)), check=True)
        found = dict(np.load(target))
    megapixels = sum(image.size for image in images) / 1e6
    table = {
        'version': str(found['version']),
        'train_seconds': float(found['train']),
        'epochs': int(found['epochs']),
        'n2v_seconds_per_mpx': float(found['predict']) / megapixels,
    }
    start = time.process_time()
    ours = [denoiser.denoise(frame).data for _, _, frame, _, _ in made]
    table['ours_seconds_per_mpx'] = (time.process_time() - start) / megapixels
    theirs = [n.unbiased(z) for n, z in zip(noises, found['images'], strict=True)]
    for (name, truth, frame, stars, model), a, b in zip(
        made, ours, theirs, strict=True
    ):
        rows = [measure(np.float64(r), truth, frame, stars, model) for r in (a, b)]
        table[name] = {
            'psnr_db': [r['psnr_db'] for r in rows],
            'left': [r['left'] for r in rows],
        }
    return table


def parse():
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument(
        '--filters', nargs='*', default=list(FILTERS), help='classical filters'
    )
    parser.add_argument('--exposures', type=int, default=1, help='of each sky')
    parser.add_argument('--no-adapted', action='store_true')
    parser.add_argument('--cameras', nargs='*', default=['ccd', 'cmos', 'dslr'])
    parser.add_argument('--model', default='default')
    parser.add_argument('--merge', type=Path, nargs='*', default=[])
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rst', type=Path)
    parser.add_argument('--real', type=Path, nargs='*', default=[])
    parser.add_argument('--n2v', type=Path, help='interpreter with CAREamics')
    parser.add_argument('--n2v-seconds', type=float, default=240.0)
    return parser.parse_args()


def run(args):
    """Return the numbers of what was asked for."""
    denoiser = af.Denoiser(args.model, device='cpu')
    filters = {name: FILTERS[name] for name in args.filters}
    options = {'adapted': not args.no_adapted, 'filters': filters}
    raw = {'model': denoiser.card.name, 'real': {}}
    if args.cameras:
        more = options | {'exposures': args.exposures}
        raw['rows'] = simulated(denoiser, args.quick, args.cameras, **more)
    for folder in args.real:
        raw['real'][folder.name] = real(folder, denoiser, **options)
        print(folder.name, json.dumps(raw['real'][folder.name], indent=1), flush=True)
    if args.n2v:
        raw['n2v'] = noise2void(args.n2v, denoiser, args.n2v_seconds)
        print(json.dumps(raw['n2v'], indent=1))
    return raw


def main():
    """Run the benchmark."""
    args = parse()
    if args.merge:
        raw = denoise_tables.merge(
            [json.loads(p.read_text('utf-8')) for p in args.merge]
        )
    else:
        raw = run(args)
    tables = {}
    if raw.get('rows'):
        noisy = raw['rows']['noisy frame']
        tables['simulated'] = {
            m: denoise_tables.summarise(r, noisy) for m, r in raw['rows'].items()
        }
    if raw['real']:
        tables['real'] = raw['real']
    text = denoise_tables.as_rst(tables)
    print(text)
    if args.rst:
        args.rst.write_text(text, encoding='utf-8')
    if args.json:
        args.json.write_text(json.dumps(raw, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
