# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The same network on two devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroflat._exceptions import DeviceError
from astroflat.neural.runtime import Session

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from astroflat.neural.models import Model

__all__ = ['check_parity', 'random_inputs']


def check_parity(
    model: str | os.PathLike | bytes | Model,
    device: Literal['cpu', 'cuda'] = 'cuda',
    *,
    inputs: Mapping[str, Any] | None = None,
    tolerance: float | None = 1e-4,
    rng: int | np.random.Generator = 0,
) -> dict[str, float]:
    """
    Compare a network on a device with the same network on the processor.

    Parameters
    ----------
    model : str, path-like, bytes or `~astroflat.neural.Model`
        The network.

    device : {'cpu', 'cuda'}, optional
        The device. 'cpu' compares one thread with all of them.

    inputs : mapping of str to array_like, optional
        What to feed it. By default, normal noise, 64 pixels on a side or the
        next multiple that the network takes.

    tolerance : float, optional
        The largest difference that is not an error; None for any.

    rng : int or `numpy.random.Generator`, optional
        The seed of the noise.

    Returns
    -------
    differences : dict of str to float
        For each output the largest difference, as a fraction of its largest
        absolute value on the processor.

    Raises
    ------
    DeviceError
        If the device cannot be used, or a difference exceeds the tolerance.

    Examples
    --------
    >>> from astroflat.neural import check_parity
    >>> check_parity('mine.onnx', 'cuda')  # doctest: +SKIP
    {'flat': 2.4e-06}
    """
    reference = Session(model, device='cpu', n_threads=1)
    other = Session(model, device=device)
    if inputs is None:
        inputs = random_inputs(reference, rng=rng)
    expected, found = reference.run(inputs), other.run(inputs)
    differences = {n: _difference(expected[n], found[n]) for n in expected}
    worst = max(differences, key=differences.__getitem__)
    # Written so that NaN is an error.
    if tolerance is not None and not differences[worst] <= tolerance:
        msg = (
            f'{reference} gives other numbers on {device!r}: output {worst!r} differs '
            f'by {differences[worst]:.2g} of its peak, more than {tolerance:g}'
        )
        raise DeviceError(msg)
    return differences


def random_inputs(
    session: Session,
    *,
    side: int = 64,
    batch: int = 1,
    rng: int | np.random.Generator = 0,
) -> dict[str, np.ndarray]:
    """
    Make noise that a network takes.

    Parameters
    ----------
    session : `~astroflat.neural.Session`
        The network.

    side : int, optional
        The least number of pixels on a side, where the network leaves it open.

    batch : int, optional
        The length of the first axis, where the network leaves it open.

    rng : int or `numpy.random.Generator`, optional
        The seed.

    Returns
    -------
    inputs : dict of str to `~numpy.ndarray`
        float32, normally distributed.
    """
    rng = np.random.default_rng(rng)
    multiple = getattr(session.card, 'multiple', 1)
    side = -(-side // multiple) * multiple
    inputs = {}
    for slot in session.inputs:
        # The last two of four axes are those of the image.
        free = [batch] + [1] * (len(slot.shape) - 1)
        if len(slot.shape) >= 3:
            free[-2:] = [side, side]
        shape = [
            n if isinstance(n, int) else f
            for n, f in zip(slot.shape, free, strict=True)
        ]
        inputs[slot.name] = rng.standard_normal(shape, dtype=np.float32)
    return inputs


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the largest difference as a fraction of the peak."""
    if not expected.size:
        return 0.0
    largest = float(np.abs(found - expected).max())
    peak = float(np.abs(expected).max())
    return largest / peak if peak else largest
