# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The file of results: one JSON object per line, so that a run can be resumed."""

from __future__ import annotations

import json
from pathlib import Path


class ResultLog:
    """
    Results of one version of the benchmark, written as they come.

    Parameters
    ----------
    path : path-like
        The file. If it exists it is continued; a last line that was cut off
        when a run was killed is dropped.

    head : dict
        What the results belong to: version and digest of the manifest.

    Raises
    ------
    ValueError
        If the file belongs to something else.
    """

    def __init__(self, path, head):
        self.path = Path(path)
        self.records = {}
        if self.path.exists():
            self._read(head)
        else:
            self.path.write_text(json.dumps(head) + '\n', encoding='utf-8')

    def __contains__(self, key):
        """Whether there is a result of a (scene, method)."""
        return key in self.records

    def append(self, record):
        """
        Add a result to the file.

        Parameters
        ----------
        record : dict
            With ``scene`` and ``method``. An older result of both is replaced.
        """
        with self.path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')
        self.records[record['scene'], record['method']] = record

    def _read(self, head):
        """Read what is there."""
        text = self.path.read_text(encoding='utf-8')
        whole = text[: text.rfind('\n') + 1]
        if whole != text:
            self.path.write_text(whole, encoding='utf-8')
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines or lines[0] != head:
            msg = (
                f'{self.path} holds results of {lines[0] if lines else "nothing"}, '
                f'not of {head}; give another file with --results, or delete it'
            )
            raise ValueError(msg)
        for record in lines[1:]:
            self.records[record['scene'], record['method']] = record
