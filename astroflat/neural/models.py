# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Networks: those that come with astroflat, files, and files from the web."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from astroflat._exceptions import ModelError
from astroflat.neural import _index
from astroflat.neural._index import write_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astropy.table import Table

    from astroflat.neural.cards import ModelCard

__all__ = ['Model', 'find_model', 'list_models', 'load_model', 'write_index']

# ONNX files end at 2 GB by design; a network for images is far smaller.
_LARGEST = 2**30


@dataclass(frozen=True)
class Model:
    """
    A network that was found and checked.

    Attributes
    ----------
    path : `pathlib.Path`
        The file.

    card : `ModelCard`
        What it is.

    sha256 : str
        The hash of the file.

    Examples
    --------
    >>> from astroflat.neural import Model, ModelCard
    >>> Model('a.onnx', ModelCard('a', 'denoise', version='2'), 64 * '0')
    <Model a 2: denoise>
    """

    path: Path
    card: ModelCard
    sha256: str

    def __repr__(self) -> str:
        name = f'{self.card.name} {self.card.version}'.strip()
        return f'<Model {name}: {self.card.task}>'


class Content(NamedTuple):
    """
    The bytes of an ONNX file.

    Attributes
    ----------
    data : bytes
        The bytes.

    name : str
        What to call them in messages.

    sha256 : str
        Their hash.
    """

    data: bytes
    name: str
    sha256: str


def load_model(model: str | os.PathLike | bytes | Model) -> Content:
    """
    Read an ONNX file once, so that what is hashed is what is run.

    Parameters
    ----------
    model : str, path-like, bytes or `Model`
        The file, or its content.

    Returns
    -------
    content : `Content`
        Bytes, name and hash.

    Raises
    ------
    FileNotFoundError
        If there is no such file.

    ModelError
        If it is larger than 1 GiB, or no longer what `find_model` found.
    """
    if isinstance(model, (bytes, bytearray, memoryview)):
        data = bytes(model)
        return Content(data, f'{len(data)} bytes', _sha256(data))
    path = Path(model.path if isinstance(model, Model) else model)
    data = _read(path)
    content = Content(data, path.name, _sha256(data))
    if isinstance(model, Model) and content.sha256 != model.sha256:
        msg = f'{path.name}: the file has changed since it was found; find it again'
        raise ModelError(msg)
    return content


def find_model(
    name: str | os.PathLike | Model,
    *,
    sha256: str | None = None,
    task: str | Sequence[str] | None = None,
) -> Model:
    """
    Find a network by its name, as a file, or on the web.

    Parameters
    ----------
    name : str, path-like or `Model`
        The name of a network that comes with astroflat (see `list_models`);
        'default' for the one that is meant for ``task``; a path; or the
        address of a file, beginning with ``https://``.

    sha256 : str, optional
        The SHA-256 that the file must have, in hexadecimal digits. It must be
        given for a file from the web.

    task : str or sequence of str, optional
        What the network must be for.

    Returns
    -------
    model : `Model`
        Path, card and hash.

    Raises
    ------
    ModelError
        If there is no such network, or if the file is too large, truncated,
        not the one of this hash, without a card, or for another task.

    FileNotFoundError
        If the path does not exist.

    Notes
    -----
    A file from the web is downloaded once, by `astropy.utils.data.download_file`
    into the cache of astropy, and its hash is checked at each use. Nothing is
    ever downloaded for a name or a path. An ONNX file is data, not code: it holds
    a graph of known operations, and nothing is unpickled.

    Examples
    --------
    >>> from astroflat.neural import find_model
    >>> find_model('no-such-network')
    Traceback (most recent call last):
        ...
    astroflat._exceptions.ModelError: there is no network 'no-such-network'; ...
    """
    sha256 = _check_hash(sha256)
    if isinstance(name, Model):
        found = _from_file(name.path, sha256) if sha256 else name
        return _check_task(found, task)
    text = os.fspath(name)
    if '://' in text:
        return _check_task(_from_web(text, sha256), task)
    if isinstance(name, str) and not _is_path(name):
        return _check_task(_shipped(name, task, sha256), task)
    return _check_task(_from_file(Path(text), sha256), task)


def list_models() -> Table:
    """
    List the networks that come with astroflat.

    Returns
    -------
    table : `~astropy.table.Table`
        One row for each: name, task, version, size in MB, SHA-256, licence of the
        weights, what it was trained on, and whether it is the default of its task.

    Examples
    --------
    >>> import astroflat as af
    >>> af.list_models().colnames[:4]
    ['name', 'task', 'version', 'size']
    """
    from astropy.table import Table

    entries = _index.read_index(_index.WEIGHTS)
    columns: dict[str, list] = {
        'name': [e['name'] for e in entries],
        'task': [e['task'] for e in entries],
        'version': [e['version'] for e in entries],
        'size': [round(e['size'] / 1e6, 3) for e in entries],
        'sha256': [e['sha256'] for e in entries],
        'licence': [e['licence'] for e in entries],
        'trained_on': [e['trained_on'] for e in entries],
        'default': [bool(e['default']) for e in entries],
    }
    types = [float if n == 'size' else bool if n == 'default' else str for n in columns]
    table = Table(list(columns.values()), names=list(columns), dtype=types)
    table['size'].unit = 'Mbyte'
    return table


def _shipped(name: str, task: str | Sequence[str] | None, sha256: str | None) -> Model:
    """Return a network that comes with astroflat."""
    entries = _index.read_index(_index.WEIGHTS)
    if name == 'default':
        tasks = (task,) if isinstance(task, str) else tuple(task or ())
        fitting = [e for e in entries if e['default'] and e['task'] in tasks]
        if len(fitting) != 1:
            msg = f"'default' names no network for task {task!r}; {_choice(entries)}"
            raise ModelError(msg)
    else:
        fitting = [e for e in entries if e['name'] == name]
        if not fitting:
            msg = f'there is no network {name!r}; {_choice(entries)}'
            raise ModelError(msg)
    entry = fitting[0]
    if sha256 not in {None, entry['sha256']}:
        msg = f'{name!r} has the SHA-256 {entry["sha256"]}, not {sha256}'
        raise ModelError(msg)
    path = _index.WEIGHTS / entry['file']
    if not path.is_file():
        msg = f'{entry["file"]} is missing here; install astroflat again'
        raise ModelError(msg)
    return _from_file(path, entry['sha256'])


def _choice(entries: list[dict[str, Any]]) -> str:
    """Say what else could be asked for."""
    names = ', '.join(f'{e["name"]} ({e["task"]})' for e in entries)
    return f'there are: {names or "none"}; or give a path or an https address'


def _from_file(path: Path, sha256: str | None) -> Model:
    """Return the network in a file."""
    from astroflat.neural.cards import card_of_content

    content = load_model(path)
    if sha256 not in {None, content.sha256}:
        msg = (
            f'{path.name} is not the file that it should be: its SHA-256 is '
            f'{content.sha256}, not {sha256}'
        )
        raise ModelError(msg)
    return Model(path, card_of_content(content), content.sha256)


def _from_web(url: str, sha256: str | None) -> Model:
    """Return a network from the web, or from the cache of astropy."""
    from astropy.utils.data import clear_download_cache, download_file

    if not url.startswith('https://'):
        msg = f'{url!r} is not a safe address; use one with https://'
        raise ModelError(msg)
    if sha256 is None:
        msg = f'{url!r} needs sha256=, the hash that the file must have'
        raise ModelError(msg)
    path = Path(download_file(url, cache=True, show_progress=False))
    try:
        return _from_file(path, sha256)
    except ModelError as error:
        # A damaged download would be found again and again.
        clear_download_cache(url)
        msg = f'{url!r}: {error}; it was removed from the cache'
        raise ModelError(msg) from error


def _check_task(model: Model, task: str | Sequence[str] | None) -> Model:
    """Raise if a network is not for this task."""
    tasks = (task,) if isinstance(task, str) else task
    if tasks is not None and model.card.task not in tasks:
        words = ' or '.join(map(repr, tasks))
        msg = f'{model.card.name!r} is for {model.card.task!r}, not for {words}'
        raise ModelError(msg)
    return model


def _check_hash(sha256: str | None) -> str | None:
    """Return a hash in lower case."""
    if sha256 is None:
        return None
    if not (isinstance(sha256, str) and re.fullmatch('[0-9a-fA-F]{64}', sha256)):
        msg = f'sha256={sha256!r} is not a SHA-256; give 64 hexadecimal digits'
        raise ModelError(msg)
    return sha256.lower()


def _is_path(name: str) -> bool:
    """Tell a path from the name of a network."""
    return (
        name.lower().endswith('.onnx')
        or any(mark in name for mark in ('/', '\\'))
        or name.startswith('~')
    )


def _read(path: Path) -> bytes:
    """Read a file of reasonable size."""
    path = path.expanduser()
    if path.is_dir():
        msg = f'{path.name!r} is a folder; give the name of an ONNX file'
        raise ModelError(msg)
    if not path.is_file():
        msg = f'there is no file {path.name!r}; see astroflat.list_models() for names'
        raise FileNotFoundError(msg)
    size = path.stat().st_size
    if size > _LARGEST:
        msg = f'{path.name}: {size / 1e9:.1f} GB; networks may have up to 1.07 GB'
        raise ModelError(msg)
    return path.read_bytes()


def _sha256(data: bytes) -> str:
    """Return the hash of bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
