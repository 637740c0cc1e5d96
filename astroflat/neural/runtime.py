# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sessions of ONNX Runtime; the one module that imports it.

From version 1.29 on, ONNX Runtime reports to its maker by default, beginning
with its import. astroflat sends nothing anywhere: the switch is set before.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._exceptions import ModelError
from astroflat.neural._backend import (
    PROVIDERS,
    check_device,
    check_threads,
    create_session,
    explain_run,
    run_bound,
    session_metadata,
)
from astroflat.neural._devices import cuda_state
from astroflat.neural._feeds import check_feeds, describe_slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from astroflat.neural.cards import ModelCard
    from astroflat.neural.models import Model

__all__ = ['Session', 'available_devices', 'load_onnxruntime']


def load_onnxruntime() -> Any:
    """
    Import ONNX Runtime with its telemetry switched off.

    Returns
    -------
    onnxruntime : module
        ONNX Runtime. A value of ``ORT_DISABLE_TELEMETRY`` that is already in
        the environment is the user's and stays.

    Raises
    ------
    ImportError
        If neither ``onnxruntime`` nor ``onnxruntime-gpu`` is installed.

    Examples
    --------
    >>> import os
    >>> from astroflat.neural import load_onnxruntime
    >>> onnxruntime = load_onnxruntime()
    >>> os.environ['ORT_DISABLE_TELEMETRY']
    '1'
    """
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
    try:
        import onnxruntime
    except ImportError as error:
        msg = "networks need ONNX Runtime: pip install 'onnxruntime'"
        raise ImportError(msg) from error
    return onnxruntime


def available_devices() -> list[str]:
    """
    Return the devices that networks can be run on.

    Returns
    -------
    devices : list of str
        'cuda', if the driver shows a GPU and the libraries can be loaded, and
        'cpu'. `Session.device` tells what a session really uses.

    Examples
    --------
    >>> from astroflat.neural import available_devices
    >>> 'cpu' in available_devices()
    True
    """
    load_onnxruntime()
    return ['cuda', 'cpu'] if cuda_state().kind == 'usable' else ['cpu']


class Session:
    """
    A network that is ready to run on one device.

    Making one takes longer than using it: `~astroflat.neural.get_session` keeps
    them.

    Parameters
    ----------
    model : str, path-like, bytes or `~astroflat.neural.Model`
        An ONNX file, its content, or what `~astroflat.neural.find_model` found.

    device : {'auto', 'cpu', 'cuda'}, optional
        'auto' takes the GPU if there is one that works, and warns if there is
        one that does not. 'cuda' raises unless the session is really there.
        ``CUDA_VISIBLE_DEVICES`` picks among several GPUs.

    n_threads : int, optional
        Threads of one call on the processor. By default, as many as this
        process may use processors, or ``OMP_NUM_THREADS``.

    Attributes
    ----------
    device : str
        'cpu' or 'cuda', as the session itself says.

    provider : str
        The name that ONNX Runtime has for it.

    card : `~astroflat.neural.ModelCard` or None
        The card in the file; None if it has none.

    sha256 : str
        The hash of the file.

    inputs, outputs : tuple
        Name, shape and dtype of the inputs and outputs.

    Raises
    ------
    ModelError
        If the file is not a network or not intact.

    DeviceError
        If ``device='cuda'`` and CUDA is not used.

    Notes
    -----
    A session can be called by several threads at once, and gives each the same
    numbers. It can be pickled, and in a forked process it makes itself anew.
    Threads that wait do not spin, which leaves the processors to others.
    Parts of a network for which CUDA has no code run on the processor even in a
    session on CUDA.

    Examples
    --------
    >>> from astroflat.neural import Session
    >>> Session(b'not a network')
    Traceback (most recent call last):
        ...
    astroflat._exceptions.ModelError: 13 bytes: not an ONNX file, or truncated ...
    """

    def __init__(
        self,
        model: str | os.PathLike | bytes | Model,
        *,
        device: Literal['auto', 'cpu', 'cuda'] = 'auto',
        n_threads: int | None = None,
    ) -> None:
        from astroflat.neural.models import load_model

        self._content = load_model(model)
        self._request = check_device(device)
        self.n_threads = check_threads(n_threads)
        self._lock = threading.Lock()
        self._start()
        self.inputs = describe_slots(self._session.get_inputs())
        self.outputs = describe_slots(self._session.get_outputs())

    def run(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, np.ndarray]:
        """
        Run the network once.

        Parameters
        ----------
        inputs : mapping of str to array_like, or array_like
            The inputs by name; a bare array if the network takes only one. Any
            real type; they are converted to that of the network.

        Returns
        -------
        outputs : dict of str to `~numpy.ndarray`
            The outputs by name, float32 (half precision is converted).

        Raises
        ------
        ModelError
            If names, shapes or types are not those of the network, if a value
            is not finite, or if the network fails.
        """
        feeds = check_feeds(self.inputs, inputs)
        session = self._alive()
        names = [slot.name for slot in self.outputs]
        try:
            if self.device == 'cuda':
                values = run_bound(session, feeds, names, self.device)
            else:
                values = session.run(names, feeds)
        except Exception as error:
            raise ModelError(explain_run(self, feeds, error)) from error
        return {n: _widen(v) for n, v in zip(names, values, strict=True)}

    def header_cards(self) -> dict[str, tuple[str, str]]:
        """
        Return what a header should say about this network.

        Returns
        -------
        cards : dict of str to tuple of str
            Value and comment of ``AFMODEL``, ``AFMODSHA`` and ``AFPROV``.
        """
        return {
            'AFMODEL': (str(self), 'network'),
            'AFMODSHA': (self.sha256[:16], 'start of its SHA-256'),
            'AFPROV': (self.provider, 'ONNX Runtime provider'),
        }

    def __str__(self) -> str:
        card = self.card
        return self._content.name if card is None else f'{card.name} {card.version}'

    def __repr__(self) -> str:
        return f'<Session {self} on {self.device}, {self.n_threads} threads>'

    def __reduce__(self) -> tuple:
        return _rebuild, (self._content.data, self._request, self.n_threads)

    @property
    def sha256(self) -> str:
        """The hash of the file."""
        return self._content.sha256

    def _start(self) -> None:
        """Make the session of ONNX Runtime."""
        from astroflat.neural.cards import card_of_metadata

        self._session, self.device = create_session(
            self._content.data, self._content.name, self._request, self.n_threads
        )
        self.provider = PROVIDERS[self.device]
        metadata = session_metadata(self._session, self._content.name)
        self.card: ModelCard | None = card_of_metadata(metadata)
        self._process = os.getpid()

    def _alive(self) -> Any:
        """Return the session, made anew if this process was forked."""
        # The threads of ONNX Runtime do not survive a fork: a call would hang.
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    # Its end would wait for its threads, forever.
                    _ORPHANS.append(self._session)
                    self._start()
        return self._session


_ORPHANS: list[Any] = []


def _rebuild(data: bytes, device: str, n_threads: int) -> Session:
    """Make a session in another process."""
    return Session(data, device=device, n_threads=n_threads)


def _widen(value: np.ndarray) -> np.ndarray:
    """Return half and double precision as float32, all else as it is."""
    return value.astype(np.float32, copy=False) if value.dtype.kind == 'f' else value
