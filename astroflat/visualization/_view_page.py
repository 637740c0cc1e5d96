# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Make the pages that show a result: blink, profiles, motes, report."""

from __future__ import annotations

import io
import json
from html import escape
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._nddata import unpack
from astroflat._report_html import _rows, _table, render
from astroflat.visualization._image_view import crop, flat_limits
from astroflat.visualization._view_result import measure_motes
from astroflat.visualization._view_server import Answer
from astroflat.visualization.figures import display_limits

if TYPE_CHECKING:
    from astropy.table import Table

    from astroflat.visualization._view_result import Result

__all__ = ['Site']

_HTML = 'text/html; charset=utf-8'
_KINDS = {'view.css': 'text/css; charset=utf-8', 'view.js': 'text/javascript'}
_MASK_COLOR = (255, 128, 13)
_LEAST_HALF = 12.0
_MAX_MOTES = 300
# A larger image is averaged to this: what is far larger does not load at once.
_MAX_SIDE = 2400


class Site:
    """
    The pages of some results, each made when it is first asked for.

    Parameters
    ----------
    results : list of Result
        What to show.
    """

    def __init__(self, results: list[Result]) -> None:
        self.results = results
        self._made: dict[int, dict[str, Answer]] = {}
        self._lock = Lock()
        folder = Path(__file__).with_name('page')
        self._fixed = {
            name: Answer(kind, (folder / name).read_bytes())
            for name, kind in _KINDS.items()
        }
        if len(results) > 1:
            self._fixed[''] = Answer(_HTML, _index(results).encode())

    def find(self, name: str) -> Answer | None:
        """
        Return what is called so.

        Parameters
        ----------
        name : str
            ``''`` for the first page, ``'0/'`` for that of the first result.

        Returns
        -------
        answer : Answer or None
            None if there is nothing of that name.
        """
        if name in self._fixed:
            return self._fixed[name]
        if name == '':
            return self._fixed.setdefault('', _forward())
        number, slash, part = name.partition('/')
        if not slash or number not in {str(i) for i in range(len(self.results))}:
            return None
        return self._parts(int(number)).get(part)

    def _parts(self, number: int) -> dict[str, Answer]:
        """Return the page of a result and what belongs to it."""
        with self._lock:
            if number not in self._made:
                try:
                    parts = _make(self.results[number])
                except (OSError, ValueError) as error:
                    text = (
                        f'<!DOCTYPE html><p>This cannot be shown: {escape(str(error))}'
                    )
                    parts = {'': Answer(_HTML, text.encode())}
                self._made[number] = parts
            return self._made[number]


def _forward() -> Answer:
    """Return a page that leads to the only result."""
    page = (
        '<!DOCTYPE html><meta charset="utf-8"><title>astroflat</title>'
        '<link rel="icon" href="data:,">'
        '<meta http-equiv="refresh" content="0; url=0/"><a href="0/">result</a>'
    )
    return Answer(_HTML, page.encode())


def _index(results: list[Result]) -> str:
    """Return a page with a link to every result."""
    rows = []
    for i, result in enumerate(results):
        report = result.read_report() if result.report else None
        verdict = report.verdict if report else ''
        method = report.method if report else 'page' if result.page else 'image'
        rows.append(
            f'<tr><td><a href="{i}/">{escape(result.name)}</a></td>'
            f'<td>{escape(str(method))}</td><td>{verdict}</td></tr>'
        )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<title>astroflat results</title><link rel="icon" href="data:,">'
        '<style>:root{color-scheme:light dark}'
        'body{font:15px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto}'
        'td{padding-right:2rem}</style></head><body><h1>Results</h1><table>'
        f'{"".join(rows)}</table></body></html>'
    )


def _make(result: Result) -> dict[str, Answer]:
    """Return the page of a result and its images, by name."""
    if result.page is not None:
        return {'': Answer(_HTML, result.page.read_bytes())}
    report = result.read_report()
    planes = _planes(result)
    parts = {f'{name}.png': _png(*plane) for name, plane in planes.items()}
    motes = _motes(result, planes)
    sections = []
    if planes:
        sections.append(_stage(planes))
    if motes is not None and len(motes):
        sections += _mote_sections(motes)
        profiles = _profiles(motes, planes)
        parts['motes.json'] = Answer('application/json', json.dumps(profiles).encode())
        parts['motes.csv'] = Answer('text/csv; charset=utf-8', _csv(motes))
    figures = {}
    if result.figure is not None:
        figures['Figure'] = result.figure.read_bytes()
    head = (
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="../view.css">'
        '<script src="../view.js" defer></script>'
    )
    page = render(report, figures, {}, head=head, sections=sections)
    return {'': Answer(_HTML, page.encode()), **parts}


def _planes(result: Result) -> dict[str, tuple[np.ndarray, Any]]:
    """Return the images to show, each with its limits; None marks a mask."""
    if result.image is None:
        return {}
    from astroflat.io.images import read_ccd

    ccd = read_ccd(result.image)
    is_flat = 'FLATNORM' in ccd.header
    planes: dict[str, tuple[np.ndarray, Any]] = {}
    own = _mono(ccd)
    if result.before is not None and result.before != result.image:
        before = _mono(read_ccd(result.before))
        if before.shape != own.shape:
            msg = (
                f'{result.before.name!r} has the shape {before.shape}, '
                f'{result.image.name!r} has {own.shape}'
            )
            raise ValueError(msg)
        after = before / np.where(own > 0, own, np.nan) if is_flat else own
        limits = display_limits(after)
        planes = {'after': (after, limits), 'before': (before, limits)}
    elif not is_flat:
        planes = {'image': (own, display_limits(own))}
    if is_flat:
        planes['flat'] = (own, flat_limits(own))
        mask = _mask(result, own)
        if mask.any() and mask.mean() < 1:
            planes['mask'] = (mask, None)
    return planes


def _mask(result: Result, flat: np.ndarray) -> np.ndarray:
    """Return the mask of a flat: as written, or where it is not 1."""
    if result.mask is not None:
        from astroflat.io import read_image

        mask = read_image(result.mask).data > 0
        if mask.shape == flat.shape:
            return mask
    return flat != 1


def _mono(image: Any) -> np.ndarray:
    """Return an image as one plane, NaN where it is bad."""
    frame = unpack(image, ndim=(2, 3))
    data = np.where(frame.bad, np.nan, frame.data)
    return data.mean(axis=-1) if data.ndim == 3 else data


def _png(data: np.ndarray, limits: Any) -> Answer:
    """Return an image as PNG, its first row at the bottom."""
    from PIL import Image

    ny, nx = data.shape
    values = data.astype(np.float32) if limits is None else data
    seen = crop(values, (-0.5, nx - 0.5), (-0.5, ny - 0.5), side=_MAX_SIDE)[0][::-1]
    if limits is None:
        alpha = np.rint(115 * np.sqrt(seen)).astype(np.uint8)
        color = np.broadcast_to(np.uint8(_MASK_COLOR), (*alpha.shape, 3))
        picture = np.dstack([color, alpha])
    else:
        low, high = limits
        grey = np.nan_to_num(np.clip((seen - low) / (high - low), 0, 1))
        picture = np.rint(255 * grey).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, format='PNG')
    return Answer('image/png', stream.getvalue())


def _stage(planes: dict[str, tuple[np.ndarray, Any]]) -> str:
    """Return the images on top of each other, with buttons."""
    first = next(iter(planes))
    ny, nx = planes[first][0].shape
    # The first gives the others their size, and is what is seen.
    state = dict.fromkeys(planes, 'hidden') | {first: 'class="base"'}
    images = ''.join(
        f'<img data-name="{name}" alt="{name}" src="{name}.png" draggable="false" '
        f'{state[name]}>'
        for name in planes
    )
    order = [n for n in ('before', 'after', 'image', 'flat') if n in planes]
    buttons = [f'<button data-show="{name}">{name}</button>' for name in order]
    if 'before' in planes:
        buttons.insert(0, '<button data-act="blink">blink (b)</button>')
    if 'mask' in planes:
        buttons.append('<button data-act="mask">mask (m)</button>')
    buttons.append('<button data-act="home">whole image (h)</button>')
    return (
        '<section><h2>Before and after</h2>'
        f'<div id="stage" tabindex="0" data-width="{nx}" data-height="{ny}" '
        f'data-shown="{first}"><div id="layers">{images}</div>'
        f'<span id="name">{first}</span></div><div id="tools">{"".join(buttons)}</div>'
        '<p><small>space: before or after; wheel: zoom; drag: move. Before and after '
        'have one scale; the flat is grey where it is 1.</small></p></section>'
    )


def _motes(result: Result, planes: dict[str, tuple[np.ndarray, Any]]) -> Table | None:
    """Return the catalogue, the deepest first."""
    if 'flat' not in planes:
        return None
    table = result.read_motes()
    if table is None:
        mask = planes['mask'][0] if result.mask is not None else None
        table = measure_motes(planes['flat'][0], mask)
    if 'depth' in table.colnames:
        depth = np.nan_to_num(np.abs(np.asarray(table['depth'], float)))
        table = table[np.argsort(-depth, kind='stable')]
    return table


def _mote_sections(motes: Table) -> list[str]:
    """Return the panel of the profile and the table."""
    plain = _plain(motes)
    profile = (
        '<section><h2>Profile</h2><p><small>Mean of three rows through the object that '
        'is chosen in the table.</small></p>'
        '<div id="profile" data-source="motes.json"></div></section>'
    )
    table = (
        f'<div id="motes">{_table(f"Motes: {len(motes)}", plain)}'
        '<p><a href="motes.csv" download>all of it as CSV</a></p></div>'
    )
    return [profile, table]


def _plain(motes: Table) -> list[dict[str, Any]]:
    """Return the columns worth reading, units in their names."""
    left_out = {'probability', 'xmin', 'xmax', 'ymin', 'ymax'}
    names, rows = _rows(motes)
    shown = [i for i, name in enumerate(names) if name not in left_out]
    return [{names[i]: row[i] for i in shown} for row in rows]


def _csv(motes: Table) -> bytes:
    """Return the table as CSV."""
    stream = io.StringIO()
    motes.write(stream, format='ascii.csv')
    return stream.getvalue().encode()


def _profiles(
    motes: Table, planes: dict[str, tuple[np.ndarray, Any]]
) -> list[dict[str, Any]]:
    """Return place and profile of every mote in the table."""
    names = [n for n in ('before', 'after') if n in planes] or ['flat']
    found = []
    for row in motes[:_MAX_MOTES]:
        x, y, radius = (
            float(getattr(row[name], 'value', row[name]))
            for name in ('x', 'y', 'radius')
        )
        half = max(3 * radius, _LEAST_HALF)
        ny, nx = planes[names[0]][0].shape
        column, line = (int(np.clip(round(v), 0, n - 1)) for v, n in ((x, nx), (y, ny)))
        rows = slice(max(0, line - 1), line + 2)
        columns = slice(max(0, int(column - half)), int(column + half) + 1)
        profile = {name: _numbers(planes[name][0][rows, columns]) for name in names}
        lines = f'{rows.start} to {min(line + 1, ny - 1)}'
        profile |= {'x': columns.start, 'rows': lines}
        found.append({'x': x, 'y': y, 'half': half, 'profile': profile})
    return found


def _numbers(part: np.ndarray) -> list[float | None]:
    """Return the mean of rows as JSON knows it: None for a bad pixel."""
    mean = part.astype(float).mean(axis=0)
    return [float(f'{v:.7g}') if np.isfinite(v) else None for v in mean]
