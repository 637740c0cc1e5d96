# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tables out of the numbers of single frames, for ``denoise.py``."""

from __future__ import annotations

import numpy as np

BINS = ((4, 5), (5, 7), (7, 10), (10, 20), (20, 50), (50, 200))
GAINS = {
    'gain': 'Gain in signal to noise of fluxes',
    'core': 'Gain in signal to noise of the pixels in the middle',
    'shown': 'Gain in the height of these pixels over the noise of the background',
}
HEADS = (
    ('PSNR (dB)', 'psnr_db', '.2f'),
    ('SSIM', 'ssim', '.3f'),
    ('noise left', 'left', '.3f'),
    ('detections kept (%)', 'kept', '.1f'),
    ('found (%)', 'complete', '.1f'),
    ('false sources', 'false', 'd'),
    ('background (ADU)', 'background', '+.2f'),
    ('residual and sky', 'correlation', '+.3f'),
    ('S/N on sky', 'sky_gain', '.2f'),
    ('time (s)', 'seconds', '.2f'),
)


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
    """
    Bias in per cent with its error, and gains in signal to noise, of a bin.

    The bias is the mean difference to the noisy frame, which has none: both have the
    same noise in them, of which little is left in the difference. Gains are those of
    the flux, of the pixels in the middle, both against the truth, and of the height
    of these pixels over the noise of the background, as a reader of the image alone
    finds it.
    """
    relative, spread, cores, shown = [], [], [], []
    for row, before in zip(rows, noisy, strict=True):
        snr, error, true = (np.array(a) for a in row['stars'])
        raw = np.array(before['stars'][1])
        good = (snr >= low) & (snr < high) & np.isfinite(error) & (true > 0)
        relative += list((error - raw)[good] / true[good])
        spread.append((scatter(raw[good]), scatter(error[good])))
        (core, height), (core_raw, height_raw) = (
            np.array(r['cores']) for r in (row, before)
        )
        cores.append((scatter(core_raw[good]), scatter(core[good])))
        raised = np.nanmedian(height[good]) / np.nanmedian(height_raw[good])
        shown.append(raised * before['noise'] / max(row['noise'], 1e-9))
    bias, error = _clipped_mean(np.array(relative))
    gains = {'gain': _median_ratio(spread), 'core': _median_ratio(cores)}
    gains['shown'] = float(np.median(shown))
    return {'bias': 100 * bias, 'error': 100 * error} | gains


def _median_ratio(pairs):
    """Median over frames of the scatter before over that after."""
    before, after = np.array(pairs).T
    return float(np.median(before / np.maximum(after, 1e-9)))


def scatter(values):
    """Robust standard deviation."""
    values = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _clipped_mean(values):
    """Mean within five scatters of the median, and its error."""
    middle, width = np.median(values), scatter(values)
    values = values[np.abs(values - middle) <= 5 * width + 1e-12]
    return float(values.mean()), float(values.std() / max(len(values), 1) ** 0.5)


def merge(parts):
    """Put the numbers of parts together."""
    raw = {'real': {}, 'rows': {}}
    for part in parts:
        for folder, tables in part.get('real', {}).items():
            for name, table in tables.items():
                raw['real'].setdefault(folder, {}).setdefault(name, {}).update(table)
        for method, rows in part.get('rows', {}).items():
            raw['rows'].setdefault(method, []).extend(rows)
        raw |= {k: v for k, v in part.items() if k not in raw}
    return raw


def as_rst(tables):
    """Return the tables of the documentation."""
    text = ':orphan:\n\n.. tables start here\n\n'
    if 'simulated' in tables:
        rows = tables['simulated']
        head = ['method', *(h for h, _, _ in HEADS)]
        body = [[m, *(f'{r[k]:{f}}' for _, k, f in HEADS)] for m, r in rows.items()]
        text += _list_table('Simulated frames', head, body)
        head = ['signal to noise of the star', *(f'{a}-{b}' for a, b in BINS)]
        body = [
            [m, *(f'{b["bias"]:+.1f} ± {b["error"]:.1f}' for b in r['bins'])]
            for m, r in rows.items()
            if m != 'noisy frame'
        ]
        text += _list_table('Bias of fluxes (%)', head, body)
        for name, title in GAINS.items():
            body = [
                [m, *(f'{b[name]:.2f}' for b in r['bins'])]
                for m, r in rows.items()
                if m != 'noisy frame'
            ]
            text += _list_table(title, head, body)
    if 'real' in tables:
        columns = [(f, p) for f, parts in tables['real'].items() for p in parts]
        head = ['method', *(f'{f}, {p}' for f, p in columns)]
        cells = {c: tables['real'][c[0]][c[1]] for c in columns}
        names = dict.fromkeys(name for cell in cells.values() for name in cell)
        body = [[m, *(_ratio(cells[c].get(m)) for c in columns)] for m in names]
        text += _list_table('Error of real frames in their noise', head, body)
    return text


def _ratio(value):
    """Return a number with its error as text."""
    return '{:.3f} ± {:.3f}'.format(*value) if value else ''


def _list_table(title, head, body):
    """Return one table."""
    lines = [f'.. list-table:: {title}', '   :header-rows: 1', '']
    for row in [head, *body]:
        lines += [f'   {"*" if i == 0 else " "} - {cell}' for i, cell in enumerate(row)]
    return '\n'.join(lines) + '\n\n'
