# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Sessions that are made once and used by everyone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from astroflat.neural._backend import check_device, check_threads
from astroflat.neural.runtime import Session

if TYPE_CHECKING:
    import os

    from astroflat.neural.models import Model

__all__ = ['clear_sessions', 'get_session']

# The least recently used one goes first. More than a handful of networks at a
# time is a test, or a mistake.
_LIMIT = 8
_SESSIONS: OrderedDict[tuple, Session] = OrderedDict()
_LOCK = threading.Lock()


def get_session(
    model: str | os.PathLike | bytes | Model,
    *,
    device: Literal['auto', 'cpu', 'cuda'] = 'auto',
    n_threads: int | None = None,
) -> Session:
    """
    Return the session of a network, made at the first call.

    Parameters
    ----------
    model : str, path-like, bytes or `~astroflat.neural.Model`
        An ONNX file, its content, or what `~astroflat.neural.find_model` found.

    device : {'auto', 'cpu', 'cuda'}, optional
        As in `~astroflat.neural.Session`.

    n_threads : int, optional
        As in `~astroflat.neural.Session`.

    Returns
    -------
    session : `~astroflat.neural.Session`
        The same object for the same content of the file, device and number of
        threads. The eight that were used last are kept.

    Raises
    ------
    ModelError, DeviceError
        As in `~astroflat.neural.Session`.

    Examples
    --------
    >>> from astroflat.neural import find_model, get_session
    >>> session = get_session(find_model('mine.onnx'))  # doctest: +SKIP
    >>> session.device  # doctest: +SKIP
    'cpu'
    """
    from astroflat.neural.models import load_model

    key = (
        load_model(model).sha256,
        check_device(device),
        check_threads(n_threads),
    )
    with _LOCK:
        session = _SESSIONS.get(key)
        if session is None:
            session = Session(model, device=device, n_threads=n_threads)
            _SESSIONS[key] = session
        _SESSIONS.move_to_end(key)
        while len(_SESSIONS) > _LIMIT:
            _SESSIONS.popitem(last=False)
    return session


def clear_sessions() -> None:
    """
    Forget the sessions, which frees their memory once nobody uses them.

    Examples
    --------
    >>> from astroflat.neural import clear_sessions
    >>> clear_sessions()
    """
    with _LOCK:
        _SESSIONS.clear()
