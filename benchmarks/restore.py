# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sharpening against truth, beside classical deconvolution at its best setting.

Run ``python benchmarks/restore.py`` (some minutes) or ``--quick``; ``--speed`` adds
the reference configuration of Swin2SR and PyTorch. The others get the true
point-spread function, and the number of iterations and the blur afterwards that come
closest to the truth of each width and signal-to-noise ratio; nobody knows these
without the truth. Ours gets the point-spread function and no hint. Siril takes a
Gaussian only, whose width is tuned too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData
from restore_frames import KINDS, READNOISE, SHAPES, SKY, flux_error, make_case
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

import astroflat as af

WIDTHS = (2.0, 3.0, 4.0, 6.0)
RATIOS = (10, 30, 100, 300)
ITERATIONS = (2, 4, 8, 16, 32, 64, 128)


def cases(quick):
    """Yield the frames of each width and signal-to-noise ratio."""
    for width in WIDTHS[1:3] if quick else WIDTHS:
        for ratio in RATIOS[1:3] if quick else RATIOS:
            kinds = KINDS[:3] if quick else KINDS
            yield (
                width,
                ratio,
                [
                    make_case(
                        kind, SHAPES[(i + int(width)) % len(SHAPES)], width, ratio, i
                    )
                    for i, kind in enumerate(kinds)
                ],
            )


def variants(image, case):
    """Yield a deconvolved image as it is, and blurred to the wanted width."""
    yield 'raw', image
    yield 'blurred', gaussian_filter(image, case.wanted / 2.3548, mode='nearest')


def richardson_lucy(case):
    """Yield name and result for each number of iterations."""
    image = np.maximum(case.observed + SKY, 1e-3)
    kernel = case.kernel
    mirrored = kernel[::-1, ::-1]
    pad = 32
    image = np.pad(image, pad, mode='symmetric')
    found = np.full_like(image, image.mean())
    done = 0
    for n in ITERATIONS:
        # As skimage.restoration.richardson_lucy, going on from what there is.
        for _ in range(n - done):
            again = np.maximum(fftconvolve(found, kernel, mode='same'), 1e-6)
            found = found * fftconvolve(image / again, mirrored, mode='same')
        done = n
        inner = found[pad:-pad, pad:-pad] - SKY
        for name, result in variants(inner, case):
            yield f'{n} {name}', result


def wiener(case):
    """Yield the results of unsupervised Wiener-Hunt deconvolution."""
    from skimage.restoration import unsupervised_wiener

    pad = 32
    image = np.pad(case.observed, pad, mode='symmetric')
    scale = np.abs(image).max()
    found, _ = unsupervised_wiener(image / scale, case.kernel, clip=False, rng=0)
    inner = found[pad:-pad, pad:-pad] * scale
    yield from variants(inner, case)


def siril(case):
    """Yield the results of the command ``rl`` of Siril."""
    from astropy.io import fits

    tool = shutil.which('siril-cli')
    if tool is None:
        return
    low, high = case.observed.min(), case.observed.max()
    scaled = ((case.observed - low) / (high - low)).astype('f4')
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        fits.writeto(place / 'in.fit', np.pad(scaled, 32, mode='symmetric'))
        lines = ['requires 1.0.0', 'set32bits', 'setext fit']
        tries = [(n, k) for n in ITERATIONS[3:] for k in (0.7, 1.0)]
        for n, k in tries:
            # It takes no wider ones.
            width = min(k * case.fwhm / 2.3548, 2.0)
            lines += ['load in', f'rl {width:.3f} 0 {n}', f'save out{n}_{k:g}']
        (place / 'run.ssf').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        command = [tool, '-d', folder, '-s', str(place / 'run.ssf')]
        subprocess.run(command, capture_output=True, timeout=300, check=False)
        for n, k in tries:
            path = place / f'out{n}_{k:g}.fit'
            if path.exists():
                found = np.asarray(fits.getdata(path), float)[32:-32, 32:-32]
                for name, result in variants(found * (high - low) + low, case):
                    yield f'{n}, {k:g} widths, {name}', result


def scores(case, image):
    """Measure stars: widths, fluxes, places, and what is around them."""
    rows = []
    for x, y, flux in case.stars:
        others = case.stars[np.hypot(*(case.stars[:, :2] - (x, y)).T) < 14]
        if len(others) > 1 or flux < 15 * case.sigma * case.fwhm * 1.5:
            continue
        rows.append(star_row(case, image, x, y, flux))
    return rows


def star_row(case, image, x, y, flux):
    """Return errors of one star against the truth."""
    from scipy.optimize import least_squares

    i, j, h = round(y), round(x), 12
    part = slice(i - h, i + h + 1), slice(j - h, j + h + 1)
    cut, truth, came = image[part], case.truth[part], case.noiseless[part]
    v, u = np.mgrid[-h : h + 1, -h : h + 1]
    far = np.hypot(v - (y - i), u - (x - j))
    inner, ring = far < 2.0 * case.fwhm, (far > 10) & (far < 12)
    base = np.median(cut[ring])
    light = (cut - base)[inner].sum()
    true = (truth - np.median(truth[ring]))[inner].sum()
    near = far < max(2.5, case.wanted)

    def apart(p):
        model = p[0] * np.exp(-((u - p[1]) ** 2 + (v - p[2]) ** 2) / (2 * p[3] ** 2))
        return (model + p[4] - cut)[near] / np.ptp(cut[near])

    start = np.ptp(cut[near]), x - j, y - i, case.wanted / 2.3548, base
    found = least_squares(apart, start).x
    snr = flux / np.sqrt(4 * np.pi * (case.fwhm / 2.3548) ** 2 * case.sigma**2 + flux)
    dark = (cut - truth)[(far > case.wanted * 1.2) & (far < 3 * case.fwhm)].min()
    return {
        'snr': snr,
        'fwhm': abs(found[3]) * 2.3548 / case.wanted,
        'flux': light / true,
        'shift': np.hypot(found[1] - (x - j), found[2] - (y - i)),
        'ring': dark / (truth.max() - np.median(truth[ring])),
        'base': float(np.median(came[ring])),
    }


def false_sources(case, image, error):
    """
    Count sources over five times the noise of the frame.

    Parameters
    ----------
    case : Case
        The frame.
    image, error : ndarray
        A result and its uncertainty.

    Returns
    -------
    list of int
        All, those that no light is behind, and of these those over three times the
        uncertainty.
    """
    from astroflat.quality import DetectionSettings, find_sources

    settings = DetectionSettings(fwhm=max(case.wanted, 2.0))
    found = find_sources(image, settings=settings, threshold=5.0 * case.sigma)
    wrong = sure = 0
    for row in found:
        i, j = round(float(row['y'])), round(float(row['x']))
        part = slice(max(i - 2, 0), i + 3), slice(max(j - 2, 0), j + 3)
        around = slice(max(i - 8, 0), i + 9), slice(max(j - 8, 0), j + 9)
        heights = [a[part].max() - np.median(a[around]) for a in (image, case.truth)]
        if heights[1] < 0.25 * heights[0]:
            wrong += 1
            sure += int(heights[0] > 3.0 * error[part].max())
    return [len(found), wrong, sure]


def compare(quick, model):
    """Return rows of the table: errors for each width and ratio."""
    restorer = af.Restorer(model, device='cpu')
    others = {'Richardson-Lucy': richardson_lucy, 'Wiener': wiener, 'Siril': siril}
    rows, stars, found = [], [], np.zeros(3, int)
    for width, ratio, frames in cases(quick):
        row = {'fwhm': width, 'snr': ratio}
        row['noisy'] = mean([flux_error(c.observed, c.truth) for c in frames])
        for name, function in others.items():
            row[name], row[f'{name} at'] = best(function, frames)
        errors = []
        for case in frames:
            result = ours(restorer, case, as_ccd=True)
            image = result.data
            errors.append(flux_error(image, case.truth))
            stars += [{'case': f'{width:g} px', **s} for s in scores(case, image)]
            if case.kind in ('stars', 'cluster'):
                found += false_sources(case, image, result.uncertainty.array)
        row['ours'] = mean(errors)
        row['ours, each'] = [round(e, 4) for e in errors]
        rows.append(row)
        print(json.dumps(row), flush=True)
    return {'errors': rows, 'stars': summary(stars), 'false': found.tolist()}


def best(function, frames):
    """Return the smallest mean error over frames of any setting, and which."""
    errors = {}
    for case in frames:
        for name, image in function(case):
            errors.setdefault(name, []).append(flux_error(image, case.truth))
    whole = {k: mean(v) for k, v in errors.items() if len(v) == len(frames)}
    if not whole:
        return None, ''
    name = min(whole, key=whole.get)
    return whole[name], name


def mean(values):
    """Mean, rounded."""
    return round(float(np.mean(values)), 4)


def ours(restorer, case, *, as_ccd=False, **options):
    """Restore a frame."""
    frame = case.observed.astype('f4')
    return restorer.restore(
        CCDData(frame, unit='electron') if as_ccd else frame,
        psf=case.kernel,
        gain=1.0,
        readnoise=READNOISE,
        offset=-SKY,
        **options,
    )


def summary(stars):
    """Medians over stars by their signal-to-noise ratio."""
    rows = []
    for low, high in ((10, 20), (20, 50), (50, 200), (200, 1e9)):
        chosen = [s for s in stars if low <= s['snr'] < high]
        if not chosen:
            continue
        row = {'snr': f'{low:g} to {high:g}', 'n': len(chosen)}
        for key in ('fwhm', 'flux', 'shift', 'ring'):
            values = np.array([s[key] for s in chosen])
            row[key] = round(float(np.median(values)), 4)
        flux = np.array([s['flux'] for s in chosen])
        error = 1.2533 * 1.4826 * np.median(np.abs(flux - np.median(flux)))
        row['flux error'] = round(float(error / len(flux) ** 0.5), 4)
        rows.append(row)
    return rows


def denoising(model):
    """Compare the dial for noise alone with the denoiser: gains in decibels."""
    restorer, denoiser = af.Restorer(model, device='cpu'), af.Denoiser(device='cpu')
    rows = []
    for kind in KINDS:
        for ratio in (10, 100):
            case = make_case(kind, 'moffat', 3.0, ratio, 7)
            known = {'gain': 1.0, 'readnoise': READNOISE, 'offset': -SKY}
            mine = ours(restorer, case, strength=0.0)
            other = denoiser.denoise(case.observed.astype('f4'), **known)
            error = [
                np.sqrt(np.mean((image - case.noiseless) ** 2))
                for image in (case.observed, other, mine)
            ]
            gains = [20 * np.log10(error[0] / e) for e in error[1:]]
            rows.append(
                {
                    'kind': kind,
                    'snr': ratio,
                    'denoiser': round(float(gains[0]), 2),
                    'restorer': round(float(gains[1]), 2),
                }
            )
    return rows


def speed(model):
    """Return megapixels per second of the networks, and of the whole call."""
    restorer = af.Restorer(model, device='cpu', n_threads=2)
    rng = np.random.default_rng(1)
    frame = rng.normal(300, 18, (1024, 1536)).astype('f4')
    known = {'gain': 1.0, 'readnoise': READNOISE, 'offset': 0.0}
    rows = {}
    restorer.restore(frame[:256, :256], fwhm=3.5, **known)
    for views in (1, 2):
        begin = time.perf_counter()
        restorer.restore(frame, fwhm=3.5, views=views, **known)
        seconds = time.perf_counter() - begin
        rows[f'restore, {views} views, Mpx/s'] = frame.size / 1e6 / seconds
    planes = rng.normal(size=(1, 8, 512, 512)).astype('f4')
    feeds = {'planes': planes, 'dials': np.ones((1, 6), 'f4')}
    rows['network, Mpx/s'] = rate(lambda: restorer._session.run(feeds))
    rows |= torch_speed()
    return {k: round(v, 4) for k, v in rows.items()}


def rate(function, pixels=512 * 512, repeats=2):
    """Megapixels per second, the best of some calls."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return pixels / 1e6 / min(times)


def torch_speed():
    """Time PyTorch, and the reference configuration in both."""
    import onnxruntime
    import torch

    from astroflat.training.export import export_onnx
    from astroflat.training.restore_nets import RestoreNet
    from astroflat.training.swin2sr import Swin2SR

    torch.set_num_threads(2)
    rows = {}
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        mine, side = RestoreNet().eval(), 256
        planes, dials = torch.randn(1, 8, side, side), torch.ones(1, 6)
        rows['torch, Mpx/s'] = rate(lambda: mine(planes, dials), side**2)
        reference, image = Swin2SR(1).eval(), torch.randn(1, 1, side, side)
        rows['Swin2SR light, torch, Mpx/s'] = rate(lambda: reference(image), side**2, 1)
        path = export_onnx(
            reference, Path(folder) / 'r.onnx', [torch.randn(2, 1, 64, 72)]
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(str(path), options)
        feeds = {'image': image.numpy()}
        rows['Swin2SR light, Mpx/s'] = rate(
            lambda: session.run(None, feeds), side**2, 1
        )
    return rows


def main():
    """Run everything and write a table as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='default', help='an ONNX file')
    parser.add_argument('--quick', action='store_true', help='a few frames')
    parser.add_argument('--speed', action='store_true', help='time PyTorch as well')
    parser.add_argument('--output', default='restore.json')
    args = parser.parse_args()
    table = compare(args.quick, args.model)
    table['denoising'] = denoising(args.model)
    if args.speed:
        table['speed'] = speed(args.model)
    for name in ('stars', 'false', 'denoising', 'speed'):
        print(name, json.dumps(table.get(name)))
    Path(args.output).write_text(json.dumps(table, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
