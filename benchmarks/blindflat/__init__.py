# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Blind flat-fielding, scored: scenes with known truth, and any method.

``python -m benchmarks.blindflat --help`` in the folder of the checkout. The
scenes are listed in ``manifest.json`` and generated when they are needed.
"""
