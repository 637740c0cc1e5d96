# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat median``: the exact median of a video or of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astroflat.cli import _common as common

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

__all__ = ['add_arguments', 'run']

# Below this many bytes of samples NumPy is done before numba is imported.
_SMALL_BYTES = 6e8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    common.add_source(parser)
    common.add_output(parser, 'the median: .fits, or .tif and .xisf without sigma')
    common.add_offsets(parser)
    common.add_resources(parser)
    parser.add_argument(
        '--method', choices=('median', 'mean'), default='median', help='default median'
    )
    parser.add_argument(
        '--scale',
        choices=('median', 'mean'),
        help='bring the frames to a common level first',
    )
    parser.add_argument(
        '--sigma-clip', type=float, metavar='K', help='leave out what is K sigma off'
    )
    parser.add_argument(
        '--normalize',
        action='store_true',
        help='write a flat: divided by its mean, 1 under the mask',
    )
    parser.add_argument(
        '--no-uncertainty',
        action='store_true',
        help='do not estimate the uncertainty: faster',
    )
    parser.add_argument(
        '--mem-limit',
        type=common.parse_bytes,
        default=256e6,
        metavar='SIZE',
        help='memory to work in, for example 256M; default 256M',
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
        0.
    """
    from astroflat._files import check_output

    outputs = [args.output]
    outputs += [] if args.no_report else [common.beside(args.output, '.json')]
    for path in outputs:
        check_output(path, overwrite=args.overwrite)
    plain = args.output.lower().endswith(('.fits', '.fit')) and not (
        args.normalize or args.scale or args.bias or args.dark
    )
    numbers = _run_plain(args) if plain else _run_full(args)
    if not args.no_report:
        _write_report(numbers, args)
    common.say(
        f'{numbers["n_frames"]} frames, median level {numbers["level"]:.6g}',
        quiet=args.quiet,
    )
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that all ways share."""
    return {
        'method': args.method,
        'sigma_clip': args.sigma_clip,
        'uncertainty': None if args.no_uncertainty else 'auto',
        'mem_limit': args.mem_limit,
        'n_threads': args.threads,
    }


def _run_plain(args: argparse.Namespace) -> dict[str, Any]:
    """
    Combine and write without containers.

    Importing CCDData takes longer than the median of a hundred frames.
    """
    import numpy as np

    from astroflat.combine import combine_stack
    from astroflat.combine._progress import show_progress
    from astroflat.io import open_frames

    with open_frames(common.one_or_many(args.source)) as stack:
        with show_progress(not args.quiet, stack.shape[1]) as progress:
            # A process of its own pays for the import of numba.
            size = np.prod(stack.shape, dtype=float) * stack.dtype.itemsize
            engine = 'numpy' if size < _SMALL_BYTES else 'auto'
            result = combine_stack(
                stack, progress=progress, engine=engine, **_options(args)
            )
        _write_fits(result, stack, args)
        return {
            'n_frames': len(stack),
            'level': float(np.nanmedian(result.value[::7, ::7])),
            'min_samples': int(result.count.min()),
        }


def _write_fits(result: Any, stack: Any, args: argparse.Namespace) -> None:
    """Write the arrays in the layout of CCDData."""
    import numpy as np

    from astroflat._files import atomic_path
    from astroflat._provenance import STALE, record
    from astroflat.io._fits_plain import PlainHeader, write_images

    source = stack.header(0)
    # Importing astropy.io.fits takes longer than the median of forty frames.
    foreign = hasattr(source, 'cards')
    header = source.copy(strip=True) if foreign else PlainHeader(source)
    for key in STALE:
        header.pop(key, None)
    header['BUNIT'] = str(stack.unit or 'adu')
    record(
        header,
        args.method,
        history=f'{args.method} of {len(stack)} frames',
        NCOMBINE=(len(stack), 'number of frames combined'),
        NSAMPMIN=(int(result.count.min()), 'fewest samples used of a pixel'),
        NSAMPMAX=(int(result.count.max()), 'most samples used of a pixel'),
    )
    images = [(_planes_first(result.value), header)]
    empty = result.count == 0
    if empty.any():
        cards = PlainHeader(EXTNAME='MASK')
        images.append((_planes_first(empty).astype(np.uint8), cards))
    if result.sigma is not None:
        cards = PlainHeader(EXTNAME='UNCERT', UTYPE='StdDevUncertainty')
        images.append((_planes_first(result.sigma), cards))
    write = _write_hdus if foreign else write_images
    with atomic_path(args.output, overwrite=args.overwrite) as temporary:
        write(temporary, images)


def _write_hdus(path: Path, images: list) -> None:
    """Write images and headers of any kind."""
    from astropy.io import fits

    (first, header), *others = images
    hdus = fits.HDUList([fits.PrimaryHDU(first, header)])
    for array, cards in others:
        hdus.append(fits.ImageHDU(array, fits.Header(cards)))
    hdus.writeto(path)


def _planes_first(array: Any) -> Any:
    """Return a colour image as FITS stores it."""
    return array if array.ndim == 2 else array.transpose(2, 0, 1)


def _run_full(args: argparse.Namespace) -> dict[str, Any]:
    """Combine with calibration, scaling or normalisation."""
    import numpy as np

    from astroflat import FlatSolution, median_flat, write_flat
    from astroflat.io import write_image

    flat = median_flat(
        common.one_or_many(args.source),
        scale=args.scale,
        bias=common.as_path(args.bias),
        dark=common.as_path(args.dark),
        progress_bar=not args.quiet,
        **_options(args),
    )
    numbers = {
        'n_frames': int(flat.meta['NCOMBINE']),
        'level': float(np.nanmedian(flat.data)),
        'min_samples': int(np.min(flat.flags)),
    }
    if args.normalize:
        solution = FlatSolution.from_image(flat, method=args.method)
        write_flat(solution, args.output, overwrite=args.overwrite)
    else:
        write_image(flat, args.output, dtype='float32', overwrite=args.overwrite)
    return numbers


def _write_report(numbers: dict[str, Any], args: argparse.Namespace) -> None:
    """Write the numbers beside the median."""
    from astroflat._report import QualityReport

    report = QualityReport(args.method, numbers)
    report.write(common.beside(args.output, '.json'), overwrite=args.overwrite)
