# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""``astroflat info``: describe files or this installation."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

__all__ = ['add_arguments', 'run']

_PACKAGES = (
    'numpy',
    'scipy',
    'astropy',
    'ccdproc',
    'photutils',
    'scikit-image',
    'onnxruntime-gpu',
    'onnxruntime',
    'google-genai',
    'numba',
    'matplotlib',
    'av',
    'dask',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of the command.

    Parameters
    ----------
    parser : `argparse.ArgumentParser`
        The parser of the command.
    """
    parser.add_argument(
        'source', nargs='*', metavar='FILE', help='videos or images to describe'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

    Parameters
    ----------
    args : `argparse.Namespace`
        The arguments.

    Returns
    -------
    status : int
        0.
    """
    if args.source:
        facts = [_describe(path) for path in args.source]
    else:
        facts = [_installation()]
    if args.json:
        print(json.dumps(facts if args.source else facts[0], indent=2))
        return 0
    for i, fact in enumerate(facts):
        if i:
            print()
        width = max(map(len, fact))
        for name, value in fact.items():
            print(f'{name:{width}s}  {value}')
    return 0


def _installation() -> dict[str, Any]:
    """Return the versions of what astroflat works with."""
    from astroflat import __version__
    from astroflat._arrays import n_threads

    facts = {
        'astroflat': __version__,
        'python': platform.python_version(),
        'system': f'{platform.system()} {platform.machine()}',
        'threads': n_threads(),
    }
    for name in _PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = 'not installed'
    facts |= {'devices': _devices(), 'models': _models()}
    return facts | {'pixinsight script': str(_script())}


def _script() -> Any:
    """Return where the script for PixInsight is."""
    import importlib.resources

    folder = importlib.resources.files('astroflat.pipelines') / 'pixinsight'
    return folder / 'astroflat-restore.js'


def _devices() -> str:
    """Return what networks run on, and why not on a GPU."""
    from astroflat.neural import available_devices
    from astroflat.neural._devices import cuda_state

    try:
        devices = ', '.join(available_devices())
    except ImportError as error:
        return f'none ({error})'
    reason = cuda_state().reason
    return f'{devices} ({reason})' if reason else devices


def _models() -> str:
    """Return the networks that are installed."""
    from astroflat.neural import list_models

    table = list_models()
    rows = [
        f'{row["name"]} {row["version"]} ({row["task"]}, {row["size"]:.1f} MB)'
        for row in table
    ]
    return ', '.join(rows) or 'none'


def _describe(path: str) -> dict[str, Any]:
    """Return the facts about a video or an image."""
    from astroflat.io import open_frames

    with open_frames(path) as stack:
        facts = {
            'file': stack.name,
            'frames': len(stack),
            'size': f'{stack.shape[2]} x {stack.shape[1]}',
            'type': stack.dtype.name,
            'color': stack.color,
            'unit': str(stack.unit),
        }
        times = stack.times
        if times is not None and len(times):
            facts['first'] = times[0].isot
            facts['last'] = times[-1].isot
    if path.lower().endswith('.ser'):
        facts.update(_describe_ser(path))
    return facts


def _describe_ser(path: str) -> dict[str, Any]:
    """Return the facts that only a SER video has."""
    from astroflat.io import SERFile

    with SERFile(path) as video:
        return {
            'depth': f'{video.bit_depth} bit',
            'byte order': f'{video.byteorder} ({video.byteorder_evidence.reason})',
            'observer': video.observer,
            'instrument': video.instrument,
            'telescope': video.telescope,
        }
