# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Run BaSiCPy: ``python basicpy_worker.py {default,autotune} frames.npy flat.npy``.

Imports neither astroflat nor astropy: it runs where they are not installed.
"""

import random
import sys

import numpy as np
import torch
from basicpy import BaSiC

mode, source, target = sys.argv[1:]
torch.set_num_threads(1)
# Its search for settings draws from the global generators.
random.seed(0)
np.random.seed(0)  # noqa: NPY002
frames = np.load(source)
model = BaSiC()
if mode == 'autotune':
    model.autotune(frames)
model.fit(frames)
np.save(target, np.asarray(model.flatfield, dtype=np.float32))
