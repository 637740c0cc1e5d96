# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat restore``: deconvolve and denoise images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    import numpy as np
    from astropy.nddata import CCDData

    from astroflat.psf import PSFField

__all__ = ['add_arguments', 'run']

_PATCH = 256
_PROTECT = ('none', 'bright', 'flat')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument(
        'source',
        nargs='+',
        metavar='SOURCE',
        help='image files (FITS, TIFF, PNG, XISF), folders or patterns',
    )
    common.add_output(parser, 'a file for one image, else a folder')
    _add_stars(parser)
    _add_dials(parser)
    _add_noise(parser)
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
        help='restore only N patches of the first image, and show them in a figure',
    )
    parser.add_argument('--model', default='default', help='a network, by name or file')
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default auto'
    )
    parser.add_argument(
        '--figure',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='draw the first image before and after; default if matplotlib is there',
    )
    common.add_resources(parser)


def _add_stars(parser: argparse.ArgumentParser) -> None:
    """Add what the image of a star is."""
    stars = parser.add_argument_group(
        'image of a star, by default measured in each image, place by place'
    )
    one = stars.add_mutually_exclusive_group()
    one.add_argument('--fwhm', type=float, metavar='W', help='width in pixels')
    one.add_argument(
        '--psf',
        metavar='FILE',
        help='an image of a star, or a table (.ecsv) of measured stars',
    )
    stars.add_argument(
        '--write-psf', metavar='FILE', help='write the stars of the first image (.ecsv)'
    )


def _add_dials(parser: argparse.ArgumentParser) -> None:
    """Add how much is done, and where."""
    dials = parser.add_argument_group('how much')
    dials.add_argument(
        '--strength',
        type=float,
        default=1.0,
        metavar='P',
        help='0 leaves the width of stars, 1 halves it; default 1',
    )
    dials.add_argument(
        '--denoise',
        type=float,
        default=1.0,
        metavar='P',
        help='part of the noise to remove, 0 to 1; default 1',
    )
    dials.add_argument(
        '--protect',
        default='none',
        metavar='WHAT',
        help=(
            'where the image is kept: bright places, flat ones where nothing but '
            'noise varies, none (default), or an image of weights, 1 where it is kept'
        ),
    )
    dials.add_argument(
        '--residuals',
        action='store_true',
        help='write what the result, blurred again, does not explain, beside it',
    )
    dials.add_argument(
        '--mask', metavar='FILE', help='an image that is not 0 on bad pixels'
    )


def _add_noise(parser: argparse.ArgumentParser) -> None:
    """Add the noise of the camera."""
    noise = parser.add_argument_group('noise, by default from the header or the image')
    noise.add_argument('--gain', type=float, metavar='G', help='electrons per ADU')
    noise.add_argument('--readnoise', type=float, metavar='R', help='electrons')
    noise.add_argument('--offset', type=float, metavar='B', help='ADU without light')
    parser.add_argument(
        '--saturation', type=float, metavar='S', help='leave pixels from here on alone'
    )


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
        0, or 3 if the report of an image rejects its result.
    """
    from astroflat import Restorer

    _check(args)
    star, options = _star(args), _options(args)
    restorer = Restorer(args.model, device=args.device, n_threads=args.threads)
    if args.preview:
        return _preview(args, restorer, star, options)
    from astroflat.pipelines import restore_frames

    figure = _figure(args) if common.wants_figure(args.figure) else None
    _check_others(args, figure)
    report = restore_frames(
        common.one_or_many(args.source),
        restorer,
        output=args.output,
        dtype=args.dtype,
        overwrite=args.overwrite,
        residuals=args.residuals,
        on_progress=None if args.quiet else _Lines(),
        **star,
        **options,
    )
    _write_psf(args, star, options)
    _write_report(report, restorer, args)
    if figure is not None:
        rows = [_pair(common.one_or_many(args.source), report.paths[0])]
        _draw(rows, _figure(args), overwrite=True)
    for path, single in zip(report.paths, report.reports, strict=True):
        common.say(f'{path.name}: {_sentence(single)}', quiet=args.quiet)
    common.say(
        f'{len(report.paths)} images restored on {restorer.device}; '
        f'{report.n_clipped} samples clipped',
        quiet=args.quiet,
    )
    return 3 if any(single.verdict == 'reject' for single in report.reports) else 0


class _Lines:
    """Print a line of progress for each per cent, for people and programs."""

    def __init__(self) -> None:
        self._last = ''

    def __call__(self, fraction: float, text: str) -> None:
        line = f'progress {100 * fraction:.0f} % {text}'
        if line != self._last:
            common.say(line)
        self._last = line


def _check(args: argparse.Namespace) -> None:
    """Refuse numbers out of range before anything is read."""
    for name in ('strength', 'denoise'):
        value = getattr(args, name)
        if not 0 <= value <= 1:
            msg = f'--{name} must be from 0 to 1, not {value}'
            raise ValueError(msg)
    if args.fwhm is not None and not args.fwhm > 0:
        msg = f'--fwhm must be positive, not {args.fwhm}'
        raise ValueError(msg)
    if args.preview is not None and args.preview < 1:
        msg = f'--preview must be at least 1, not {args.preview}'
        raise ValueError(msg)


def _star(args: argparse.Namespace) -> dict[str, Any]:
    """Return the image of a star that was given."""
    if args.psf is None:
        return {'fwhm': args.fwhm}
    if Path(args.psf).suffix.lower() == '.ecsv':
        from astroflat.psf import PSFField

        return {'psf': PSFField.read(args.psf)}
    kernel = _image(args.psf)
    return {'psf': kernel.mean(axis=2) if kernel.ndim == 3 else kernel}


def _image(path: str) -> np.ndarray:
    """Return the pixels of an image."""
    import numpy as np

    from astroflat.io.images import read_ccd

    return np.asarray(read_ccd(path).data, dtype=np.float64)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the restorer is told."""
    options: dict[str, Any] = {'strength': args.strength, 'denoise': args.denoise}
    for name in ('gain', 'readnoise', 'offset', 'saturation'):
        options[name] = getattr(args, name)
    if args.protect != 'none':
        named = args.protect in _PROTECT
        options['protect'] = args.protect if named else _image(args.protect)
    if args.mask is not None:
        options['mask'] = _image(args.mask) != 0
    return options


def _beside(args: argparse.Namespace, suffix: str) -> Path:
    """Return the name of a file beside the output, or in its folder."""
    output = Path(args.output)
    return (
        output / f'restore{suffix}'
        if output.is_dir()
        else common.beside(output, suffix)
    )


def _figure(args: argparse.Namespace) -> Path:
    """Return the name of the figure, which is not that of an image."""
    path = _beside(args, '.png')
    if path == Path(args.output) or any(Path(s).name == path.name for s in args.source):
        return path.with_suffix('.figure.png')
    return path


def _check_others(args: argparse.Namespace, figure: Path | None) -> None:
    """Refuse to replace what is beside the output, before anything is done."""
    from astroflat._files import check_output

    others = [] if args.no_report else [_beside(args, '.json')]
    others += [] if figure is None else [figure]
    common.check_beside(args.output, others, overwrite=args.overwrite)
    if args.write_psf is not None:
        check_output(args.write_psf, overwrite=args.overwrite)


def _write_psf(
    args: argparse.Namespace, star: dict[str, Any], options: dict[str, Any]
) -> None:
    """Write the stars of the first image."""
    if args.write_psf is None:
        return
    from astroflat.psf import PSFField

    field = star.get('psf')
    if not isinstance(field, PSFField):
        field = _measured(_first(common.one_or_many(args.source)), options)
    field.write(args.write_psf, overwrite=args.overwrite)


def _measured(image: CCDData, options: dict[str, Any]) -> PSFField:
    """Measure the stars of an image as the restorer does."""
    from astroflat.psf import measure_field

    told = {name: options.get(name) for name in ('saturation', 'mask')}
    return measure_field(image, **told)


def _write_report(report: Any, restorer: Any, args: argparse.Namespace) -> None:
    """Write the numbers beside the output."""
    from astroflat.quality import QualityReport

    if args.no_report:
        return
    numbers = {
        'n_frames': len(report.paths),
        'n_clipped': report.n_clipped,
        'strength': args.strength,
        'denoise': args.denoise,
        'model': f'{restorer.card.name} {restorer.card.version}',
        'device': restorer.device,
        'frames': {
            path.name: single.to_dict()
            for path, single in zip(report.paths, report.reports, strict=True)
        },
    }
    result = QualityReport('restore', numbers)
    for path, single in zip(report.paths, report.reports, strict=True):
        for reason in single.reasons:
            result = result.check(False, single.verdict, f'{path.name}: {reason}')
    result.write(_beside(args, '.json'), overwrite=True)


def _sentence(report: Any) -> str:
    """Say what was measured, in a line."""
    texts = [
        f'{name} {value:.3g}'
        for name, value in report.numbers.items()
        if isinstance(value, float)
    ]
    return '; '.join([report.verdict, *report.reasons, ', '.join(texts)])


def _first(source: Any) -> Any:
    """Return the first image of a source."""
    from astroflat.io.images import read_ccd
    from astroflat.pipelines.apply import _image_files

    return read_ccd(_image_files(source)[0])


def _pair(source: Any, path: Path) -> tuple[str, Any, Any]:
    """Return the row of the first image, before and after."""
    import numpy as np

    from astroflat.io.images import read_ccd

    before, after = (
        np.asarray(image.data, np.float32) for image in (_first(source), read_ccd(path))
    )
    return _row(path.name, before, after)


def _row(name: str, before: Any, after: Any) -> tuple[str, Any, Any]:
    """Return a row of a figure: planes before and after."""
    planes = (
        image if image.ndim == 2 else image.mean(axis=2) for image in (before, after)
    )
    return name, *planes


def _preview(
    args: argparse.Namespace,
    restorer: Any,
    star: dict[str, Any],
    options: dict[str, Any],
) -> int:
    """Restore some patches of the first image: the one of most contrast, and others."""
    import numpy as np

    from astroflat.cli.denoise import _corners
    from astroflat.psf import PSFField

    image = _first(common.one_or_many(args.source))
    field = star.get('psf', star.get('fwhm'))
    if field is None:
        field = _measured(image, options)
    rows = []
    for y, x in _corners(np.asarray(image.data, np.float32), args.preview):
        part = (slice(y, y + _PATCH), slice(x, x + _PATCH))
        here = star
        if isinstance(field, PSFField):
            here = {'psf': field.kernel_at(x + _PATCH / 2, y + _PATCH / 2)}
        cut = {
            name: value[part] if isinstance(value, np.ndarray) else value
            for name, value in options.items()
        }
        ccd = image[part]
        after = restorer.restore(ccd, **here, **cut)
        before = np.asarray(ccd.data, np.float32)
        rows.append(_row(f'{x}, {y}', before, np.asarray(after.data, np.float32)))
    path = Path(args.output)
    path = path if path.suffix.lower() == '.png' else _beside(args, '.png')
    _draw(rows, path, overwrite=args.overwrite)
    common.say(f'{len(rows)} patches in {path}', quiet=args.quiet)
    return 0


def _draw(rows: list[tuple[str, Any, Any]], path: Path, *, overwrite: bool) -> None:
    """Write a figure of images before and after."""
    from matplotlib.figure import Figure

    from astroflat.visualization import plot_image, save_figure

    path.parent.mkdir(parents=True, exist_ok=True)
    size = (12.5, 0.3 + 4.1 * len(rows))
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for (left, middle, right), (name, before, after) in zip(axes, rows, strict=True):
        shown, limits, spread = _stretched(before, after)
        plot_image(shown[0], ax=left, title='before', limits=limits)
        plot_image(shown[1], ax=middle, title='after', limits=limits)
        title = 'before - after, ± 5 times the noise'
        plot_image(before - after, ax=right, title=title, limits=(-spread, spread))
        left.set_ylabel(name, fontsize=11)
    save_figure(figure, path, overwrite=overwrite)


def _stretched(
    before: np.ndarray, after: np.ndarray
) -> tuple[list[np.ndarray], tuple[float, float], float]:
    """Return copies in which faint and bright is seen, alike for both, and limits."""
    import numpy as np

    sky = float(np.nanmedian(before))
    noise = 1.4826 * float(np.nanmedian(np.abs(before - sky))) or 1.0
    shown = [np.arcsinh((image - sky) / (3 * noise)) for image in (before, after)]
    high = float(np.nanpercentile(shown[1], 99.8))
    return shown, (-1.0, max(high, 1.0)), 5 * noise
