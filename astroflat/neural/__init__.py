# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Networks: found, checked, and run with ONNX Runtime on CUDA or the processor.

`find_model` and `list_models` find a network and its `ModelCard`, `get_session`
makes a `Session` of it once for each device, and `apply_tiled` takes it over
frames of any size. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

# Public name -> module, relative to this package.
_NAMES = {
    'Denoiser': 'denoiser',
    'DeviceError': '._exceptions',
    'FlatCorrector': 'corrector',
    'Model': 'models',
    'ModelCard': 'cards',
    'ModelError': '._exceptions',
    'ProviderFallbackWarning': '._exceptions',
    'Restoration': 'restorer',
    'Restorer': 'restorer',
    'Session': 'runtime',
    'apply_tiled': 'tiles',
    'available_devices': 'runtime',
    'check_parity': 'parity',
    'choose_tile': 'tiles',
    'clear_sessions': 'sessions',
    'embed_card': 'cards',
    'find_model': 'models',
    'get_session': 'sessions',
    'list_models': 'models',
    'load_onnxruntime': 'runtime',
    'overlap_cost': 'tiles',
    'read_card': 'cards',
    'tile_memory': 'tiles',
    'write_index': 'models',
}

__all__ = sorted(_NAMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _NAMES:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    module = importlib.import_module(f'.{_NAMES[name]}', __name__)
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
