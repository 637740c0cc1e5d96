# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Whether matplotlib can open a window here."""

from __future__ import annotations

__all__ = ['backend_name', 'has_window']


def backend_name() -> str:
    """
    Return the backend of matplotlib.

    Returns
    -------
    name : str
        In lower case. Where none was chosen, matplotlib chooses one now.
    """
    import matplotlib as mpl

    return str(mpl.get_backend()).lower()


def has_window(backend: str) -> bool:
    """
    Tell whether a backend can show a figure that reacts.

    Parameters
    ----------
    backend : str
        As returned by `backend_name`.

    Returns
    -------
    interactive : bool
        False for those that write files, and for still images in notebooks.
    """
    from matplotlib.backends import BackendFilter, backend_registry

    still = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)
    return backend not in still and 'inline' not in backend
