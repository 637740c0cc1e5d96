# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train a small network
=====================

A tiny attention U-Net learns to see vignetting in seconds: not to be used, but to see
the parts of a training. Frames are simulated meanwhile, of many sizes in one batch,
and the errors of log F, its slopes, G, and the corrected light are minimised together.
``astroflat train flat`` does the same for as long as you like.
"""

import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from astroflat.training.attention_unet import AttentionResUNetFG
from astroflat.training.flat import FlatData
from astroflat.training.full_flat import train_full
from astroflat.training.loop import FitSettings

torch.manual_seed(3)
network = AttentionResUNetFG(width=8, depth=3)
data = FlatData(batch=8, size=64, first=24, pool=24, workers=0, validation=16)
settings = FitSettings(steps=60, rate=3e-3, average=0.9, log_every=2)
folder = tempfile.TemporaryDirectory()
result = train_full(folder.name, settings, data=data, model=network)
print(result.images, 'frames')

# %%
# The table of the run, term by term:
with Path(folder.name, 'log.csv').open(encoding='utf-8') as file:
    log = list(csv.DictReader(file))
figure, ax = plt.subplots(figsize=(6, 3), layout='constrained')
for term in ('loss', 'flat', 'added', 'slope', 'physics'):
    ax.plot(
        [int(row['images']) for row in log], [float(r[term]) for r in log], label=term
    )
ax.set(xlabel='frames', ylabel='term of the loss', yscale='log')
ax.legend(ncols=3, fontsize='small')
folder.cleanup()
