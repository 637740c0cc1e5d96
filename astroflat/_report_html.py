# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A report as a web page in one file."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from astroflat._report import QualityReport

__all__ = ['render']

_MEANING = {
    'accept': 'use it',
    'weak': 'look at it first',
    'reject': 'do not use it',
}
# A page is for looking; the whole of a long table belongs into a file.
_MAX_ROWS = 300
_PNG = b'\x89PNG\r\n\x1a\n'
# A page that opens anywhere, in print and in the dark as well.
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
.verdict { display: inline-block; padding: .15rem .7rem; border-radius: 1rem;
  color: #fff; font-weight: 600; }
.accept { background: #2e7d32; } .weak { background: #a05a00; }
.reject { background: #b71c1c; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0;
  text-align: left; white-space: nowrap; }
td.number { text-align: right; padding-left: .8rem; }
tr:hover { background: var(--soft); }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; margin-bottom: .4rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.numbers { columns: 19rem; column-gap: 3rem; margin: 0; }
.numbers div { display: flex; justify-content: space-between; gap: 1rem;
  break-inside: avoid; border-bottom: 1px solid var(--line); }
.numbers dd { margin: 0; font-variant-numeric: tabular-nums; }
"""


def render(
    report: QualityReport,
    figures: Mapping[str, Any],
    tables: Mapping[str, Any],
    *,
    head: str = '',
    sections: Sequence[str] = (),
) -> str:
    """
    Return a report as a web page.

    Parameters
    ----------
    report : QualityReport
        The report.

    figures : dict
        Figures, or the bytes of PNG images, by their captions.

    tables : dict
        Tables, or lists of dictionaries, by their captions.

    head : str, optional
        HTML to put into the head of the page.

    sections : sequence of str, optional
        HTML to put between the verdict and the numbers.

    Returns
    -------
    page : str
        HTML with everything inside, but for what the last two ask for.
    """
    content = report.to_dict()
    title = escape(content['method'])
    parts = [
        '<!DOCTYPE html>',
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{title}: {content["verdict"]}</title>',
        f'<style>{_STYLE}</style>{head}</head><body>',
        f'<h1>{title}</h1>',
        _verdict(content),
        *sections,
        _pairs('Numbers', content['numbers']),
        _pairs('Limits', content['thresholds']),
        *(_figure(caption, figure) for caption, figure in figures.items()),
        *(_table(caption, table) for caption, table in tables.items()),
        f'<p><small>astroflat {escape(_version())}</small></p>',
        '</body></html>',
    ]
    return '\n'.join(part for part in parts if part) + '\n'


def _version() -> str:
    from astroflat import __version__

    return __version__


def _verdict(content: dict[str, Any]) -> str:
    """Return the verdict and its reasons."""
    verdict = content['verdict']
    text = (
        f'<p><span class="verdict {verdict}">{verdict}</span> {_MEANING[verdict]}</p>'
    )
    items = ''.join(f'<li>{escape(str(reason))}</li>' for reason in content['reasons'])
    return text + (f'<ul>{items}</ul>' if items else '')


def _pairs(title: str, values: dict[str, Any]) -> str:
    """Return names and values in columns; all digits show on hovering."""
    if not values:
        return ''
    rows = ''.join(
        f'<div><dt>{escape(name)}</dt>'
        f'<dd title="{escape(str(value))}">{escape(_text(value))}</dd></div>'
        for name, value in values.items()
    )
    return f'<section><h2>{escape(title)}</h2><dl class="numbers">{rows}</dl></section>'


def _cell(value: Any) -> str:
    """Return a cell; numbers are to the right, all digits show on hovering."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f'<td>{escape(_text(value))}</td>'
    return f'<td class="number" title="{value!r}">{escape(_text(value))}</td>'


def _text(value: Any) -> str:
    """Return a value in few digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '–'
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, (list, tuple)):
        return ', '.join(_text(v) for v in value)
    if isinstance(value, dict):
        return ', '.join(f'{k} = {_text(v)}' for k, v in value.items())
    return str(value)


def _figure(caption: str, figure: Any) -> str:
    """Return a figure with its image inside."""
    data = base64.b64encode(_png(figure)).decode('ascii')
    text = escape(caption, quote=True)
    return (
        f'<figure><figcaption>{text}</figcaption>'
        f'<img alt="{text}" src="data:image/png;base64,{data}"></figure>'
    )


def _png(figure: Any) -> bytes:
    """Return a figure as PNG."""
    if isinstance(figure, (bytes, bytearray)):
        if not bytes(figure).startswith(_PNG):
            msg = 'a figure given as bytes must be a PNG image'
            raise ValueError(msg)
        return bytes(figure)
    if not hasattr(figure, 'savefig'):
        msg = (
            f'a figure must be a matplotlib Figure or PNG bytes, not '
            f'{type(figure).__name__}'
        )
        raise TypeError(msg)
    buffer = io.BytesIO()
    # Its own colour: the text of a dark style is white.
    figure.savefig(buffer, format='png', dpi=110, facecolor='auto')
    return buffer.getvalue()


def _table(caption: str, table: Any) -> str:
    """Return a table with a head."""
    names, rows = _rows(table)
    if not names:
        return ''
    head = ''.join(f'<th scope="col">{escape(str(name))}</th>' for name in names)
    body = ''.join(
        f'<tr>{"".join(_cell(value) for value in row)}</tr>' for row in rows[:_MAX_ROWS]
    )
    left = len(rows) - _MAX_ROWS
    note = f'<p><small>and {left} more rows</small></p>' if left > 0 else ''
    return (
        f'<section><h2>{escape(caption)}</h2><div class="scroll"><table>'
        f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'
        '</section>'
    )


def _rows(table: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns and the rows as plain values."""
    if hasattr(table, 'colnames'):
        names = list(table.colnames)
        # A column with a unit gives its values.
        columns = [getattr(table[n], 'value', table[n]).tolist() for n in names]
        return names, [list(row) for row in zip(*columns, strict=True)]
    rows = list(table)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for name in names] for row in rows]
