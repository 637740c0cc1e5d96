# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a training run tells: tables that grow row by row, and lines."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

__all__ = ['Table', 'device_name', 'tell']


class Table:
    """
    A CSV file whose columns are set by its first row.

    Parameters
    ----------
    path : Path
        The file. It is written with the first row.

    Attributes
    ----------
    last_step : int or None
        ``'step'`` of the last row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_step: int | None = None
        self._fields: list[str] | None = None

    def write(self, row: dict[str, float]) -> None:
        """
        Add a row; the file is whole after each.

        Parameters
        ----------
        row : dict
            Values by column. Columns that the first row did not have are left
            out.
        """
        new = self._fields is None
        if new:
            self._fields = list(row)
        mode = 'w' if new else 'a'
        with self.path.open(mode, newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, self._fields, extrasaction='ignore')
            if new:
                writer.writeheader()
            writer.writerow({key: _short(value) for key, value in row.items()})
        self.last_step = int(row['step'])

    def cut(self, step: int) -> None:
        """
        Keep the rows up to a step, for a run that goes on from there.

        Parameters
        ----------
        step : int
            Last step to keep.
        """
        if not self.path.exists():
            return
        with self.path.open(newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            if int(row['step']) <= step:
                self.write({key: _number(value) for key, value in row.items()})


def _short(value: float) -> float:
    """Round for the eye; whole numbers stay."""
    return float(f'{value:.6g}') if isinstance(value, float) else value


def _number(text: str) -> float:
    """Read a number as it was written."""
    value = float(text)
    return int(value) if text.lstrip('-').isdigit() else value


def device_name(device: str) -> str:
    """
    Name a device, for the record.

    Parameters
    ----------
    device : str
        ``'cpu'`` or ``'cuda'``.

    Returns
    -------
    str
        Name of the GPU, or ``'cpu'``.
    """
    import torch

    return torch.cuda.get_device_name() if device == 'cuda' else 'cpu'


def tell(say: Any, text: str) -> None:
    """
    Say a line, if anybody listens.

    Parameters
    ----------
    say : callable or None
        Takes one line of text.
    text : str
        The line.
    """
    if say:
        say(text)
