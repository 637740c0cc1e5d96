# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What goes into a network, checked before ONNX Runtime sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroflat._exceptions import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ['Slot', 'check_feeds', 'describe_slots']

_DTYPES = {
    'tensor(float)': np.float32,
    'tensor(float16)': np.float16,
    'tensor(double)': np.float64,
    'tensor(int64)': np.int64,
    'tensor(int32)': np.int32,
    'tensor(uint8)': np.uint8,
    'tensor(bool)': np.bool_,
}


class Slot(NamedTuple):
    """
    An input or an output of a network.

    Attributes
    ----------
    name : str
        Its name.

    shape : tuple of int or str
        Its axes: a number where the network fixes it, else a name.

    dtype : `numpy.dtype`
        The type of its elements inside the network.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        axes = ', '.join(map(str, self.shape))
        return f'{self.name} ({axes}) {self.dtype.name}'


def describe_slots(nodes: list[Any]) -> tuple[Slot, ...]:
    """
    Describe the inputs or the outputs of a session.

    Parameters
    ----------
    nodes : list
        What ``get_inputs`` or ``get_outputs`` of ONNX Runtime return.

    Returns
    -------
    slots : tuple of `Slot`
        One for each.

    Raises
    ------
    ModelError
        If one is of a type that no image has, or its name is not text.
    """
    try:
        found = [(node.name, node.type, node.shape) for node in nodes]
    except UnicodeDecodeError as error:
        msg = f'the network is damaged, a name in it is not text ({error})'
        raise ModelError(msg) from error
    for name, kind, _ in found:
        if kind not in _DTYPES:
            msg = f'the network has {name!r} of type {kind}, not an array'
            raise ModelError(msg)
    return tuple(
        Slot(
            name,
            tuple(n if isinstance(n, int) else str(n or '?') for n in shape),
            np.dtype(_DTYPES[kind]),
        )
        for name, kind, shape in found
    )


def check_feeds(
    slots: tuple[Slot, ...], inputs: Mapping[str, Any] | Any
) -> dict[str, np.ndarray]:
    """
    Check the inputs and give them the types of the network.

    Parameters
    ----------
    slots : tuple of `Slot`
        What the network takes.

    inputs : mapping of str to array_like, or array_like
        The arrays by name; a bare array if the network takes only one.

    Returns
    -------
    feeds : dict of str to `~numpy.ndarray`
        C-contiguous arrays, copied only where they have to be.

    Raises
    ------
    ModelError
        For a wrong name, shape or type, and for values that are not finite.
    """
    if not hasattr(inputs, 'keys'):
        if len(slots) != 1:
            names = ', '.join(slot.name for slot in slots)
            msg = f'the network takes several inputs: give a dictionary of {names}'
            raise ModelError(msg)
        inputs = {slots[0].name: inputs}
    _check_names(slots, inputs)
    feeds = {slot.name: _as_feed(slot, inputs[slot.name]) for slot in slots}
    _check_named_axes(slots, feeds)
    return feeds


def _check_names(slots: tuple[Slot, ...], inputs: Mapping[str, Any]) -> None:
    """Raise if the inputs are not those of the network."""
    wanted, given = {slot.name for slot in slots}, set(inputs)
    if wanted != given:
        slots_text = '; '.join(map(str, slots))
        problems = [f'{name!r} is missing' for name in sorted(wanted - given)]
        problems += [f'{name!r} is not known' for name in sorted(given - wanted)]
        msg = f'inputs: {", ".join(problems)}; the network takes {slots_text}'
        raise ModelError(msg)


def _as_feed(slot: Slot, value: Any) -> np.ndarray:
    """Return one input in the type of the network."""
    array = np.asarray(value)
    if array.dtype.kind not in 'biuf':
        msg = f'input {slot.name!r} is of type {array.dtype}; give real numbers'
        raise ModelError(msg)
    _check_shape(slot, array)
    # A NaN or an infinity in one pixel spoils all that a network sees with it.
    if array.dtype.kind == 'f' and not _all_finite(array):
        msg = f'input {slot.name!r} has values that are not finite; fill them first'
        raise ModelError(msg)
    with np.errstate(over='ignore'):
        feed = np.ascontiguousarray(array, dtype=slot.dtype)
    if feed.dtype.itemsize < array.dtype.itemsize and not _all_finite(feed):
        msg = (
            f'input {slot.name!r} has values too large for {slot.dtype.name}; scale it'
        )
        raise ModelError(msg)
    # ascontiguousarray turns a number into an array of one axis.
    return feed.reshape(array.shape)


def _all_finite(array: np.ndarray) -> bool:
    """Tell whether all values are finite, at the cost of a sum."""
    if array.dtype.kind != 'f':
        return True
    with np.errstate(invalid='ignore', over='ignore'):
        total = np.sum(array, dtype=np.float64)
        return bool(np.isfinite(total) or np.isfinite(array).all())


def _check_shape(slot: Slot, array: np.ndarray) -> None:
    """Raise if an input does not have the axes of the network."""
    fits = array.ndim == len(slot.shape) and all(
        have == want
        for have, want in zip(array.shape, slot.shape, strict=True)
        if isinstance(want, int)
    )
    if not fits or not array.size:
        msg = (
            f'input {slot.name!r} has the shape {array.shape}; the network takes {slot}'
        )
        raise ModelError(msg)


def _check_named_axes(slots: tuple[Slot, ...], feeds: dict[str, np.ndarray]) -> None:
    """Raise if axes of one name differ between inputs."""
    sizes: dict[str, tuple[int, str]] = {}
    for slot in slots:
        for axis, size in zip(slot.shape, feeds[slot.name].shape, strict=True):
            if isinstance(axis, int) or axis == '?':
                continue
            first, owner = sizes.setdefault(axis, (size, slot.name))
            if first != size:
                msg = (
                    f'axis {axis!r} has {first} elements in {owner!r} and {size} in '
                    f'{slot.name!r}; they must agree'
                )
                raise ModelError(msg)
