# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What is asked of ONNX Runtime, and what it says when it cannot."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat._exceptions import DeviceError, ModelError, ProviderFallbackWarning
from astroflat.neural._devices import cuda_state, printed

if TYPE_CHECKING:
    from astroflat.neural.runtime import Session

__all__ = [
    'PROVIDERS',
    'check_device',
    'check_threads',
    'create_session',
    'explain_run',
    'read_metadata',
    'run_bound',
    'session_metadata',
]

PROVIDERS = {'cuda': 'CUDAExecutionProvider', 'cpu': 'CPUExecutionProvider'}
# TF32 has ten bits of mantissa, too few for photometry. The exhaustive search of
# algorithms would be repeated for each new size of tile. The arena grows by what
# is asked for instead of doubling.
_CUDA_OPTIONS = {
    'use_tf32': '0',
    'cudnn_conv_algo_search': 'HEURISTIC',
    'arena_extend_strategy': 'kSameAsRequested',
}


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


def create_session(
    data: bytes, name: str, device: str, n_threads: int
) -> tuple[Any, str]:
    """
    Make a session of ONNX Runtime.

    Parameters
    ----------
    data : bytes
        The content of the file.

    name : str
        What to call it in messages.

    device : {'auto', 'cpu', 'cuda'}
        What the user asked for.

    n_threads : int
        The threads of one call.

    Returns
    -------
    session : `onnxruntime.InferenceSession`
        The session.

    device : {'cpu', 'cuda'}
        What it really uses.

    Raises
    ------
    ModelError
        If the file cannot be loaded.

    DeviceError
        If 'cuda' was asked for and is not used.
    """
    from astroflat.neural.runtime import load_onnxruntime

    onnxruntime = load_onnxruntime()
    state = cuda_state() if device != 'cpu' else None
    if device == 'cuda' and state.kind != 'usable':
        msg = f"device='cuda' cannot be used: {state.reason}; or use device='cpu'"
        raise DeviceError(msg)
    providers = [PROVIDERS['cpu']]
    if state is not None and state.kind == 'usable':
        providers.insert(0, (PROVIDERS['cuda'], _CUDA_OPTIONS))
    options = _options(onnxruntime, n_threads)
    try:
        # A GPU that fails is printed; it belongs into our own message.
        with printed() if len(providers) > 1 else nullcontext(io.StringIO()) as said:
            session = onnxruntime.InferenceSession(data, options, providers)
    except Exception as error:
        raise ModelError(_explain_load(name, error)) from error
    session.disable_fallback()
    used = 'cuda' if PROVIDERS['cuda'] in session.get_providers() else 'cpu'
    _report_fallback(device, used, state, said.getvalue())
    return session, used


def _report_fallback(device: str, used: str, state: Any, said: str) -> None:
    """Warn or raise if there is a GPU that the session does not use."""
    if used == 'cuda' or state is None or state.kind == 'absent':
        return
    words = ' '.join(said.replace('*', ' ').split())[:300]
    reason = state.reason or f'ONNX Runtime could not start CUDA {words}'.rstrip()
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


def run_bound(
    session: Any, feeds: dict[str, np.ndarray], names: list[str], device: str
) -> list[np.ndarray]:
    """Run with inputs and outputs on the device, each copied once."""
    from astroflat.neural.runtime import load_onnxruntime

    onnxruntime = load_onnxruntime()
    binding = session.io_binding()
    for name, feed in feeds.items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(feed, device, 0)
        binding.bind_ortvalue_input(name, value)
    for name in names:
        binding.bind_output(name, device)
    session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()


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
    from astroflat.neural.runtime import load_onnxruntime

    onnxruntime = load_onnxruntime()
    options = _options(onnxruntime, 1)
    # Nothing will be run: do not spend time on making it fast.
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    try:
        session = onnxruntime.InferenceSession(
            data, sess_options=options, providers=[PROVIDERS['cpu']]
        )
    except Exception as error:
        raise ModelError(_explain_load(name, error)) from error
    return session_metadata(session, name)


def session_metadata(session: Any, name: str) -> dict[str, str]:
    """
    Return the metadata of a session.

    Parameters
    ----------
    session : `onnxruntime.InferenceSession`
        The session.

    name : str
        What to call the file in messages.

    Returns
    -------
    metadata : dict of str to str
        What is written in the file.

    Raises
    ------
    ModelError
        If it is not text.
    """
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        msg = f'{name}: damaged, its metadata is not text ({error})'
        raise ModelError(msg) from error


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
    if f'{os.devnull}{os.sep}' in text or 'xternal data' in text:
        return f'{name}: weights in another file; take them in with embed_card'
    reason = reasons.get(kind, 'ONNX Runtime cannot load it')
    return f'{name}: {reason} ({text})'


def explain_run(session: Session, feeds: dict[str, np.ndarray], error: Any) -> str:
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
