# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The array namespace of a value: NumPy, PyTorch, CuPy, ...

The closed forms of this sub-package are written once and evaluated with the
functions of whatever array they are given, so a network in training sees the
same fields as a user with NumPy.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

__all__ = ['cos_sin', 'namespace']


def namespace(*arrays: Any) -> Any:
    """
    Return the module whose functions work on ``arrays``.

    Parameters
    ----------
    *arrays : array_like
        Arrays, tensors or numbers. Numbers count as NumPy.

    Returns
    -------
    module
        ``torch`` or ``cupy`` when one of the values belongs to it, the value's
        own ``__array_namespace__()`` for other array-API libraries, and
        `numpy` otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from astroflat.degradation._namespace import namespace
    >>> namespace(np.arange(3), 2.5) is np
    True
    """
    for array in arrays:
        root = type(array).__module__.partition('.')[0]
        if root in ('torch', 'cupy'):
            return sys.modules[root]
        if root not in ('numpy', 'builtins') and hasattr(array, '__array_namespace__'):
            return array.__array_namespace__()
    return np


def cos_sin(angle: Any) -> tuple[Any, Any]:
    """
    Cosine and sine of an angle of any namespace.

    Parameters
    ----------
    angle : float or array_like
        Angle in radians. Plain numbers stay plain numbers, which leaves the
        dtype of the arrays they are multiplied with alone.

    Returns
    -------
    tuple
        ``(cos, sin)``.

    Examples
    --------
    >>> from astroflat.degradation._namespace import cos_sin
    >>> cos_sin(0.0)
    (1.0, 0.0)
    """
    if isinstance(angle, (int, float)):
        return math.cos(angle), math.sin(angle)
    xp = namespace(angle)
    return xp.cos(angle), xp.sin(angle)
