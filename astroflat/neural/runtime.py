# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Sessions of ONNX Runtime; the one module that imports it.

From version 1.29 on, ONNX Runtime reports to its maker by default, beginning
with its import. astroflat sends nothing anywhere: the switch is set before.
"""

from __future__ import annotations

import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._exceptions import DeviceError, ModelError, ProviderFallbackWarning
from astroflat.neural._devices import cuda_state
from astroflat.neural._feeds import check_feeds, describe_slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from astroflat.neural.cards import ModelCard
    from astroflat.neural.models import Model

__all__ = ['Session', 'available_devices', 'load_onnxruntime']

_PROVIDERS = {'cuda': 'CUDAExecutionProvider', 'cpu': 'CPUExecutionProvider'}
# TF32 has ten bits of mantissa, too few for photometry. The exhaustive search of
# algorithms would be repeated for each new size of tile. The arena grows by what
# is asked for instead of doubling.
_CUDA_OPTIONS = {
    'use_tf32': '0',
    'cudnn_conv_algo_search': 'HEURISTIC',
    'arena_extend_strategy': 'kSameAsRequested',
}


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
                values = _run_bound(session, feeds, names, self.device)
            else:
                values = session.run(names, feeds)
        except Exception as error:
            raise ModelError(_explain_run(self, feeds, error)) from error
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
            'AFMODSHA': (self.sha256[:16], 'first half of its SHA-256'),
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

        self._session, self.device = _create(
            self._content.data, self._content.name, self._request, self.n_threads
        )
        self.provider = _PROVIDERS[self.device]
        metadata = self._session.get_modelmeta().custom_metadata_map
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


def read_metadata(data: bytes, name: str) -> dict[str, str]:
    """
    Read the metadata of an ONNX file.

    Parameters
    ----------
    data : bytes
        The content of the file.

    name : str
        What to call it in messages.

    Returns
    -------
    metadata : dict of str to str
        What is written in it.

    Raises
    ------
    ModelError
        If it is not an ONNX file or not intact.
    """
    onnxruntime = load_onnxruntime()
    options = _options(onnxruntime, 1)
    # Nothing will be run: do not spend time on making it fast.
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    try:
        session = onnxruntime.InferenceSession(
            data, sess_options=options, providers=[_PROVIDERS['cpu']]
        )
    except Exception as error:
        raise ModelError(_explain_load(name, error)) from error
    return dict(session.get_modelmeta().custom_metadata_map)


def check_device(device: str) -> str:
    """
    Check the name of a device.

    Parameters
    ----------
    device : str
        'auto', 'cpu' or 'cuda'.

    Returns
    -------
    device : str
        The same.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if device not in {'auto', 'cpu', 'cuda'}:
        msg = f"device={device!r}; use 'auto', 'cpu' or 'cuda'"
        raise ValueError(msg)
    return device


def check_threads(n_threads: int | None) -> int:
    """
    Return the number of threads of a session.

    Parameters
    ----------
    n_threads : int or None
        As the user gave it.

    Returns
    -------
    n_threads : int
        At least 1.

    Raises
    ------
    ValueError
        If it is less than 1.
    """
    from astroflat._arrays import n_threads as default_threads

    return default_threads(n_threads)


def _create(data: bytes, name: str, device: str, n_threads: int) -> tuple[Any, str]:
    """Return a session of ONNX Runtime and the device that it uses."""
    onnxruntime = load_onnxruntime()
    state = cuda_state() if device != 'cpu' else None
    if device == 'cuda' and state.kind != 'usable':
        msg = f"device='cuda' cannot be used: {state.reason}; or use device='cpu'"
        raise DeviceError(msg)
    providers = [_PROVIDERS['cpu']]
    if state is not None and state.kind == 'usable':
        providers.insert(0, (_PROVIDERS['cuda'], _CUDA_OPTIONS))
    try:
        session = onnxruntime.InferenceSession(
            data, sess_options=_options(onnxruntime, n_threads), providers=providers
        )
    except Exception as error:
        raise ModelError(_explain_load(name, error)) from error
    used = 'cuda' if _PROVIDERS['cuda'] in session.get_providers() else 'cpu'
    _report_fallback(device, used, state)
    return session, used


def _report_fallback(device: str, used: str, state: Any) -> None:
    """Warn or raise if there is a GPU that the session does not use."""
    if used == 'cuda' or state is None or state.kind == 'absent':
        return
    reason = state.reason or 'ONNX Runtime could not start CUDA (see its messages)'
    if device == 'cuda':
        msg = f"device='cuda' cannot be used: {reason}; or use device='cpu'"
        raise DeviceError(msg)
    _warn_once(f'the GPU is not used: {reason}; computing on the processor')


_WARNED: set[str] = set()


def _warn_once(message: str) -> None:
    """Warn about a GPU that cannot be used, once in each process."""
    if message not in _WARNED:
        _WARNED.add(message)
        warnings.warn(message, ProviderFallbackWarning, stacklevel=6)


def _options(onnxruntime: Any, n_threads: int) -> Any:
    """Return the options of a session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Errors are raised, not written to the terminal as well.
    options.log_severity_level = 4
    # Planned memory is kept for each size of tile and never given back; without the
    # plan the peak is a quarter lower, at the same speed.
    options.enable_mem_pattern = False
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    # A network that wants weights from other files looks where none can be.
    options.add_session_config_entry(
        'session.model_external_initializers_file_folder_path', os.devnull
    )
    return options


def _run_bound(
    session: Any, feeds: dict[str, np.ndarray], names: list[str], device: str
) -> list[np.ndarray]:
    """Run with inputs and outputs on the device, each copied once."""
    onnxruntime = load_onnxruntime()
    binding = session.io_binding()
    for name, feed in feeds.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(feed, device, 0)
        binding.bind_ortvalue_input(name, value)
    for name in names:
        binding.bind_output(name, device)
    session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()


def _widen(value: np.ndarray) -> np.ndarray:
    """Return half and double precision as float32, all else as it is."""
    return value.astype(np.float32, copy=False) if value.dtype.kind == 'f' else value


def _explain_load(name: str, error: Exception) -> str:
    """Say why a file cannot be loaded."""
    kind, text = type(error).__name__, _first_line(error)
    reasons = {
        'InvalidProtobuf': 'not an ONNX file, or truncated',
        'InvalidGraph': 'not a valid network',
        'NotImplemented': 'it needs a newer ONNX Runtime, or another one',
    }
    if 'No graph was found' in text:
        kind = 'InvalidProtobuf'
    if os.devnull in text or 'xternal data' in text:
        return f'{name}: weights in another file; take them in with embed_card'
    reason = reasons.get(kind, 'ONNX Runtime cannot load it')
    return f'{name}: {reason} ({text})'


def _explain_run(session: Session, feeds: dict[str, np.ndarray], error: Any) -> str:
    """Say why a network failed."""
    shapes = ', '.join(f'{name} {feed.shape}' for name, feed in feeds.items())
    text = _first_line(error)
    if 'llocat' in text or 'out of memory' in text:
        return f'not enough memory for {shapes} on {session.device}; use smaller tiles'
    multiple = getattr(session.card, 'multiple', 1)
    hint = f' (sides must be multiples of {multiple})' if multiple > 1 else ''
    return f'{session} failed for {shapes}{hint}: {text}'


def _first_line(error: Exception) -> str:
    """Return the first line of what ONNX Runtime says, without its prefix."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.split(' : ', 3)[-1][:200]
