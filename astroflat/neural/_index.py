# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The index of a folder of networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat._exceptions import ModelError
from astroflat._files import atomic_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ['WEIGHTS', 'read_index', 'write_index']

WEIGHTS = Path(__file__).parent / 'weights'


def write_index(
    folder: str | os.PathLike | None = None,
    *,
    defaults: Mapping[str, str] | None = None,
) -> Path:
    """
    Write the index of a folder of networks from the cards in the files.

    Parameters
    ----------
    folder : str or path-like, optional
        The folder; by default, the one that comes with astroflat.

    defaults : mapping of str to str, optional
        For each task the name of the network that 'default' means. A task with
        a single network needs no entry.

    Returns
    -------
    path : `pathlib.Path`
        The file ``index.json`` that was written.

    Raises
    ------
    ModelError
        If a file has no card, if two have one name, or if a default is not
        there.

    Examples
    --------
    >>> import tempfile
    >>> from astroflat.neural import write_index
    >>> write_index(tempfile.mkdtemp()).name
    'index.json'
    """
    folder = WEIGHTS if folder is None else Path(folder)
    entries = [_entry(path) for path in sorted(folder.glob('*.onnx'))]
    names = [entry['name'] for entry in entries]
    if len(set(names)) != len(names):
        msg = f'two networks in {folder.name!r} have the same name: {names}'
        raise ModelError(msg)
    _mark_defaults(entries, dict(defaults or {}))
    text = json.dumps({'format': 1, 'models': entries}, indent=2)
    with atomic_path(folder / 'index.json', overwrite=True) as temporary:
        temporary.write_text(text + '\n', encoding='utf-8')
    return folder / 'index.json'


def _entry(path: Path) -> dict[str, Any]:
    """Return the entry of a file in the index."""
    from astroflat.neural.models import find_model

    model = find_model(path)
    return {
        'file': path.name,
        'name': model.card.name,
        'task': model.card.task,
        'version': model.card.version,
        'size': path.stat().st_size,
        'sha256': model.sha256,
        'licence': model.card.licence,
        'trained_on': str(model.card.training.get('data', '')),
        'default': False,
    }


def _mark_defaults(entries: list[dict[str, Any]], defaults: dict[str, str]) -> None:
    """Mark the default of each task in the index, in place."""
    for task in {entry['task'] for entry in entries} | set(defaults):
        names = [entry['name'] for entry in entries if entry['task'] == task]
        chosen = defaults.get(task, names[0] if len(names) == 1 else None)
        if chosen not in names:
            msg = f'task {task!r} needs a default; give one of {names} in defaults'
            raise ModelError(msg)
        for entry in entries:
            entry['default'] |= entry['task'] == task and entry['name'] == chosen


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of an index; none if there is no index."""
    path = folder / 'index.json'
    if not path.exists():
        return []
    index = json.loads(path.read_text(encoding='utf-8'))
    if index.get('format') != 1:
        msg = f'{path.name} is of another kind; install astroflat again'
        raise ModelError(msg)
    return index['models']
