# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Training and exporting networks: the only part that needs torch.

Nothing else of the package imports this part, and nothing is imported here
before it is asked for.
"""

from __future__ import annotations

__all__: list[str] = []
