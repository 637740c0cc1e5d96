# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Is there a GPU, and can it be used? Asked quietly, before ONNX Runtime is.

ONNX Runtime lists CUDA wherever it was built with it, writes to the terminal when
it cannot load it, and computes on the processor instead. So the driver is asked
first, and CUDA is only asked for where there is a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['CudaState', 'cuda_state', 'gpu_count', 'printed']

# Two threads that redirect the output at once would not restore it.
_OUTPUT = threading.RLock()


class CudaState(NamedTuple):
    """
    What is known about CUDA on this machine.

    Attributes
    ----------
    kind : {'usable', 'broken', 'absent'}
        'absent' means that there is no GPU that the driver shows to this
        process, 'broken' that there is one but that software is missing.

    reason : str
        Why, in words; empty if usable.
    """

    kind: str
    reason: str


@functools.lru_cache(maxsize=1)
def cuda_state() -> CudaState:
    """
    Find out whether a session on CUDA is worth a try.

    Returns
    -------
    state : `CudaState`
        The answer, found once for each process.
    """
    if not gpu_count():
        return CudaState('absent', 'the driver shows no NVIDIA GPU to this process')
    from astroflat.neural.runtime import load_onnxruntime

    onnxruntime = load_onnxruntime()
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        reason = "this ONNX Runtime has no CUDA: pip install 'astroflat[cuda]'"
        return CudaState('broken', reason)
    missing = _preload(onnxruntime)
    return CudaState('broken', missing) if missing else CudaState('usable', '')


def gpu_count() -> int:
    """
    Count the GPUs that the NVIDIA driver shows to this process.

    Returns
    -------
    count : int
        0 without a driver, and if ``CUDA_VISIBLE_DEVICES`` hides them all.
    """
    driver = _driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0:
        return 0
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def _driver() -> Any:
    """Return the library of the NVIDIA driver, or None."""
    names = {'win32': 'nvcuda.dll', 'linux': 'libcuda.so.1'}
    if sys.platform not in names:
        return None
    try:
        return ctypes.CDLL(names[sys.platform])
    except OSError:
        return None


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    """
    Catch what Python code prints, by one thread at a time.

    Yields
    ------
    text : `io.StringIO`
        What was printed.
    """
    with _OUTPUT, contextlib.redirect_stdout(io.StringIO()) as text:
        yield text


def _preload(onnxruntime: Any) -> str:
    """Load the CUDA and cuDNN libraries, and say which ones are missing."""
    # They are found in the wheels of the extra "cuda" first, then in the system.
    # What cannot be loaded is printed; it belongs into our own message.
    preload = getattr(onnxruntime, 'preload_dlls', None)
    if preload is None:
        return ''
    with printed() as text:
        preload()
    words = [line.split(':')[0] for line in text.getvalue().splitlines()]
    missing = [w.split()[-1] for w in words if w.startswith('Failed to load')]
    if not missing:
        return ''
    return f"{', '.join(missing)} cannot be loaded: pip install 'astroflat[cuda]'"
