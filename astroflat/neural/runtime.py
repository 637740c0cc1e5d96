# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The one module that imports ONNX Runtime.

From version 1.29 on, ONNX Runtime reports to its maker by default, beginning
with its import. astroflat sends nothing anywhere: the switch is set before.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ['available_devices', 'load_onnxruntime']


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
    Return the devices that this installation was built for.

    Returns
    -------
    devices : list of str
        'cuda' and 'cpu'. ONNX Runtime lists what it was built with: only a
        session tells whether there is a GPU that works.

    Examples
    --------
    >>> from astroflat.neural import available_devices
    >>> 'cpu' in available_devices()
    True
    """
    names = {'CUDAExecutionProvider': 'cuda', 'CPUExecutionProvider': 'cpu'}
    providers = load_onnxruntime().get_available_providers()
    return [names[p] for p in providers if p in names]
