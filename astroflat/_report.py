# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""How good a result is, and why: the report that every estimate carries."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from astroflat._files import atomic_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ['QualityReport', 'to_mmag']

Verdict = Literal['accept', 'weak', 'reject']
_ORDER = ('accept', 'weak', 'reject')


def to_mmag(fraction: float) -> float:
    """
    Convert a relative error to millimagnitudes.

    Parameters
    ----------
    fraction : float
        A small relative error, 0.01 for 1 %.

    Returns
    -------
    mmag : float
        ``2500 log10(1 + fraction)``.

    Examples
    --------
    >>> from astroflat.quality import to_mmag
    >>> round(to_mmag(0.01), 2)
    10.8
    """
    return 2500 * math.log10(1 + fraction)


@dataclass(frozen=True)
class QualityReport:
    """
    Numbers, limits and a verdict with its reasons.

    Parameters
    ----------
    method : str
        What was done.

    numbers : dict
        What was measured. The unit is part of the name: ``dust_percent``,
        ``total_mmag``, ``n_frames``.

    thresholds : dict, optional
        The limits that the verdict rests on.

    verdict : {'accept', 'weak', 'reject'}, optional
        Use it, look at it first, or do not use it.

    reasons : list of str, optional
        Why, in words.

    Examples
    --------
    >>> from astroflat.quality import QualityReport
    >>> report = QualityReport('median', {'n_frames': 9})
    >>> report = report.check(
    ...     report.numbers['n_frames'] >= 15,
    ...     'weak',
    ...     'only 9 frames: the noise is not negligible',
    ... )
    >>> report.verdict
    'weak'
    """

    method: str
    numbers: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, Any] = field(default_factory=dict)
    verdict: Verdict = 'accept'
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.verdict not in _ORDER:
            msg = f'verdict must be one of {_ORDER}, not {self.verdict!r}'
            raise ValueError(msg)

    def check(self, passed: bool, verdict: Verdict, reason: str) -> QualityReport:
        """
        Return the report after one more check.

        Parameters
        ----------
        passed : bool
            Whether the check was passed; then nothing changes.

        verdict : {'weak', 'reject'}
            The best verdict that is left if it was not.

        reason : str
            Why, in words.

        Returns
        -------
        report : QualityReport
            A new report.
        """
        if passed:
            return self
        worst = max(self.verdict, verdict, key=_ORDER.index)
        return QualityReport(
            self.method,
            self.numbers,
            self.thresholds,
            worst,
            [*self.reasons, reason],
        )

    def to_dict(self) -> dict[str, Any]:
        """
        Return the report as plain Python objects.

        Returns
        -------
        report : dict
            Only strings, numbers, booleans, lists, dictionaries and None.
        """
        return {
            'method': self.method,
            'verdict': self.verdict,
            'reasons': list(self.reasons),
            'numbers': _plain(self.numbers),
            'thresholds': _plain(self.thresholds),
        }

    def to_json(self) -> str:
        """
        Return the report as JSON.

        Returns
        -------
        text : str
            Strict JSON: a value that is not finite becomes null.
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + '\n'

    def write(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """
        Write the report as JSON.

        Parameters
        ----------
        path : str or path-like
            The file.

        overwrite : bool, optional
            Whether an existing file may be replaced.
        """
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(self.to_json(), encoding='utf-8')

    def to_html(
        self,
        *,
        figures: Mapping[str, Any] | None = None,
        tables: Mapping[str, Any] | None = None,
    ) -> str:
        """
        Return the report as a web page that needs no other file.

        Parameters
        ----------
        figures : dict, optional
            Figures by their captions: a `~matplotlib.figure.Figure`, or the
            bytes of a PNG image. They become part of the page.

        tables : dict, optional
            Tables by their captions: a `~astropy.table.Table`, or a list of
            dictionaries with the same keys.

        Returns
        -------
        page : str
            HTML without scripts and links. All text is escaped.

        Examples
        --------
        >>> from astroflat.quality import QualityReport
        >>> page = QualityReport('a < b', {'n': 3}).to_html()
        >>> 'a &lt; b' in page, '<script' in page
        (True, False)
        """
        from astroflat._report_html import render

        return render(self, figures or {}, tables or {})

    def write_html(
        self,
        path: str | os.PathLike,
        *,
        figures: Mapping[str, Any] | None = None,
        tables: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """
        Write the report as a web page that needs no other file.

        Parameters
        ----------
        path : str or path-like
            The file.

        figures, tables : dict, optional
            As in `to_html`.

        overwrite : bool, optional
            Whether an existing file may be replaced.
        """
        page = self.to_html(figures=figures, tables=tables)
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(page, encoding='utf-8')

    @classmethod
    def merge(cls, method: str, reports: Mapping[str, QualityReport]) -> QualityReport:
        """
        Join reports into one, with the worst of their verdicts.

        Parameters
        ----------
        method : str
            The name of the whole.

        reports : dict of QualityReport
            The parts by name, which goes before their numbers and reasons.

        Returns
        -------
        report : QualityReport
            A new report.

        Examples
        --------
        >>> from astroflat.quality import QualityReport
        >>> parts = {'dust': QualityReport('a', {'n': 1}), 'sky': QualityReport('b')}
        >>> QualityReport.merge('both', parts).numbers
        {'dust_n': 1}
        """
        parts = reports.items()
        return cls(
            method,
            {f'{name}_{k}': v for name, r in parts for k, v in r.numbers.items()},
            {f'{name}_{k}': v for name, r in parts for k, v in r.thresholds.items()},
            max((r.verdict for _, r in parts), key=_ORDER.index, default='accept'),
            [f'{name}: {reason}' for name, r in parts for reason in r.reasons],
        )

    def __str__(self) -> str:
        lines = [f'{self.method}: {self.verdict}']
        lines += [f'  - {reason}' for reason in self.reasons]
        width = max((len(name) for name in self.numbers), default=0)
        for name, value in self.numbers.items():
            shown = f'{value:.4g}' if isinstance(value, float) else str(value)
            lines.append(f'  {name:{width}s}  {shown}')
        return '\n'.join(lines)


def _plain(value: Any) -> Any:
    """Convert NumPy scalars and containers to what JSON knows."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, 'tolist'):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
