# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Units as headers write them."""

from __future__ import annotations

from typing import Any

__all__ = ['parse_unit']

# Spellings in real headers that astropy does not know.
_SPELLINGS = {
    'adu': 'adu',
    'counts': 'adu',
    'dn': 'adu',
    'e-': 'electron',
    'e': 'electron',
    'electrons': 'electron',
    'electrons/s': 'electron / s',
    'electrons/sec': 'electron / s',
}


def parse_unit(value: Any, name: str = 'the source') -> Any:
    """
    Return a unit.

    Parameters
    ----------
    value : str, unit or None
        What the header or the user says; `None` and blanks are adu.

    name : str, optional
        Whose it is, for the error message.

    Returns
    -------
    unit : `~astropy.units.Unit`
        The unit.

    Raises
    ------
    ValueError
        If the text is no unit.
    """
    from astropy import units as u

    if value is None or (isinstance(value, str) and not value.strip()):
        return u.adu
    if not isinstance(value, str):
        return u.Unit(value)
    text = _SPELLINGS.get(value.strip().lower(), value.strip())
    try:
        return u.Unit(text)
    except ValueError:
        msg = (
            f'the unit {value!r} of {name} is not known; '
            "give it yourself, for example unit='adu'"
        )
        raise ValueError(msg) from None
