# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Run the commands with ``python -m astroflat``."""

import sys

from astroflat.cli import main

if __name__ == '__main__':
    sys.exit(main())
