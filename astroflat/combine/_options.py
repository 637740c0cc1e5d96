# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What is to be computed, checked once before anything is read."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ['Clip', 'Engine', 'Method', 'Options', 'choose_engine', 'parse_clip']

Method = Literal['median', 'mean']
Spread = Literal['mad', 'std']
Engine = Literal['auto', 'numpy', 'numba']

# Below this many samples the compiled kernels save less than importing costs.
_WORTH_NUMBA = 40_000_000

_CENTRES = {
    'median': 'median',
    'mean': 'mean',
    np.median: 'median',
    np.nanmedian: 'median',
    np.ma.median: 'median',
    np.mean: 'mean',
    np.nanmean: 'mean',
    np.ma.mean: 'mean',
}
_SPREADS = {
    'std': 'std',
    'mad_std': 'mad',
    np.std: 'std',
    np.nanstd: 'std',
    np.ma.std: 'std',
}


@dataclass(frozen=True)
class Clip:
    """
    Iterative rejection of outliers along the frames of each pixel.

    Attributes
    ----------
    lower, upper : float
        How many times the spread a sample may lie below and above the centre.

    maxiters : int
        The most iterations; -1 goes on until nothing is rejected.

    centre : {'median', 'mean'}
        What the distances are measured from.

    spread : {'std', 'mad'}
        The standard deviation about the mean, or 1.4826 times the median
        absolute deviation from the median.
    """

    lower: float
    upper: float
    maxiters: int = 5
    centre: Method = 'median'
    spread: Spread = 'std'


@dataclass(frozen=True)
class Options:
    """
    How the samples of a pixel become one value.

    Attributes
    ----------
    method : {'median', 'mean'}
        The value.

    spread : {'mad', 'std'} or None
        What the uncertainty is estimated from; `None` computes none.

    clip : Clip or None
        Rejection of outliers before both.

    compiled : bool
        Whether to use the kernels compiled by numba.
    """

    method: Method = 'median'
    spread: Spread | None = 'mad'
    clip: Clip | None = None
    compiled: bool = False

    @property
    def needs_ranks(self) -> bool:
        """Whether a median of the samples or of their deviations is needed."""
        return self.method == 'median' or self.spread == 'mad'

    @classmethod
    def parse(
        cls,
        method: str = 'median',
        uncertainty: str | None = 'auto',
        sigma_clip: Any = None,
        *,
        compiled: bool = False,
    ) -> Options:
        """
        Check what the user asked for.

        Parameters
        ----------
        method : {'median', 'mean'}, optional
            The value.

        uncertainty : {'auto', 'mad', 'std', None}, optional
            'auto' is 'mad' for the median and 'std' for the mean.

        sigma_clip : `~astropy.stats.SigmaClip`, float or None, optional
            Rejection of outliers.

        compiled : bool, optional
            Whether to use numba.

        Returns
        -------
        options : Options
            The same, checked.
        """
        if method not in ('median', 'mean'):
            msg = f"method must be 'median' or 'mean', not {method!r}"
            raise ValueError(msg)
        if uncertainty not in ('auto', 'mad', 'std', None):
            msg = (
                f"uncertainty must be 'auto', 'mad', 'std' or None, not {uncertainty!r}"
            )
            raise ValueError(msg)
        if uncertainty == 'auto':
            uncertainty = 'mad' if method == 'median' else 'std'
        return cls(method, uncertainty, parse_clip(sigma_clip), compiled)


def parse_clip(sigma_clip: Any) -> Clip | None:
    """
    Read the settings of a `~astropy.stats.SigmaClip`.

    Parameters
    ----------
    sigma_clip : `~astropy.stats.SigmaClip`, float, Clip or None
        A number is ``SigmaClip(sigma=number)``: median and standard deviation,
        at most five iterations.

    Returns
    -------
    clip : Clip or None
        The settings.

    Raises
    ------
    ValueError
        For limits that are not positive, and for functions other than median,
        mean, standard deviation and 'mad_std'.
    """
    if sigma_clip is None or isinstance(sigma_clip, Clip):
        return sigma_clip
    if not hasattr(sigma_clip, 'sigma_lower'):
        return _checked(Clip(_number(sigma_clip), _number(sigma_clip)))
    if getattr(sigma_clip, 'grow', False):
        msg = (
            'SigmaClip(grow=...) rejects neighbours in the image and has no '
            'meaning along the frames of a pixel; leave it out'
        )
        raise ValueError(msg)
    maxiters = sigma_clip.maxiters
    endless = maxiters is None or math.isinf(maxiters)
    clip = Clip(
        float(sigma_clip.sigma_lower),
        float(sigma_clip.sigma_upper),
        -1 if endless else int(maxiters),
        _lookup(_CENTRES, sigma_clip.cenfunc, 'cenfunc'),
        _lookup(_SPREADS, sigma_clip.stdfunc, 'stdfunc'),
    )
    return _checked(clip)


def _number(value: Any) -> float:
    """Return a number of standard deviations."""
    try:
        return float(value)
    except (TypeError, ValueError):
        msg = (
            'sigma_clip must be a number, an astropy.stats.SigmaClip or None, '
            f'not {value!r}'
        )
        raise TypeError(msg) from None


def _checked(clip: Clip) -> Clip:
    """Raise if the limits make no sense."""
    if not (clip.lower > 0 and clip.upper > 0) or clip.maxiters == 0:
        msg = f'the limits and iterations of sigma_clip must be positive: {clip}'
        raise ValueError(msg)
    return clip


def _lookup(names: dict, key: Any, argument: str) -> Any:
    """Return our name of a function of SigmaClip."""
    try:
        return names[key]
    except (KeyError, TypeError):
        known = [name for name in names if isinstance(name, str)]
        msg = f'SigmaClip(..., {argument}={key!r}) is not supported; use one of {known}'
        raise ValueError(msg) from None


def choose_engine(engine: Engine, samples: int) -> bool:
    """
    Decide whether to use numba.

    Parameters
    ----------
    engine : {'auto', 'numpy', 'numba'}
        What the user asked for.

    samples : int
        How many samples there are to go through.

    Returns
    -------
    compiled : bool
        'auto' takes numba where it is installed and either imported already
        or worth importing.

    Raises
    ------
    ImportError
        If numba is asked for and not installed.
    """
    if engine not in ('auto', 'numpy', 'numba'):
        msg = f"engine must be 'auto', 'numpy' or 'numba', not {engine!r}"
        raise ValueError(msg)
    if engine == 'numpy':
        return False
    installed = 'numba' in sys.modules or importlib.util.find_spec('numba') is not None
    if engine == 'numba':
        if not installed:
            msg = "engine='numba' needs numba: pip install astroflat[fast]"
            raise ImportError(msg)
        return True
    return installed and ('numba' in sys.modules or samples >= _WORTH_NUMBA)
