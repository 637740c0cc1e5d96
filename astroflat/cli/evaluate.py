# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat evaluate``: how good results are, against truth or on frames."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from astroflat.cli import _common as common

__all__ = ['add_arguments', 'run']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument(
        'result', nargs='+', metavar='RESULT', help='the images or flats to judge'
    )
    parser.add_argument('--truth', metavar='FILE', help='what they should be')
    parser.add_argument(
        '--frames',
        nargs='+',
        metavar='FILE',
        help='frames to judge flats on: a video, a folder or images that the flats '
        'were not made from',
    )
    parser.add_argument(
        '--flat',
        action='store_true',
        help='the results are flats: compared up to a factor, with doing nothing',
    )
    parser.add_argument(
        '--before', metavar='FILE', help='the image before it was processed'
    )
    parser.add_argument('--bias', metavar='FILE', help='a bias to subtract from frames')
    parser.add_argument(
        '--gradient', metavar='FILE', help='a gradient to subtract from frames'
    )
    _add_settings(parser)
    parser.add_argument(
        '-o',
        '--output',
        metavar='FOLDER',
        help='write CSV, JSON, HTML and figures here',
    )
    parser.add_argument(
        '--figure',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='draw figures; default: if matplotlib is there',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace existing files'
    )
    parser.add_argument('-q', '--quiet', action='store_true', help='no summary')


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add how sources are found."""
    group = parser.add_argument_group('sources')
    group.add_argument(
        '--fwhm', type=float, metavar='PX', help='of a star; measured by default'
    )
    group.add_argument(
        '--nsigma', type=float, default=5.0, metavar='N', help='threshold; default 5'
    )
    group.add_argument(
        '--sources',
        choices=('dao', 'segmentation'),
        default='dao',
        help='how they are found; default dao',
    )
    group.add_argument('--gain', type=float, metavar='E', help='electrons per unit')
    group.add_argument(
        '--peak', type=float, metavar='S', help='the signal that PSNR refers to'
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
        0, or 3 if a result is rejected.
    """
    from astroflat.quality import QualityReport

    if args.truth is None and args.frames is None:
        msg = 'give --truth FILE to compare with, or --frames FILE... to measure on'
        raise ValueError(msg)
    folder = _prepare(args)
    names = _names(args.result)
    evaluations = {
        name: _evaluate(Path(path), args)
        for name, path in zip(names, args.result, strict=True)
    }
    reports = {name: e.report for name, e in evaluations.items()}
    for name, report in reports.items():
        common.say(f'{name}\n{report}', quiet=args.quiet)
    merged = QualityReport.merge('evaluate', reports)
    if folder is not None:
        _write(folder, evaluations, merged, args)
    return 3 if merged.verdict == 'reject' else 0


def _prepare(args: argparse.Namespace) -> Path | None:
    """Make the folder of the output and check that its files may be written."""
    from astroflat._files import check_output

    if args.output is None:
        return None
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ('csv', 'json', 'html'):
        check_output(folder / f'evaluate.{suffix}', overwrite=args.overwrite)
    return folder


def _names(paths: list[str]) -> list[str]:
    """Return short names of files that differ from each other."""
    names = [Path(path).name.split('.')[0] for path in paths]
    return [
        name if names.count(name) == 1 else f'{name}_{i + 1}'
        for i, name in enumerate(names)
    ]


def _evaluate(path: Path, args: argparse.Namespace) -> Any:
    """Judge one result by what was given."""
    from astroflat import quality

    truth = None if args.truth is None else Path(args.truth)
    if args.flat and args.frames is None:
        return quality.evaluate_flat(path, truth)
    settings = quality.DetectionSettings(
        fwhm=args.fwhm or _fwhm(args), nsigma=args.nsigma, method=args.sources
    )
    if args.frames is not None:
        return quality.evaluate_frames(
            path,
            common.one_or_many(args.frames),
            truth=truth,
            gradient=None if args.gradient is None else Path(args.gradient),
            bias=None if args.bias is None else Path(args.bias),
            settings=settings,
            gain=args.gain,
        )
    return quality.evaluate_image(
        path,
        truth,
        before=None if args.before is None else Path(args.before),
        settings=settings,
        peak=args.peak,
    )


def _fwhm(args: argparse.Namespace) -> float:
    """Measure the width of the stars, in the truth or in the first frame."""
    import math

    from astroflat.io import open_frames
    from astroflat.quality import measure_fwhm

    source = [args.truth] if args.frames is None else args.frames
    with open_frames(common.one_or_many(source)) as stack:
        image = stack[0]
    fwhm = measure_fwhm(image.mean(axis=-1) if image.ndim == 3 else image)
    return 3.0 if math.isnan(fwhm) else round(fwhm, 2)


def _write(
    folder: Path, evaluations: dict[str, Any], merged: Any, args: argparse.Namespace
) -> None:
    """Write the rows, the summary, the page and the figures."""
    from astroflat.quality import QualityReport

    rows = [
        {'result': name, 'verdict': e.report.verdict, **e.report.numbers}
        for name, e in evaluations.items()
    ]
    _write_csv(folder / 'evaluate.csv', rows, args.overwrite)
    merged.write(folder / 'evaluate.json', overwrite=args.overwrite)
    figures, tables = _figures(folder, evaluations, args), {}
    name, only = next(iter(evaluations.items()))
    page = replace(only.report, method=f'{name}: {only.report.method}')
    single = len(evaluations) == 1
    if not single:
        page = QualityReport('evaluate', {}, {}, merged.verdict, merged.reasons)
        tables['Results'] = _turned(rows)
    for name, evaluation in evaluations.items():
        for caption, table in evaluation.tables.items():
            tables[caption if single else f'{name}: {caption}'] = table
            file = folder / f'{name}_{_slug(caption)}.csv'
            table.write(file, format='ascii.csv', overwrite=args.overwrite)
    page.write_html(
        folder / 'evaluate.html',
        figures=figures,
        tables=tables,
        overwrite=args.overwrite,
    )


def _figures(
    folder: Path, evaluations: dict[str, Any], args: argparse.Namespace
) -> dict[str, Any]:
    """Draw the figures, write each to a file, and return them by caption."""
    if not common.wants_figure(args.figure):
        return {}
    from astroflat.visualization import save_figure

    figures = {}
    for name, evaluation in evaluations.items():
        for caption, figure in evaluation.figures().items():
            file = folder / f'{name}_{_slug(caption)}.png'
            save_figure(figure, file, overwrite=args.overwrite)
            figures[caption if len(evaluations) == 1 else f'{name}: {caption}'] = figure
    return figures


def _turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per number and one column per result, to read side by side."""
    names = dict.fromkeys(name for row in rows for name in row if name != 'result')
    return [
        {'number': name} | {row['result']: row.get(name) for row in rows}
        for name in names
    ]


def _slug(caption: str) -> str:
    return caption.lower().replace(' ', '_')


def _write_csv(path: Path, rows: list[dict[str, Any]], overwrite: bool) -> None:
    """Write one row per result; a number that is missing stays empty."""
    import csv

    from astroflat._files import atomic_path

    names = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open('w', newline='', encoding='utf-8') as file,
    ):
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
