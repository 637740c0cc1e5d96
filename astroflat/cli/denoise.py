# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat denoise``: remove noise from frames or a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']

_PATCH = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    common.add_source(parser)
    common.add_output(parser, 'a .ser or .fits file for a video or cube, else a folder')
    noise = parser.add_argument_group('noise, by default from the header or the frame')
    noise.add_argument('--gain', type=float, metavar='G', help='electrons per ADU')
    noise.add_argument('--readnoise', type=float, metavar='R', help='electrons')
    noise.add_argument('--offset', type=float, metavar='B', help='ADU without light')
    parser.add_argument(
        '--saturation', type=float, metavar='S', help='leave pixels from here on alone'
    )
    parser.add_argument(
        '--strength',
        type=float,
        default=1.0,
        metavar='P',
        help='part of the noise to remove, 0 to 1; default 1',
    )
    parser.add_argument(
        '--max-bin',
        type=int,
        default=4,
        metavar='N',
        help='largest means that the network may look at where no star is sharp; '
        'default 4, 1 for single pixels only',
    )
    parser.add_argument(
        '--bayer', action='store_true', help='the frames are mosaics of colours'
    )
    parser.add_argument(
        '--dtype',
        choices=('auto', 'keep', 'float32'),
        default='auto',
        help='type of the output; default float32 where the format has it',
    )
    parser.add_argument(
        '--preview',
        type=int,
        metavar='N',
        help='denoise only N patches of the first frame, and show them in a figure',
    )
    parser.add_argument('--model', default='default', help='a network, by name or file')
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default auto'
    )
    parser.add_argument(
        '--figure',
        action=_boolean(),
        default=None,
        help='draw the first frame before and after; default if matplotlib is there',
    )
    common.add_resources(parser)


def _boolean() -> Any:
    import argparse

    return argparse.BooleanOptionalAction


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    Returns
    -------
    status : int
        0.
    """
    from astroflat import Denoiser

    if args.preview is not None and args.preview < 1:
        msg = f'--preview must be at least 1, not {args.preview}'
        raise ValueError(msg)
    denoiser = Denoiser(args.model, device=args.device, n_threads=args.threads)
    options = {
        'gain': args.gain,
        'readnoise': args.readnoise,
        'offset': args.offset,
        'saturation': args.saturation,
        'strength': args.strength,
        'max_bin': args.max_bin,
        'bayer': args.bayer or None,
    }
    if args.preview:
        return _preview(args, denoiser, options)
    from astroflat.pipelines import denoise_frames

    figure = common.wants_figure(args.figure)
    others = [] if args.no_report else [_beside(args, '.json')]
    others += [_beside(args, '.png')] if figure else []
    common.check_beside(args.output, others, overwrite=args.overwrite)
    report = denoise_frames(
        common.one_or_many(args.source),
        denoiser,
        output=args.output,
        dtype=args.dtype,
        overwrite=args.overwrite,
        progress_bar=not args.quiet,
        **options,
    )
    _write_report(report, denoiser, args)
    if figure:
        path = _beside(args, '.png')
        _draw(_pair(args, report), path, args)
    common.say(
        f'{report.n_frames} frames denoised on {denoiser.device}; '
        f'noise of the sky {report.noise_before[0]:.4g} before, '
        f'about {report.noise_after[0]:.3g} after; {report.n_clipped} samples clipped',
        quiet=args.quiet,
    )
    return 0


def _beside(args: argparse.Namespace, suffix: str) -> Path:
    """Return the name of a file beside the output, or in its folder."""
    output = Path(args.output)
    return (
        output / f'denoise{suffix}'
        if output.is_dir()
        else common.beside(output, suffix)
    )


def _write_report(report: Any, denoiser: Any, args: argparse.Namespace) -> None:
    """Write the numbers beside the output."""
    from astroflat.quality import QualityReport

    if args.no_report:
        return
    numbers = {
        'n_frames': report.n_frames,
        'n_clipped': report.n_clipped,
        'noise_before': report.noise_before,
        'noise_after_estimated': report.noise_after,
        'strength': args.strength,
        'model': f'{denoiser.card.name} {denoiser.card.version}',
        'device': denoiser.device,
        'files': [path.name for path in report.paths],
    }
    note = 'denoised: photometry belongs on the original frames'
    QualityReport('denoise', numbers, reasons=[note]).write(
        _beside(args, '.json'), overwrite=True
    )


def _first(source: Any) -> Any:
    """Return the first frame of a source."""
    from astroflat.io import open_frames

    with open_frames(source) as stack:
        return stack[0]


def _pair(args: argparse.Namespace, report: Any) -> list[tuple[str, list]]:
    """Return the row of the first frame, before and after."""
    import numpy as np

    before = np.asarray(_first(common.one_or_many(args.source)), np.float32)
    after = np.asarray(_first(str(report.paths[0])), np.float32)
    return [_row(Path(report.paths[0]).name, before, after)]


def _row(name: str, before: Any, after: Any) -> tuple[str, list]:
    """Return a row of a figure; what was taken has its own limits."""
    return name, [
        ('before', before, 'sky'),
        ('after', after, 'sky'),
        ('taken away', before - after, 'noise'),
    ]


def _preview(args: argparse.Namespace, denoiser: Any, options: dict[str, Any]) -> int:
    """Denoise some patches of the first frame: the brightest, and others."""
    import numpy as np

    from astroflat._nddata import unpack
    from astroflat.io.images import read_ccd

    source = args.source[0]
    try:
        frame = unpack(read_ccd(source), ndim=(2, 3))
    except (OSError, ValueError):
        frame = unpack(np.asarray(_first(source), np.float32), ndim=(2, 3))
    rows = []
    for y, x in _corners(frame.data, args.preview):
        part = (slice(y, y + _PATCH), slice(x, x + _PATCH))
        ccd = frame.ccd(frame.data).copy()[part]
        rows.append(_row(f'{x}, {y}', ccd.data, denoiser.denoise(ccd, **options).data))
    path = Path(args.output)
    path = path if path.suffix.lower() == '.png' else _beside(args, '.png')
    _draw(rows, path, args)
    common.say(f'{len(rows)} patches of {source} in {path}', quiet=args.quiet)
    return 0


def _corners(data: Any, count: int) -> list[tuple[int, int]]:
    """Return the corners of patches, those of the most contrast first."""
    import numpy as np

    plane = data if data.ndim == 2 else data.mean(axis=2)
    # Even, so that a mosaic of colours stays one.
    starts = [range(0, max(n - _PATCH, 0) + 1, _PATCH) for n in plane.shape]
    places = [(y, x) for y in starts[0] for x in starts[1]]

    def contrast(place: tuple[int, int]) -> float:
        y, x = place
        patch = plane[y : y + _PATCH : 2, x : x + _PATCH : 2]
        low, high = np.nanpercentile(patch, (50, 99.5))
        return float(low - high)

    ordered = sorted(places, key=contrast)
    return ordered[:: max(1, len(ordered) // count)][:count]


def _draw(rows: list[tuple[str, list]], path: Path, args: argparse.Namespace) -> None:
    """Write a figure of images before and after."""
    from astroflat.visualization import plot_comparison, save_figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = plot_comparison(rows, title='denoise')
    save_figure(figure, path, overwrite=args.overwrite or not args.preview)
