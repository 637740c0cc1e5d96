# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Run the benchmark: ``python -m benchmarks.blindflat``."""

import os
import sys


def start():
    """Give every method one core, then run the command."""
    # Before NumPy reads them; child processes inherit them.
    for name in ('OMP', 'OPENBLAS', 'MKL', 'NUMEXPR', 'NUMBA'):
        os.environ.setdefault(f'{name}_NUM_THREADS', '1')
    from benchmarks.blindflat.run import main

    return main()


if __name__ == '__main__':
    sys.exit(start())
